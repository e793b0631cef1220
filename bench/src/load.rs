//! A load on `POST /infer`: clients that each send the next image when the last is answered (closed loop), or requests that are
//! due at a rate whether or not the server keeps up (open loop; latency counts from when a request was due).

use std::{
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::client::Client;
use crate::figures::percentile;

/// What to send.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where to.
    pub address: SocketAddr,
    /// Bodies, one after another.
    pub images: Vec<Vec<u8>>,
    /// What they are: `image/jpeg`, …
    pub content_type: &'static str,
    /// Connections.
    pub clients: usize,
    /// How long.
    pub duration: Duration,
    /// Requests a second over all clients; without it each client sends when it has its answer.
    pub rate: Option<f64>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Milliseconds of each answered request.
    pub latencies_ms: Vec<f64>,
    /// Requests that got no 200.
    pub failed: u64,
    /// Seconds from the first to the last request.
    pub seconds: f64,
}

impl Outcome {
    /// Answered requests a second.
    pub fn rate(&self) -> f64 {
        self.latencies_ms.len() as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// The latency, ms, that this share of requests stayed under; NaN without any.
    pub fn percentile(&self, share: f64) -> f64 {
        percentile(self.latencies_ms.iter().copied(), share)
    }
}

impl Load {
    /// Sends it all, and waits for the answers.
    ///
    /// # Errors
    /// When nobody listens at the address.
    pub fn run(&self) -> anyhow::Result<Outcome> {
        TcpStream::connect(self.address).with_context(|| format!("nobody listens at {}", self.address))?;
        let (next, began) = (AtomicU64::new(0), Instant::now());
        let parts: Vec<Outcome> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients).map(|_| scope.spawn(|| self.client(&next, began))).collect();
            clients.into_iter().map(|client| client.join().unwrap_or_default()).collect()
        });
        let mut all = Outcome { seconds: began.elapsed().as_secs_f64(), ..Outcome::default() };
        for part in parts {
            all.latencies_ms.extend(part.latencies_ms);
            all.failed += part.failed;
        }
        Ok(all)
    }

    fn client(&self, next: &AtomicU64, began: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let mut client = Client::new(self.address);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let due = self.rate.map_or_else(Instant::now, |rate| began + Duration::from_secs_f64(number as f64 / rate));
            if due.duration_since(began) >= self.duration {
                return outcome;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let body = &self.images[number as usize % self.images.len()];
            match client.post(self.content_type, body) {
                Ok((200, _)) => outcome.latencies_ms.push(due.elapsed().as_secs_f64() * 1e3),
                Ok(_) | Err(_) => outcome.failed += 1,
            }
        }
    }
}
