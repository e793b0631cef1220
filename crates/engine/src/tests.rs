//! Both engines on a toy model.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use rstest::rstest;

use crate::*;

mod pool;

const OFFSETS: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 0.25, -1.0];

fn options(device: Device, height: usize, width: usize) -> LoadOptions {
    LoadOptions { device, precision: Precision::Fp32, threads: 1, height, width }
}

/// Patch `p` (row-major 32×32 tiles) of image `i` is filled with `i + p / 100`.
fn images(n: usize, h: usize, w: usize) -> Vec<f32> {
    let mut data = vec![0.0; n * 3 * h * w];
    for (at, value) in data.iter_mut().enumerate() {
        let (x, y, image) = (at % w, at / w % h, at / (3 * h * w));
        *value = image as f32 + (y / 32 * (w / 32) + x / 32) as f32 / 100.0;
    }
    data
}

#[rstest]
fn an_engine_gives_every_image_of_a_batch_at_the_size_that_was_fixed(
    #[values(Device::Cpu, Device::OpenVino)] device: Device,
    #[values((64, 64), (32, 96))] (h, w): (usize, usize),
    #[values(1, 3)] n: usize,
) {
    let mut engine = load(&toy::Toy::means(OFFSETS).onnx(), &options(device, h, w)).unwrap();
    assert_eq!((engine.info().device, engine.info().precision), (device, Precision::Fp32));
    assert!(engine.info().library_version.starts_with(|c: char| c.is_ascii_digit()), "{:?}", engine.info());
    let anchors = h * w / 1024;
    for _ in 0..2 {
        let output = engine.run(InputView { n, h, w, data: &images(n, h, w) }).unwrap();
        assert_eq!(output.shape, [n, 6, anchors]);
        assert!(output.image(n).is_none());
        for image in 0..n {
            for (at, value) in output.image(image).unwrap().iter().enumerate() {
                let expected = image as f32 + (at % anchors) as f32 / 100.0 + OFFSETS[at / anchors];
                assert!((value - expected).abs() < 1e-4, "{device} image {image} value {at}: {value}, expected {expected}");
            }
        }
    }
}

#[rstest]
#[case::no_image(0, 64, 64, 0)]
#[case::other_size(1, 32, 64, 3 * 32 * 64)]
#[case::short(1, 64, 64, 3 * 64 * 64 - 1)]
#[case::long(1, 64, 64, 3 * 64 * 64 + 1)]
fn a_wrong_input_is_refused_and_the_engine_goes_on(
    #[values(Device::Cpu, Device::OpenVino)] device: Device,
    #[case] n: usize,
    #[case] h: usize,
    #[case] w: usize,
    #[case] values: usize,
) {
    let mut engine = load(&toy::Toy::means(OFFSETS).onnx(), &options(device, 64, 64)).unwrap();
    let refused = engine.run(InputView { n, h, w, data: &vec![0.0; values] });
    assert!(matches!(refused, Err(EngineError::Input { .. })), "{refused:?}");
    assert!(engine.run(InputView { n: 1, h: 64, w: 64, data: &images(1, 64, 64) }).is_ok());
}

#[rstest]
fn what_is_no_model_is_refused_with_a_reason(#[values(Device::Cpu, Device::OpenVino, Device::Auto)] device: Device) {
    let whole = toy::Toy::means(OFFSETS).onnx();
    for bytes in [&b""[..], b"not a model", &whole[..whole.len() / 2]] {
        let error = load(bytes, &options(device, 64, 64)).err().expect("refused");
        assert!(error.to_string().contains("refuses the model"), "{error}");
    }
}

#[rstest]
#[case(0, 64, 64)]
#[case(1, 0, 64)]
#[case(1, 64, 65)]
fn unusable_options_are_refused(#[case] threads: usize, #[case] height: usize, #[case] width: usize) {
    let refused = load(&toy::Toy::means(OFFSETS).onnx(), &LoadOptions { threads, ..options(Device::Cpu, height, width) });
    assert!(matches!(refused.err(), Some(EngineError::Options(_))));
}

/// Microsoft's Linux builds report to Microsoft unless they are told not to before they are opened; the database of what is still
/// to be sent shows whether they do.
#[test]
fn onnx_runtime_reports_to_nobody() {
    let _engine = load(&toy::Toy::means(OFFSETS).onnx(), &options(Device::Cpu, 64, 64)).unwrap();
    let open: Vec<_> = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok()).collect();
    assert!(open.iter().all(|path| !path.to_string_lossy().contains("onnxruntime.db")), "{open:?}");
}

#[test]
fn auto_is_onnx_runtime_where_it_works() {
    assert_eq!(load(&toy::Toy::means(OFFSETS).onnx(), &options(Device::Auto, 64, 64)).unwrap().info().device, Device::Cpu);
}

#[test]
fn a_short_float_is_what_it_says_or_an_error() {
    let onnx = toy::Toy::means(OFFSETS).onnx();
    for precision in [Precision::Bf16, Precision::Fp16] {
        let wanted = LoadOptions { precision, ..options(Device::OpenVino, 64, 64) };
        match (supports(Device::OpenVino, precision, cpu()), load(&onnx, &wanted)) {
            (Err(reason), Err(EngineError::Options(told))) => assert_eq!(reason, told),
            (Ok(()), Ok(mut engine)) => {
                assert_eq!((engine.info().device, engine.info().precision), (Device::OpenVino, precision));
                let output = engine.run(InputView { n: 1, h: 64, w: 64, data: &images(1, 64, 64) }).unwrap();
                for (at, value) in output.data.iter().enumerate() {
                    let expected = (at % 4) as f32 / 100.0 + OFFSETS[at / 4];
                    // bfloat16 has 8 bits: half a step at 3.03 is 0.008.
                    assert!((value - expected).abs() < 0.03, "{precision} value {at}: {value}, expected {expected}");
                }
            }
            // The flags say yes and the plugin says no: an error, not something else in silence.
            (Ok(()), Err(EngineError::Model { reason, .. })) => assert!(reason.contains("instead of"), "{reason}"),
            (supported, loaded) => panic!("{supported:?}, {:?}", loaded.err()),
        }
        let refused = load(&onnx, &LoadOptions { precision, ..options(Device::Cpu, 64, 64) });
        assert!(matches!(refused.err(), Some(EngineError::Options(_))), "ONNX Runtime computes in float32 on a CPU");
    }
}

#[rstest]
fn engines_loaded_together_run_beside_each_other(#[values(Device::Cpu, Device::OpenVino)] device: Device) {
    let engines = load_many(&toy::Toy::means(OFFSETS).onnx(), &options(device, 64, 64), 3).unwrap();
    assert_eq!(engines.len(), 3);
    std::thread::scope(|scope| {
        for (n, mut engine) in engines.into_iter().enumerate() {
            scope.spawn(move || {
                let data: Vec<f32> = images(1, 64, 64).iter().map(|v| v + n as f32).collect();
                for _ in 0..20 {
                    let output = engine.run(InputView { n: 1, h: 64, w: 64, data: &data }).unwrap();
                    let expected = n as f32 + OFFSETS[0];
                    assert!((output.data[0] - expected).abs() < 1e-4, "{device} engine {n}: {}", output.data[0]);
                }
            });
        }
    });
}

#[test]
fn a_loaded_model_serves_other_shapes_beside_its_own() {
    let mut square = load(&toy::Toy::means(OFFSETS).onnx(), &options(Device::Cpu, 64, 64)).unwrap();
    let mut wide = square.in_shape(32, 96).expect("ONNX Runtime's CPU sessions take any shape");
    let run = |engine: &mut dyn Engine, h, w| engine.run(InputView { n: 1, h, w, data: &images(1, h, w) }).map(|output| output.shape);
    for _ in 0..2 {
        assert_eq!(run(&mut *square, 64, 64).unwrap(), [1, 6, 4]);
        assert_eq!(run(&mut *wide, 32, 96).unwrap(), [1, 6, 3]);
    }
    assert!(matches!(run(&mut *wide, 64, 64), Err(EngineError::Input { .. })), "each takes its own shape only");
    std::thread::scope(|scope| {
        let other = scope.spawn(move || (0..50).try_for_each(|_| run(&mut *wide, 32, 96).map(drop)));
        let mut run = |h, w| square.run(InputView { n: 1, h, w, data: &images(1, h, w) });
        (0..50).for_each(|_| assert_eq!(run(64, 64).unwrap().shape, [1, 6, 4]));
        other.join().unwrap().unwrap();
    });
    let fixed = load(&toy::Toy::means(OFFSETS).onnx(), &options(Device::OpenVino, 64, 64)).unwrap();
    assert!(fixed.in_shape(32, 96).is_none(), "OpenVINO compiles for one shape");
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_and_not_the_cpu_in_silence() {
    for device in [Device::Cuda(0), Device::TensorRt(0)] {
        // With a GPU build and a GPU this is a real engine; everywhere else it must not be one.
        if let Ok(engine) = load(&toy::Toy::means(OFFSETS).onnx(), &options(device, 64, 64)) {
            assert_eq!(engine.info().device, device);
        }
    }
}
