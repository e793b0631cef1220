//! Each engine owns a thread: jobs come in through one bounded queue, answers go out through a oneshot each.
//!
//! ```text
//! submit ─► queue ─┬─► instance 0 ─┐
//!                  ├─► instance 1 ─┼─► oneshot        instances: few threads each, most images a second
//!                  └─► solo ───────┘                  solo: all threads, for jobs that come one at a time
//! ```
//!
//! Nobody else touches an engine, so a run needs no lock, and an async caller never blocks. Dropping the handle closes the
//! queue; the threads finish what is in it, drop their engines on their own stacks and end. If an engine panics the pool
//! is over: waiting answers fail, [`EnginePool::submit`] says [`SubmitError::Stopped`], and the owner can load anew.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::{Engine, EngineError, EngineInfo, InputView, Output};

/// So many jobs in a row must have found nothing running before one gets the solo engine. Its threads wait for each other: where jobs
/// overlap now and then it costs a tenth of the CPU and every job a quarter of its time (104 instead of 81 ms at 70 % load).
const ALONE: u32 = 4;

/// A batch to run. The buffer comes back with the answer, so that callers can use it again.
#[derive(Debug)]
pub struct Job {
    /// Images in the batch.
    pub n: usize,
    /// Height in pixels.
    pub h: usize,
    /// Width in pixels.
    pub w: usize,
    /// `[n, 3, h, w]`, RGB, 0–1.
    pub data: Vec<f32>,
}

/// An answered job.
#[derive(Debug)]
pub struct Done {
    /// What the engine said.
    pub output: Result<Output, EngineError>,
    /// The job's buffer.
    pub data: Vec<f32>,
    /// From submission to the start of the run.
    pub queued: Duration,
    /// The run itself.
    pub ran: Duration,
}

/// Why a job was not taken. It comes back whole.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full.
    #[error("the engine's queue is full")]
    Busy(Job),
    /// The engine's threads have ended: one of them panicked.
    #[error("the engine's thread has stopped")]
    Stopped(Job),
}

impl SubmitError {
    /// The job, for another try.
    pub fn into_job(self) -> Job {
        match self {
            Self::Busy(job) | Self::Stopped(job) => job,
        }
    }
}

struct Queued {
    job: Job,
    submitted: Instant,
    answer: oneshot::Sender<Done>,
}

/// What the threads share.
struct Shared {
    state: Mutex<State>,
    /// For the instances.
    work: Condvar,
    /// For the solo engine.
    alone: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Queued>,
    /// A job that came when nothing ran: the solo engine's.
    lone: Option<Queued>,
    running: usize,
    /// Without any the solo engine takes all jobs.
    instances: usize,
    solo: bool,
    /// Jobs in a row that found nothing running, up to [`ALONE`].
    alone: u32,
    closed: bool,
    panicked: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock can panic half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        self.work.notify_all();
        self.alone.notify_all();
    }
}

/// A handle to engines on their own threads. See the module's head.
#[derive(Debug)]
pub struct EnginePool {
    info: EngineInfo,
    shared: Arc<Shared>,
    queue_len: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl EnginePool {
    /// Starts one thread with one engine. At most `queue_len` jobs wait beside the one that runs.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn spawn(engine: Box<dyn Engine>, queue_len: usize) -> io::Result<Self> {
        Self::spawn_all(engine, Vec::new(), queue_len)
    }

    /// Starts a thread for each engine. All of them run the same model at the same size.
    ///
    /// # Errors
    /// The system refuses another thread; those that were started end.
    pub fn spawn_all(first: Box<dyn Engine>, more: Vec<Box<dyn Engine>>, queue_len: usize) -> io::Result<Self> {
        let pool = Self::empty(first.info().clone(), queue_len);
        pool.add(std::iter::once(first).chain(more).collect())?;
        Ok(pool)
    }

    /// Starts with the solo engine alone, which takes all jobs until there are instances.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn spawn_solo(engine: Box<dyn Engine>, queue_len: usize) -> io::Result<Self> {
        let pool = Self::empty(engine.info().clone(), queue_len);
        pool.set_solo(engine)?;
        Ok(pool)
    }

    fn empty(info: EngineInfo, queue_len: usize) -> Self {
        let shared = Arc::new(Shared { state: Mutex::default(), work: Condvar::new(), alone: Condvar::new() });
        Self { info, shared, queue_len: queue_len.max(1), threads: Mutex::default() }
    }

    /// Adds instances.
    ///
    /// # Errors
    /// The system refuses a thread; those that were started go on.
    pub fn add(&self, engines: Vec<Box<dyn Engine>>) -> io::Result<()> {
        for engine in engines {
            self.start(&format!("engine-{}", self.instances()), engine, false)?;
            self.shared.lock().instances += 1;
            // A job whose notice went to the solo engine, which leaves it to the instances from now on.
            self.shared.wake_all();
        }
        Ok(())
    }

    /// Adds an engine that takes the jobs that come one at a time, and only those. One at most: a second call
    /// drops its engine.
    ///
    /// # Errors
    /// The system refuses another thread; the pool goes on without it.
    pub fn set_solo(&self, engine: Box<dyn Engine>) -> io::Result<()> {
        if !self.has_solo() {
            self.start("engine-solo", engine, true)?;
            self.shared.lock().solo = true;
        }
        Ok(())
    }

    fn start(&self, name: &str, engine: Box<dyn Engine>, solo: bool) -> io::Result<()> {
        let shared = self.shared.clone();
        let thread = Builder::new().name(name.into()).spawn(move || serve(engine, &shared, solo))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// What was loaded.
    pub fn info(&self) -> &EngineInfo {
        &self.info
    }

    /// Engines that run beside each other.
    pub fn instances(&self) -> usize {
        self.shared.lock().instances
    }

    /// Whether jobs come one at a time: whether a solo engine would get them.
    pub fn wants_solo(&self) -> bool {
        self.shared.lock().alone == ALONE
    }

    /// Whether there is an engine for jobs that come alone.
    pub fn has_solo(&self) -> bool {
        self.shared.lock().solo
    }

    /// Jobs that wait.
    pub fn waiting(&self) -> usize {
        let state = self.shared.lock();
        state.jobs.len() + usize::from(state.lone.is_some())
    }

    /// Queues a job without waiting. The receiver fails if the engine panics on it.
    ///
    /// # Errors
    /// [`SubmitError::Busy`] when the queue is full, [`SubmitError::Stopped`] when an engine has panicked.
    pub fn submit(&self, job: Job) -> Result<oneshot::Receiver<Done>, SubmitError> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.shared.lock();
        if state.panicked {
            return Err(SubmitError::Stopped(job));
        }
        if state.jobs.len() >= self.queue_len {
            return Err(SubmitError::Busy(job));
        }
        let queued = Queued { job, submitted: Instant::now(), answer };
        let alone = state.running == 0 && state.jobs.is_empty() && state.lone.is_none();
        state.alone = if alone { ALONE.min(state.alone + 1) } else { 0 };
        // All cores are free for it. The next one to come finds something running and takes an instance.
        if state.solo && state.alone == ALONE {
            state.lone = Some(queued);
            self.shared.alone.notify_one();
        } else {
            state.jobs.push_back(queued);
            if state.instances == 0 { &self.shared.alone } else { &self.shared.work }.notify_one();
        }
        Ok(receiver)
    }

    /// Whether the threads still take jobs.
    pub fn is_alive(&self) -> bool {
        !self.shared.lock().panicked
    }

    /// Closes the queue and waits until it is drained and the engines are gone. Blocks: not for async code.
    pub fn close(self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        drop(self);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("an engine's thread had panicked");
            }
        }
    }
}

impl Drop for EnginePool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake_all();
    }
}

/// Tells the pool's other threads when an engine panics on this one.
struct Watch<'a>(&'a Shared);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut state = self.0.lock();
            state.panicked = true;
            // Dropping what waits fails its receivers.
            let (jobs, lone) = (std::mem::take(&mut state.jobs), state.lone.take());
            drop(state);
            drop((jobs, lone));
            self.0.wake_all();
        }
    }
}

fn serve(mut engine: Box<dyn Engine>, shared: &Shared, solo: bool) {
    let _watch = Watch(shared);
    while let Some(Queued { job, submitted, answer }) = next(shared, solo) {
        // A caller that has gone away needs no answer, and the next one waits for nothing.
        let done = (!answer.is_closed()).then(|| {
            let started = Instant::now();
            let Job { n, h, w, data } = job;
            let output = engine.run(InputView { n, h, w, data: &data });
            Done { output, data, queued: started - submitted, ran: started.elapsed() }
        });
        // Before the answer: whoever gets it and sends the next job at once finds nothing running.
        shared.lock().running -= 1;
        if let Some(done) = done {
            // The receiver may have gone in the meantime; then nobody misses this.
            let _ = answer.send(done);
        }
    }
}

/// The next job of this thread; `None` when the pool is over and drained.
fn next(shared: &Shared, solo: bool) -> Option<Queued> {
    let mut state = shared.lock();
    loop {
        let lone = if solo { state.lone.take() } else { None };
        let takes_all = !solo || state.instances == 0;
        let job = lone.or_else(|| if takes_all { state.jobs.pop_front() } else { None });
        if job.is_some() {
            state.running += 1;
            return job;
        }
        if state.closed || state.panicked {
            return None;
        }
        let signal = if solo { &shared.alone } else { &shared.work };
        state = signal.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}
