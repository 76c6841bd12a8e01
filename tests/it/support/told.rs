//! What a running exeat tells: the records in its file, and the answers of its admin door.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::reading::{PATIENCE, read_to_end};
use super::records::read;

/// Waits until this many records are written, and returns them all in the order in which their flows began.
pub async fn records(path: &Path, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let records = read(path);
        if records.len() >= count {
            return records;
        }
        assert!(Instant::now() < deadline, "{} of {count} records: {records:#?}", records.len());
        sleep(Duration::from_millis(5)).await;
    }
}

/// The one record of a test with a single flow.
pub async fn record(path: &Path) -> Value {
    let mut records = records(path, 1).await;
    assert_eq!(records.len(), 1, "{records:#?}");
    records.remove(0)
}

/// The status line of an answer of the admin door, and its body.
pub async fn answer(admin: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

/// One sample of the metrics, by its name with labels as it is written.
pub async fn metric(admin: SocketAddr, name: &str) -> Option<f64> {
    let (_, metrics) = answer(admin, "/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}
