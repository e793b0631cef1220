//! `seen/VERSION`: which labelled images a version and its ancestors have learnt from, so that the next run knows what is new.
//!
//! A hint, not a fact to rely on: a version whose file is lost or damaged has seen nothing, and then everything is new to its
//! children. Eight bytes an image, sorted, between a first line that names the format and the SHA-256 of all before it.

use sha2::{Digest, Sha256};

use crate::{Store, StoreError, TrainLock, Version, files};

const FIRST_LINE: &[u8] = b"edgeloop seen 1\n";

/// Eight million images.
const LARGEST: u64 = 64 << 20;

const DIGEST: usize = 32;

impl Store {
    /// Writes down what a published version has learnt from, and forgets versions that are no longer in the folder.
    ///
    /// # Errors
    /// [`StoreError::Io`]; [`StoreError::LockLost`] when another trainer took over.
    pub fn write_seen(&self, lock: &TrainLock, version: &Version, images: &[u64]) -> Result<(), StoreError> {
        lock.held.check()?;
        let folder = self.layout.seen();
        files::make_dir(&folder)?;
        files::make_dir(&self.layout.staging())?;
        let staged = self.layout.staging().join(format!("seen-{version}.tmp"));
        files::replace(&staged, &folder.join(version.as_str()), &encode(images))?;
        files::sync_dir(&folder)?;
        let here = self.survey()?;
        let here = |name: &str| here.versions.iter().chain(&here.candidates).any(|metadata| metadata.version.as_str() == name);
        for name in files::names(&folder)?.iter().filter(|name| !here(name)) {
            files::remove(&folder.join(name))?;
        }
        Ok(())
    }

    /// What a version has learnt from, sorted; `None` when nobody wrote it down, or what was written is damaged (a warning in
    /// the log then).
    #[must_use]
    pub fn seen(&self, version: &Version) -> Option<Vec<u64>> {
        let path = self.layout.seen().join(version.as_str());
        let read = files::read_bounded(&path, LARGEST).map_err(|error| error.to_string());
        let decoded = read.and_then(|bytes| bytes.map(|bytes| decode(&bytes)).transpose());
        decoded.unwrap_or_else(|reason| {
            tracing::warn!(path = %path.display(), reason, "what the version has learnt from is not known: all images are new");
            None
        })
    }
}

fn encode(images: &[u64]) -> Vec<u8> {
    let mut sorted = images.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut bytes = FIRST_LINE.to_vec();
    bytes.extend(sorted.iter().flat_map(|image| image.to_le_bytes()));
    bytes.extend_from_slice(&Sha256::digest(&bytes));
    bytes
}

fn decode(bytes: &[u8]) -> Result<Vec<u64>, String> {
    let (content, digest) = bytes.split_last_chunk::<DIGEST>().ok_or("it is too short")?;
    let images = content.strip_prefix(FIRST_LINE).ok_or("it is of another kind")?;
    if Sha256::digest(content).as_slice() != digest {
        return Err("its SHA-256 is another".to_owned());
    }
    Ok(images.as_chunks().0.iter().map(|image| u64::from_le_bytes(*image)).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_is_read_sorted_and_once() {
        assert_eq!(decode(&encode(&[7, u64::MAX, 0, 7])).unwrap(), [0, 7, u64::MAX]);
        assert_eq!(decode(&encode(&[])).unwrap(), [0; 0]);
        assert_eq!(encode(&vec![1; 100_000]).len(), FIRST_LINE.len() + 8 + DIGEST);
    }

    #[test]
    fn every_damage_is_noticed() {
        let whole = encode(&[1, 2, 3]);
        for length in 0..whole.len() {
            decode(&whole[..length]).unwrap_err();
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            decode(&bytes).unwrap_err();
        }
    }
}
