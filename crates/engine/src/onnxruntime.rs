//! ONNX Runtime through `ort`: its CPU provider, and the CUDA and TensorRT providers where a GPU build is installed.
//!
//! `ort` wants one environment a process and panics when it has to find the library by itself: the environment is made here,
//! once, from a path that was looked for here. A failure is not remembered, so a library that is installed later is found.

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::ep::{self, ExecutionProviderDispatch};
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::TensorRef;

use crate::{Device, Engine, EngineError, EngineInfo, InputView, LoadOptions, Output, Precision, library};

/// The environment and the library's version. `ort` itself keeps only a weak reference.
static ENVIRONMENT: Mutex<Option<(Environment, String)>> = Mutex::new(None);

/// An engine of one input shape. Those of other shapes may have the same session, and take turns: `Run` is not to be relied on from
/// two threads at once, whatever its documentation says (see `ort`'s comment on it).
struct OnnxRuntime {
    session: Arc<Mutex<Session>>,
    info: EngineInfo,
    height: usize,
    width: usize,
}

/// One session for each engine: `Session::run` takes it whole. Most of a load is work of one thread, so they load side by side.
pub(crate) fn load(onnx: &[u8], options: &LoadOptions, count: usize) -> Result<Vec<Box<dyn Engine>>, EngineError> {
    // Sequential on the caller's thread where there is one to make, so that its scheduling class is the caller's.
    if count == 1 {
        return Ok(vec![load_one(onnx, options)?]);
    }
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..count).map(|_| scope.spawn(|| load_one(onnx, options))).collect();
        let lost = || EngineError::Options("the loader's thread panicked".into());
        loads.into_iter().map(|load| load.join().map_err(|_| lost())?).collect()
    })
}

pub(crate) fn library_version() -> Result<String, EngineError> {
    environment().map(|(_, version)| version)
}

fn load_one(onnx: &[u8], options: &LoadOptions) -> Result<Box<dyn Engine>, EngineError> {
    let (environment, library_version) = environment()?;
    let device = if options.device == Device::Auto { Device::Cpu } else { options.device };
    let refused = |reason: String| EngineError::Model { device, reason };
    let mut builder = builder(&environment, options).map_err(|e| refused(e.to_string()))?;
    let session = builder.commit_from_memory(onnx).map_err(|e| refused(e.to_string()))?;
    if session.inputs().len() != 1 || session.outputs().len() != 1 {
        return Err(refused(format!(
            "it has {} inputs and {} outputs, expected one of each",
            session.inputs().len(),
            session.outputs().len()
        )));
    }
    let info = EngineInfo { device, precision: options.precision, library_version };
    let session = Arc::new(Mutex::new(session));
    Ok(Box::new(OnnxRuntime { session, info, height: options.height, width: options.width }))
}

fn builder(environment: &Environment, options: &LoadOptions) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_execution_providers(providers(options))?
        .with_intra_threads(options.threads)?
        .with_inter_threads(1)?;
    if takes_any_shape(options.device) {
        return Ok(builder);
    }
    let fixed = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    Ok(builder.with_dimension_override("height", fixed(options.height))?.with_dimension_override("width", fixed(options.width))?)
}

/// On the CPU a session of free height and width runs as fast as one of fixed ones (56 and 57 ms at 384×640, 99 and 137 at 640×640 on
/// a busy machine), and every further shape costs neither a load nor its memory. On a GPU each new shape would be tuned at its first
/// run.
fn takes_any_shape(device: Device) -> bool {
    matches!(device, Device::Auto | Device::Cpu)
}

/// What stands before the CPU provider. A provider that cannot be had is an error: ONNX Runtime would run on the CPU instead
/// and say nothing. Not tried on a GPU by us; see docs/inferer.md.
fn providers(options: &LoadOptions) -> Vec<ExecutionProviderDispatch> {
    let number = |gpu: u32| i32::try_from(gpu).unwrap_or(i32::MAX);
    let cuda = |gpu| ep::CUDA::default().with_device_id(number(gpu)).build().error_on_failure();
    match options.device {
        Device::Auto | Device::Cpu | Device::OpenVino => Vec::new(),
        Device::Cuda(gpu) => vec![cuda(gpu)],
        Device::TensorRt(gpu) => {
            let fp16 = options.precision == Precision::Fp16;
            vec![ep::TensorRT::default().with_device_id(number(gpu)).with_fp16(fp16).build().error_on_failure(), cuda(gpu)]
        }
    }
}

impl Engine for OnnxRuntime {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn in_shape(&self, height: usize, width: usize) -> Option<Box<dyn Engine>> {
        let (session, info) = (self.session.clone(), self.info.clone());
        takes_any_shape(self.info.device).then(|| Box::new(Self { session, info, height, width }) as Box<dyn Engine>)
    }

    fn run(&mut self, input: InputView<'_>) -> Result<Output, EngineError> {
        input.check(self.height, self.width)?;
        let InputView { n, h, w, data } = input;
        let device = self.info.device;
        let failed = |e: ort::Error| EngineError::Run { device, reason: e.to_string() };
        let tensor = TensorRef::from_array_view(([n, 3, h, w], data)).map_err(failed)?;
        // A run that panicked has left nothing behind in Rust; what it left in the library shows in the next one's result.
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session.run(ort::inputs![tensor]).map_err(failed)?;
        let (shape, values) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        let sizes: Option<Vec<usize>> = shape.iter().map(|d| usize::try_from(*d).ok()).collect();
        match sizes.as_deref() {
            Some(&[images, rows, anchors]) if images == n && rows > 4 => {
                Ok(Output { shape: [images, rows, anchors], data: values.to_vec() })
            }
            _ => Err(EngineError::Output { n, shape: shape.to_vec() }),
        }
    }
}

/// The process's environment, made on first use.
fn environment() -> Result<(Environment, String), EngineError> {
    let mut slot = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((environment, version)) = &*slot {
        return Ok((environment.clone(), version.clone()));
    }
    let path = library::find(library::ONNX_RUNTIME)?;
    let unusable = |reason: String| EngineError::LibraryUnusable { path: path.clone(), reason };
    // From 1.29 on Microsoft's Linux builds report sessions and models to Microsoft and keep a database in the user's cache folder.
    // `with_telemetry(false)` alone comes when the environment has been made, and that is too late for both.
    // SAFETY: under the lock, before the library is there to read it, and nothing else here changes the environment; what another
    // thread reads meanwhile through C stays valid, because the first `setenv` of a process copies the array and leaves the old one.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    // ort has assertions on what the library hands out: a foreign file under this name must not take the process down.
    let made = catch_unwind(AssertUnwindSafe(|| -> Result<Environment, String> {
        ort::init_from(&path)
            .map_err(|e| e.to_string())?
            .with_name("edgeloop")
            .with_telemetry(false)
            .with_logger(Arc::new(forward))
            .build()
            .map_err(|e| e.to_string())
    }));
    let environment = made.map_err(|_| unusable("it is no ONNX Runtime that this build understands".into()))?.map_err(unusable)?;
    environment.set_log_level(LogLevel::Warning);
    let version = version(&path).unwrap_or_else(|| "unknown".into());
    *slot = Some((environment.clone(), version.clone()));
    Ok((environment, version))
}

fn forward(level: LogLevel, _category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Fatal | LogLevel::Error => tracing::error!(target: "onnxruntime", location, "{message}"),
        LogLevel::Warning => tracing::warn!(target: "onnxruntime", location, "{message}"),
        LogLevel::Info | LogLevel::Verbose => tracing::trace!(target: "onnxruntime", location, "{message}"),
    }
}

/// Asks the library, which is open already: `ort` reads the version and keeps it to itself.
fn version(path: &Path) -> Option<String> {
    #[repr(C)]
    struct ApiBase {
        get_api: unsafe extern "C" fn(u32) -> *const c_void,
        get_version_string: unsafe extern "C" fn() -> *const c_char,
    }
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: RTLD_NOLOAD only finds what ort has opened and checked. OrtGetApiBase and the first two fields of OrtApiBase
    // are ONNX Runtime's frozen entry point; the string it returns is static.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
        if handle.is_null() {
            return None;
        }
        let symbol = libc::dlsym(handle, c"OrtGetApiBase".as_ptr());
        let version = (!symbol.is_null()).then(|| {
            let entry: unsafe extern "C" fn() -> *const ApiBase = std::mem::transmute(symbol);
            CStr::from_ptr(((*entry()).get_version_string)()).to_string_lossy().into_owned()
        });
        libc::dlclose(handle);
        version
    }
}
