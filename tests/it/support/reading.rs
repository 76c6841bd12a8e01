//! What comes on a connection, for as long as anything on a busy machine may take.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Long enough for anything on a busy machine; no test waits for it unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How a connection ended: what came on it last, and whether by a reset.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    pub last: Vec<u8>,
    pub reset: bool,
}

/// Reads an HTTP head, to the empty line and no further.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match timeout(PATIENCE, stream.read_u8()).await.expect("no answer in time") {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Reads until the other side closes, or breaks off: a reset is an end too.
pub async fn read_to_end(stream: &mut TcpStream) -> String {
    String::from_utf8_lossy(&end(stream).await.last).into_owned()
}

/// Reads until the other side closes, or breaks off, and tells which.
pub async fn end(stream: &mut TcpStream) -> End {
    let mut last = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut last)).await.expect("no end in time");
    End { last, reset: read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset) }
}
