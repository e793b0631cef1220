//! Both engines on a toy model, and the thread around them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rstest::rstest;
use tokio::sync::oneshot::{Receiver, error::TryRecvError};

use crate::*;

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

/// An engine that waits for permission before each run, and panics on an input that starts with NaN.
struct Gated {
    info: EngineInfo,
    gate: mpsc::Receiver<()>,
    dropped: mpsc::Sender<()>,
}

impl Engine for Gated {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn run(&mut self, input: InputView<'_>) -> Result<Output, EngineError> {
        self.gate.recv().expect("the test holds the gate");
        assert!(!input.data[0].is_nan(), "asked to panic");
        Ok(Output { shape: [1, 5, 1], data: vec![input.data[0]; 5] })
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        let _ = self.dropped.send(());
    }
}

fn gated(queue: usize) -> (EnginePool, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (open, gate) = mpsc::channel();
    let (dropped, gone) = mpsc::channel();
    let info = EngineInfo { device: Device::Cpu, precision: Precision::Fp32, library_version: "0".into() };
    (EnginePool::spawn(Box::new(Gated { info, gate, dropped }), queue).unwrap(), open, gone)
}

fn job(value: f32) -> Job {
    Job { n: 1, h: 1, w: 1, data: vec![value] }
}

/// Submits until the queue has room: the thread takes the first job at its own pace.
fn submit(thread: &EnginePool, value: f32) -> Receiver<Done> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match thread.submit(job(value)) {
            Ok(receiver) => return receiver,
            Err(e) => assert!(Instant::now() < deadline, "{e}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_full_queue_refuses_at_once_and_gives_the_job_back() {
    let (thread, open, _gone) = gated(1);
    let first = submit(&thread, 1.0);
    let second = submit(&thread, 2.0);
    match thread.submit(job(3.0)) {
        Err(SubmitError::Busy(job)) => assert_eq!(job.data, [3.0]),
        other => panic!("{other:?}"),
    }
    open.send(()).unwrap();
    open.send(()).unwrap();
    for (receiver, value) in [(first, 1.0), (second, 2.0)] {
        let done = received(receiver).unwrap();
        assert_eq!((done.output.unwrap().data[0], done.data), (value, vec![value]));
    }
}

#[test]
fn dropping_the_handle_drains_the_queue_and_frees_the_engine() {
    let (thread, open, gone) = gated(4);
    let answers: Vec<_> = [1.0, 2.0, 3.0].map(|v| submit(&thread, v)).into();
    drop(thread);
    for (answer, value) in answers.into_iter().zip([1.0, 2.0, 3.0]) {
        open.send(()).unwrap();
        assert_eq!(received(answer).unwrap().output.unwrap().data[0], value);
    }
    gone.recv_timeout(Duration::from_secs(10)).expect("the engine was dropped");
}

#[test]
fn closing_waits_until_the_engine_is_gone() {
    let (thread, open, gone) = gated(4);
    let answer = submit(&thread, 1.0);
    open.send(()).unwrap();
    thread.close();
    gone.try_recv().expect("dropped before close returned");
    assert!(received(answer).is_ok());
}

#[test]
fn an_engine_that_panics_is_visible_and_fails_what_waits() {
    let (thread, open, _gone) = gated(4);
    let (bad, behind) = (submit(&thread, f32::NAN), submit(&thread, 1.0));
    open.send(()).unwrap();
    assert!(received(bad).is_err());
    assert!(received(behind).is_err());
    let deadline = Instant::now() + Duration::from_secs(10);
    while thread.is_alive() {
        assert!(Instant::now() < deadline, "the thread still runs");
        std::thread::yield_now();
    }
    assert!(matches!(thread.submit(job(2.0)), Err(SubmitError::Stopped(_))));
}

#[test]
fn a_job_whose_caller_has_gone_is_not_run() {
    let (thread, open, gone) = gated(4);
    let first = submit(&thread, 1.0);
    drop(submit(&thread, 2.0));
    let third = submit(&thread, 3.0);
    open.send(()).unwrap();
    open.send(()).unwrap();
    assert!(received(first).is_ok());
    assert_eq!(received(third).unwrap().output.unwrap().data[0], 3.0, "two permissions were enough for three jobs");
    drop(thread);
    gone.recv_timeout(Duration::from_secs(10)).unwrap();
}

/// A gated engine that answers with its own number.
fn numbered(number: f32) -> (Box<dyn Engine>, mpsc::Sender<()>) {
    struct Numbered(Gated, f32);
    impl Engine for Numbered {
        fn info(&self) -> &EngineInfo {
            self.0.info()
        }
        fn run(&mut self, input: InputView<'_>) -> Result<Output, EngineError> {
            self.0.run(input).map(|_| Output { shape: [1, 5, 1], data: vec![self.1; 5] })
        }
    }
    let (open, gate) = mpsc::channel();
    let info = EngineInfo { device: Device::Cpu, precision: Precision::Fp32, library_version: "0".into() };
    (Box::new(Numbered(Gated { info, gate, dropped: mpsc::channel().0 }, number)), open)
}

/// What comes of a job; an error when nothing ever will.
fn received(mut receiver: Receiver<Done>) -> Result<Done, TryRecvError> {
    let mut last = receiver.try_recv();
    until("an answer", || {
        if matches!(last, Err(TryRecvError::Empty)) {
            last = receiver.try_recv();
        }
        !matches!(last, Err(TryRecvError::Empty))
    });
    last
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "waited too long: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn instances_run_beside_each_other_from_one_queue() {
    let ((a, open_a), (b, open_b)) = (numbered(1.0), numbered(2.0));
    let pool = EnginePool::spawn_all(a, vec![b], 4).unwrap();
    let answers: Vec<_> = (0..3).map(|_| submit(&pool, 0.0)).collect();
    until("two of three are taken", || pool.waiting() == 1);
    // Whoever is let go takes the third as well.
    open_a.send(()).unwrap();
    open_a.send(()).unwrap();
    until("the third is taken", || pool.waiting() == 0);
    open_b.send(()).unwrap();
    let mut who: Vec<f32> = answers.into_iter().map(|a| received(a).unwrap().output.unwrap().data[0]).collect();
    who.sort_by(f32::total_cmp);
    assert_eq!((pool.instances(), who), (2, vec![1.0, 1.0, 2.0]));
}

#[test]
fn jobs_that_come_one_at_a_time_get_the_solo_engine_and_those_that_overlap_an_instance() {
    let ((instance, open_instance), (solo, open_solo)) = (numbered(1.0), numbered(9.0));
    let pool = EnginePool::spawn(instance, 4).unwrap();
    pool.set_solo(solo).unwrap();
    let who = |answer| received(answer).unwrap().output.unwrap().data[0];
    for _ in 0..2 {
        for _ in 0..3 {
            open_instance.send(()).unwrap();
            assert_eq!(who(submit(&pool, 0.0)), 1.0, "one at a time, but not for long enough");
        }
        assert!(!pool.wants_solo());
        let alone = submit(&pool, 0.0);
        assert!(pool.wants_solo());
        let beside = submit(&pool, 0.0);
        open_instance.send(()).unwrap();
        assert_eq!(who(beside), 1.0);
        open_solo.send(()).unwrap();
        assert_eq!(who(alone), 9.0);
        assert!(!pool.wants_solo(), "they overlapped");
    }
    (0..3).for_each(|_| open_instance.send(()).unwrap());
    (0..3).for_each(|_| assert_eq!(who(submit(&pool, 0.0)), 1.0));
    // Dropping drains the solo engine's job too.
    let last = submit(&pool, 0.0);
    drop(pool);
    open_solo.send(()).unwrap();
    assert_eq!(who(last), 9.0);
}

#[test]
fn the_solo_engine_takes_every_job_until_there_are_instances() {
    let ((instance, open_instance), (solo, open_solo)) = (numbered(1.0), numbered(9.0));
    let pool = EnginePool::spawn_solo(solo, 4).unwrap();
    assert_eq!((pool.instances(), pool.has_solo()), (0, true));
    let who = |answer| received(answer).unwrap().output.unwrap().data[0];
    let answers = [submit(&pool, 0.0), submit(&pool, 0.0), submit(&pool, 0.0)];
    (0..3).for_each(|_| open_solo.send(()).unwrap());
    assert_eq!(answers.map(who), [9.0; 3]);
    for _ in 0..2 {
        open_solo.send(()).unwrap();
        assert_eq!(who(submit(&pool, 0.0)), 9.0, "it is woken");
    }
    pool.add(vec![instance]).unwrap();
    assert_eq!(pool.instances(), 1);
    let beside = [submit(&pool, 0.0), submit(&pool, 0.0)];
    (0..2).for_each(|_| open_instance.send(()).unwrap());
    assert_eq!(beside.map(who), [1.0; 2]);
}

#[test]
fn one_instance_that_panics_ends_the_pool() {
    let ((a, open_a), (b, open_b)) = (numbered(1.0), numbered(2.0));
    let pool = EnginePool::spawn_all(a, vec![b], 4).unwrap();
    let bad: Vec<_> = (0..2).map(|_| submit(&pool, f32::NAN)).collect();
    open_a.send(()).unwrap();
    open_b.send(()).unwrap();
    assert!(bad.into_iter().all(|a| received(a).is_err()));
    until("the pool is over", || !pool.is_alive());
    assert!(matches!(pool.submit(job(1.0)), Err(SubmitError::Stopped(_))));
    pool.close();
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
