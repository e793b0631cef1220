//! COCO annotations: images, boxes in pixels, categories by id. Read as a stream: a file of gigabytes costs the memory of its boxes.

mod json;
mod layout;

use super::{
    error::{DataError, Problem},
    yolo_txt::Rows,
};
use json::{Annotation, Bbox, File};
use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

pub use layout::{Part, find, find_file};

/// Larger files are not read: COCO's own, 118,000 images with polygons, has 450 MB.
const MAX_BYTES: u64 = 4 << 30;

/// Broken annotations that are kept for the message; the rest is counted.
const KEPT: usize = 1000;

/// One image of the file.
#[derive(Debug, PartialEq)]
pub struct Listed {
    /// Where the image should be.
    pub path: PathBuf,
    /// Its size as the file gives it.
    pub size: Option<(f32, f32)>,
    /// Class number, then `x, y, width, height` in pixels.
    pub boxes: Vec<(u32, [f32; 4])>,
}

/// What a file says.
#[derive(Debug, PartialEq)]
pub struct Coco {
    /// Class names in the order of their ids.
    pub classes: Vec<String>,
    /// Images, ordered by path.
    pub images: Vec<Listed>,
    /// Regions of many objects, left out.
    pub crowds: usize,
    /// Annotations that are wrong, the first ones.
    pub problems: Vec<Problem>,
    /// How many there are.
    pub problem_count: usize,
}

/// Reads one annotations file. Crowd regions are no boxes and are left out; so are masks and keypoints.
///
/// # Errors
/// [`DataError::Description`] for what is not COCO.
pub fn read(part: &Part, max_images: usize) -> Result<Coco, DataError> {
    let source = fs::File::open(&part.file).map_err(|error| wrong(&part.file, 0, format!("cannot be read: {error}")))?;
    let length = source.metadata().map_or(0, |meta| meta.len());
    if length > MAX_BYTES {
        return Err(wrong(&part.file, 0, "larger than 4 GB: split the data set".to_owned()));
    }
    let mut last = 0;
    let coco = parse(&part.file, source.take(MAX_BYTES), &mut |name| part.locate(name, &mut last))?;
    if coco.images.len() > max_images {
        return Err(DataError::TooManyImages { dir: part.file.clone(), limit: max_images });
    }
    Ok(coco)
}

/// As [`read`], from a stream; `locate` says where an image of this `file_name` is.
pub fn parse(file: &Path, source: impl Read, locate: &mut dyn FnMut(&str) -> PathBuf) -> Result<Coco, DataError> {
    let parsed: File = serde_json::from_reader(BufReader::with_capacity(1 << 16, source))
        .map_err(|error| wrong(file, error.line(), format!("not a COCO file: {error}")))?;
    let mut categories = parsed.categories;
    categories.sort_by_key(|category| category.id);
    if let Some(pair) = categories.windows(2).find(|pair| pair[0].id == pair[1].id) {
        let message = format!("category id {} is given twice ({}, {})", pair[0].id, pair[0].name, pair[1].name);
        return Err(wrong(file, 0, message));
    }
    let numbers: HashMap<i64, u32> = categories.iter().enumerate().map(|(number, category)| (category.id, number as u32)).collect();
    let classes: Vec<String> = categories.into_iter().map(|category| category.name).collect();
    super::names::check(&classes).map_err(|message| wrong(file, 0, format!("`categories`: {message}")))?;

    let mut ids: HashMap<i64, usize> = HashMap::with_capacity(parsed.images.len());
    let mut images = Vec::with_capacity(parsed.images.len());
    let mut names: HashSet<PathBuf> = HashSet::with_capacity(parsed.images.len());
    for image in parsed.images {
        let path = locate(&image.file_name);
        if ids.insert(image.id, images.len()).is_some() {
            return Err(wrong(file, 0, format!("image id {} is given twice, the second time to {}", image.id, image.file_name)));
        }
        if !names.insert(path.clone()) {
            return Err(wrong(file, 0, format!("image {}: {} is listed twice", image.id, image.file_name)));
        }
        let size = image.width.zip(image.height).filter(|(width, height)| *width > 0.0 && *height > 0.0);
        images.push(Listed { path, size, boxes: Vec::new() });
    }
    let (mut problems, mut problem_count) = (Vec::new(), 0);
    for annotation in parsed.annotations.iter().filter(|annotation| !annotation.iscrowd.0) {
        if let Err(message) = add(annotation, &numbers, &ids, &mut images) {
            problem_count += 1;
            if problems.len() < KEPT {
                problems.push(Problem { file: file.to_owned(), line: 0, message: format!("annotation {}: {message}", annotation.id) });
            }
        }
    }
    let crowds = parsed.annotations.iter().filter(|annotation| annotation.iscrowd.0).count();
    images.iter_mut().for_each(|image| image.boxes.shrink_to_fit());
    images.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Coco { classes, images, crowds, problems, problem_count })
}

fn wrong(file: &Path, line: usize, message: String) -> DataError {
    DataError::Description(Problem { file: file.to_owned(), line, message })
}

fn add(annotation: &Annotation, numbers: &HashMap<i64, u32>, ids: &HashMap<i64, usize>, images: &mut [Listed]) -> Result<(), String> {
    let Annotation { image_id, category_id, bbox, .. } = annotation;
    let number = numbers.get(category_id).ok_or_else(|| format!("category_id {category_id} is out of range: it is not in `categories`"))?;
    let at = ids.get(image_id).ok_or_else(|| format!("image_id {image_id} is not in `images`"))?;
    let bbox = match bbox {
        Bbox::Pixels(bbox) => *bbox,
        Bbox::Absent => return Err("it has no bbox: export boxes (masks and keypoints are not read)".to_owned()),
        Bbox::Wrong => return Err("its bbox is not [x, y, width, height]".to_owned()),
    };
    if !bbox.iter().all(|value| value.is_finite() && value.abs() < 1e9) {
        return Err(format!("bbox {bbox:?} is not [x, y, width, height] in pixels"));
    }
    if bbox[2] < 0.0 || bbox[3] < 0.0 {
        return Err(format!("bbox {bbox:?} has a negative width or height"));
    }
    images[*at].boxes.push((*number, bbox));
    Ok(())
}

impl Listed {
    /// The boxes as fractions of the upright image, whose size is `width` × `height`.
    ///
    /// # Errors
    /// In words, when the file was made for a picture of another shape: then nobody knows where its boxes are.
    pub fn rows(&self, width: u32, height: u32) -> Result<Rows, String> {
        let real = (f64::from(width), f64::from(height));
        let (width, height) = self.size.map_or(real, |(width, height)| (f64::from(width), f64::from(height)));
        // A copy in another size is the same picture; 2 % covers the rounding of small ones.
        if (width * real.1 - height * real.0).abs() > 0.02 * width * real.1 {
            return Err(format!(
                "its annotations are for {width} x {height}, the upright image is {} x {}: was it turned after it was labelled?",
                real.0, real.1
            ));
        }
        let mut rows = Rows::default();
        for (class, bbox) in &self.boxes {
            let [x, y, w, h] = bbox.map(f64::from);
            let fraction = |value: f64, of: f64| (value / of) as f32;
            rows.push(*class, fraction(x, width), fraction(y, height), fraction(x + w, width), fraction(y + h, height));
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests;
