//! Everything that can be set, typed and checked at the door.

mod http;
mod results;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::BoolishValueParser;
use edgeloop_service::admin::AdminArgs;
use edgeloop_service::limits;
use edgeloop_service::logs::LogArgs;
use edgeloop_vision::decode::Limits;
use edgeloop_vision::nms::NmsConfig;

use crate::engines::EngineArgs;
use crate::reload::settings::ReloadArgs;

pub use http::HttpArgs;
pub use results::ResultsArgs;

/// Serves the newest good model: `POST /infer`, and the images of a folder on standard output.
#[derive(Debug, Clone, Parser)]
#[command(name = "edgeloop-inferer", version)]
pub struct Settings {
    /// Folder whose images are inferred and printed, one JSON line each. It may appear later.
    #[arg(long, env = "IMAGES_DIR", default_value = "/data/images")]
    pub images_dir: PathBuf,
    /// The model store. It may appear later; a read-only mount is enough.
    #[arg(long, env = "MODEL_DIR", default_value = "/data/models")]
    pub model_dir: PathBuf,
    /// Seconds between two passes over the images folder.
    #[arg(long, env = "INFERENCE_INTERVAL", default_value = "2", value_parser = seconds)]
    pub inference_interval: Duration,
    /// Seconds between two looks at the store beside its change notices: network file systems send none.
    #[arg(long, env = "CHECK_MODEL_INTERVAL", default_value = "30", value_parser = seconds)]
    pub check_model_interval: Duration,
    /// Engines.
    #[command(flatten)]
    pub engines: EngineArgs,
    /// Infer every image in every pass, not only new and changed ones.
    #[arg(long, env = "INFERENCE_ALL", value_parser = BoolishValueParser::new(), default_value = "false", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub inference_all: bool,
    /// Infer the images folder at all; false leaves `POST /infer` alone.
    #[arg(long, env = "INFERENCE_FOLDER", value_parser = BoolishValueParser::new(), default_value = "true", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub inference_folder: bool,
    /// Where `POST /infer` listens.
    #[arg(long, env = "SERVE_ADDR", default_value = "0.0.0.0:8080")]
    pub serve_addr: SocketAddr,
    /// Admin port.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Detections below this score are left out.
    #[arg(long, env = "CONFIDENCE", default_value = "0.25", value_parser = share)]
    pub confidence: f32,
    /// Of two boxes of one class that overlap by more than this the weaker is left out.
    #[arg(long, env = "IOU", default_value = "0.7", value_parser = share)]
    pub iou: f32,
    /// At most so many detections an image.
    #[arg(long, env = "MAX_DETECTIONS", default_value = "300", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_detections: u32,
    /// Largest request body, and largest image file of the folder, in bytes.
    #[arg(long, env = "MAX_BODY_BYTES", default_value = "20000000", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub max_body_bytes: u64,
    /// Largest image in pixels. Decoded it takes 3 bytes each, once for every decoding thread.
    #[arg(long, env = "MAX_PIXELS", default_value = "64000000", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub max_pixels: u64,
    /// Images of requests that may be inside at once; the next one is refused with 429. At 30 ms an image 16 means half a second.
    #[arg(long, env = "QUEUE", default_value = "16", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub queue: u32,
    /// Threads that decode and post-process; 0 takes two more than cores: one waits in each engine, and the next images are ready before a run ends.
    #[arg(long, env = "DECODE_THREADS", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=256))]
    pub decode_threads: u32,
    /// Connections that may be open at once; later ones wait in the kernel's backlog.
    #[arg(long, env = "MAX_CONNECTIONS", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_connections: u32,
    /// Seconds that a request's body may take to arrive.
    #[arg(long, env = "BODY_TIMEOUT", default_value = "30", value_parser = seconds)]
    pub body_timeout: Duration,
    /// Batches, deadlines, slow clients, tokens.
    #[command(flatten)]
    pub http: HttpArgs,
    /// Results of the images folder.
    #[command(flatten)]
    pub results: ResultsArgs,
    /// Seconds after SIGTERM in which new connections are still answered, while balancers notice that we are not ready.
    #[arg(long, env = "DRAIN_DELAY", default_value = "3", value_parser = seconds_or_none)]
    pub drain_delay: Duration,
    /// Seconds that requests in flight get after that.
    #[arg(long, env = "DRAIN_TIMEOUT", default_value = "20", value_parser = seconds)]
    pub drain_timeout: Duration,
    /// How models change.
    #[command(flatten)]
    pub reload: ReloadArgs,
    /// Logs.
    #[command(flatten)]
    pub logs: LogArgs,
}

impl Settings {
    /// Threads that decode and post-process.
    #[must_use]
    pub fn worker_threads(&self) -> usize {
        if self.decode_threads == 0 { limits::available_cpus() + 2 } else { self.decode_threads as usize }
    }

    /// What is refused before a pixel buffer exists.
    #[must_use]
    pub fn decode_limits(&self) -> Limits {
        Limits { max_bytes: self.max_body_bytes, max_pixels: self.max_pixels }
    }

    /// How raw output becomes detections: serving's rule with the thresholds set here.
    #[must_use]
    pub fn nms(&self) -> NmsConfig {
        NmsConfig { confidence: self.confidence, iou: self.iou, max_detections: self.max_detections as usize, ..NmsConfig::serving() }
    }
}

pub(crate) fn seconds_or_none(text: &str) -> Result<Duration, String> {
    let value: f64 = text.parse().map_err(|e| format!("{e}; give seconds, such as 2 or 0.5"))?;
    // A day is longer than any of these settings makes sense for, and keeps every deadline representable.
    if (0.0..=86_400.0).contains(&value) { Ok(Duration::from_secs_f64(value)) } else { Err("give seconds from 0 to 86400".into()) }
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    match seconds_or_none(text)? {
        // 10 ms: less would be a busy loop.
        wait if wait >= Duration::from_millis(10) => Ok(wait),
        _ => Err("give seconds from 0.01 to 86400".into()),
    }
}

pub(crate) fn share(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|e| format!("{e}; give a share from 0 to 1"))?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("give a share from 0 to 1".into()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rstest::rstest;

    #[test]
    fn the_seeds_defaults_are_kept() {
        let settings = Settings::try_parse_from(["edgeloop-inferer"]).unwrap();
        assert_eq!(settings.images_dir, PathBuf::from("/data/images"));
        assert_eq!(settings.model_dir, PathBuf::from("/data/models"));
        assert_eq!((settings.inference_interval.as_secs(), settings.check_model_interval.as_secs()), (2, 30));
        assert_eq!((settings.serve_addr.port(), settings.admin.admin_addr.port()), (8080, 8081));
        assert_eq!((settings.nms(), settings.decode_limits()), (NmsConfig::serving(), Limits::default()));
        assert!(!settings.inference_all && settings.inference_folder);
    }

    #[rstest]
    #[case(&["--device", "gpu"])]
    #[case(&["--confidence", "1.5"])]
    #[case(&["--iou", "NaN"])]
    #[case(&["--inference-interval", "0"])]
    #[case(&["--inference-interval", "-1"])]
    #[case(&["--queue", "0"])]
    #[case(&["--inference-all", "perhaps"])]
    fn a_value_that_makes_no_sense_is_refused(#[case] arguments: &[&str]) {
        assert!(Settings::try_parse_from(["edgeloop-inferer"].iter().chain(arguments)).is_err());
    }

    #[rstest]
    #[case(&["--inference-all"], true)]
    #[case(&["--inference-all", "true"], true)]
    #[case(&["--inference-all", "0"], false)]
    fn a_switch_is_a_flag_or_a_value(#[case] arguments: &[&str], #[case] expected: bool) {
        assert_eq!(Settings::try_parse_from(["edgeloop-inferer"].iter().chain(arguments)).unwrap().inference_all, expected);
    }
}
