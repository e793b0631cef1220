//! What this box has that the inferer can use.

use edgeloop_engine::{Device, cpu, library_version};
use edgeloop_service::limits;

/// CPU, limits, libraries.
pub fn facts() -> serde_json::Value {
    let library = |device| match library_version(device) {
        Ok(version) => serde_json::json!({"version": version}),
        Err(error) => serde_json::json!({"missing": error.to_string()}),
    };
    let cpu = cpu();
    serde_json::json!({
        "cpu": cpu.name,
        "bf16": cpu.bf16,
        "fp16": cpu.fp16,
        "cores": limits::available_cpus(),
        "quota": limits::cpu_quota(),
        "memory_limit": limits::memory_limit(),
        "onnxruntime": library(Device::Cpu),
        "openvino": library(Device::OpenVino),
    })
}

/// For people.
pub fn words(facts: &serde_json::Value) -> String {
    let yes = |name: &str| if facts[name] == true { "yes" } else { "no" };
    let library = |name: &str| {
        let text = |key: &str| facts[name][key].as_str().map(str::to_owned);
        text("version").or_else(|| text("missing").map(|why| format!("cannot be used: {why}"))).unwrap_or_default()
    };
    let limit = match facts["memory_limit"].as_u64() {
        Some(bytes) => format!("{} MB", bytes >> 20),
        None => "none".into(),
    };
    format!(
        "CPU              {}\nbf16, fp16       {}, {}\ncores to use     {}\nmemory limit     {limit}\nONNX Runtime     {}\nOpenVINO         {}\n",
        facts["cpu"].as_str().unwrap_or_default(),
        yes("bf16"),
        yes("fp16"),
        facts["cores"],
        library("onnxruntime"),
        library("openvino"),
    )
}
