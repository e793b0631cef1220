//! The threads around engines.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot::{Receiver, error::TryRecvError};

use crate::*;

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
