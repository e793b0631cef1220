//! Those who are told: each sink has a task of its own, so that an API server that hangs holds up neither the probe nor the file.
//!
//! A sink always gets the newest status; what it missed while it was retrying is of no interest to anybody.

mod file;
mod node;
mod webhook;

use std::future::{Future, pending};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

pub use file::StatusFile;
pub use node::NodeLabel;
pub use webhook::Webhook;

use crate::jitter::{Backoff, Jitter};
use crate::metrics::Metrics;
use crate::status::Status;

/// A status that could not be told.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The status file.
    #[error("cannot write the status file {path}; does its folder exist and may we write there?")]
    File {
        /// Where it is.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The API server refused or could not be reached.
    #[error("cannot label node {node}: {hint}")]
    Node {
        /// Which node.
        node: String,
        /// What to look at.
        hint: &'static str,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// The Lease that must stand behind the label.
    #[error("cannot renew lease {lease}: {hint}")]
    Lease {
        /// Which.
        lease: String,
        /// What to look at.
        hint: &'static str,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// Whoever should be called.
    #[error("webhook {url}: {why}; look at WEBHOOK_URL and at the server behind it")]
    Webhook {
        /// Where.
        url: String,
        /// Why not.
        why: String,
    },
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Somebody who is told the verdict.
pub trait Sink: Send {
    /// For logs and metrics.
    fn name(&self) -> &'static str;

    /// Whether `new` is worth a write after `told`.
    fn wants(&self, told: Option<&Status>, new: &Status) -> bool;

    /// Write again after this long even if nothing changed: somebody may have undone it.
    fn repeat(&self) -> Option<Duration> {
        None
    }

    /// Resolves when somebody has undone what was told, or a failed attempt is worth repeating at once. Dropped and called anew all
    /// the time.
    fn undone(&mut self) -> impl Future<Output = ()> + Send {
        pending()
    }

    /// Tells it.
    fn tell(&mut self, status: &Status) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// Time limits of [`drive`].
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// First wait after a failure; doubles from there.
    pub first_retry: Duration,
    /// Longest wait after a failure.
    pub last_retry: Duration,
    /// An attempt that takes longer has failed.
    pub attempt: Duration,
    /// What was undone is put right at once; when it is undone again and again, after this long, doubling up to `last_put_right`:
    /// two who want different things must not wear out the API server.
    pub put_right: Duration,
    /// Longest wait before something undone is put right.
    pub last_put_right: Duration,
}

impl Default for Pace {
    /// A minute at most between retries: the API server of an edge site is often away for hours, and its return should show soon.
    /// What was undone is right again within 5 s, however often: with ±20 % that is 3.6 s and the write.
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Pace { first_retry: second, last_retry: 60 * second, attempt: 10 * second, put_right: second, last_put_right: 3 * second }
    }
}

/// Keeps `sink` up to date until the sender of `statuses` is gone.
pub async fn drive(mut sink: impl Sink, mut statuses: watch::Receiver<Status>, pace: Pace, metrics: Metrics) {
    let mut jitter = Jitter::new();
    let mut backoff = Backoff::new(pace.first_retry, pace.last_retry, jitter.clone());
    // What the other side holds as far as we know: unknown after a failure, which may have been half a success.
    let mut told: Option<Status> = None;
    let mut retry_at: Option<Instant> = None;
    let mut repeat_at: Option<Instant> = None;
    let mut undone = Undone::new(&pace);
    loop {
        let status = statuses.borrow_and_update().clone();
        let past = |at: Instant| at <= Instant::now();
        let wanted = sink.wants(told.as_ref(), &status) || repeat_at.is_some_and(past);
        if wanted && retry_at.is_none_or(past) {
            let result = timeout(pace.attempt, sink.tell(&status)).await.unwrap_or(Err(SinkError::Timeout(pace.attempt)));
            metrics.write(sink.name(), result.is_ok());
            undone.pending = false;
            match result {
                Ok(()) => {
                    if retry_at.take().is_some() {
                        tracing::info!(sink = sink.name(), "the verdict is told again");
                    }
                    backoff.reset();
                    told = Some(status);
                    repeat_at = sink.repeat().map(|after| Instant::now() + jitter.around(after, 0.1));
                }
                Err(error) => {
                    let delay = backoff.delay();
                    tracing::warn!(sink = sink.name(), error = %chain(&error), retry_s = delay.as_secs_f64(), "the verdict could not be told");
                    (told, repeat_at) = (None, None);
                    retry_at = Some(Instant::now() + delay);
                }
            }
        }
        let wake = async {
            match retry_at.or(repeat_at) {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            changed = statuses.changed() => if changed.is_err() { return },
            () = sink.undone() => {
                tracing::debug!(sink = sink.name(), "what was told is undone");
                // Further news while we wait change nothing.
                if !undone.pending {
                    (told, repeat_at, retry_at) = (None, None, undone.again(Instant::now()));
                    backoff.reset();
                }
            }
            () = wake => {}
        }
    }
}

/// When to put right what somebody undid.
struct Undone {
    pause: Backoff,
    quiet: Duration,
    last: Option<Instant>,
    pending: bool,
}

impl Undone {
    fn new(pace: &Pace) -> Self {
        let pause = Backoff::new(pace.put_right, pace.last_put_right, Jitter::new());
        Undone { pause, quiet: pace.last_retry, last: None, pending: false }
    }

    /// The moment; `None` is now.
    fn again(&mut self, now: Instant) -> Option<Instant> {
        let last = self.last.replace(now);
        self.pending = true;
        match last {
            Some(last) if now - last < self.quiet => Some(now + self.pause.delay()),
            _ => {
                self.pause.reset();
                None
            }
        }
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors repeat their cause in their own text.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::probe::Method;
    use crate::verdict::{Reason, Verdict};
    use prometheus::Registry;
    use std::net::Ipv4Addr;
    use tokio::sync::mpsc;

    struct Flaky {
        failures: u32,
        told: mpsc::UnboundedSender<Verdict>,
        repeat: Option<Duration>,
        undone: mpsc::UnboundedReceiver<()>,
    }

    impl Sink for Flaky {
        fn name(&self) -> &'static str {
            "flaky"
        }
        fn wants(&self, told: Option<&Status>, new: &Status) -> bool {
            told.map(|told| told.status) != Some(new.status)
        }
        fn repeat(&self) -> Option<Duration> {
            self.repeat
        }
        async fn undone(&mut self) {
            if self.undone.recv().await.is_none() {
                pending().await
            }
        }
        async fn tell(&mut self, status: &Status) -> Result<(), SinkError> {
            if self.failures > 0 {
                self.failures -= 1;
                return Err(SinkError::Timeout(Duration::ZERO));
            }
            self.told.send(status.status).unwrap();
            Ok(())
        }
    }

    fn status(verdict: Verdict) -> Status {
        let target = Ipv4Addr::LOCALHOST.to_string();
        Status::starting(target, Method::Icmp, chrono::DateTime::UNIX_EPOCH).changed(verdict, Reason::NoReply)
    }

    /// Short, so that tests are; the order of things is what they check.
    const PACE: Pace = Pace {
        first_retry: Duration::from_millis(20),
        last_retry: Duration::from_millis(40),
        attempt: Duration::from_secs(10),
        put_right: Duration::from_millis(20),
        last_put_right: Duration::from_millis(40),
    };

    fn start(failures: u32, repeat: Option<Duration>) -> (watch::Sender<Status>, mpsc::UnboundedReceiver<Verdict>) {
        let (sender, heard, _) = start_with(PACE, failures, repeat);
        (sender, heard)
    }

    type Started = (watch::Sender<Status>, mpsc::UnboundedReceiver<Verdict>, mpsc::UnboundedSender<()>);

    fn start_with(pace: Pace, failures: u32, repeat: Option<Duration>) -> Started {
        let (undo, undone) = mpsc::unbounded_channel();
        let (sender, receiver) = watch::channel(status(Verdict::Online));
        let (told, heard) = mpsc::unbounded_channel();
        let metrics = Metrics::register(&Registry::new()).unwrap();
        tokio::spawn(drive(Flaky { failures, told, repeat, undone }, receiver, pace, metrics));
        (sender, heard, undo)
    }

    #[tokio::test]
    async fn a_failed_write_is_tried_again_until_it_is_told() {
        let (_sender, mut heard) = start(5, None);
        assert_eq!(heard.recv().await, Some(Verdict::Online));
    }

    #[tokio::test]
    async fn after_failures_the_newest_verdict_is_told_and_only_that() {
        let (sender, mut heard) = start(3, None);
        tokio::task::yield_now().await;
        sender.send(status(Verdict::Offline)).unwrap();
        assert_eq!(heard.recv().await, Some(Verdict::Offline));
        drop(sender);
        assert_eq!(heard.recv().await, None);
    }

    #[tokio::test]
    async fn news_do_not_shorten_the_back_off() {
        let (sender, mut heard) = start(1, None);
        tokio::task::yield_now().await;
        let begin = Instant::now();
        for verdict in [Verdict::Offline, Verdict::Online, Verdict::Offline] {
            sender.send(status(verdict)).unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(heard.recv().await, Some(Verdict::Offline));
        assert!(begin.elapsed() >= PACE.first_retry.mul_f64(0.75), "{:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn what_was_told_is_repeated_in_case_somebody_undid_it() {
        let (_sender, mut heard) = start(0, Some(Duration::from_millis(5)));
        for _ in 0..3 {
            assert_eq!(heard.recv().await, Some(Verdict::Online));
        }
    }

    #[tokio::test]
    async fn what_is_undone_is_put_right_at_once_and_after_a_pause_when_it_is_undone_again() {
        let millis = Duration::from_millis;
        let pace = Pace { put_right: millis(50), last_put_right: millis(150), last_retry: millis(60_000), ..PACE };
        let (_sender, mut heard, undo) = start_with(pace, 0, None);
        assert_eq!(heard.recv().await, Some(Verdict::Online));
        let mut begin = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..4 {
            undo.send(()).unwrap();
            assert_eq!(heard.recv().await, Some(Verdict::Online));
            pauses.push(begin.elapsed());
            begin = Instant::now();
        }
        for (pause, least) in pauses.iter().zip([0, 40, 80, 120]) {
            assert!(*pause >= millis(least), "{pauses:?}");
        }
    }

    #[test]
    fn however_often_it_is_undone_it_is_right_within_five_seconds_and_written_25_times_a_minute_at_most() {
        let mut undone = Undone::new(&Pace::default());
        let begin = Instant::now();
        let mut now = begin;
        for time in 0..100 {
            let right = undone.again(now).unwrap_or(now);
            let pause = (right - now).as_secs_f64();
            let least = [0.0, 0.8, 1.6].get(time).copied().unwrap_or(2.4);
            assert!((least..=3.6).contains(&pause), "{pause} s before time {time}");
            now = right;
        }
        assert!(100.0 / ((now - begin).as_secs_f64() / 60.0) <= 25.0);
        // A minute of peace, and the next one is the first.
        assert_eq!(undone.again(now + Duration::from_secs(60)), None);
    }

    #[tokio::test]
    async fn news_of_recovery_end_a_long_back_off() {
        // Without them the test would last for an hour.
        let hour = Duration::from_secs(3600);
        let (_sender, mut heard, undo) = start_with(Pace { first_retry: hour, last_retry: hour, ..PACE }, 1, None);
        tokio::task::yield_now().await;
        undo.send(()).unwrap();
        assert_eq!(heard.recv().await, Some(Verdict::Online));
    }

    #[tokio::test]
    async fn the_task_ends_when_nobody_sends_any_more() {
        let (sender, mut heard) = start(0, None);
        assert_eq!(heard.recv().await, Some(Verdict::Online));
        drop(sender);
        assert_eq!(heard.recv().await, None);
    }
}
