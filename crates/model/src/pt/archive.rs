//! The zip around the pickle: `<name>/data.pkl`, `<name>/data/<key>`, `<name>/byteorder`. PyTorch stores, it never
//! compresses, so that a storage is a slice of the file.

use std::collections::HashMap;
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::rc::Rc;

use zip::{CompressionMethod, ZipArchive};

use super::value::{Storage, shorten};
use super::{Limits, PtError};

/// Files in an archive beside the storages: pickle, version, byte order and the like.
const OTHER_FILES: usize = 64;

pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Folder in the archive that everything is in, with its slash.
    prefix: String,
    /// Storages whose checksum was verified, by key.
    verified: HashMap<Rc<str>, Range<usize>>,
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
        let zip = ZipArchive::new(Cursor::new(bytes))?;
        if zip.len() > limits.max_tensors.saturating_add(OTHER_FILES) {
            return Err(PtError::TooLarge { what: "files in the archive", found: zip.len(), limit: limits.max_tensors });
        }
        let mut prefixes = zip.file_names().filter_map(|name| {
            let name = name.ok()?;
            let prefix = name.strip_suffix("data.pkl")?;
            (prefix.ends_with('/') && prefix.matches('/').count() == 1).then(|| prefix.to_owned())
        });
        let prefix = prefixes.next().ok_or_else(|| PtError::Archive("a zip without a data.pkl".to_owned()))?;
        if prefixes.next().is_some() {
            return Err(PtError::Archive("a zip with more than one data.pkl".to_owned()));
        }
        drop(prefixes);
        let mut archive = Self { bytes, zip, prefix, verified: HashMap::new() };
        if let Some(order) = archive.small_file("byteorder")?
            && order != b"little"
        {
            return Err(PtError::Archive("its numbers are big-endian; save it on a little-endian machine".to_owned()));
        }
        Ok(archive)
    }

    /// The pickle of the outermost object.
    pub fn pickle(&mut self, limits: &Limits) -> Result<Vec<u8>, PtError> {
        self.file("data.pkl", limits.max_pickle_bytes)?.ok_or_else(|| PtError::Archive("a zip without a data.pkl".into()))
    }

    /// The bytes of a storage, its checksum verified once.
    pub fn storage(&mut self, storage: &Storage) -> Result<&'a [u8], PtError> {
        let range = match self.verified.get(&storage.key) {
            Some(range) => range.clone(),
            None => {
                let range = self.locate(&storage.key)?;
                self.verified.insert(Rc::clone(&storage.key), range.clone());
                range
            }
        };
        let bytes = &self.bytes[range];
        match storage.len.checked_mul(storage.dtype.width()) {
            Some(needed) if needed <= bytes.len() => Ok(&bytes[..needed]),
            _ => Err(PtError::Archive(format!(
                "storage {:?} has {} bytes, fewer than its {} numbers need",
                shorten(&storage.key),
                bytes.len(),
                storage.len
            ))),
        }
    }

    fn locate(&mut self, key: &str) -> Result<Range<usize>, PtError> {
        let name = format!("{}data/{key}", self.prefix);
        let index = self.zip.index_for_name(&name).ok_or_else(|| PtError::Archive(format!("storage {:?} is missing", shorten(key))))?;
        let mut file = self.zip.by_index(index)?;
        if file.compression() != CompressionMethod::Stored {
            return Err(PtError::Archive(format!("storage {:?} is compressed", shorten(key))));
        }
        let start = file.data_start().and_then(|start| usize::try_from(start).ok());
        let end = start.zip(usize::try_from(file.size()).ok()).and_then(|(start, len)| start.checked_add(len));
        let (Some(start), Some(end)) = (start, end.filter(|end| *end <= self.bytes.len())) else {
            return Err(PtError::Archive(format!("storage {:?} ends outside the file", shorten(key))));
        };
        io::copy(&mut file, &mut io::sink()).map_err(zip::result::ZipError::Io)?; // the reader compares the CRC at the end
        Ok(start..end)
    }

    fn small_file(&mut self, name: &str) -> Result<Option<Vec<u8>>, PtError> {
        self.file(name, 1024)
    }

    fn file(&mut self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, PtError> {
        let Some(index) = self.zip.index_for_name(&format!("{}{name}", self.prefix)) else { return Ok(None) };
        let file = self.zip.by_index(index)?;
        let mut content = Vec::new();
        // one byte more than the limit shows that there is more, whatever the header says
        file.take(limit as u64 + 1).read_to_end(&mut content).map_err(zip::result::ZipError::Io)?;
        if content.len() > limit {
            return Err(PtError::TooLarge { what: "bytes of pickle", found: content.len(), limit });
        }
        Ok(Some(content))
    }
}
