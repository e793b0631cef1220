//! Everything between a file of pixels and a list of boxes, the same numbers for training, judging and serving:
//! decode (upright, bounded), one resize with letterbox, boxes, NMS, mAP, drawing.
//!
//! Nothing here knows a network, an engine or a folder.

pub mod boxes;
pub mod decode;
pub mod draw;
pub mod encode;
pub mod letterbox;
pub mod map;
pub mod nms;
pub mod plot;
mod text;

/// An upright picture in memory: RGB, 8 bits a channel, row-major, channels last.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `height * width * 3` bytes: R, G, B of the top left pixel first.
    pub data: Vec<u8>,
}

impl Image {
    /// A picture of one colour.
    pub fn filled(width: u32, height: u32, rgb: [u8; 3]) -> Image {
        Image { width, height, data: rgb.repeat(width as usize * height as usize) }
    }

    /// The colour at column `x`, row `y`; `None` outside.
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let at = (y as usize * self.width as usize + x as usize) * 3;
        self.data.get(at..at + 3).map(|p| [p[0], p[1], p[2]])
    }

    /// Is there one byte a channel for every pixel, and at least one pixel?
    pub fn is_whole(&self) -> bool {
        self.width > 0 && self.height > 0 && self.data.len() == self.width as usize * self.height as usize * 3
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}x{}, {} bytes)", self.width, self.height, self.data.len())
    }
}
