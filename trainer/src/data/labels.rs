//! Where the labels are. First that exists: `data.yaml`, COCO `annotations.json`, text files beside the images or under `labels`.

use super::{
    DataOptions,
    coco::{self, Listed},
    data_yaml,
    error::{DataError, Problem},
    files::{images, label_path, read_error, read_text},
    names,
    yolo_txt::{self, Rows},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A label file larger than this holds no labels of one image: 8 MiB are about 200,000 boxes.
const MAX_LABEL_BYTES: u64 = 8 << 20;

/// Which side of the split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Train,
    Val,
}

/// One image and what its labels say.
pub struct Entry {
    pub path: PathBuf,
    /// Where somebody has pinned it.
    pub side: Option<Side>,
    pub labels: Labels,
}

/// Labels before the image was looked at.
pub enum Labels {
    /// Fractions of the image.
    Rows(Rows),
    /// Pixels, which need the image's size.
    Pixels(Listed),
}

/// All of it.
pub struct Listing {
    /// In words.
    pub source: String,
    /// Class names; `None` when nobody names them.
    pub classes: Option<Vec<String>>,
    /// Labelled images, ordered by path within a side.
    pub entries: Vec<Entry>,
    /// Images without labels.
    pub unlabelled: Vec<PathBuf>,
    /// Whose split it is; `None` for ours.
    pub split: Option<String>,
}

/// Finds images and labels.
pub fn list(dir: &Path, options: &DataOptions) -> Result<Listing, DataError> {
    // The reason why a folder cannot be read is better than «no images».
    std::fs::read_dir(dir).map_err(|source| read_error(dir, source))?;
    if let Some(file) = ["data.yaml", "data.yml"].map(|name| dir.join(name)).into_iter().find(|file| file.is_file()) {
        return from_yaml(&file, options);
    }
    if let Some(file) = coco_file(dir) {
        return from_coco(dir, &[(file, None)], options);
    }
    let val = ["val", "valid"].iter().find_map(|name| coco_file(&dir.join(name)));
    if let (Some(train), Some(val)) = (coco_file(&dir.join("train")), val) {
        return from_coco(dir, &[(train, Some(Side::Train)), (val, Some(Side::Val))], options);
    }
    from_text(dir, options)
}

fn coco_file(dir: &Path) -> Option<PathBuf> {
    ["annotations.json", "_annotations.coco.json"].map(|name| dir.join(name)).into_iter().find(|file| file.is_file())
}

fn from_yaml(file: &Path, options: &DataOptions) -> Result<Listing, DataError> {
    let yaml = data_yaml::read(file, options.max_images)?;
    let split = yaml.val.is_some().then(|| "data.yaml".to_owned());
    let pinned = |side| split.is_some().then_some(side);
    let train = yaml.train.into_iter().map(|path| (path, pinned(Side::Train)));
    let val = yaml.val.into_iter().flatten().map(|path| (path, pinned(Side::Val)));
    let mut reader = TextReader::new(Some(yaml.classes.len()));
    let entries = train
        .chain(val)
        .map(|(path, side)| {
            let text = [label_path(&path), Some(path.with_extension("txt"))].into_iter().flatten().find(|text| text.is_file());
            // The ecosystem's meaning: no file, nothing to see.
            let rows = text.map_or_else(Rows::default, |text| reader.read(&text));
            Entry { path, side, labels: Labels::Rows(rows) }
        })
        .collect();
    reader.finish()?;
    Ok(Listing { source: "data.yaml".to_owned(), classes: Some(yaml.classes), entries, unlabelled: Vec::new(), split })
}

fn from_coco(dir: &Path, files: &[(PathBuf, Option<Side>)], options: &DataOptions) -> Result<Listing, DataError> {
    let mut classes: Vec<String> = Vec::new();
    let mut entries = Vec::new();
    for (file, side) in files {
        let coco = coco::read(file)?;
        // The second file may number its categories otherwise: names count.
        let new: Vec<String> = coco.classes.into_iter().filter(|name| !classes.contains(name)).collect();
        classes.extend(new);
        entries.extend(coco.images.into_iter().map(|image| Entry { path: image.path.clone(), side: *side, labels: Labels::Pixels(image) }));
    }
    let known: BTreeSet<&Path> = entries.iter().map(|entry| entry.path.as_path()).collect();
    let mut unlabelled = images(dir, options.max_images)?;
    unlabelled.retain(|path| !known.contains(path.as_path()));
    let split = files.iter().all(|(_, side)| side.is_some()).then(|| "COCO files of train and val".to_owned());
    let mut listing = Listing { source: "COCO annotations".to_owned(), classes: Some(classes), entries, unlabelled, split };
    if listing.split.is_none() {
        if options.unlabelled_as_background {
            listing.take_unlabelled();
        }
        listing.pin(dir, options)?;
    }
    Ok(listing)
}

fn from_text(dir: &Path, options: &DataOptions) -> Result<Listing, DataError> {
    let mut paths = images(dir, options.max_images)?;
    let val_dir = options.val_dir.as_ref().map(|val| dir.join(val));
    if let Some(val) = val_dir.filter(|val| !inside(val, dir)) {
        paths.extend(images(&val, options.max_images)?);
    }
    let classes = names::read(dir)?;
    let mut reader = TextReader::new(classes.as_ref().map(Vec::len));
    let (mut entries, mut unlabelled, mut beside) = (Vec::new(), Vec::new(), 0);
    for path in paths {
        let near = path.with_extension("txt");
        let text = if near.is_file() { Some(near) } else { label_path(&path).filter(|text| text.is_file()) };
        match text {
            // `classes.jpg` has no labels: `classes.txt` beside it means something else.
            Some(text) if text.file_name().is_none_or(|name| name != names::FILE) => {
                beside += usize::from(text.parent() == path.parent());
                entries.push(Entry { path, side: None, labels: Labels::Rows(reader.read(&text)) });
            }
            _ => unlabelled.push(path),
        }
    }
    reader.finish()?;
    let source = if beside == entries.len() { "text files beside the images" } else { "text files under labels/" };
    let mut listing = Listing { source: source.to_owned(), classes, entries, unlabelled, split: None };
    if options.unlabelled_as_background {
        listing.take_unlabelled();
    }
    listing.pin(dir, options)?;
    Ok(listing)
}

impl Listing {
    fn take_unlabelled(&mut self) {
        let background = |path| Entry { path, side: None, labels: Labels::Rows(Rows::default()) };
        self.entries.extend(self.unlabelled.drain(..).map(background));
        self.entries.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// Images under the pinned val folder are val, all others train.
    fn pin(&mut self, dir: &Path, options: &DataOptions) -> Result<(), DataError> {
        let Some(val) = options.val_dir.as_ref().map(|val| dir.join(val)) else { return Ok(()) };
        std::fs::read_dir(&val).map_err(|source| read_error(&val, source))?;
        for entry in &mut self.entries {
            entry.side = Some(if inside(&entry.path, &val) { Side::Val } else { Side::Train });
        }
        self.split = Some(format!("val folder {}", options.val_dir.as_deref().unwrap_or(&val).display()));
        Ok(())
    }
}

/// Whether a path lies in a folder, however the two are spelled.
fn inside(path: &Path, dir: &Path) -> bool {
    if path.starts_with(dir) {
        return true;
    }
    match (path.canonicalize(), dir.canonicalize()) {
        (Ok(path), Ok(dir)) => path.starts_with(dir),
        _ => false,
    }
}

/// Reads label files and gathers what is wrong with them, so that one run names all of it.
struct TextReader {
    classes: usize,
    problems: Vec<Problem>,
    count: usize,
}

/// Problems kept for the message; the rest is counted.
const KEPT: usize = 20;

impl TextReader {
    fn new(classes: Option<usize>) -> Self {
        Self { classes: classes.unwrap_or(names::MAX_CLASSES), problems: Vec::new(), count: 0 }
    }

    fn read(&mut self, file: &Path) -> Rows {
        let rows =
            read_text(file, MAX_LABEL_BYTES).map_err(|problem| vec![problem]).and_then(|text| yolo_txt::parse(file, &text, self.classes));
        rows.unwrap_or_else(|problems| {
            self.count += problems.len();
            self.problems.extend(problems);
            self.problems.truncate(KEPT);
            Rows::default()
        })
    }

    fn finish(self) -> Result<(), DataError> {
        if self.count == 0 { Ok(()) } else { Err(DataError::Labels { problems: self.problems, count: self.count }) }
    }
}
