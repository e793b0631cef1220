//! A kind of engine, and which kinds may serve under the settings.

use std::fmt;

use edgeloop_engine::{Cpu, Device, Precision};
use serde::{Deserialize, Serialize};

use super::settings::PrecisionWish;

/// A device and its arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Kind {
    /// Never [`Device::Auto`].
    pub device: Device,
    /// Its arithmetic.
    pub precision: Precision,
}

impl Kind {
    /// ONNX Runtime in float32: what the exporter held the model against, and the soonest ready.
    pub const SAFE: Kind = Kind { device: Device::Cpu, precision: Precision::Fp32 };
    /// What is left where ONNX Runtime cannot be had.
    pub const SECOND: Kind = Kind { device: Device::OpenVino, precision: Precision::Fp32 };
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.device, self.precision)
    }
}

/// The kinds that were asked for, as a rule the fastest first. The last one serves until they have been measured.
#[must_use]
pub fn candidates(device: Device, wish: PrecisionWish, cpu: &Cpu) -> Vec<Kind> {
    let with = |device, precisions: &[Precision]| precisions.iter().map(|p| Kind { device, precision: *p }).collect::<Vec<_>>();
    let short: Vec<Precision> = [(cpu.bf16, Precision::Bf16), (cpu.fp16, Precision::Fp16)]
        .into_iter()
        .filter_map(|(has, precision)| has.then_some(precision))
        .collect();
    let openvino = || [with(Device::OpenVino, &short), vec![Kind::SECOND]].concat();
    match (device, wish) {
        (Device::Auto, PrecisionWish::Auto) => [openvino(), vec![Kind::SAFE]].concat(),
        (Device::Auto, PrecisionWish::Only(Precision::Fp32)) => vec![Kind::SECOND, Kind::SAFE],
        (Device::Auto, PrecisionWish::Only(precision)) => with(Device::OpenVino, &[precision]),
        (Device::OpenVino, PrecisionWish::Auto) => openvino(),
        (Device::TensorRt(_), PrecisionWish::Auto) => with(device, &[Precision::Fp16, Precision::Fp32]),
        (Device::Cpu | Device::Cuda(_), PrecisionWish::Auto) => with(device, &[Precision::Fp32]),
        (device, PrecisionWish::Only(precision)) => with(device, &[precision]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("auto", PrecisionWish::Auto, true, &["openvino bf16", "openvino fp32", "cpu fp32"])]
    #[case("auto", PrecisionWish::Auto, false, &["openvino fp32", "cpu fp32"])]
    #[case("auto", PrecisionWish::Only(Precision::Fp32), true, &["openvino fp32", "cpu fp32"])]
    #[case("auto", PrecisionWish::Only(Precision::Bf16), true, &["openvino bf16"])]
    #[case("cpu", PrecisionWish::Auto, true, &["cpu fp32"])]
    #[case("openvino", PrecisionWish::Auto, true, &["openvino bf16", "openvino fp32"])]
    #[case("openvino", PrecisionWish::Only(Precision::Fp32), true, &["openvino fp32"])]
    #[case("cuda:1", PrecisionWish::Auto, true, &["cuda:1 fp32"])]
    #[case("tensorrt", PrecisionWish::Auto, false, &["tensorrt:0 fp16", "tensorrt:0 fp32"])]
    fn what_may_serve(#[case] device: &str, #[case] wish: PrecisionWish, #[case] bf16: bool, #[case] expected: &[&str]) {
        let cpu = Cpu { name: "x".into(), bf16, fp16: false };
        let found: Vec<String> = candidates(device.parse().unwrap_or_default(), wish, &cpu).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }
}
