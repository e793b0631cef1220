//! The figures as pictures.

use edgeloop_vision::plot::{Chart, Panel, Series, matrix::Matrix};

use super::{Class, Evaluation};

/// Curves of single classes in the chart: the colours that can be told apart, less one for the mean.
const CURVES: usize = 5;

/// Names and bytes of the PNG files.
///
/// # Errors
/// When a picture cannot be encoded.
pub fn all(evaluation: &Evaluation) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    Ok(vec![("confusion.png", confusion(evaluation).png()?), ("curves.png", curves(evaluation).png(1100, 620)?)])
}

fn confusion(evaluation: &Evaluation) -> Matrix {
    let names = evaluation.classes.iter().map(|class| class.name.clone()).chain(["background".to_owned()]).collect();
    Matrix {
        title: "what is taken for what (confidence 0.25, IoU 0.45)".to_owned(),
        row_label: "labelled".to_owned(),
        column_label: "detected".to_owned(),
        names,
        cells: evaluation.confusion.counts.clone(),
    }
}

/// The mean, and the classes that need work: the lowest ones.
fn curves(evaluation: &Evaluation) -> Chart {
    let mut classes: Vec<&Class> = evaluation.classes.iter().filter(|class| class.boxes > 0).collect();
    classes.sort_by(|a, b| a.map50.total_cmp(&b.map50));
    let points = |precision: &[f64]| precision.iter().enumerate().map(|(at, value)| (at as f64 / 100.0, *value)).collect::<Vec<_>>();
    let mean: Vec<f64> = (0..=100)
        .map(|at| classes.iter().filter_map(|class| class.curve.precision.get(at)).sum::<f64>() / classes.len().max(1) as f64)
        .collect();
    let mut series = vec![Series { name: format!("mean {:.3}", evaluation.map50), points: points(&mean) }];
    let short = |name: &str| name.chars().take(18).collect::<String>();
    series.extend(
        classes
            .iter()
            .take(CURVES)
            .map(|class| Series { name: format!("{} {:.3}", short(&class.name), class.map50), points: points(&class.curve.precision) }),
    );
    let which = if classes.len() > CURVES { "mean, and the lowest five classes" } else { "all classes" };
    let panel =
        Panel { title: format!("precision at IoU 0.50: {which} (AP)"), series, y_range: Some((0.0, 1.0)), x_range: Some((0.0, 1.0)) };
    Chart { title: evaluation.model.clone(), x_label: "recall".to_owned(), panels: vec![panel] }
}
