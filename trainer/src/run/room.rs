//! Is there room on the disk for what a training writes? Better known before it than at its end.

use std::path::Path;

use edgeloop_model::Network;
use edgeloop_service::exit::bad_input;
use edgeloop_store::{Retention, Store};

use crate::{
    fit::{checkpoint, optimiser::Rule},
    publish,
};

/// Status, history, locks, logs beside it.
const SLACK: u64 = 16 << 20;

/// What a training writes, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Needs {
    /// One checkpoint.
    checkpoint: u64,
    /// A version: weights, ONNX, check file.
    version: u64,
    /// `latest.pt` and `latest.onnx`, staged while the older ones are still there.
    copies: u64,
}

impl Needs {
    /// For a network of `values` float32 values; `rule` keeps one or two states of each.
    fn of(values: u64, rule: Rule, imgsz: u32) -> Self {
        let weights = values * 4;
        // Weights, averages, the best averages, gradients of an unfinished step, and the optimiser's states.
        let checkpoint = weights * if rule == Rule::Sgd { 5 } else { 6 };
        Self { checkpoint, version: 2 * weights + publish::check_bytes(imgsz), copies: 2 * weights }
    }

    /// Room that must be free, where checkpoints of `there` bytes exist already: they are replaced. Two, as the newest is written
    /// beside the last; the one before that gives way where room is short.
    fn free(&self, there: u64) -> u64 {
        (2 * self.checkpoint).saturating_sub(there) + self.version + self.copies + SLACK
    }
}

/// Fails when there is not enough, also not after old versions went as `retention` says.
///
/// # Errors
/// With exit code 2: somebody has to make room, or point `MODEL_DIR` elsewhere.
pub(super) fn check(store: &Store, retention: &Retention, network: &Network, rule: Rule, imgsz: u32) -> anyhow::Result<()> {
    let needs = Needs::of(network.values() as u64, rule, imgsz);
    let there = [checkpoint::FILE, checkpoint::PREVIOUS].iter().map(|name| size(&store.checkpoint_dir().join(name))).sum();
    let wanted = needs.free(there);
    let enough = || free(store.root()).is_none_or(|free| free >= wanted);
    if enough() {
        return Ok(());
    }
    match store.prune(retention) {
        Ok(gone) if !gone.removed.is_empty() => tracing::info!(versions = gone.removed.len(), bytes = gone.bytes, "room was made"),
        Ok(_) => {}
        Err(error) => tracing::warn!("old versions could not be pruned: {error}"),
    }
    if enough() {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Err(bad_input(anyhow::anyhow!(
        "{} has {} MiB free, and this training needs {}: {} for checkpoints, {} for a version, {} for its copies, {} to spare; make room, \
         lower KEEP_VERSIONS or KEEP_BYTES, or take a smaller SCALE",
        store.root().display(),
        free(store.root()).unwrap_or(0) >> 20,
        mib(wanted),
        mib((2 * needs.checkpoint).saturating_sub(there)),
        mib(needs.version),
        mib(needs.copies),
        mib(SLACK),
    )))
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |facts| facts.len())
}

/// Bytes that this user may still write; `None` where the file system does not say.
fn free(path: &Path) -> Option<u64> {
    let facts = rustix::fs::statvfs(path).ok()?;
    // Some network and FUSE file systems say zero blocks of zero.
    (facts.f_blocks > 0).then(|| facts.f_bavail.saturating_mul(facts.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_needs_many_times_its_weights() {
        let needs = Needs::of(3_157_200, Rule::AdamW, 640);
        assert_eq!(needs.checkpoint, 6 * 12_628_800);
        // 2 checkpoints, 2 files, 2 copies: 16 times the weights, the check file and some to spare
        assert_eq!(needs.free(0), 16 * 12_628_800 + publish::check_bytes(640) + SLACK);
        assert_eq!(needs.free(u64::MAX), needs.version + needs.copies + SLACK);
        assert!(Needs::of(3_157_200, Rule::Sgd, 640).checkpoint < needs.checkpoint);
    }

    #[test]
    fn this_folder_has_some_room() {
        assert!(free(Path::new(".")).is_some_and(|bytes| bytes > 0));
        assert_eq!(free(Path::new("/no/such/folder")), None);
    }
}
