//! Writes a chart and an annotated picture to look at: `cargo run --release -p edgeloop-vision --example drawings -- FOLDER`.

use edgeloop_vision::Image;
use edgeloop_vision::boxes::Xyxy;
use edgeloop_vision::draw::{Annotation, draw_detections};
use edgeloop_vision::encode::encode_png;
use edgeloop_vision::plot::{Chart, Panel, Series};

fn series(name: &str, epochs: u32, value: impl Fn(f64) -> f64) -> Series {
    Series { name: name.into(), points: (1..=epochs).map(|e| (f64::from(e), value(f64::from(e)))).collect() }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::path::PathBuf::from(std::env::args().nth(1).ok_or("say where: one argument, a folder")?);
    std::fs::create_dir_all(&folder)?;
    let wobble = |e: f64| (e * 2.7).sin() * 0.02;
    let chart = Chart {
        title: "model_20261121_030000".into(),
        x_label: "epoch".into(),
        panels: vec![
            Panel {
                title: "losses".into(),
                series: vec![
                    series("box", 40, |e| 1.1 + 2.6 / (1.0 + e * 0.3) + wobble(e)),
                    series("class", 40, |e| 0.6 + 4.1 / (1.0 + e * 0.45) + wobble(e + 1.0)),
                    series("dfl", 40, |e| 1.0 + 1.2 / (1.0 + e * 0.2)),
                ],
                y_range: None,
                x_range: None,
            },
            Panel {
                title: "on the val images".into(),
                series: vec![
                    series("mAP50", 40, |e| 0.97 * (1.0 - (-e / 9.0).exp()) + wobble(e)),
                    series("mAP50-95", 40, |e| 0.74 * (1.0 - (-e / 13.0).exp()) + wobble(e)),
                ],
                y_range: Some((0.0, 1.0)),
                x_range: None,
            },
        ],
    };
    std::fs::write(folder.join("chart.png"), chart.png(1200, 460)?)?;
    let one = Chart {
        title: "one epoch".into(),
        x_label: "epoch".into(),
        panels: vec![Panel { title: "loss".into(), series: vec![series("box", 1, |_| 3.2)], y_range: None, x_range: None }],
    };
    std::fs::write(folder.join("one.png"), one.png(480, 320)?)?;

    let mut image = Image::filled(640, 360, [70, 80, 86]);
    let boxes = [
        (20.0, 60.0, 180.0, 200.0),
        (150.0, 150.0, 300.0, 340.0),
        (320.0, 5.0, 460.0, 100.0),
        (560.0, 120.0, 640.0, 260.0),
        (430.0, 180.0, 540.0, 350.0),
    ];
    let annotations: Vec<Annotation> = boxes
        .iter()
        .zip(["bolt", "nut", "Unterlegscheibe", "Гайка", "washer"])
        .enumerate()
        .map(|(class, (b, label))| Annotation {
            bbox: Xyxy::new(b.0, b.1, b.2, b.3),
            label: label.into(),
            confidence: (class != 2).then_some(0.93 - 0.13 * class as f32),
            class: class as u32,
        })
        .collect();
    draw_detections(&mut image, &annotations);
    std::fs::write(folder.join("boxes.png"), encode_png(&image)?)?;
    Ok(())
}
