//! `edgeloop doctor`: what this box has that the inferer can use, and with `--tune` which settings make it fastest here.
//!
//! Looks and measures; changes nothing.

mod tune;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use edgeloop_engine::{Device, cpu, library_version};
use edgeloop_model::onnx::{OnnxMeta, emit};
use edgeloop_model::{Network, Scale, Weights};
use edgeloop_service::exit::{BAD_INPUT, WithExitCode};
use edgeloop_service::limits;
use edgeloop_store::{FileKind, Store};

/// Looks at this box, and measures it with `--tune`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Measure engines, precisions, instances and threads, and print the settings to use. Keep the box otherwise idle meanwhile
    #[arg(long)]
    pub tune: bool,

    /// Measure the promoted model of this folder; without it a YOLOv8n with random weights
    #[arg(long, env = "MODEL_DIR")]
    pub model_dir: Option<PathBuf>,

    /// Input side in pixels of the model that is made where no model folder is given
    #[arg(long, default_value = "640", value_parser = clap::value_parser!(u32).range(32..=4096))]
    pub size: u32,

    /// Seconds for each combination
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,

    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
}

/// A model to measure with.
struct Subject {
    name: String,
    onnx: Vec<u8>,
    side: usize,
}

/// Runs the command.
///
/// # Errors
/// The model cannot be read, or no engine runs it.
pub fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let DoctorArgs { tune, model_dir, size, seconds, json } = args;
    let facts = facts();
    if !tune {
        print(&if json { serde_json::to_string_pretty(&facts)? } else { words(&facts) })?;
        return Ok(ExitCode::SUCCESS);
    }
    let subject = subject(model_dir, size).exit_code(BAD_INPUT)?;
    let measured = tune::measure(&subject, Duration::from_secs(seconds), |line| eprintln!("{line}"))?;
    let text = if json {
        serde_json::to_string_pretty(&serde_json::json!({"box": facts, "model": subject.name, "tune": measured}))?
    } else {
        format!("{}{}: {} px\n{}", words(&facts), subject.name, subject.side, measured.words())
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn facts() -> serde_json::Value {
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

fn words(facts: &serde_json::Value) -> String {
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

/// The promoted model, or one that is made here.
fn subject(model_dir: Option<PathBuf>, size: u32) -> anyhow::Result<Subject> {
    let Some(dir) = model_dir else {
        let side = (size / 32 * 32) as usize;
        let network = Network::yolov8(Scale::N, 3);
        let names = ["a", "b", "c"].map(String::from).into();
        let meta = OnnxMeta { names, imgsz: side, stride: 32, extra: Vec::new() };
        let onnx = emit(&network, &Weights::init(&network, 1), &meta).context("the model to measure with cannot be written")?;
        return Ok(Subject { name: "YOLOv8n with random weights".into(), onnx, side });
    };
    let store = Store::open(&dir)?;
    let pointer = store.pointer()?.with_context(|| format!("nothing is promoted in {}; leave --model-dir out", dir.display()))?;
    let onnx = store.read_verified(&pointer.metadata, FileKind::Onnx)?;
    Ok(Subject { name: format!("version {}", pointer.version()), onnx, side: pointer.metadata.image_size as usize })
}

fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.context("the result cannot be printed"),
    }
}
