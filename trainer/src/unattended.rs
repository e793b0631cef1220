//! What a training needs that nobody watches: how long, when, whether at all, and whom it tells.

mod duration;
mod hours;
mod secret;

use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use sha2::{Digest, Sha256};

pub use hours::{BadHours, Hours};
pub use secret::Secret;

use crate::{data::Dataset, digest::hex, settings::Settings};

/// Settings of a training that is left alone.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Left alone")]
pub struct Unattended {
    /// Time between checkpoints, besides the one after every epoch: seconds, or as in `90s`, `5m`, `2h`.
    #[arg(long, env = "CHECKPOINT_INTERVAL", default_value = "300", value_parser = duration::parse)]
    pub checkpoint_interval: Duration,
    /// Time that a training may take, judging and publishing included: seconds, or as in `90m`, `2h`. As long as it takes by default.
    #[arg(long, env = "TIME_BUDGET", value_parser = duration::parse)]
    pub time_budget: Option<Duration>,
    /// How it ends when the time is too short for all epochs: `publish` makes fewer of them, with a schedule to match; `pause` stops
    /// with a checkpoint, for the next run to go on from.
    #[arg(long, env = "TIME_BUDGET_END", value_enum, default_value_t = BudgetEnd::Publish)]
    pub time_budget_end: BudgetEnd,
    /// Hours in which nothing is trained: `22:00-06:00`, several with commas, in the box's time zone or with an offset
    /// (`22:00-06:00+02:00`, `22:00-06:00Z`).
    #[arg(long, env = "QUIET_HOURS", value_parser = hours_or_none)]
    pub quiet_hours: Option<Hours>,
    /// Hours outside of which nothing is trained, written likewise.
    #[arg(long, env = "TRAIN_HOURS", value_parser = hours_or_none)]
    pub train_hours: Option<Hours>,
    /// Train although images and settings are those of the last attempt.
    #[arg(long, env = "FORCE", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub force: bool,
    /// Images that must be new, or labelled anew, since the last attempt; 0: any change of images or labels will do.
    #[arg(long, env = "MIN_NEW_IMAGES", default_value_t = 0)]
    pub min_new_images: usize,
    /// Told by a POST of JSON when a training promotes, rejects or fails. Never logged.
    #[arg(long, env = "NOTIFY_URL", hide_env_values = true)]
    pub notify_url: Option<Secret>,
}

/// How a time budget ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BudgetEnd {
    /// With a model, judged and published.
    Publish,
    /// With a checkpoint.
    Pause,
}

/// An empty variable is as good as none: `QUIET_HOURS=` in a values file.
fn hours_or_none(text: &str) -> Result<Hours, BadHours> {
    if text.trim().is_empty() { Ok(Hours::NONE) } else { text.parse() }
}

impl Unattended {
    /// Why nothing may be trained at `now`; `None` when it may.
    pub fn quiet(&self, now: SystemTime) -> Option<String> {
        if let Some(hours) = self.quiet_hours.as_ref().filter(|hours| hours.contains(now)) {
            return Some(format!("it is within QUIET_HOURS ({hours})"));
        }
        let hours = self.train_hours.as_ref().filter(|hours| !hours.is_empty() && !hours.contains(now))?;
        Some(format!("it is outside of TRAIN_HOURS ({hours})"))
    }

    /// The first setting that makes no sense, in words.
    ///
    /// # Errors
    /// That sentence.
    pub fn check(&self) -> Result<(), String> {
        self.notify_url.as_ref().map_or(Ok(()), Secret::check)
    }
}

/// A digest of every setting that decides what a training makes of its images; not of how fast or when it does.
pub fn settings_digest(settings: &Settings, dataset: &Dataset) -> String {
    // All named: a new setting does not compile until somebody has decided on which side it belongs.
    let Settings {
        images_dir: _,
        model_dir: _,
        epochs,
        batch_size,
        device: _,
        imgsz,
        scale,
        seed,
        init,
        start_from,
        resume: _,
        learning: _,
        pictures: _,
        split: _,
        replay,
        gate,
        class_thresholds,
        resources: _,
        keep: _,
        unattended: _,
        logs: _,
    } = settings;
    // Where weights come from, and what is in that file: a new one of the same name is something new.
    let weights = init.init_weights.as_ref().map(|path| std::fs::read(path).map(|bytes| digest(&bytes)).unwrap_or_default());
    // Learning and pictures, resolved. The split is in the data's fingerprint.
    let hyper = settings.hyper(dataset, false);
    let all = format!(
        "{epochs:?} {batch_size} {imgsz} {scale} {seed} {init:?} {weights:?} {start_from:?} {hyper:?} {replay:?} {gate:?} {class_thresholds:?}"
    );
    digest(all.as_bytes())
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// From words of a command line.
#[cfg(test)]
pub(crate) fn parse(args: &[&str]) -> Result<Unattended, clap::Error> {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        unattended: Unattended,
    }
    <Cli as clap::Parser>::try_parse_from(["x"].iter().chain(args)).map(|cli| cli.unattended)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(hour: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_795_219_200 + hour * 3600)
    }

    #[test]
    fn by_default_it_trains_at_any_time_and_for_as_long_as_it_takes() {
        let all = parse(&[]).unwrap();
        assert_eq!((all.quiet(at(3)), all.time_budget, all.checkpoint_interval), (None, None, Duration::from_secs(300)));
        assert!(!all.force && all.min_new_images == 0);
    }

    #[test]
    fn quiet_hours_are_within_and_train_hours_without() {
        let quiet = parse(&["--quiet-hours", "22:00-06:00Z"]).unwrap();
        assert!(quiet.quiet(at(23)).unwrap().contains("QUIET_HOURS (22:00-06:00Z)"));
        assert_eq!(quiet.quiet(at(12)), None);
        let train = parse(&["--train-hours", "22:00-06:00Z"]).unwrap();
        assert_eq!(train.quiet(at(23)), None);
        assert!(train.quiet(at(12)).unwrap().contains("TRAIN_HOURS"));
        let neither = parse(&["--train-hours", "", "--quiet-hours="]).unwrap();
        assert_eq!(neither.quiet(at(12)), None);
    }

    #[test]
    fn force_is_a_flag_and_a_variable() {
        assert!(parse(&["--force"]).unwrap().force);
        assert!(!parse(&["--force=false"]).unwrap().force);
    }

    #[test]
    fn a_bad_setting_is_refused_but_a_url_is_not_repeated() {
        assert!(parse(&["--time-budget", "soon"]).is_err());
        assert!(parse(&["--quiet-hours", "25:00-26:00"]).is_err());
        let why = parse(&["--notify-url", "ftp://user:pass@host/token"]).unwrap().check().unwrap_err();
        assert!(why.contains("NOTIFY_URL") && !why.contains("token") && !why.contains("pass"), "{why}");
    }
}
