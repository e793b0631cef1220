//! The findings as pictures.

use edgeloop_vision::{
    Image,
    boxes::Xyxy,
    draw::{Annotation, draw_detections},
    encode::encode_png,
    letterbox::{Letterbox, resize},
    plot::{bars::Bars, scatter::Scatter, sheet::sheet},
};

use super::{Inspection, sizes};
use crate::data::{Survey, Surveyed, read_image};

/// Points in the scatter: more lie on each other.
const MAX_POINTS: usize = 20_000;
/// Examples on the sheet, and the side of each.
const EXAMPLES: usize = 20;
const EXAMPLE_SIDE: u32 = 320;

/// Names and bytes of the PNG files.
///
/// # Errors
/// When a picture cannot be encoded.
pub fn all(survey: &Survey, inspection: &Inspection) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    Ok(vec![
        ("classes.png", classes(inspection).png(1000)?),
        ("boxes.png", boxes(survey, inspection.imgsz).png(760)?),
        ("examples.png", encode_png(&examples(survey))?),
    ])
}

fn classes(inspection: &Inspection) -> Bars {
    let bars = inspection.classes.iter().map(|class| (class.name.clone(), vec![class.train_boxes as f64, class.val_boxes as f64]));
    Bars { title: "boxes by class".to_owned(), parts: vec!["train".to_owned(), "val".to_owned()], bars: bars.collect() }
}

fn boxes(survey: &Survey, imgsz: u32) -> Scatter {
    let total: usize = survey.images.iter().map(|image| image.rows.objects.len()).sum();
    let all = survey.images.iter().flat_map(|image| image.rows.objects.iter().map(move |object| (image, object)));
    let some = all.step_by(total.div_ceil(MAX_POINTS).max(1));
    let point = |(image, object): (&Surveyed, &crate::data::Object)| {
        let (width, height) = sizes::at_input(image, object, imgsz);
        (f64::from(width), f64::from(height), object.class)
    };
    Scatter {
        title: format!("box sizes at IMGSZ {imgsz}"),
        x_label: "width, px".to_owned(),
        y_label: "height, px".to_owned(),
        most: f64::from(imgsz),
        points: some.map(point).collect(),
        names: survey.classes.clone(),
        guides: vec![(f64::from(sizes::SMALL), "8 px".to_owned())],
    }
}

/// Images from all over the folder, with their boxes; those that can no longer be read are left out.
fn examples(survey: &Survey) -> Image {
    let step = survey.images.len().div_ceil(EXAMPLES).max(1);
    let pictures: Vec<(Image, String)> =
        survey.images.iter().step_by(step).filter_map(|image| Some((example(image, &survey.classes)?, caption(image)))).collect();
    sheet(&format!("{} of {} labelled images", pictures.len(), survey.images.len()), &pictures, 5, EXAMPLE_SIDE)
}

fn caption(image: &Surveyed) -> String {
    let side = if image.side == Some(crate::data::Side::Val) { "val" } else { "train" };
    format!("{side}  {}", image.path.file_name().unwrap_or_default().to_string_lossy())
}

fn example(image: &Surveyed, classes: &[String]) -> Option<Image> {
    let whole = read_image(&image.path).ok()?;
    let fit = Letterbox::fit(whole.width, whole.height, EXAMPLE_SIDE, EXAMPLE_SIDE);
    let mut small = resize(&whole, fit.fit_w, fit.fit_h);
    let (w, h) = (small.width as f32, small.height as f32);
    let annotations: Vec<Annotation> = image
        .rows
        .objects
        .iter()
        .map(|object| Annotation {
            bbox: Xyxy::from_cxcywh(object.cx * w, object.cy * h, object.w * w, object.h * h),
            label: classes.get(object.class as usize).cloned().unwrap_or_default(),
            confidence: None,
            class: object.class,
        })
        .collect();
    draw_detections(&mut small, &annotations);
    Some(small)
}
