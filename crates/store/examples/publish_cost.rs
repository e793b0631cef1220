//! What a publish, a roll-back and a verified read cost on this disk.
//!
//! `cargo run --release -p edgeloop-store --example publish_cost -- FOLDER MEGABYTES`: FOLDER on the file system to measure, MEGABYTES of
//! weights and as many of ONNX. Prints medians of seven (of six for the roll-back).

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use edgeloop_store::{Architecture, Decision, Draft, FileKind, Metrics, Owner, Producer, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let (Some(folder), Some(megabytes)) = (args.next().map(PathBuf::from), args.next()) else {
        return Err("usage: publish_cost FOLDER MEGABYTES".into());
    };
    let megabytes: usize = megabytes.into_string().map_err(|_| "MEGABYTES is not a number")?.parse()?;
    let store = Store::create(folder.join("publish-cost"))?;
    let lock = store.lock_training(&Owner::current("publish_cost"))?;
    let (mut publish, mut rollback, mut read) = (Vec::new(), Vec::new(), Vec::new());
    for mark in 0..7 {
        let draft = draft(mark, megabytes);
        publish.push(timed(|| store.publish(&lock, draft, Decision::Promote { reason: "measuring".into() }))?.0);
        let (time, bytes) = timed(|| {
            let pointer = store.pointer()?.expect("a version was just promoted");
            store.read_verified(&pointer.metadata, FileKind::Onnx)
        })?;
        assert_eq!(bytes.len(), megabytes * 1_000_000);
        read.push(time);
        if mark > 0 {
            rollback.push(timed(|| store.rollback("publish_cost", "measuring"))?.0);
        }
    }
    for (what, times) in [("publish and promote", publish), ("pointer and verified ONNX read", read), ("roll back", rollback)] {
        println!("{what:32} {:8.1} ms", median(times).as_secs_f64() * 1e3);
    }
    drop(lock);
    std::fs::remove_dir_all(store.root())?;
    Ok(())
}

fn timed<T, E>(act: impl FnOnce() -> Result<T, E>) -> Result<(Duration, T), E> {
    let start = Instant::now();
    let done = act()?;
    Ok((start.elapsed(), done))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn draft(mark: u8, megabytes: usize) -> Draft {
    Draft {
        architecture: Architecture { family: "yolov8".into(), scale: "n".into() },
        image_size: 640,
        classes: vec!["bolt".into()],
        dataset: Default::default(),
        training: Default::default(),
        metrics: Metrics::default(),
        compared_with: None,
        producer: Producer { name: "publish_cost".into(), version: "1".into(), host: "here".into() },
        files: vec![(FileKind::Weights, vec![mark; megabytes * 1_000_000]), (FileKind::Onnx, vec![mark; megabytes * 1_000_000])],
    }
}
