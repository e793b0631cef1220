//! What PyTorch puts into the zip: `<name>/data.pkl`, `<name>/data/<key>` for each storage, `<name>/byteorder`.

use std::collections::HashSet;
use std::rc::Rc;

use super::directory::{Directory, Entry};
use super::value::{Storage, shorten};
use super::{Limits, PtError};

/// Files in an archive beside the storages: pickle, version, byte order and the like.
const OTHER_FILES: usize = 64;

pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    directory: Directory<'a>,
    /// Folder in the archive that everything is in, with its slash.
    prefix: &'a str,
    /// Keys of the storages whose checksum was compared.
    verified: HashSet<Rc<str>>,
}

impl<'a> Archive<'a> {
    pub fn open(bytes: &'a [u8], limits: &Limits) -> Result<Self, PtError> {
        if bytes.len() > limits.max_bytes {
            return Err(PtError::TooLarge { what: "bytes", found: bytes.len(), limit: limits.max_bytes });
        }
        if bytes.starts_with(&[0x80]) {
            return Err(PtError::Archive(
                "it is in PyTorch's format of before 1.6; load and save it again with a newer PyTorch".to_owned(),
            ));
        }
        let directory = Directory::read(bytes, limits.max_tensors.saturating_add(OTHER_FILES))?;
        let mut prefixes = directory.names().filter_map(|name| {
            let prefix = name.strip_suffix("data.pkl")?;
            (prefix.ends_with('/') && prefix.matches('/').count() == 1).then_some(prefix)
        });
        let prefix = prefixes.next().ok_or_else(|| PtError::Archive("a zip without a data.pkl".to_owned()))?;
        if prefixes.next().is_some() {
            return Err(PtError::Archive("a zip with more than one data.pkl".to_owned()));
        }
        drop(prefixes);
        let archive = Self { bytes, directory, prefix, verified: HashSet::new() };
        if archive.directory.get(&format!("{prefix}constants.pkl")).is_some() {
            return Err(PtError::Archive("it is a TorchScript program; bring the state dict that it was made from".to_owned()));
        }
        if archive.file("byteorder", 1024)?.is_some_and(|order| order != b"little") {
            return Err(PtError::Archive("its numbers are big-endian; save it on a little-endian machine".to_owned()));
        }
        Ok(archive)
    }

    /// Bytes of the whole archive.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The pickle of the outermost object.
    pub fn pickle(&self, limits: &Limits) -> Result<&'a [u8], PtError> {
        self.file("data.pkl", limits.max_pickle_bytes)?.ok_or_else(|| PtError::Archive("a zip without a data.pkl".to_owned()))
    }

    /// The bytes of a storage, its checksum compared once.
    pub fn storage(&mut self, storage: &Storage) -> Result<&'a [u8], PtError> {
        let key = &storage.key;
        let name = format!("{}data/{key}", self.prefix);
        let entry = self.directory.get(&name).ok_or_else(|| PtError::Archive(format!("storage {:?} is missing", shorten(key))))?;
        let bytes = if self.verified.contains(key) { &self.bytes[entry.range.clone()] } else { self.verify(&name, entry)? };
        self.verified.insert(Rc::clone(key));
        match storage.len.checked_mul(storage.dtype.width()) {
            Some(needed) if needed <= bytes.len() => Ok(&bytes[..needed]),
            _ => Err(PtError::Archive(format!(
                "storage {:?} has {} bytes, fewer than its {} numbers need",
                shorten(key),
                bytes.len(),
                storage.len
            ))),
        }
    }

    fn file(&self, name: &str, limit: usize) -> Result<Option<&'a [u8]>, PtError> {
        let name = format!("{}{name}", self.prefix);
        let Some(entry) = self.directory.get(&name) else { return Ok(None) };
        if entry.range.len() > limit {
            return Err(PtError::TooLarge { what: "bytes of pickle", found: entry.range.len(), limit });
        }
        self.verify(&name, entry).map(Some)
    }

    fn verify(&self, name: &str, entry: &Entry) -> Result<&'a [u8], PtError> {
        if !entry.stored {
            return Err(PtError::Archive(format!("{:?} in it is compressed or encrypted, which PyTorch never does", shorten(name))));
        }
        let bytes = &self.bytes[entry.range.clone()];
        if crc32fast::hash(bytes) != entry.crc {
            return Err(PtError::Archive(format!("{:?} in it is damaged: its checksum does not match", shorten(name))));
        }
        Ok(bytes)
    }
}
