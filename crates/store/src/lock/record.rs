//! One number's file: a JSON object padded to a fixed block.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::LockKind;
use crate::Owner;

/// An owner's four texts of at most 128 bytes (256 when every one is a quote), the numbers and the names of the fields fit.
pub(super) const BLOCK: usize = 2048;

/// The end of the name of a file that is made and removed only to make a network file system look at the folder again.
pub(super) const PROBE: &str = ".probe";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) lock: LockKind,
    pub(super) fence: u64,
    pub(super) owner: Owner,
    pub(super) since: DateTime<Utc>,
    pub(super) beat: u64,
    pub(super) released: bool,
}

impl Record {
    /// Stands for a block that cannot be read: its maker has not written it yet, or never will.
    pub(super) fn unknown(lock: LockKind, fence: u64) -> Self {
        let owner = Owner {
            name: "an unknown process".to_owned(),
            host: "an unknown host".to_owned(),
            pid: 0,
            boot_id: String::new(),
            pid_ns: String::new(),
            started: 0,
        };
        Self { lock, fence, owner, since: DateTime::UNIX_EPOCH, beat: 0, released: false }
    }

    pub(super) fn to_block(&self) -> Vec<u8> {
        let mut block = serde_json::to_vec(self).expect("a record has string keys and serialises into memory");
        assert!(block.len() < BLOCK, "the texts of an owner are cut before they come here");
        block.resize(BLOCK - 1, b' ');
        block.push(b'\n');
        block
    }
}

/// The highest number as a watcher sees it.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) fence: u64,
    pub(super) block: Vec<u8>,
    pub(super) record: Option<Record>,
}

impl Top {
    pub(super) fn new(fence: u64, block: Vec<u8>) -> Self {
        let record = serde_json::from_slice(&block).ok();
        Self { fence, block, record }
    }

    /// Given back, or held by a process that this kernel knows to be dead.
    pub(super) fn is_free(&self, watcher: &Owner) -> bool {
        self.record.as_ref().is_some_and(|record| record.released || record.owner.is_provably_dead(watcher))
    }
}

pub(super) fn name_of(fence: u64) -> String {
    format!("{fence:010}")
}

pub(super) fn fence_of(name: &str) -> Option<u64> {
    (name.len() >= 10 && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok())?
}
