//! A fixed set of OS threads between the connections and the engine: body ─► image ─► engine ─► detections.
//!
//! Decoding costs milliseconds of CPU: on tokio's workers it would stall every connection, on `spawn_blocking` 20 MB images
//! could pile up by the hundred. A thread waits while the engine runs its image; with two threads more than cores the next
//! images are decoded in the meantime. The queue is as long as the number of admitted requests, so a request that was admitted
//! always finds room.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;

use crate::api::body;
use crate::api::error::ApiError;
use crate::infer::{Answer, InferError, Rules, Scratch, Spent, infer, ms};
use crate::metrics::Metrics;
use crate::pace::{Lane, Pace};
use crate::reload::Wake;
use crate::slot::Serving;

/// An image as it came in, still encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Text of base64.
    Base64(Bytes),
    /// The image's own bytes.
    Image(Bytes),
}

impl Payload {
    /// Whether it holds no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let (Self::Base64(bytes) | Self::Image(bytes)) = self;
        bytes.is_empty()
    }
}

/// A request on its way.
#[derive(Debug)]
pub struct Task {
    /// The image.
    pub payload: Payload,
    /// The model that it began with.
    pub serving: Arc<Serving>,
    /// What is wanted of it.
    pub rules: Rules,
    /// When its body was complete.
    pub arrived: Instant,
    /// After this nobody wants the answer.
    pub deadline: Instant,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Answer, ApiError>>,
}

/// The threads. Dropping the last handle lets them finish what is queued and end.
#[derive(Debug, Clone)]
pub struct Pipeline {
    queue: Sender<Task>,
    metrics: Metrics,
}

impl Pipeline {
    /// Starts `threads` threads with room for `queue` waiting requests.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(threads: usize, queue: usize, pace: &Pace, metrics: Metrics, wake: Wake) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (sender, receiver) = bounded(queue);
        let workers = (0..threads.max(1))
            .map(|n| {
                let (pace, lane) = (pace.clone(), pace.lane());
                let worker = Worker { tasks: receiver.clone(), pace, lane, metrics: metrics.clone(), wake: wake.clone() };
                Builder::new().name(format!("decode-{n}")).spawn(move || worker.run())
            })
            .collect::<Result<_, _>>()?;
        Ok((Self { queue: sender, metrics }, workers))
    }

    /// Queues a request without waiting; false when there is no room or no thread.
    #[must_use]
    pub fn submit(&self, task: Task) -> bool {
        // Counted first: a worker may have it before this line's end.
        self.metrics.queued(1);
        match self.queue.try_send(task) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.metrics.queued(-1);
                false
            }
        }
    }
}

struct Worker {
    tasks: Receiver<Task>,
    pace: Pace,
    lane: Lane,
    metrics: Metrics,
    wake: Wake,
}

impl Worker {
    fn run(&self) {
        let mut scratch = Scratch::default();
        for mut task in &self.tasks {
            self.metrics.queued(-1);
            let _running = self.lane.begin();
            // A panic in a decoder must cost one request, not a thread of the pool and with the last thread all serving.
            let answer = catch_unwind(AssertUnwindSafe(|| self.answer(&mut task, &mut scratch))).unwrap_or_else(|_| {
                scratch = Scratch::default();
                Err(ApiError::internal().because(format!("a request panicked on version {}", task.serving.version())))
            });
            let _ = task.reply.send(answer);
        }
    }

    fn answer(&self, task: &mut Task, scratch: &mut Scratch) -> Result<Answer, ApiError> {
        let waited = task.arrived.elapsed();
        let still = || match (task.reply.is_closed(), Instant::now() < task.deadline) {
            (false, true) => Ok(()),
            (_, false) => Err(InferError::Late),
            (true, true) => Err(InferError::Gone),
        };
        let result = still().map_err(ApiError::from).and_then(|()| {
            let started = Instant::now();
            let encoded = match &task.payload {
                Payload::Base64(text) => Cow::Owned(body::image_in_base64(text)?),
                Payload::Image(image) => Cow::Borrowed(image.as_ref()),
            };
            let unpacked = started.elapsed();
            match infer(&task.serving, &encoded, &task.rules, &still, scratch) {
                Ok((answer, spent)) => Ok((answer, Spent { decode: unpacked + spent.decode, ..spent })),
                Err(error) => {
                    if matches!(error, InferError::Engine(_)) && task.serving.run_failed() {
                        self.wake.look();
                    }
                    Err(error.into())
                }
            }
        });
        let (mut answer, spent) = result.inspect_err(|_| {
            // Whoever hung up before the deadline; a deadline that passes is counted where it is noticed.
            if task.reply.is_closed() && Instant::now() < task.deadline {
                self.metrics.dropped("gone", 1);
            }
        })?;
        task.serving.ran();
        let queue = waited + spent.queue;
        let total = task.arrived.elapsed();
        answer.timing_ms.decode = ms(spent.decode);
        answer.timing_ms.queue = ms(queue);
        answer.timing_ms.total = ms(total);
        self.pace.ran(spent.infer);
        self.metrics.answered("http", &task.serving, &answer, &Spent { queue, ..spent }, Some(total));
        Ok(answer)
    }
}
