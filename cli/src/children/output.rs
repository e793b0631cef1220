use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// Longer lines are cut into pieces of this size: a child that never ends its line must not grow us.
const MAX_LINE: u64 = 64 << 10;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output: results.
    Stdout,
    /// Standard error: logs.
    Stderr,
}

pub(super) type OnLine = Arc<dyn Fn(Stream, &str) + Send + Sync>;

/// Hands the lines of `pipe` to `take` until it ends; `done` is dropped then.
pub(super) fn pump(
    pipe: impl Read + Send + 'static,
    stream: Stream,
    take: OnLine,
    done: mpsc::Sender<()>,
) -> std::io::Result<JoinHandle<()>> {
    let body = move || {
        let _done = done;
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut pipe).take(MAX_LINE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => take(stream, String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r'])),
            }
        }
    };
    std::thread::Builder::new().name(format!("pipe-{stream:?}")).stack_size(128 << 10).spawn(body)
}

/// Prints `line` to the same stream of ours, behind `name`. One write a line, so that children cannot tear each other's lines.
pub(super) fn print(name: &str, stream: Stream, line: &str) {
    let text = format!("{name:<8}| {line}\n");
    // A closed terminal must not end the loop on the box.
    let _ = match stream {
        Stream::Stdout => std::io::stdout().lock().write_all(text.as_bytes()),
        Stream::Stderr => std::io::stderr().lock().write_all(text.as_bytes()),
    };
}
