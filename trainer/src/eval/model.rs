//! A model to evaluate: a version of the store, or a file.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use edgeloop_engine::{Device as EngineDevice, Engine, InputView, LoadOptions, Precision};
use edgeloop_model::{Network, Weights, onnx};
use edgeloop_store::{Store, Version};
use tch::Device;

use crate::{
    data::Batch,
    fit::predictor,
    judge::Predictions,
    net::Yolo,
    settings::Settings,
    start::{Brought, model_of},
};

/// Larger ONNX files are not read.
const MAX_ONNX_BYTES: u64 = 1 << 30;

/// A loaded model.
pub struct Model {
    /// What it is called.
    pub name: String,
    /// Its classes, in its order; `None` where a file names none.
    pub classes: Option<Vec<String>>,
    /// How many there are.
    pub count: usize,
    /// The side that it was made for, where it says so.
    pub imgsz: Option<u32>,
    runs: Runs,
}

enum Runs {
    Torch(Box<Yolo>),
    /// Loaded when the side of the input is known.
    Onnx(Vec<u8>),
    Engine(Box<dyn Engine>),
}

impl Model {
    /// `latest`, a version such as `20261121_030000`, or a file: `.pt`, `.safetensors`, `.onnx`.
    ///
    /// # Errors
    /// When there is no such version or file, or it is not one of a detector.
    pub fn open(which: &str, settings: &Settings) -> anyhow::Result<Self> {
        let path = Path::new(which);
        if which == "latest" || (which.parse::<Version>().is_ok() && !path.exists()) {
            return Self::version(which, settings);
        }
        ensure!(path.is_file(), "{which} is neither `latest`, nor a version of {}, nor a file", settings.model_dir.display());
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx")) {
            return Self::onnx(path);
        }
        let Brought { imported, names, .. } = Brought::read(path, settings.init.init_classes.as_deref())?;
        Self::torch(which.to_owned(), &imported.network, &imported.weights, names, None, settings.device)
    }

    fn version(which: &str, settings: &Settings) -> anyhow::Result<Self> {
        let store = Store::open(&settings.model_dir)?;
        let metadata = match which.parse::<Version>() {
            Ok(version) => store.metadata(&version)?,
            Err(_) => store.pointer()?.context("no model was promoted yet")?.metadata,
        };
        let (network, weights) = model_of(&store, &metadata)?;
        let name = format!("version {}", metadata.version);
        Self::torch(name, &network, &weights, Some(metadata.classes), Some(metadata.image_size), settings.device)
    }

    fn torch(
        name: String,
        network: &Network,
        weights: &Weights,
        classes: Option<Vec<String>>,
        imgsz: Option<u32>,
        device: Device,
    ) -> anyhow::Result<Self> {
        let mut net = Yolo::from_weights(network, device, weights)?;
        net.to_channels_last()?;
        Ok(Self { name, classes, count: network.classes, imgsz, runs: Runs::Torch(Box::new(net)) })
    }

    fn onnx(path: &Path) -> anyhow::Result<Self> {
        let length = fs::metadata(path)?.len();
        ensure!(length <= MAX_ONNX_BYTES, "{} has {length} bytes, at most {MAX_ONNX_BYTES} are read", path.display());
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let info = onnx::inspect(&bytes).with_context(|| format!("{} cannot be used", path.display()))?;
        ensure!(!info.names.is_empty(), "{} names no classes in its metadata", path.display());
        let imgsz = info.imgsz.filter(|[height, width]| height == width).and_then(|[side, _]| u32::try_from(side).ok());
        Ok(Self { name: path.display().to_string(), count: info.names.len(), classes: Some(info.names), imgsz, runs: Runs::Onnx(bytes) })
    }

    /// Makes it ready for inputs of `imgsz` pixels; gives what runs it, in words.
    ///
    /// # Errors
    /// When ONNX Runtime is missing or refuses the file.
    pub fn prepare(&mut self, imgsz: u32, threads: usize) -> anyhow::Result<String> {
        if let Runs::Onnx(bytes) = &self.runs {
            let side = imgsz as usize;
            let options = LoadOptions { device: EngineDevice::Cpu, precision: Precision::Fp32, threads, height: side, width: side };
            self.runs = Runs::Engine(edgeloop_engine::load(bytes, &options)?);
        }
        Ok(match &self.runs {
            Runs::Torch(_) | Runs::Onnx(_) => "libtorch, float32".to_owned(),
            Runs::Engine(engine) => format!("ONNX Runtime {}, float32", engine.info().library_version),
        })
    }

    /// What it says about a batch.
    ///
    /// # Errors
    /// When the runtime fails.
    pub fn predict(&mut self, batch: &Batch) -> anyhow::Result<Predictions> {
        match &mut self.runs {
            Runs::Torch(net) => predictor(net)(batch),
            Runs::Onnx(_) => anyhow::bail!("the model was not prepared"),
            Runs::Engine(engine) => {
                let values: Vec<f32> = batch.images.iter().map(|&byte| f32::from(byte) / 255.0).collect();
                let output = engine.run(InputView { n: batch.n, h: batch.h, w: batch.w, data: &values })?;
                Ok(Predictions { data: output.data })
            }
        }
    }
}
