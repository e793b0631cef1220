//! Puts a load on an inferer and prints what came of it as one JSON line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use base64::{Engine, prelude::BASE64_STANDARD as STANDARD};
use clap::Parser;
use edgeloop_bench::load::Load;

/// Sends JPEGs to `POST /infer`.
#[derive(Parser)]
struct Args {
    /// Files to send, one after another.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Where the inferer serves.
    #[arg(long, default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// How long.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Requests a second (open loop); without it each client sends when it has its answer.
    #[arg(long)]
    rate: Option<f64>,
    /// As `{"image": "<base64>"}` instead of the bytes alone.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let Args { images, address, clients, seconds, rate, json } = Args::parse();
    ensure!(clients > 0 && rate.is_none_or(|rate| rate > 0.0), "--clients and --rate must be above 0");
    let read = |path: &PathBuf| -> anyhow::Result<Vec<u8>> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(if json { format!(r#"{{"image": "{}"}}"#, STANDARD.encode(bytes)).into_bytes() } else { bytes })
    };
    let content_type = if json { "application/json" } else { "image/jpeg" };
    let images = images.iter().map(read).collect::<anyhow::Result<_>>()?;
    let outcome = Load { address, images, content_type, clients, duration: Duration::from_secs_f64(seconds), rate }.run()?;
    println!(
        r#"{{"clients": {clients}, "images_per_s": {:.2}, "p50_ms": {:.2}, "p99_ms": {:.2}, "answered": {}, "failed": {}}}"#,
        outcome.rate(),
        outcome.percentile(0.5),
        outcome.percentile(0.99),
        outcome.latencies_ms.len(),
        outcome.failed
    );
    Ok(())
}
