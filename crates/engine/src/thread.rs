//! The model owns a thread: jobs come in through a bounded queue, answers go out through a oneshot each.
//!
//! Nobody else touches the engine, so nothing needs a lock, and an async caller never blocks. Dropping the handle closes the
//! queue; the thread finishes what is in it, drops the engine on its own stack and ends. If the engine panics the thread ends
//! too: waiting answers fail, [`EngineThread::submit`] says [`SubmitError::Stopped`], and the owner can load anew.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::{Engine, EngineError, EngineInfo, InputView, Output};

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
    /// The engine's thread has ended: it panicked.
    #[error("the engine's thread has stopped")]
    Stopped(Job),
}

type Queued = (Job, Instant, oneshot::Sender<Done>);

/// A handle to an engine on its own thread. See the module's head.
#[derive(Debug)]
pub struct EngineThread {
    info: EngineInfo,
    queue: SyncSender<Queued>,
    thread: JoinHandle<()>,
}

impl EngineThread {
    /// Starts the thread. At most `queue_len` jobs wait beside the one that runs.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn spawn(engine: Box<dyn Engine>, queue_len: usize) -> io::Result<Self> {
        let info = engine.info().clone();
        let (queue, jobs) = sync_channel(queue_len.max(1));
        let thread = Builder::new().name("engine".into()).spawn(move || serve(engine, &jobs))?;
        Ok(Self { info, queue, thread })
    }

    /// What was loaded.
    pub fn info(&self) -> &EngineInfo {
        &self.info
    }

    /// Queues a job without waiting. The receiver fails if the engine panics on it.
    ///
    /// # Errors
    /// [`SubmitError::Busy`] when the queue is full, [`SubmitError::Stopped`] when the thread has ended.
    pub fn submit(&self, job: Job) -> Result<oneshot::Receiver<Done>, SubmitError> {
        let (answer, receiver) = oneshot::channel();
        match self.queue.try_send((job, Instant::now(), answer)) {
            Ok(()) => Ok(receiver),
            Err(TrySendError::Full((job, ..))) => Err(SubmitError::Busy(job)),
            Err(TrySendError::Disconnected((job, ..))) => Err(SubmitError::Stopped(job)),
        }
    }

    /// Whether the thread still takes jobs.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Closes the queue and waits until it is drained and the engine is gone. Blocks: not for async code.
    pub fn close(self) {
        let Self { info: _, queue, thread } = self;
        drop(queue);
        if thread.join().is_err() {
            tracing::error!("the engine's thread had panicked");
        }
    }
}

fn serve(mut engine: Box<dyn Engine>, jobs: &Receiver<Queued>) {
    for (job, submitted, answer) in jobs {
        // A caller that has gone away needs no answer, and the next one waits for nothing.
        if answer.is_closed() {
            continue;
        }
        let started = Instant::now();
        let Job { n, h, w, data } = job;
        let output = engine.run(InputView { n, h, w, data: &data });
        // The receiver may have gone in the meantime; then nobody misses this.
        let _ = answer.send(Done { output, data, queued: started - submitted, ran: started.elapsed() });
    }
}
