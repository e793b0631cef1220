//! Closing a listener without resetting anybody.
//!
//! A client is connected as soon as the kernel has answered it. What the kernel holds when a listener is closed is reset, and between
//! the last accept and the close there is always time for one more. So first the kernel is told to take nobody: a filter drops the
//! first segment (SYN) of every new connection, while those whose handshake is under way go on. A client that was too late sends it
//! again after a second and is refused.

use std::io;
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout_at};

/// A handshake that was under way when the filter came is through by then: a round trip of any network that a client of ours is in.
const HANDSHAKES: Duration = Duration::from_millis(250);
/// Connections that are accepted at the very end: the kernel holds fewer (tokio asks for 1024, `somaxconn` is 4096).
const MOST: usize = 8192;

/// Gives every connection that the kernel has taken, or is about to take, to `connected`; then closes the listener.
pub(super) async fn accept_the_last(listener: TcpListener, mut connected: impl FnMut(TcpStream)) {
    let until = match refuse_new(&listener) {
        Ok(()) => Instant::now() + HANDSHAKES,
        Err(error) => {
            tracing::debug!(%error, "no filter for the listener: a connection that comes as it closes may be reset");
            Instant::now()
        }
    };
    for _ in 0..MOST {
        // One that is there is accepted even when the time is over.
        match timeout_at(until, listener.accept()).await {
            Ok(Ok((stream, _))) => connected(stream),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// Has the kernel drop the segments that open a connection. The filter is one of packets, as in *The BSD Packet Filter* (McCanne and
/// Jacobson, 1993); for a TCP socket they begin with the TCP header, whose flags are its byte 13 (RFC 9293, 3.1).
fn refuse_new(listener: &TcpListener) -> io::Result<()> {
    const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
    const JUMP_IF_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K: as many bytes of the packet are kept
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(test)]
mod tests;
