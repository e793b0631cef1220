//! A relay of TCP connections: how a network namespace reaches an API server that listens on the loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

pub struct Relay {
    pub addr: SocketAddr,
}

impl Relay {
    /// Its threads end with the process: there are few of them.
    pub fn start(addr: &str, to: String) -> Self {
        let listener = TcpListener::bind((addr, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(from) = stream else { return };
                // Refused there is refused here, as far as a relay can.
                let Ok(to) = TcpStream::connect(&to) else { continue };
                for (mut from, mut to) in [(from.try_clone().unwrap(), to.try_clone().unwrap()), (to, from)] {
                    std::thread::spawn(move || {
                        let mut buffer = vec![0; 16 << 10];
                        while let Ok(length) = from.read(&mut buffer) {
                            if length == 0 || to.write_all(&buffer[..length]).is_err() {
                                break;
                            }
                        }
                        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                    });
                }
            }
        });
        Relay { addr }
    }
}
