//! COCO `annotations.json`: images, boxes in pixels, categories by id.

use super::{
    error::{DataError, Problem},
    yolo_txt::Rows,
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Read,
    path::{Path, PathBuf},
};

/// Larger files are not read: COCO's own, 118,000 images with polygons, has 450 MB.
const MAX_BYTES: u64 = 1 << 30;

#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
    #[serde(default)]
    width: Option<f64>,
    #[serde(default)]
    height: Option<f64>,
}

#[derive(Deserialize)]
struct Annotation {
    #[serde(default)]
    id: u64,
    image_id: u64,
    category_id: u64,
    bbox: Vec<f64>,
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

/// One image of the file.
#[derive(Debug, PartialEq)]
pub struct Listed {
    /// Where the image should be.
    pub path: PathBuf,
    /// Its size as the file gives it.
    pub size: Option<(f64, f64)>,
    /// Class name, then `x, y, width, height` in pixels.
    pub boxes: Vec<(String, [f64; 4])>,
}

/// What a file says.
#[derive(Debug, PartialEq)]
pub struct Coco {
    /// Class names in the order of their ids.
    pub classes: Vec<String>,
    /// Images, ordered by path.
    pub images: Vec<Listed>,
}

/// Reads one annotations file. Crowd regions are no boxes and are left out.
///
/// # Errors
/// [`DataError::Description`] for what is not COCO, [`DataError::Labels`] for annotations that are wrong.
pub fn read(file: &Path) -> Result<Coco, DataError> {
    let parsed = parse(file).map_err(DataError::Description)?;
    let mut categories = parsed.categories;
    categories.sort_by_key(|category| category.id);
    let names: HashMap<u64, &str> = categories.iter().map(|category| (category.id, category.name.as_str())).collect();
    let dir = file.parent().unwrap_or(Path::new("."));
    let mut images: BTreeMap<u64, Listed> = BTreeMap::new();
    for image in parsed.images {
        let size = image.width.zip(image.height).filter(|(width, height)| *width > 0.0 && *height > 0.0);
        images.insert(image.id, Listed { path: locate(dir, &image.file_name), size, boxes: Vec::new() });
    }
    let mut problems = Vec::new();
    for annotation in parsed.annotations.iter().filter(|annotation| annotation.iscrowd == 0) {
        if let Err(message) = add(annotation, &names, &mut images) {
            problems.push(Problem { file: file.to_owned(), line: 0, message: format!("annotation {}: {message}", annotation.id) });
        }
    }
    if !problems.is_empty() {
        let count = problems.len();
        return Err(DataError::Labels { problems, count });
    }
    let classes: Vec<String> = categories.iter().map(|category| category.name.clone()).collect();
    let wrong = |message| DataError::Description(Problem { file: file.to_owned(), line: 0, message });
    super::names::check(&classes).map_err(wrong)?;
    let mut images: Vec<Listed> = images.into_values().collect();
    images.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Coco { classes, images })
}

fn parse(path: &Path) -> Result<File, Problem> {
    let problem = |line, message| Problem { file: path.to_owned(), line, message };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| problem(0, format!("cannot be read: {error}")))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| problem(0, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(problem(0, "larger than 1 GB: split the data set".to_owned()));
    }
    serde_json::from_slice(&bytes).map_err(|error| problem(error.line(), format!("not a COCO file: {error}")))
}

/// `file_name` is relative to the file, or to the folder `images` beside it.
fn locate(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    let within = dir.join("images").join(name);
    if !path.exists() && within.exists() { within } else { path }
}

fn add(annotation: &Annotation, names: &HashMap<u64, &str>, images: &mut BTreeMap<u64, Listed>) -> Result<(), String> {
    let Annotation { image_id, category_id, bbox, .. } = annotation;
    let name = names.get(category_id).ok_or_else(|| format!("category_id {category_id} is out of range: it is not in `categories`"))?;
    let image = images.get_mut(image_id).ok_or_else(|| format!("image_id {image_id} is not in `images`"))?;
    let sound = bbox.iter().all(|value| value.is_finite() && value.abs() < 1e9);
    let bbox: [f64; 4] = bbox[..].try_into().ok().filter(|_| sound).ok_or_else(|| format!("bbox {bbox:?} is not [x, y, width, height]"))?;
    if bbox[2] < 0.0 || bbox[3] < 0.0 {
        return Err(format!("bbox {bbox:?} has a negative width or height"));
    }
    image.boxes.push(((*name).to_owned(), bbox));
    Ok(())
}

impl Listed {
    /// The boxes as fractions of the upright image, whose size is `width` × `height`.
    ///
    /// # Errors
    /// In words, when the file was made for a picture of another shape: then nobody knows where its boxes are.
    pub fn rows(&self, classes: &HashMap<&str, u32>, width: u32, height: u32) -> Result<Rows, String> {
        let (real_w, real_h) = (f64::from(width), f64::from(height));
        let (width, height) = self.size.unwrap_or((real_w, real_h));
        // A copy in another size is the same picture; 2 % covers the rounding of small ones.
        if (width * real_h - height * real_w).abs() > 0.02 * width * real_h {
            return Err(format!(
                "its annotations are for {width} x {height}, the upright image is {real_w} x {real_h}: was it turned after it was labelled?"
            ));
        }
        let mut rows = Rows::default();
        for (name, [x, y, w, h]) in &self.boxes {
            let class = *classes.get(name.as_str()).ok_or_else(|| format!("class `{name}` is unknown"))?;
            let fraction = |value: f64, of: f64| (value / of) as f32;
            rows.push(class, fraction(*x, width), fraction(*y, height), fraction(x + w, width), fraction(y + h, height));
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests;
