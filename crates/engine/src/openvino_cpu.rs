//! OpenVINO's CPU plugin through the `openvino` crate.
//!
//! Its `compile_model` takes no properties, so each model has a core of its own with threads and precision set on it. The
//! graph is compiled for one image of the loaded size, and a batch is run image by image: a free batch axis would cost
//! every request the shape inference that a fixed one saves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use openvino::{CompiledModel, Core, DeviceType, ElementType, InferRequest, PartialShape, PropertyKey, RwPropertyKey, Shape, Tensor};

use crate::{Device, Engine, EngineError, EngineInfo, InputView, LoadOptions, Output, Precision, library};

struct OpenVino {
    // Declared in the order in which they must be dropped.
    request: InferRequest,
    input: Tensor,
    // Never locked: it makes the handle shareable, and is dropped with the last request.
    _compiled: Arc<Mutex<Compiled>>,
    info: EngineInfo,
    height: usize,
    width: usize,
}

/// What the requests of one model share.
struct Compiled {
    _model: CompiledModel,
    _core: Core,
}

pub(crate) fn load(onnx: &[u8], options: &LoadOptions, count: usize) -> Result<Vec<Box<dyn Engine>>, EngineError> {
    with_library(|| compile(onnx, options, count).map_err(|reason| EngineError::Model { device: Device::OpenVino, reason }))
}

pub(crate) fn library_version() -> Result<String, EngineError> {
    with_library(|| Ok(openvino::version().build_number))
}

/// Opens the library, then does `work`.
fn with_library<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    let path = library::find(library::OPENVINO)?;
    let unusable = |reason: String| EngineError::LibraryUnusable { path: path.clone(), reason };
    // The crate panics on a library that lacks a function or names its version oddly: that is an error of this file here.
    let done = catch_unwind(AssertUnwindSafe(|| {
        openvino_sys::library::load_from(path.clone()).map_err(unusable)?;
        work()
    }));
    done.map_err(|_| unusable("it is no OpenVINO that this build understands".into()))?
}

/// One model with a stream for each engine: streams share the weights and the compilation.
fn compile(onnx: &[u8], options: &LoadOptions, count: usize) -> Result<Vec<Box<dyn Engine>>, String> {
    let text = |e: openvino::InferenceError| e.to_string();
    let (hint, precision) = match options.precision {
        Precision::Fp32 => ("f32", Precision::Fp32),
        Precision::Bf16 => ("bf16", Precision::Bf16),
        Precision::Fp16 => ("f16", Precision::Fp16),
    };
    let mut core = Core::new().map_err(|e| e.to_string())?;
    core.set_properties(
        &DeviceType::CPU,
        [
            (RwPropertyKey::InferenceNumThreads, options.threads.saturating_mul(count).to_string().as_str()),
            (RwPropertyKey::NumStreams, count.to_string().as_str()),
            (RwPropertyKey::HintInferencePrecision, hint),
            // Pinned streams of two models would share their cores while others are idle.
            (RwPropertyKey::HintEnableCpuPinning, "NO"),
        ],
    )
    .map_err(text)?;
    let mut model = core.read_model_from_buffer(onnx, None).map_err(text)?;
    let (inputs, outputs) = (model.get_inputs_len().map_err(text)?, model.get_outputs_len().map_err(text)?);
    if inputs != 1 || outputs != 1 {
        return Err(format!("it has {inputs} inputs and {outputs} outputs, expected one of each"));
    }
    let side = |n: usize| i64::try_from(n).map_err(|e| e.to_string());
    let shape = [1, 3, side(options.height)?, side(options.width)?];
    model.reshape_single_input(&PartialShape::new_static(4, &shape).map_err(text)?).map_err(text)?;
    let mut compiled = core.compile_model(&model, DeviceType::CPU).map_err(text)?;
    // The plugin takes any hint and falls back to float32 where the CPU lacks the instructions: something else in silence.
    let taken = compiled.get_property(&PropertyKey::Rw(RwPropertyKey::HintInferencePrecision)).map_err(text)?;
    if taken != hint {
        return Err(format!("it would compute in {taken} instead of {hint} here"));
    }
    let requests: Vec<InferRequest> = (0..count).map(|_| compiled.create_infer_request().map_err(text)).collect::<Result<_, _>>()?;
    let compiled = Arc::new(Mutex::new(Compiled { _model: compiled, _core: core }));
    let library_version = openvino::version().build_number;
    requests
        .into_iter()
        .map(|mut request| {
            let input = Tensor::new(ElementType::F32, &Shape::new(&shape).map_err(text)?).map_err(text)?;
            request.set_input_tensor(&input).map_err(text)?;
            let info = EngineInfo { device: Device::OpenVino, precision, library_version: library_version.clone() };
            let (height, width) = (options.height, options.width);
            Ok(Box::new(OpenVino { request, input, _compiled: compiled.clone(), info, height, width }) as Box<dyn Engine>)
        })
        .collect()
}

impl OpenVino {
    /// One image; appends its `[rows, anchors]` block to `data` and returns the two sizes.
    fn run_one(&mut self, image: &[f32], data: &mut Vec<f32>) -> Result<[usize; 2], EngineError> {
        let failed = |e: openvino::InferenceError| EngineError::Run { device: Device::OpenVino, reason: e.to_string() };
        self.input.get_data_mut::<f32>().map_err(failed)?.copy_from_slice(image);
        self.request.infer().map_err(failed)?;
        let output = self.request.get_output_tensor().map_err(failed)?;
        let shape = output.get_shape().map_err(failed)?.get_dimensions().to_vec();
        let sizes: Option<Vec<usize>> = shape.iter().map(|d| usize::try_from(*d).ok()).collect();
        match sizes.as_deref() {
            Some(&[1, rows, anchors]) if rows > 4 && output.get_element_type().map_err(failed)? == ElementType::F32 => {
                data.extend_from_slice(output.get_data::<f32>().map_err(failed)?);
                Ok([rows, anchors])
            }
            _ => Err(EngineError::Output { n: 1, shape }),
        }
    }
}

impl Engine for OpenVino {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn run(&mut self, input: InputView<'_>) -> Result<Output, EngineError> {
        input.check(self.height, self.width)?;
        let InputView { n, h, w, data } = input;
        let mut out = Vec::new();
        let mut sizes = [0; 2];
        for image in data.chunks_exact(3 * h * w) {
            sizes = self.run_one(image, &mut out)?;
        }
        Ok(Output { shape: [n, sizes[0], sizes[1]], data: out })
    }
}
