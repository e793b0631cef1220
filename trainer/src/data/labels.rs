//! Where the labels are. First that exists: `data.yaml`, COCO annotations, text files beside the images or under `labels`.

use super::{
    DataOptions, Side,
    coco::{self, Listed, Part},
    data_yaml,
    error::{DataError, Problem},
    files::{images, label_path, read_error, read_text},
    names,
    yolo_txt::{self, Format, Rows},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A label file larger than this holds no labels of one image: 8 MiB are about 200,000 boxes.
const MAX_LABEL_BYTES: u64 = 8 << 20;

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
    /// What is wrong with the labels, the first ones.
    pub problems: Vec<Problem>,
    /// How many problems there are.
    pub problem_count: usize,
    /// Things that somebody should know.
    pub notes: Vec<String>,
}

/// Problems kept for messages; the rest is counted.
const KEPT: usize = 1000;

/// Finds images and labels. `dir` may also be the description itself: a `.yaml` or a COCO `.json`.
pub fn list(dir: &Path, options: &DataOptions) -> Result<Listing, DataError> {
    if dir.is_file() {
        let ending = dir.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        return match ending {
            "yaml" | "yml" => from_yaml(dir, options),
            "json" => from_coco(dir.parent().unwrap_or(Path::new(".")), &[coco::find_file(dir)], options),
            _ => Err(read_error(dir, std::io::Error::other("it is a file; name a folder of images, a data.yaml or a COCO .json"))),
        };
    }
    // The reason why a folder cannot be read is better than «no images».
    std::fs::read_dir(dir).map_err(|source| read_error(dir, source))?;
    if let Some(file) = ["data.yaml", "data.yml"].map(|name| dir.join(name)).into_iter().find(|file| file.is_file()) {
        return from_yaml(&file, options);
    }
    match coco::find(dir) {
        parts if parts.is_empty() => from_text(dir, options),
        parts => from_coco(dir, &parts, options),
    }
}

fn from_yaml(file: &Path, options: &DataOptions) -> Result<Listing, DataError> {
    let yaml = data_yaml::read(file, options.max_images)?;
    let split = yaml.val.is_some().then(|| "data.yaml".to_owned());
    let pinned = |side| split.is_some().then_some(side);
    let train = yaml.train.into_iter().map(|path| (path, pinned(Side::Train)));
    let val = yaml.val.into_iter().flatten().map(|path| (path, pinned(Side::Val)));
    let mut reader = TextReader::new(Format { classes: yaml.classes.len(), keypoints: yaml.keypoints });
    let entries = train
        .chain(val)
        .map(|(path, side)| {
            let text = [label_path(&path), Some(path.with_extension("txt"))].into_iter().flatten().find(|text| text.is_file());
            // The ecosystem's meaning: no file, nothing to see.
            let rows = text.map_or_else(Rows::default, |text| reader.read(&text));
            Entry { path, side, labels: Labels::Rows(rows) }
        })
        .collect();
    let TextReader { problems, count, .. } = reader;
    Ok(Listing {
        source: "data.yaml".to_owned(),
        classes: Some(yaml.classes),
        entries,
        unlabelled: Vec::new(),
        split,
        problems,
        problem_count: count,
        notes: yaml.notes,
    })
}

fn from_coco(dir: &Path, parts: &[Part], options: &DataOptions) -> Result<Listing, DataError> {
    let mut classes: Vec<String> = Vec::new();
    let mut entries: Vec<Entry> = Vec::new();
    let (mut problems, mut problem_count, mut crowds) = (Vec::new(), 0, 0);
    for part in parts {
        let coco = coco::read(part, options.max_images)?;
        // Another file may number its categories otherwise: names count.
        let numbers: Vec<u32> = coco.classes.into_iter().map(|name| number_of(name, &mut classes)).collect();
        entries.extend(coco.images.into_iter().map(|mut image| {
            image.boxes.iter_mut().for_each(|(class, _)| *class = numbers[*class as usize]);
            Entry { path: image.path.clone(), side: part.side, labels: Labels::Pixels(image) }
        }));
        problems.extend(coco.problems);
        problems.truncate(KEPT);
        problem_count += coco.problem_count;
        crowds += coco.crowds;
    }
    if entries.len() > options.max_images {
        return Err(DataError::TooManyImages { dir: dir.to_owned(), limit: options.max_images });
    }
    entries.sort_by(|a, b| (a.side, &a.path).cmp(&(b.side, &b.path)));
    entries.dedup_by(|second, first| second.side == first.side && second.path == first.path && first.take_boxes(second));
    let known: BTreeSet<&Path> = entries.iter().map(|entry| entry.path.as_path()).collect();
    let mut unlabelled = images(dir, options.max_images)?;
    unlabelled.retain(|path| !known.contains(path.as_path()));
    let split = parts.iter().all(|part| part.side.is_some()).then(|| "COCO files of train and val".to_owned());
    let notes = (crowds > 0).then(|| format!("{crowds} crowd regions are left out")).into_iter().collect();
    let source = "COCO annotations".to_owned();
    let mut listing = Listing { source, classes: Some(classes), entries, unlabelled, split, problems, problem_count, notes };
    if listing.split.is_none() {
        if options.unlabelled_as_background {
            listing.take_unlabelled();
        }
        listing.pin(dir, options)?;
    }
    Ok(listing)
}

fn number_of(name: String, classes: &mut Vec<String>) -> u32 {
    let at = classes.iter().position(|known| *known == name).unwrap_or_else(|| {
        classes.push(name);
        classes.len() - 1
    });
    at as u32
}

impl Entry {
    /// Another file's boxes of the same image.
    fn take_boxes(&mut self, other: &mut Self) -> bool {
        let (Labels::Pixels(mine), Labels::Pixels(others)) = (&mut self.labels, &mut other.labels) else { return false };
        mine.boxes.append(&mut others.boxes);
        true
    }
}

fn from_text(dir: &Path, options: &DataOptions) -> Result<Listing, DataError> {
    let mut paths = images(dir, options.max_images)?;
    let val_dir = options.val_dir.as_ref().map(|val| dir.join(val));
    if let Some(val) = val_dir.filter(|val| !inside(val, dir)) {
        paths.extend(images(&val, options.max_images)?);
    }
    let classes = names::read(dir)?;
    let mut reader = TextReader::new(Format { classes: classes.as_ref().map_or(names::MAX_CLASSES, Vec::len), keypoints: 0 });
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
    let TextReader { problems, count: problem_count, .. } = reader;
    let source = if beside == entries.len() { "text files beside the images" } else { "text files under labels/" }.to_owned();
    let mut listing = Listing { source, classes, entries, unlabelled, split: None, problems, problem_count, notes: Vec::new() };
    if options.unlabelled_as_background {
        listing.take_unlabelled();
    }
    listing.pin(dir, options)?;
    Ok(listing)
}

impl Listing {
    /// Nothing is trained on labels that are wrong.
    pub fn refuse_broken(&mut self) -> Result<(), DataError> {
        if self.problem_count == 0 {
            return Ok(());
        }
        Err(DataError::Labels { problems: std::mem::take(&mut self.problems), count: self.problem_count })
    }

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
    format: Format,
    problems: Vec<Problem>,
    count: usize,
}

impl TextReader {
    fn new(format: Format) -> Self {
        Self { format, problems: Vec::new(), count: 0 }
    }

    fn read(&mut self, file: &Path) -> Rows {
        let rows =
            read_text(file, MAX_LABEL_BYTES).map_err(|problem| vec![problem]).and_then(|text| yolo_txt::parse(file, &text, self.format));
        rows.unwrap_or_else(|problems| {
            self.count += problems.len();
            self.problems.extend(problems);
            self.problems.truncate(KEPT);
            Rows::default()
        })
    }
}
