//! The zip around a `.pt`, read as the specification (APPNOTE 6.3) has it and no more tolerantly: PyTorch stores its files
//! one after another and never compresses them, so that a file in the archive is a slice of the archive.
//!
//! Everything that makes zips dangerous is refused at once: entries that overlap (a small file that reads as terabytes),
//! two of one name (readers disagree about which counts), a directory that says other things than the entries do, names that
//! lead elsewhere. The directory's length is checked before anything is allocated for it.

use std::collections::HashMap;
use std::ops::Range;

use super::PtError;
use super::value::shorten;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const END64_LOCATOR: u32 = 0x0706_4b50;
/// Bytes of the fixed part of each of these records.
const LOCAL_LEN: usize = 30;
const CENTRAL_LEN: usize = 46;
const END_LEN: usize = 22;
const END64_LOCATOR_LEN: usize = 20;
/// A value that stands in a 64-bit field elsewhere.
const IN_EXTRA: u32 = u32::MAX;
/// Header number of the extra field with 64-bit sizes.
const EXTRA64: u16 = 1;
/// Longest name of a file in an archive: `archive/data/123`.
const MAX_NAME: usize = 512;

/// Where the files of an archive lie in it.
pub(super) struct Directory<'a> {
    entries: HashMap<&'a str, Entry>,
}

/// One file.
pub(super) struct Entry {
    /// Its bytes in the archive.
    pub range: Range<usize>,
    /// What the checksum of those bytes must be.
    pub crc: u32,
    /// Whether the bytes are the file's own, neither compressed nor encrypted.
    pub stored: bool,
}

impl<'a> Directory<'a> {
    /// Reads the directory of an archive of at most `limit` files.
    pub fn read(bytes: &'a [u8], limit: usize) -> Result<Self, PtError> {
        let records = Records(bytes);
        let (count, area) = records.end()?;
        if count > limit {
            return Err(PtError::TooLarge { what: "files in the archive", found: count, limit });
        }
        let mut entries = HashMap::with_capacity(count);
        let mut taken = Vec::with_capacity(count);
        let mut at = area.start;
        for _ in 0..count {
            let (name, entry, whole, next) = records.entry(at, area.end)?;
            if whole.end > area.start {
                return Err(broken(format!("{:?} reaches into the directory", shorten(name))));
            }
            taken.push(whole);
            if entries.insert(name, entry).is_some() {
                return Err(broken(format!("it has two files called {:?}", shorten(name))));
            }
            at = next;
        }
        taken.sort_unstable_by_key(|range| (range.start, range.end));
        if taken.windows(2).any(|pair| pair[0].end > pair[1].start) {
            return Err(broken("files in it overlap".to_owned()));
        }
        Ok(Self { entries })
    }

    /// The file of this name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// All names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.entries.keys().copied()
    }
}

fn broken(reason: String) -> PtError {
    PtError::Archive(reason)
}

fn cut() -> PtError {
    broken("it is damaged or cut off: a record of the zip is not where it should be".to_owned())
}

/// Reads records of little-endian numbers anywhere in the archive.
struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    fn slice(&self, at: usize, len: usize) -> Result<&'a [u8], PtError> {
        at.checked_add(len).and_then(|end| self.0.get(at..end)).ok_or_else(cut)
    }

    fn array<const LEN: usize>(&self, at: usize) -> Result<[u8; LEN], PtError> {
        self.slice(at, LEN)?.try_into().map_err(|_| cut())
    }

    fn u16(&self, at: usize) -> Result<u16, PtError> {
        Ok(u16::from_le_bytes(self.array(at)?))
    }

    fn u32(&self, at: usize) -> Result<u32, PtError> {
        Ok(u32::from_le_bytes(self.array(at)?))
    }

    /// A 64-bit place or size, which must be one that this machine can address.
    fn size(&self, at: usize) -> Result<usize, PtError> {
        usize::try_from(u64::from_le_bytes(self.array(at)?)).map_err(|_| cut())
    }

    fn expect(&self, at: usize, signature: u32) -> Result<(), PtError> {
        if self.u32(at)? == signature { Ok(()) } else { Err(cut()) }
    }

    /// Number of files, and where the directory lies.
    fn end(&self) -> Result<(usize, Range<usize>), PtError> {
        let bytes = self.0;
        if !bytes.starts_with(&LOCAL.to_le_bytes()) {
            return Err(broken("it is no zip archive".to_owned()));
        }
        // The last record may carry a comment of up to 65,535 bytes, and must reach exactly to the end.
        let last = bytes.len().checked_sub(END_LEN).ok_or_else(cut)?;
        let first = last.saturating_sub(usize::from(u16::MAX));
        let ends_here = |at: &usize| {
            self.u32(*at).is_ok_and(|found| found == END)
                && self.u16(at + 20).is_ok_and(|comment| at + END_LEN + usize::from(comment) == bytes.len())
        };
        let at = (first..=last).rev().find(ends_here).ok_or_else(cut)?;
        let (count, size, start) = (self.u16(at + 10)?, self.u32(at + 12)?, self.u32(at + 16)?);
        let locator = at.checked_sub(END64_LOCATOR_LEN).filter(|locator| self.expect(*locator, END64_LOCATOR).is_ok());
        let (count, size, start, limit) = match locator {
            Some(locator) => {
                let wide = self.size(locator + 8)?;
                self.expect(wide, END64)?;
                (self.size(wide + 32)?, self.size(wide + 40)?, self.size(wide + 48)?, wide)
            }
            None => (count.into(), size as usize, start as usize, at),
        };
        let end = start.checked_add(size).filter(|end| *end <= limit).ok_or_else(cut)?;
        // Each entry has a fixed part: a count that cannot be is not worth a loop.
        if count.checked_mul(CENTRAL_LEN).is_none_or(|least| least > size) {
            return Err(broken(format!("its directory names {count} files and has room for {}", size / CENTRAL_LEN)));
        }
        Ok((count, start..end))
    }

    /// The entry at `at` of a directory that ends at `end`: name, entry, its bytes with header, place of the next.
    fn entry(&self, at: usize, end: usize) -> Result<(&'a str, Entry, Range<usize>, usize), PtError> {
        self.expect(at, CENTRAL)?;
        let (flags, method, crc) = (self.u16(at + 8)?, self.u16(at + 10)?, self.u32(at + 16)?);
        let sizes = [self.u32(at + 24)?, self.u32(at + 20)?, self.u32(at + 42)?];
        let name_len = usize::from(self.u16(at + 28)?);
        let extra_len = usize::from(self.u16(at + 30)?);
        let comment_len = usize::from(self.u16(at + 32)?);
        let name = self.name(at + CENTRAL_LEN, name_len)?;
        let extra = at + CENTRAL_LEN + name_len;
        let next = extra + extra_len + comment_len;
        if next > end {
            return Err(cut());
        }
        let [len, packed, header] = self.wide(sizes, extra..extra + extra_len)?;
        self.expect(header, LOCAL)?;
        let local_name = usize::from(self.u16(header + 26)?);
        let local_extra = usize::from(self.u16(header + 28)?);
        if self.slice(header + LOCAL_LEN, local_name)? != name.as_bytes() {
            return Err(broken(format!("its directory says {:?} where a file of another name is", shorten(name))));
        }
        let start = header + LOCAL_LEN + local_name + local_extra;
        let stop = start.checked_add(packed).filter(|stop| *stop <= self.0.len());
        let stop = stop.ok_or_else(|| broken(format!("{:?} ends outside the file", shorten(name))))?;
        let stored = method == 0 && flags & 1 == 0 && len == packed;
        Ok((name, Entry { range: start..stop, crc, stored }, header..stop, next))
    }

    fn name(&self, at: usize, len: usize) -> Result<&'a str, PtError> {
        let name = std::str::from_utf8(self.slice(at, len)?).map_err(|_| broken("a name in it is not UTF-8".to_owned()))?;
        let leads_elsewhere = name.starts_with('/') || name.contains(['\\', '\0', ':']) || name.split('/').any(|part| part == "..");
        if name.is_empty() || len > MAX_NAME || leads_elsewhere {
            return Err(broken(format!("it has a file called {:?}, which no PyTorch archive has", shorten(name))));
        }
        Ok(name)
    }

    /// Length, packed length and place of an entry, from the extra field where they do not fit 32 bits.
    fn wide(&self, narrow: [u32; 3], extra: Range<usize>) -> Result<[usize; 3], PtError> {
        let mut wide = narrow.map(|value| value as usize);
        if !narrow.contains(&IN_EXTRA) {
            return Ok(wide);
        }
        let mut at = extra.start;
        while at + 4 <= extra.end {
            let (id, len) = (self.u16(at)?, usize::from(self.u16(at + 2)?));
            let field = at + 4..at + 4 + len;
            if id == EXTRA64 && field.end <= extra.end {
                let mut value = field.start;
                for (slot, _) in wide.iter_mut().zip(narrow).filter(|(_, narrow)| *narrow == IN_EXTRA) {
                    if value + 8 > field.end {
                        return Err(cut());
                    }
                    *slot = self.size(value)?;
                    value += 8;
                }
                return Ok(wide);
            }
            at = field.end;
        }
        Err(cut())
    }
}
