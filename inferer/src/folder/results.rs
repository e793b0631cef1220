//! Lines kept in files: `RESULTS_DIR/results-00000001.jsonl`, …, bounded in size and number.
//!
//! A line is there whole or not at all: what a full disk cut is cut off again, and what a power failure left torn is cut off at the
//! next start. A disk that is full or gone costs lines, said once and counted, and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::metrics::Metrics;

/// After a failure nothing is tried for so long: a disk that is full stays so for a while.
const PAUSE: Duration = Duration::from_secs(10);
/// As much of a file's end is looked through for the end of its last whole line.
const LONGEST_TAIL: u64 = 1 << 20;

/// The folder and its bounds.
#[derive(Debug)]
pub struct Results {
    dir: PathBuf,
    file_bytes: u64,
    files: usize,
    metrics: Metrics,
    current: Option<Current>,
    not_before: Option<Instant>,
    lost: u64,
}

#[derive(Debug)]
struct Current {
    file: File,
    number: u64,
    bytes: u64,
}

impl Results {
    /// Writes into `dir`, at most `files` files of about `file_bytes` each.
    #[must_use]
    pub fn new(dir: PathBuf, file_bytes: u64, files: usize, metrics: Metrics) -> Self {
        Self { dir, file_bytes, files: files.max(1), metrics, current: None, not_before: None, lost: 0 }
    }

    /// Keeps a line, which ends in a line feed. Blocks on the disk: called by the folder's own thread only.
    pub fn write(&mut self, line: &[u8]) {
        if self.not_before.is_some_and(|at| Instant::now() < at) {
            return self.lose();
        }
        match self.try_write(line) {
            Ok(()) => {
                self.metrics.result_line("written");
                if self.lost > 0 {
                    tracing::warn!(dir = %self.dir.display(), lost = self.lost, "RESULTS_DIR can be written again; lines were lost");
                    self.lost = 0;
                }
                self.not_before = None;
            }
            Err(error) => {
                if self.lost == 0 {
                    tracing::error!(dir = %self.dir.display(), %error, "RESULTS_DIR cannot be written: results go to standard output only");
                }
                self.current = None;
                self.not_before = Some(Instant::now() + PAUSE);
                self.lose();
            }
        }
    }

    fn lose(&mut self) {
        self.lost += 1;
        self.metrics.result_line("dropped");
    }

    fn try_write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        let current = match self.current.take() {
            Some(current) if current.bytes == 0 || current.bytes + length <= self.file_bytes => current,
            before => self.open(before.map(|before| before.number + 1), length)?,
        };
        let current = self.current.insert(current);
        if let Err(error) = current.file.write_all(line) {
            // Part of it may be there. Cutting it off needs no room.
            let _ = current.file.set_len(current.bytes);
            return Err(error);
        }
        current.bytes += length;
        Ok(())
    }

    /// The newest file if there is room in it and nobody else writes there, or the next one; the oldest ones go.
    fn open(&self, from: Option<u64>, length: u64) -> io::Result<Current> {
        fs::create_dir_all(&self.dir)?;
        let mut number = from.unwrap_or_else(|| self.numbers().last().copied().unwrap_or(1));
        loop {
            let mut file = OpenOptions::new().read(true).append(true).create(true).open(self.path(number))?;
            // Two inferers on one folder take a file each. File systems without locks let both have it; lines are still whole.
            let taken = matches!(flock(&file, FlockOperation::NonBlockingLockExclusive), Err(rustix::io::Errno::WOULDBLOCK));
            if !taken {
                let bytes = cut_torn_line(&mut file)?;
                if bytes == 0 || bytes + length <= self.file_bytes {
                    self.prune();
                    return Ok(Current { file, number, bytes });
                }
            }
            number += 1;
        }
    }

    /// Numbers of the files that are there, in their order.
    fn numbers(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let number = |name: &str| name.strip_prefix("results-")?.strip_suffix(".jsonl")?.parse().ok();
        let mut numbers: Vec<u64> = entries.flatten().filter_map(|entry| number(entry.file_name().to_str()?)).collect();
        numbers.sort_unstable();
        numbers
    }

    fn prune(&self) {
        let numbers = self.numbers();
        for number in &numbers[..numbers.len().saturating_sub(self.files)] {
            if let Err(error) = fs::remove_file(self.path(*number)) {
                tracing::warn!(path = %self.path(*number).display(), %error, "an old file of results cannot be removed");
            }
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        Path::new(&self.dir).join(format!("results-{number:08}.jsonl"))
    }
}

/// Cuts off what follows the last line feed; the length that is left.
fn cut_torn_line(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LONGEST_TAIL);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(LONGEST_TAIL).read_to_end(&mut tail)?;
    let whole = match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => from + at as u64 + 1,
        // Not ours: no line of ours is so long. It is left as it is, and ended.
        None if from > 0 => length,
        None => 0,
    };
    if whole < length {
        file.set_len(whole)?;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use prometheus::Registry;

    fn results(dir: &Path, file_bytes: u64, files: usize) -> Results {
        Results::new(dir.to_owned(), file_bytes, files, Metrics::register(&Registry::new()).unwrap())
    }

    fn content(dir: &Path) -> Vec<(String, String)> {
        let entry = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap());
        let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(|e| entry(e.unwrap())).collect();
        all.sort();
        all
    }

    fn named(files: &[(u64, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(number, text)| (format!("results-{number:08}.jsonl"), (*text).to_owned())).collect()
    }

    #[test]
    fn files_are_bounded_in_size_and_number() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made/on/the/way");
        let mut results = results(&dir, 10, 2);
        ["1111\n", "2222\n", "3333\n", "longer than a file\n", "5\n", "6\n"].iter().for_each(|line| results.write(line.as_bytes()));
        assert_eq!(content(&dir), named(&[(3, "longer than a file\n"), (4, "5\n6\n")]));
    }

    #[test]
    fn another_start_goes_on_behind_the_last_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("results-00000007.jsonl"), "whole\ntorn").unwrap();
        fs::write(dir.path().join("somebody-elses.jsonl"), "x").unwrap();
        results(dir.path(), 100, 2).write(b"next\n");
        assert_eq!(content(dir.path())[0], named(&[(7, "whole\nnext\n")])[0]);
        assert_eq!(content(dir.path()).len(), 2);
    }

    #[test]
    fn two_processes_on_one_folder_take_a_file_each() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, mut second) = (results(dir.path(), 100, 5), results(dir.path(), 100, 5));
        first.write(b"a\n");
        second.write(b"b\n");
        first.write(b"c\n");
        assert_eq!(content(dir.path()), named(&[(1, "a\nc\n"), (2, "b\n")]));
    }

    #[test]
    fn a_folder_that_cannot_be_written_costs_lines_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let blocked = dir.path().join("file");
        fs::write(&blocked, "in the way").unwrap();
        let mut results = results(&blocked, 100, 5);
        results.write(b"lost\n");
        results.write(b"lost in the pause\n");
        assert_eq!(results.lost, 2);
        fs::remove_file(&blocked).unwrap();
        results.not_before = None;
        results.write(b"kept\n");
        assert_eq!((results.lost, content(&blocked)), (0, named(&[(1, "kept\n")])));
    }

    #[test]
    fn a_full_disk_leaves_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let [target, kind, size] = [dir.path().to_str().unwrap(), "tmpfs", "size=64k"].map(|text| std::ffi::CString::new(text).unwrap());
        // SAFETY: all strings are NUL-terminated and live until it returns.
        if unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, size.as_ptr().cast()) } != 0 {
            eprintln!("not tested: no right to mount a tmpfs ({})", io::Error::last_os_error());
            return;
        }
        let line = [[b'x'; 999].as_slice(), b"\n"].concat();
        let mut results = results(dir.path(), 10_000_000, 5);
        (0..100).for_each(|_| results.write(&line));
        let lost = results.lost;
        let kept = content(dir.path());
        // SAFETY: as above.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        assert!(lost > 0 && lost < 100, "{lost}");
        assert!(kept.iter().all(|(_, text)| text.len() % 1000 == 0), "a line was torn");
    }
}
