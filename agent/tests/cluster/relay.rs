//! A relay of TCP connections: how a network namespace reaches an API server that listens on the loopback, and how a watch comes to hang.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub struct Relay {
    pub addr: SocketAddr,
    lines: Arc<Mutex<Vec<Arc<Line>>>>,
}

/// One connection.
struct Line {
    /// When the server has said something last.
    heard: Mutex<Instant>,
    frozen: AtomicBool,
}

impl Line {
    fn busy(&self) -> bool {
        self.heard.lock().unwrap().elapsed() < Duration::from_secs(1)
    }
}

impl Relay {
    /// Its threads end with the process: there are few of them.
    pub fn start(addr: &str, to: String) -> Self {
        let listener = TcpListener::bind((addr, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let lines = Arc::<Mutex<Vec<Arc<Line>>>>::default();
        let all = lines.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(from) = stream else { return };
                // Refused there is refused here, as far as a relay can.
                let Ok(to) = TcpStream::connect(&to) else { continue };
                let line = Arc::new(Line { heard: Mutex::new(Instant::now()), frozen: AtomicBool::new(false) });
                all.lock().unwrap().push(line.clone());
                let (from_back, to_back) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || carry(from, to, None));
                std::thread::spawn(move || carry(to_back, from_back, Some(&line)));
            }
        });
        Relay { addr, lines }
    }

    /// Connections on which the server has said something within the last second.
    pub fn busy(&self) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.busy()).count()
    }

    /// From now on nothing more of what the server says on those arrives. They stay open, as on a path that a firewall has forgotten.
    pub fn freeze_busy(&self) {
        self.lines.lock().unwrap().iter().filter(|line| line.busy()).for_each(|line| line.frozen.store(true, Ordering::Relaxed));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, line: Option<&Line>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length) = from.read(&mut buffer) {
        if let Some(line) = line {
            *line.heard.lock().unwrap() = Instant::now();
            while line.frozen.load(Ordering::Relaxed) {
                std::thread::park();
            }
        }
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
