//! The reader's side: nothing here writes, so a read-only mount will do.

use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::layout::{self, Place};
use crate::pointer::PointerFile;
use crate::{FileEntry, FileKind, Metadata, Pointer, Store, StoreError, Version, files};

/// Everything in the folder at one glance.
#[derive(Debug, Default)]
pub struct Survey {
    /// Published versions, oldest first by sequence.
    pub versions: Vec<Metadata>,
    /// Rejected ones, likewise.
    pub candidates: Vec<Metadata>,
    /// Metadata files that cannot be used, with the reason.
    pub broken: Vec<(PathBuf, StoreError)>,
}

/// [`Store::stamp`]: inode, length and time of change of each file that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionStamp(Vec<Option<(u64, u64, i64, i64)>>);

impl Store {
    /// The promoted version; `None` while nothing was ever promoted.
    ///
    /// # Errors
    /// [`StoreError::BadFile`] or [`StoreError::FutureSchema`] when the pointer cannot be used: keep what serves.
    pub fn pointer(&self) -> Result<Option<Pointer>, StoreError> {
        let path = self.layout.pointer();
        let Some(file) = files::read_versioned::<PointerFile>(&path)? else { return Ok(None) };
        let pointer = Pointer::from(file);
        pointer.metadata.check().map_err(|reason| StoreError::BadFile { path, reason })?;
        Ok(Some(pointer))
    }

    /// The promoted version and those that were promoted before it, newest first, as far as they are still here; at most `most`.
    /// A version that was rolled back from is none of them.
    ///
    /// # Errors
    /// As [`Store::pointer`].
    pub fn lineage(&self, most: usize) -> Result<Vec<Metadata>, StoreError> {
        let Some(pointer) = self.pointer()? else { return Ok(Vec::new()) };
        // One that is pruned or broken is as good as never promoted.
        let earlier = pointer.predecessors.iter().filter_map(|version| self.metadata_in(Place::Root, version).ok().flatten());
        Ok(std::iter::once(pointer.metadata).chain(earlier).take(most).collect())
    }

    /// A version's metadata, published or candidate.
    ///
    /// # Errors
    /// [`StoreError::UnknownVersion`], [`StoreError::BadFile`], [`StoreError::FutureSchema`].
    pub fn metadata(&self, version: &Version) -> Result<Metadata, StoreError> {
        self.locate(version).map(|(_, metadata)| metadata)
    }

    /// Published versions, oldest first by sequence. Broken ones are left out, with a warning in the log.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the folder cannot be listed.
    pub fn versions(&self) -> Result<Vec<Metadata>, StoreError> {
        Ok(warn(self.survey()?).versions)
    }

    /// Rejected versions, as [`Store::versions`].
    ///
    /// # Errors
    /// As [`Store::versions`].
    pub fn candidates(&self) -> Result<Vec<Metadata>, StoreError> {
        Ok(warn(self.survey()?).candidates)
    }

    /// Versions, candidates and what is broken. Reads metadata only, no model file.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the folder cannot be listed.
    pub fn survey(&self) -> Result<Survey, StoreError> {
        let mut survey = Survey::default();
        for place in [Place::Root, Place::Candidates] {
            let folder = self.layout.place(place);
            let mut found = Vec::new();
            for version in files::names(&folder)?.iter().filter_map(|name| layout::version_of_metadata(name)) {
                match self.metadata_in(place, &version) {
                    Ok(Some(metadata)) => found.push(metadata),
                    // Pruned between the listing and the read.
                    Ok(None) => {}
                    Err(error) => survey.broken.push((folder.join(layout::metadata_name(&version)), error)),
                }
            }
            found.sort_by_key(|metadata| metadata.sequence);
            match place {
                Place::Root => survey.versions = found,
                Place::Candidates => survey.candidates = found,
            }
        }
        Ok(survey)
    }

    /// A version's file, whole, only if the very bytes that are returned have the length and SHA-256 of its metadata.
    ///
    /// # Errors
    /// [`StoreError::NoSuchKind`], [`StoreError::Missing`], [`StoreError::WrongSize`], [`StoreError::WrongDigest`],
    /// [`StoreError::BadFile`] for a metadata that names a foreign file.
    pub fn read_verified(&self, metadata: &Metadata, kind: FileKind) -> Result<Vec<u8>, StoreError> {
        let entry = entry(metadata, kind)?;
        let mut last = None;
        for place in [Place::Root, Place::Candidates] {
            let path = self.layout.place(place).join(&entry.name);
            match read_entry(&metadata.version, entry, &path) {
                Err(error @ StoreError::Missing { .. }) => last = last.or(Some(error)),
                done => return done,
            }
        }
        Err(last.expect("a loop over two places that returned nothing kept an error"))
    }

    /// What a look at a version's files shows without reading them. Equal as long as nobody has touched them: tells somebody who
    /// found a version incomplete when to look into it again.
    #[must_use]
    pub fn stamp(&self, metadata: &Metadata) -> VersionStamp {
        let look = |place, name: &str| std::fs::metadata(self.layout.place(place).join(name)).ok();
        let stamp = |file: &FileEntry| {
            let found = look(Place::Root, &file.name).or_else(|| look(Place::Candidates, &file.name))?;
            Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
        };
        VersionStamp(metadata.files.iter().filter(|file| file.name == file.kind.file_name(&metadata.version)).map(stamp).collect())
    }

    /// Reads every file of a version and compares it with its metadata.
    ///
    /// # Errors
    /// As [`Store::metadata`] and [`Store::read_verified`].
    pub fn verify(&self, version: &Version) -> Result<(), StoreError> {
        let (place, metadata) = self.locate(version)?;
        self.verify_in(place, &metadata)
    }

    pub(crate) fn verify_in(&self, place: Place, metadata: &Metadata) -> Result<(), StoreError> {
        for entry in &metadata.files {
            let path = self.layout.place(place).join(&entry.name);
            let (found, sha256) = files::digest(&path).map_err(|error| refused(&metadata.version, &path, error))?;
            compare(&metadata.version, entry, &path, found, sha256)?;
        }
        Ok(())
    }

    pub(crate) fn locate(&self, version: &Version) -> Result<(Place, Metadata), StoreError> {
        for place in [Place::Root, Place::Candidates] {
            if let Some(metadata) = self.metadata_in(place, version)? {
                return Ok((place, metadata));
            }
        }
        Err(StoreError::UnknownVersion { version: version.clone(), root: self.layout.root().to_owned() })
    }

    pub(crate) fn metadata_in(&self, place: Place, version: &Version) -> Result<Option<Metadata>, StoreError> {
        let path = self.layout.place(place).join(layout::metadata_name(version));
        let Some(metadata) = files::read_versioned::<Metadata>(&path)? else { return Ok(None) };
        if metadata.version != *version {
            let reason = format!("it describes version {}, a copy of another version's file", metadata.version);
            return Err(StoreError::BadFile { path, reason });
        }
        metadata.check().map_err(|reason| StoreError::BadFile { path, reason })?;
        Ok(Some(metadata))
    }
}

fn entry(metadata: &Metadata, kind: FileKind) -> Result<&FileEntry, StoreError> {
    let entry = metadata.file(kind).ok_or_else(|| StoreError::NoSuchKind { version: metadata.version.clone(), kind })?;
    // Metadata may come from a caller and not from this crate's reading: a name is a path, so look again.
    if entry.name != kind.file_name(&metadata.version) {
        let reason = format!("not a file of version {}", metadata.version);
        return Err(StoreError::BadFile { path: PathBuf::from(&entry.name), reason });
    }
    Ok(entry)
}

fn read_entry(version: &Version, entry: &FileEntry, path: &Path) -> Result<Vec<u8>, StoreError> {
    let read = files::with_open(path, |file| {
        let found = file.metadata()?.len();
        if found != entry.bytes {
            return Ok(Err(found));
        }
        let mut bytes = Vec::new();
        let length = usize::try_from(entry.bytes).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
        bytes.try_reserve_exact(length).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
        // One more than expected: a file that grows while it is read is noticed, and never read without end.
        file.take(entry.bytes.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(Ok(bytes))
    });
    match read.map_err(|error| refused(version, path, error))? {
        Err(found) => Err(StoreError::WrongSize { version: version.clone(), path: path.to_owned(), expected: entry.bytes, found }),
        Ok(bytes) => {
            compare(version, entry, path, bytes.len() as u64, files::sha256(&bytes))?;
            Ok(bytes)
        }
    }
}

fn compare(version: &Version, entry: &FileEntry, path: &Path, found: u64, sha256: String) -> Result<(), StoreError> {
    let (version, path) = (version.clone(), path.to_owned());
    if found != entry.bytes {
        return Err(StoreError::WrongSize { version, path, expected: entry.bytes, found });
    }
    if sha256 != entry.sha256 {
        return Err(StoreError::WrongDigest { version, path, expected: entry.sha256.clone(), found: sha256 });
    }
    Ok(())
}

fn refused(version: &Version, path: &Path, error: io::Error) -> StoreError {
    if error.kind() == ErrorKind::NotFound {
        StoreError::Missing { version: version.clone(), path: path.to_owned() }
    } else {
        StoreError::io("read", path)(error)
    }
}

fn warn(survey: Survey) -> Survey {
    for (path, error) in &survey.broken {
        tracing::warn!(path = %path.display(), %error, "version left out");
    }
    survey
}
