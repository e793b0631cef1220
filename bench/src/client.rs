//! A client of one address over a connection that stays open.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;

/// A server that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// A longer answer is none of ours.
const LONGEST: u64 = 16 << 20;

/// See the module's head.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// Connects with its first request.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// `POST /infer` with a JPEG: status and JSON.
    ///
    /// # Errors
    /// No connection, no answer, or no JSON in it. The next call connects anew.
    pub fn infer(&mut self, jpeg: &[u8]) -> anyhow::Result<(u16, Value)> {
        let (status, body) = self.post("image/jpeg", jpeg)?;
        Ok((status, serde_json::from_slice(&body)?))
    }

    /// `POST /infer` with a body of any type: status and body.
    ///
    /// # Errors
    /// No connection or no answer. The next call connects anew.
    pub fn post(&mut self, content_type: &str, body: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        let head = format!("POST /infer HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n", body.len());
        self.ask(&[head.as_bytes(), body].concat())
    }

    /// `GET path`: status and body.
    ///
    /// # Errors
    /// No connection or no answer.
    pub fn get(&mut self, path: &str) -> anyhow::Result<(u16, String)> {
        let (status, body) = self.ask(format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes())?;
        Ok((status, String::from_utf8(body)?))
    }

    fn ask(&mut self, request: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        let mut reader = match self.connection.take() {
            Some(reader) => reader,
            None => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                BufReader::new(stream)
            }
        };
        reader.get_mut().write_all(request)?;
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).context("no status line")?.parse()?;
        let (mut length, mut closes) = (0u64, false);
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            closes |= header == "connection: close";
        }
        ensure!(length <= LONGEST, "an answer of {length} bytes");
        let mut body = Vec::new();
        reader.by_ref().take(length).read_to_end(&mut body)?;
        self.connection = (!closes).then_some(reader);
        Ok((status, body))
    }
}
