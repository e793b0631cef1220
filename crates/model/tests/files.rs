//! Files that others make: checkpoints whose module tree must be read, and files that try something, which must be refused
//! in bounded time and memory. All of them are made here; none is in the tree.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "files/archive.rs"]
mod archive;
#[path = "files/checkpoints.rs"]
mod checkpoints;
#[path = "files/hostile_archives.rs"]
mod hostile_archives;
#[path = "files/hostile_pickles.rs"]
mod hostile_pickles;
#[path = "files/hostile_safetensors.rs"]
mod hostile_safetensors;
#[path = "files/memory.rs"]
mod memory;
#[path = "files/pickle.rs"]
mod pickle;

use std::sync::mpsc;
use std::time::Duration;

use edgeloop_model::import::{Imported, import};

/// What a reader may take besides three times the file: the pickle machine's million steps, 100 bytes each, and as much again
/// while a vector grows.
const ROOM: usize = 192 << 20;
/// After this somebody would have pulled the plug. Every case ends in far less than a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// Imports `bytes` on a thread of its own and holds it to memory and time.
fn bounded(bytes: Vec<u8>) -> Result<Imported, String> {
    let (send, receive) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let (result, peak) = memory::peak(|| import(&bytes));
        let _ = send.send((result.map_err(|error| error.to_string()), peak, bytes.len()));
    });
    let (result, peak, len) = receive.recv_timeout(PATIENCE).expect("the reader neither ends nor gives up");
    thread.join().unwrap();
    assert!(peak <= ROOM + 3 * len, "{peak} bytes at once for a file of {len}: {result:?}");
    result
}

/// The words with which `bytes` are refused.
fn refused(bytes: Vec<u8>) -> String {
    match bounded(bytes) {
        Err(words) => words,
        Ok(imported) => panic!("accepted as {}", imported.form),
    }
}
