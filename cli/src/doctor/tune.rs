//! Every engine, precision and layout of threads that this box can do, each under as much load as keeps it busy.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use edgeloop_engine::{Device, EnginePool, Job, LoadOptions, Plan, Precision, cpu, load_many, supports};
use edgeloop_service::limits;
use serde::Serialize;

use super::subject::Subject;

/// Before the clock starts: the first runs allocate.
const WARM: Duration = Duration::from_millis(300);

/// One combination and what it does here.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    device: Device,
    precision: Precision,
    instances: usize,
    threads: usize,
    /// With every instance busy.
    images_per_s: f64,
    /// Median of a run with every instance busy, in milliseconds.
    busy_ms: f64,
    /// Median of a run of one instance alone, in milliseconds.
    alone_ms: f64,
}

/// All that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    rows: Vec<Row>,
    refused: Vec<String>,
    /// The variables to set for most images a second.
    settings: [(&'static str, String); 4],
}

/// Layouts worth trying: few engines of many threads to many engines of few.
fn layouts(cores: usize) -> Vec<(usize, usize)> {
    let table = Plan::new(cores, 0, 0, false);
    let mut all = vec![(1, cores), (cores, 1), (table.instances, table.threads)];
    if cores >= 4 {
        all.push((2, cores / 2));
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Measures all of it; `told` gets a line for each combination as it is done.
///
/// # Errors
/// Nothing could be measured.
pub(super) fn measure(subject: &Subject, each: Duration, told: impl Fn(&str)) -> anyhow::Result<Measured> {
    let cores = limits::available_cpus();
    let kinds = [
        (Device::Cpu, Precision::Fp32),
        (Device::OpenVino, Precision::Fp32),
        (Device::OpenVino, Precision::Bf16),
        (Device::OpenVino, Precision::Fp16),
    ];
    let (mut rows, mut refused) = (Vec::new(), Vec::new());
    for (device, precision) in kinds {
        if let Err(reason) = supports(device, precision, cpu()) {
            refused.push(reason);
            continue;
        }
        for (instances, threads) in layouts(cores) {
            let options = LoadOptions { device, precision, threads, height: subject.side, width: subject.side };
            match one(subject, &options, instances, each) {
                Ok(row) => {
                    told(&format!("{device} {precision}, {instances} × {threads}: {:.1} images/s", row.images_per_s));
                    rows.push(row);
                }
                Err(error) => {
                    refused.push(format!("{device} {precision}: {error:#}"));
                    break;
                }
            }
        }
    }
    Measured::new(rows, refused)
}

fn one(subject: &Subject, options: &LoadOptions, instances: usize, each: Duration) -> anyhow::Result<Row> {
    let mut engines = load_many(&subject.onnx, options, instances)?.into_iter();
    let first = engines.next().context("no engine came of it")?;
    let pool = EnginePool::spawn_all(first, engines.collect(), instances * 2)?;
    drive(&pool, options, 1, WARM)?;
    let alone = drive(&pool, options, 1, each / 3)?;
    let started = Instant::now();
    // One more than there are engines: the next image waits when a run ends.
    let busy = drive(&pool, options, instances + 1, each)?;
    let images_per_s = busy.len() as f64 / started.elapsed().as_secs_f64();
    pool.close();
    let LoadOptions { device, precision, threads, .. } = *options;
    Ok(Row { device, precision, instances, threads, images_per_s, busy_ms: median(busy), alone_ms: median(alone) })
}

/// Runs in milliseconds of `clients` that ask one after the other for as long as `time`.
fn drive(pool: &EnginePool, options: &LoadOptions, clients: usize, time: Duration) -> anyhow::Result<Vec<f64>> {
    let (runs, stop, failed) = (Mutex::new(Vec::new()), AtomicBool::new(false), Mutex::new(None));
    let until = Instant::now() + time;
    let client = || {
        let mut data: Vec<f32> = (0..3 * options.height * options.width).map(|i| (i * 2_654_435_761 % 255) as f32 / 255.0).collect();
        let mut own = Vec::new();
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            let job = Job { n: 1, h: options.height, w: options.width, data };
            let done = match pool.submit(job).map(|receiver| receiver.blocking_recv()) {
                Ok(Ok(done)) => done,
                Ok(Err(_)) => return Err(anyhow::anyhow!("the engine's thread stopped")),
                Err(error) => return Err(anyhow::anyhow!("{error}")),
            };
            done.output?;
            data = done.data;
            own.push(done.ran.as_secs_f64() * 1e3);
        }
        Ok(own)
    };
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| match client() {
                Ok(own) => runs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(own),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(runs.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Measured {
    /// Rows fastest first, and the settings of the first.
    fn new(mut rows: Vec<Row>, refused: Vec<String>) -> anyhow::Result<Self> {
        rows.sort_by(|a, b| b.images_per_s.total_cmp(&a.images_per_s));
        let best = rows.first().with_context(|| format!("no engine runs the model: {}", refused.join("; ")))?;
        let settings = [
            ("DEVICE", best.device.to_string()),
            ("PRECISION", best.precision.to_string()),
            ("INSTANCES", best.instances.to_string()),
            ("THREADS", best.threads.to_string()),
        ];
        Ok(Self { rows, refused, settings })
    }

    /// A table and the settings, for people.
    pub(super) fn words(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING).force_no_tty();
        table.set_header(["device", "precision", "instances", "threads", "images/s", "ms busy", "ms alone"]);
        for row in &self.rows {
            table.add_row([
                row.device.to_string(),
                row.precision.to_string(),
                row.instances.to_string(),
                row.threads.to_string(),
                format!("{:.1}", row.images_per_s),
                format!("{:.1}", row.busy_ms),
                format!("{:.1}", row.alone_ms),
            ]);
        }
        let mut text = format!("{table}\n");
        for reason in &self.refused {
            let _ = writeln!(text, "not possible here: {reason}");
        }
        let settings: Vec<String> = self.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let _ = writeln!(text, "\nFor most images a second set for the inferer:\n  {}", settings.join(" "));
        let _ = writeln!(
            text,
            "A lower precision serves only a version that reproduces its check file in it; DEVICE=auto PRECISION=auto looks by itself."
        );
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn layouts_are_tried_once_each_and_use_all_cores() {
        assert_eq!(layouts(1), [(1, 1)]);
        assert_eq!(layouts(2), [(1, 2), (2, 1)]);
        assert_eq!(layouts(4), [(1, 4), (2, 2), (4, 1)]);
        assert_eq!(layouts(8), [(1, 8), (2, 4), (4, 2), (8, 1)]);
    }

    #[test]
    fn the_fastest_row_gives_the_settings() {
        let row = |device, images_per_s| Row {
            device,
            precision: Precision::Fp32,
            instances: 2,
            threads: 1,
            images_per_s,
            busy_ms: 50.0,
            alone_ms: 48.0,
        };
        let measured = Measured::new(vec![row(Device::Cpu, 40.0), row(Device::OpenVino, 70.0)], vec!["no fp16".into()]).unwrap();
        let text = measured.words();
        for part in ["openvino", "70.0", "not possible here: no fp16", "DEVICE=openvino PRECISION=fp32 INSTANCES=2 THREADS=1"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }
}
