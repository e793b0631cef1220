//! A fixed set of OS threads between the connections and the engine: body ─► image ─► engine ─► detections.
//!
//! Decoding costs milliseconds of CPU: on tokio's workers it would stall every connection, on `spawn_blocking` 20 MB images
//! could pile up by the hundred. A thread waits while the engine runs its image; with one thread more than cores the next
//! image is decoded in the meantime. The queue is as long as the number of admitted requests, so a request that was admitted
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
use crate::infer::{Answer, InferError, Rules, Scratch, infer, ms};
use crate::metrics::Metrics;
use crate::reload::Wake;
use crate::slot::Serving;

/// What came in, still encoded.
#[derive(Debug)]
pub enum Payload {
    /// `{"image": "<base64>"}`.
    Json(Bytes),
    /// The image's own bytes.
    Image(Bytes),
}

/// A request on its way.
#[derive(Debug)]
pub struct Task {
    /// The body.
    pub payload: Payload,
    /// The model that it began with.
    pub serving: Arc<Serving>,
    /// When its body was complete.
    pub arrived: Instant,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Answer, ApiError>>,
}

/// The threads. Dropping the last handle lets them finish what is queued and end.
#[derive(Debug, Clone)]
pub struct Pipeline {
    queue: Sender<Task>,
}

impl Pipeline {
    /// Starts `threads` threads with room for `queue` waiting requests.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(threads: usize, queue: usize, rules: Rules, metrics: Metrics, wake: Wake) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (sender, receiver) = bounded(queue);
        let workers = (0..threads.max(1))
            .map(|n| {
                let worker = Worker { tasks: receiver.clone(), rules, metrics: metrics.clone(), wake: wake.clone() };
                Builder::new().name(format!("decode-{n}")).spawn(move || worker.run())
            })
            .collect::<Result<_, _>>()?;
        Ok((Self { queue: sender }, workers))
    }

    /// Queues a request without waiting; false when there is no room or no thread.
    #[must_use]
    pub fn submit(&self, task: Task) -> bool {
        match self.queue.try_send(task) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

struct Worker {
    tasks: Receiver<Task>,
    rules: Rules,
    metrics: Metrics,
    wake: Wake,
}

impl Worker {
    fn run(&self) {
        let mut scratch = Scratch::default();
        for task in &self.tasks {
            // Whoever hung up needs no answer.
            if task.reply.is_closed() {
                continue;
            }
            let Task { payload, serving, arrived, reply } = task;
            // A panic in a decoder must cost one request, not a thread of the pool and with the last thread all serving.
            let answer = catch_unwind(AssertUnwindSafe(|| self.answer(&payload, &serving, arrived, &mut scratch))).unwrap_or_else(|_| {
                scratch = Scratch::default();
                tracing::error!(version = %serving.version(), "a request panicked; it was answered with 500");
                Err(ApiError::internal())
            });
            let _ = reply.send(answer);
        }
    }

    fn answer(&self, payload: &Payload, serving: &Arc<Serving>, arrived: Instant, scratch: &mut Scratch) -> Result<Answer, ApiError> {
        let waited = arrived.elapsed();
        let started = Instant::now();
        let encoded = match payload {
            Payload::Json(json) => Cow::Owned(body::image_in_json(json)?),
            Payload::Image(image) => Cow::Borrowed(image.as_ref()),
        };
        let unpacked = started.elapsed();
        let result = infer(serving, &encoded, &self.rules, scratch);
        let (mut answer, spent) = match result {
            Ok(done) => {
                serving.ran();
                done
            }
            Err(error) => {
                if matches!(error, InferError::Engine(_)) && serving.run_failed() {
                    self.wake.look();
                }
                return Err(error.into());
            }
        };
        let decode = unpacked + spent.decode;
        let queue = waited + spent.queue;
        let total = arrived.elapsed();
        answer.timing_ms.decode = ms(decode);
        answer.timing_ms.queue = ms(queue);
        answer.timing_ms.total = ms(total);
        for (stage, time) in [("decode", decode), ("queue", queue), ("infer", spent.infer), ("post", spent.post), ("total", total)] {
            self.metrics.stage(stage, time);
        }
        self.metrics.answered("http", answer.detections.len());
        Ok(answer)
    }
}
