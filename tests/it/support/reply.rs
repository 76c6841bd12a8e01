//! Answers that come on a connection which stays, read to their end and no further.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{PATIENCE, read_head};

/// One answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }
}

/// Writes a request and reads the answer to it.
pub async fn ask(stream: &mut TcpStream, request: impl AsRef<[u8]>) -> Reply {
    stream.write_all(request.as_ref()).await.unwrap();
    read_reply(stream).await
}

/// Reads one answer whose body has a length or is chunked, and no further.
pub async fn read_reply(stream: &mut TcpStream) -> Reply {
    let head = read_head(stream).await;
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head:?}"));
    let lower = head.to_ascii_lowercase();
    let mut body = Vec::new();
    if let Some((_, length)) = lower.split_once("\r\ncontent-length: ") {
        body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
        timeout(PATIENCE, stream.read_exact(&mut body)).await.expect("no body in time").unwrap();
    } else if lower.contains("\r\ntransfer-encoding: chunked\r\n") {
        loop {
            let line = read_line(stream).await;
            let mut chunk = vec![0; usize::from_str_radix(line.trim(), 16).unwrap()];
            timeout(PATIENCE, stream.read_exact(&mut chunk)).await.expect("no chunk in time").unwrap();
            body.extend(&chunk);
            let end = read_line(stream).await;
            if chunk.is_empty() {
                // Trailers count as body here.
                let mut trailer = end;
                while trailer != "\r\n" {
                    body.extend(trailer.as_bytes());
                    trailer = read_line(stream).await;
                }
                break;
            }
        }
    }
    Reply { status, head, body: String::from_utf8_lossy(&body).into_owned() }
}

/// Reads so many bytes.
pub async fn read_exactly(stream: &mut TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("no bytes in time").unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn read_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(timeout(PATIENCE, stream.read_u8()).await.expect("no line in time").unwrap());
    }
    String::from_utf8(line).unwrap()
}

/// A text without the number that tells this exeat from others.
pub fn anonymous(text: &str) -> String {
    let mut parts = text.split("exeat-");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "exeat" + part.get(8..).unwrap_or_default())
}
