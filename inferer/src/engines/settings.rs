//! Which engines are wanted, how many, how large.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};
use edgeloop_engine::{Cpu, Device, Plan, Precision, supports};
use edgeloop_service::limits;

/// The arithmetic that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrecisionWish {
    /// The fastest that reproduces the version's check file.
    #[default]
    Auto,
    /// This one.
    Only(Precision),
}

impl FromStr for PrecisionWish {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        s.parse().map(Self::Only).map_err(|_| format!("unknown precision {s:?}: use auto, fp32, bf16 or fp16"))
    }
}

impl std::fmt::Display for PrecisionWish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Only(precision) => precision.fmt(f),
        }
    }
}

/// Which input shapes are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shapes {
    /// The square one, and beside it the one that fits the images that come.
    Auto,
    /// The square one alone.
    Square,
}

/// Settings of the engines.
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// auto, cpu (ONNX Runtime), openvino, cuda[:n] or tensorrt[:n]. auto takes what is fastest on this CPU.
    #[arg(long, env = "DEVICE", default_value_t = Device::Auto)]
    pub device: Device,
    /// auto, fp32, bf16 or fp16. auto takes the fastest that reproduces the version's check file.
    #[arg(long, env = "PRECISION", default_value_t = PrecisionWish::Auto)]
    pub precision: PrecisionWish,
    /// Refuse instead of serving with another engine than the one asked for.
    #[arg(long, env = "DEVICE_STRICT", value_parser = BoolishValueParser::new(), default_value = "false", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub device_strict: bool,
    /// Models that run beside each other; 0 decides by the cores. More of them answer more images a second, each takes memory.
    #[arg(long, env = "INSTANCES", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=64))]
    pub instances: u32,
    /// Threads inside one run of an instance; 0 decides by the cores that affinity and the cgroup's quota allow.
    #[arg(long, env = "THREADS", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=256))]
    pub threads: u32,
    /// Keep one more engine that uses all cores, for images that come while nothing else runs: lower latency when idle.
    #[arg(long, env = "SOLO_ENGINE", value_parser = BoolishValueParser::new(), default_value = "true", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub solo_engine: bool,
    /// Input shapes: auto infers a 16:9 image at 384×640 once an engine for it is warm, square always at 640×640.
    #[arg(long, env = "SHAPES", value_enum, default_value_t = Shapes::Auto)]
    pub shapes: Shapes,
    /// Megabytes that all engines together may take; 0 takes half of what the machine or the cgroup allows. The first engine is
    /// always loaded; more instances, the solo engine and another shape only within this.
    #[arg(long, env = "ENGINE_MEMORY_MB", default_value = "0", value_parser = clap::value_parser!(u64).range(0..=16_000_000))]
    pub engine_memory_mb: u64,
    /// Folder where measured engine speeds are remembered; by default edgeloop/ in the user's cache folder. Nothing else is kept there.
    #[arg(long, env = "CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Seconds after which an engine that failed or was missing is tried again; doubles while it fails, up to ten times as long.
    #[arg(long, env = "ENGINE_RETRY", default_value = "60", value_parser = retry)]
    pub engine_retry: Duration,
}

impl EngineArgs {
    /// Whether this can be had on a machine with `cpu` at all.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn check(&self, cpu: &Cpu) -> Result<(), String> {
        match self.precision {
            PrecisionWish::Auto => Ok(()),
            PrecisionWish::Only(precision) => supports(self.device, precision, cpu),
        }
    }

    /// How many engines with how many threads.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan::new(limits::available_cpus(), self.instances as usize, self.threads as usize, self.solo_engine)
    }

    /// Bytes that all engines together may take.
    #[must_use]
    pub fn memory(&self) -> u64 {
        match self.engine_memory_mb {
            0 => super::budget::allowed(),
            mb => mb << 20,
        }
    }

    /// Where measurements are remembered; `None` where there is no such place.
    #[must_use]
    pub fn cache_file(&self) -> Option<PathBuf> {
        let folder = self.cache_dir.clone().or_else(|| {
            let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute() && p.parent().is_some());
            named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache"))).map(|dir| dir.join("edgeloop"))
        });
        folder.map(|dir| dir.join("engines.json"))
    }
}

fn retry(text: &str) -> Result<Duration, String> {
    let value: f64 = text.parse().map_err(|e| format!("{e}; give seconds, such as 60"))?;
    if (0.01..=86_400.0).contains(&value) { Ok(Duration::from_secs_f64(value)) } else { Err("give seconds from 0.01 to 86400".into()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;
    use rstest::rstest;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        engines: EngineArgs,
    }

    fn parse(arguments: &[&str]) -> Result<EngineArgs, clap::Error> {
        Only::try_parse_from(["x"].iter().chain(arguments)).map(|only| only.engines)
    }

    #[rstest]
    #[case(&["--device", "cpu", "--precision", "bf16"])]
    #[case(&["--device", "cuda:1", "--precision", "fp16"])]
    #[case(&["--device", "openvino", "--precision", "bf16"])]
    fn an_impossible_pair_is_refused(#[case] arguments: &[&str]) {
        let cpu = Cpu { name: "old".into(), bf16: false, fp16: false };
        assert!(parse(arguments).unwrap().check(&cpu).is_err());
    }

    #[test]
    fn auto_is_possible_everywhere() {
        let cpu = Cpu { name: "old".into(), bf16: false, fp16: false };
        for device in ["auto", "cpu", "openvino", "cuda", "tensorrt"] {
            assert_eq!(parse(&["--device", device]).unwrap().check(&cpu), Ok(()));
        }
    }

    #[test]
    fn the_cache_file_lies_in_the_folder_that_was_named() {
        let args = parse(&["--cache-dir", "/var/cache/x"]).unwrap();
        assert_eq!(args.cache_file().unwrap(), PathBuf::from("/var/cache/x/engines.json"));
    }
}
