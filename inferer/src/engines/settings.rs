//! Which engines are wanted.

use clap::Args;
use edgeloop_engine::Device;
use edgeloop_service::limits;

/// Settings of the engines.
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// auto, cpu (ONNX Runtime) or openvino. Where it cannot be had the other one serves, and says so.
    #[arg(long, env = "DEVICE", default_value_t = Device::Auto)]
    pub device: Device,
    /// Threads inside one run of the model; 0 takes what affinity and the cgroup's quota allow.
    #[arg(long, env = "THREADS", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=256))]
    pub threads: u32,
}

impl EngineArgs {
    /// Threads inside one run of the model.
    #[must_use]
    pub fn engine_threads(&self) -> usize {
        if self.threads == 0 { limits::available_cpus() } else { self.threads as usize }
    }
}
