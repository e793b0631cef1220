//! Which engine and which arithmetic: their names, and which of them go together.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Cpu;

/// Which engine is asked for. Written `auto`, `cpu`, `openvino`, `cuda:0`, `tensorrt:0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// [`load`](crate::load) takes ONNX Runtime, and OpenVINO where its library is missing or refuses the model. In float32 the two
    /// are equally fast (28.1 against 26.5 ms a YOLOv8n at 640 on 2 threads), and ONNX Runtime is ready 5 times sooner.
    #[default]
    Auto,
    /// ONNX Runtime's CPU provider.
    Cpu,
    /// OpenVINO's CPU plugin.
    OpenVino,
    /// ONNX Runtime's CUDA provider on the GPU of this number.
    Cuda(u32),
    /// ONNX Runtime's TensorRT provider on the GPU of this number; what TensorRT refuses runs on CUDA.
    TensorRt(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::OpenVino => f.write_str("openvino"),
            Self::Cuda(gpu) => write!(f, "cuda:{gpu}"),
            Self::TensorRt(gpu) => write!(f, "tensorrt:{gpu}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let text = s.to_ascii_lowercase();
        let (name, gpu) = match text.split_once(':') {
            // More than 64 GPUs in one box are a typing error.
            Some((name, number)) => (name, Some(number.parse::<u32>().ok().filter(|n| *n < 64))),
            None => (text.as_str(), None),
        };
        match (name, gpu) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("openvino", None) => Ok(Self::OpenVino),
            ("cuda", None) => Ok(Self::Cuda(0)),
            ("cuda", Some(Some(gpu))) => Ok(Self::Cuda(gpu)),
            ("tensorrt", None) => Ok(Self::TensorRt(0)),
            ("tensorrt", Some(Some(gpu))) => Ok(Self::TensorRt(gpu)),
            _ => Err(format!("unknown device {s:?}: use auto, cpu (ONNX Runtime), openvino, cuda[:n] or tensorrt[:n]")),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The arithmetic of an engine. Inputs and outputs are float32 with all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE single precision, asked for explicitly: OpenVINO's own default is bf16 where the CPU has it.
    #[default]
    Fp32,
    /// bfloat16 multiplications, float32 sums.
    Bf16,
    /// IEEE half precision.
    Fp16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s.to_ascii_lowercase().as_str() {
            // The trainer's names too: both may be started with one environment.
            "fp32" | "f32" => Ok(Self::Fp32),
            "bf16" => Ok(Self::Bf16),
            "fp16" | "f16" => Ok(Self::Fp16),
            _ => Err(format!("unknown precision {s:?}: use fp32, bf16 or fp16")),
        }
    }
}

/// Whether `device` can compute in `precision` on a machine with `cpu`; why not, and what to do instead.
///
/// [`Device::Auto`] can what any CPU engine can: GPUs are used when they are asked for.
///
/// # Errors
/// The reason, for people.
pub fn supports(device: Device, precision: Precision, cpu: &Cpu) -> Result<(), String> {
    let without = |lacks: &str| {
        Err(format!("{device} with {precision}: this CPU ({}) has no {lacks} instructions; use PRECISION=auto or fp32", cpu.name))
    };
    match (device, precision) {
        (_, Precision::Fp32) => Ok(()),
        (Device::Cpu, _) => Err(format!("cpu is ONNX Runtime, which computes in fp32 only on a CPU; for {precision} use DEVICE=openvino")),
        (Device::OpenVino | Device::Auto, Precision::Bf16) if cpu.bf16 => Ok(()),
        (Device::OpenVino | Device::Auto, Precision::Bf16) => without("bf16"),
        (Device::OpenVino | Device::Auto, Precision::Fp16) if cpu.fp16 => Ok(()),
        (Device::OpenVino | Device::Auto, Precision::Fp16) => without("fp16"),
        (Device::Cuda(_), _) => {
            Err(format!("{device} runs the model as it is published, in fp32; for fp16 use DEVICE=tensorrt, which converts it"))
        }
        (Device::TensorRt(_), Precision::Fp16) => Ok(()),
        (Device::TensorRt(_), Precision::Bf16) => Err(format!("{device} is used with fp32 or fp16 only")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("auto", Device::Auto, "auto")]
    #[case("CPU", Device::Cpu, "cpu")]
    #[case("openvino", Device::OpenVino, "openvino")]
    #[case("cuda", Device::Cuda(0), "cuda:0")]
    #[case("cuda:3", Device::Cuda(3), "cuda:3")]
    #[case("tensorrt:1", Device::TensorRt(1), "tensorrt:1")]
    fn a_device_is_read_as_it_is_written(#[case] text: &str, #[case] device: Device, #[case] written: &str) {
        assert_eq!(text.parse::<Device>().unwrap(), device);
        assert_eq!(device.to_string(), written);
        assert_eq!(written.parse::<Device>().unwrap(), device);
    }

    #[rstest]
    fn what_is_no_device_is_refused(#[values("", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:64", "cpu:0", "auto:1")] text: &str) {
        assert!(text.parse::<Device>().unwrap_err().contains("tensorrt[:n]"));
    }

    #[rstest]
    #[case(Device::Cpu, Precision::Bf16, "openvino")]
    #[case(Device::Cpu, Precision::Fp16, "openvino")]
    #[case(Device::Cuda(0), Precision::Fp16, "tensorrt")]
    #[case(Device::TensorRt(0), Precision::Bf16, "fp32 or fp16")]
    #[case(Device::OpenVino, Precision::Bf16, "no bf16 instructions")]
    #[case(Device::Auto, Precision::Fp16, "no fp16 instructions")]
    fn an_impossible_pair_is_refused_with_what_to_do(#[case] device: Device, #[case] precision: Precision, #[case] part: &str) {
        let plain = Cpu { name: "old".into(), bf16: false, fp16: false };
        let reason = supports(device, precision, &plain).unwrap_err();
        assert!(reason.contains(part), "{reason}");
    }

    #[test]
    fn what_the_cpu_has_is_possible() {
        let new = Cpu { name: "new".into(), bf16: true, fp16: true };
        for device in [Device::Auto, Device::OpenVino] {
            for precision in [Precision::Fp32, Precision::Bf16, Precision::Fp16] {
                assert_eq!(supports(device, precision, &new), Ok(()));
            }
        }
    }
}
