//! Writes an untrained network as `.pt`, `.safetensors` and `.onnx`, to look at with other tools:
//! `cargo run --release -p edgeloop-model --example write_pt -- n 80 /tmp/n`
use edgeloop_model::{Network, Weights, onnx, pt, safetensors};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scale, classes, stem] = &arguments[..] else { return Err("give scale, classes and the path without its ending".into()) };
    let network = Network::yolov8(scale.parse()?, classes.parse()?);
    let weights = Weights::init(&network, 0);
    let names = (0..network.classes).map(|class| format!("class {class}")).collect();
    let meta = onnx::OnnxMeta { names, imgsz: 640, stride: 32, extra: Vec::new() };
    std::fs::write(format!("{stem}.pt"), pt::write(&weights)?)?;
    std::fs::write(format!("{stem}.safetensors"), safetensors::write(&weights, &[])?)?;
    std::fs::write(format!("{stem}.onnx"), onnx::emit(&network, &weights, &meta)?)?;
    println!("{} values in {} arrays", network.values(), weights.len());
    Ok(())
}
