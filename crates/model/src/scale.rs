//! The five published sizes of the family.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Size of a YOLOv8 network: how deep, how wide, and where the width stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// nano
    N,
    /// small
    S,
    /// medium
    M,
    /// large
    L,
    /// extra large
    X,
}

impl Scale {
    /// All scales, smallest first.
    pub const ALL: [Scale; 5] = [Scale::N, Scale::S, Scale::M, Scale::L, Scale::X];

    /// Depth multiple: what the number of bottlenecks of a stage is multiplied by.
    pub fn depth(self) -> f64 {
        match self {
            Scale::N | Scale::S => 1.0 / 3.0,
            Scale::M => 2.0 / 3.0,
            Scale::L | Scale::X => 1.0,
        }
    }

    /// Width multiple: what a stage's channels are multiplied by.
    pub fn width(self) -> f64 {
        match self {
            Scale::N => 0.25,
            Scale::S => 0.50,
            Scale::M => 0.75,
            Scale::L => 1.0,
            Scale::X => 1.25,
        }
    }

    /// Channels above which a stage is cut *before* the width multiple.
    pub fn max_channels(self) -> usize {
        match self {
            Scale::N | Scale::S => 1024,
            Scale::M => 768,
            Scale::L | Scale::X => 512,
        }
    }

    /// Channels of a stage whose nominal width is `nominal`: a multiple of 8, rounded up.
    pub fn channels(self, nominal: usize) -> usize {
        let wide = nominal.min(self.max_channels()) as f64 * self.width();
        (wide / 8.0).ceil() as usize * 8
    }

    /// Bottlenecks of a stage whose nominal depth is `nominal`: at least one. 3 and 6 at a third are 1 and 2.
    pub fn repeats(self, nominal: usize) -> usize {
        ((nominal as f64 * self.depth()).round() as usize).max(1)
    }
}

/// A scale that is not one of `n`, `s`, `m`, `l`, `x`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown scale {0:?}: use n, s, m, l or x")]
pub struct UnknownScale(pub String);

impl FromStr for Scale {
    type Err = UnknownScale;

    fn from_str(text: &str) -> Result<Self, UnknownScale> {
        match text.trim().to_ascii_lowercase().as_str() {
            "n" => Ok(Scale::N),
            "s" => Ok(Scale::S),
            "m" => Ok(Scale::M),
            "l" => Ok(Scale::L),
            "x" => Ok(Scale::X),
            _ => Err(UnknownScale(text.to_owned())),
        }
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scale::N => "n",
            Scale::S => "s",
            Scale::M => "m",
            Scale::L => "l",
            Scale::X => "x",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;

    #[test]
    fn scales_round_trip_as_text() {
        for scale in Scale::ALL {
            assert_eq!(scale.to_string().parse::<Scale>().unwrap(), scale);
            assert_eq!(serde_json::to_string(&scale).unwrap(), format!("\"{scale}\""));
        }
        assert_eq!("X".parse::<Scale>().unwrap(), Scale::X);
        assert!("yolov8n".parse::<Scale>().is_err());
    }

    #[test]
    fn widths_are_cut_first_and_multiplied_after() {
        assert_eq!(Scale::N.channels(64), 16);
        assert_eq!(Scale::N.channels(1024), 256);
        assert_eq!(Scale::M.channels(1024), 576); // 768 * 0.75
        assert_eq!(Scale::L.channels(1024), 512);
        assert_eq!(Scale::X.channels(1024), 640); // 512 * 1.25
    }
}
