use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::runtime::watcher::{self, Event};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::jitter::{Backoff, Jitter};

/// For a page of a list.
const LIST_LIMIT: Duration = Duration::from_secs(20);
/// A watch that is made anew when it breaks: only a whole new list says for certain what is there.
pub(super) struct Source<T: 'static> {
    make: Box<dyn Fn() -> BoxStream<'static, watcher::Result<Event<T>>> + Send>,
    stream: Option<BoxStream<'static, watcher::Result<Event<T>>>>,
    wait: Option<Instant>,
    /// Until when the next item of a list must be there: on a connection that has died silently it never comes.
    deadline: Option<Instant>,
    backoff: Backoff,
}

impl<T: 'static> Source<T> {
    pub(super) fn new(make: impl Fn() -> BoxStream<'static, watcher::Result<Event<T>>> + Send + 'static) -> Self {
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10), Jitter::new());
        Source { make: Box::new(make), stream: None, wait: None, deadline: None, backoff }
    }

    /// Dropped and called anew all the time: what it waits for is kept.
    pub(super) async fn next(&mut self) -> watcher::Result<Event<T>> {
        loop {
            if let Some(at) = self.wait {
                sleep_until(at).await;
                self.wait = None;
            }
            if self.stream.is_none() {
                self.deadline = Some(Instant::now() + LIST_LIMIT);
            }
            let stream = self.stream.get_or_insert_with(&self.make);
            let event = match self.deadline {
                None => stream.next().await,
                Some(at) => match timeout_at(at, stream.next()).await {
                    Ok(event) => event,
                    Err(_) => {
                        tracing::warn!("a list does not come; asking again");
                        self.restart();
                        continue;
                    }
                },
            };
            match &event {
                Some(Ok(Event::InitDone)) => self.deadline = None,
                Some(Ok(Event::Init)) => self.deadline = Some(Instant::now() + LIST_LIMIT),
                Some(_) => self.deadline = self.deadline.map(|_| Instant::now() + LIST_LIMIT),
                // A watcher never ends.
                None => {}
            }
            match event {
                Some(event) => return event,
                None => self.restart(),
            }
        }
    }

    /// A whole list has come.
    pub(super) fn came(&mut self) {
        self.backoff.reset();
    }

    /// Begins again, after a pause.
    pub(super) fn restart(&mut self) {
        self.stream = None;
        self.wait = Some(Instant::now() + self.backoff.delay());
    }
}
