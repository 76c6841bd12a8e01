//! A running exeat with a policy of the test's own, and upstreams for it to reach.

#[allow(dead_code, reason = "the tests of the dialler use more of it")]
pub mod dns;
pub mod upstream;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use exeat::config::Settings;
use exeat::policy::document::Sources;
use exeat::server::{Server, Signal};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Long enough for anything on a busy machine; no test waits for it unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running exeat. Its hosts file gives the names below `example` loopback addresses, so rules for them
/// need `private: true`.
pub struct Gate {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub signals: mpsc::Sender<Signal>,
    directory: TempDir,
    task: JoinHandle<()>,
}

/// The settings of a test, before it starts.
pub struct Setup {
    pub settings: Settings,
    pub policy: String,
    pub hosts: String,
}

impl Setup {
    /// The settings of every test, with the given YAML as the policy.
    pub fn new(policy: &str) -> Self {
        let mut settings = Settings::default();
        settings.listen.explicit = vec!["127.0.0.1:0".parse().unwrap()];
        settings.listen.admin = Some("127.0.0.1:0".parse().unwrap());
        settings.timeouts.drain = Duration::from_secs(5);
        let hosts = "127.0.0.1 a.example b.example c.example denied.example\n".to_owned();
        Self { settings, policy: policy.to_owned(), hosts }
    }

    /// One profile for everyone, with these entries under `allow`, each a line of YAML without the dash.
    pub fn allow(rules: &[&str]) -> Self {
        let rules: String = rules.iter().map(|rule| format!("      - {rule}\n")).collect();
        Self::new(&format!("version: 1\nprofiles:\n  - name: everyone\n    allow:\n{rules}"))
    }

    pub async fn start(mut self) -> Gate {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("policies")).unwrap();
        std::fs::write(at("policies/policy.yaml"), &self.policy).unwrap();
        std::fs::write(at("hosts"), &self.hosts).unwrap();
        self.settings.dns.hosts = Some(at("hosts"));
        self.settings.audit.path = at("records.jsonl");
        let sources = Sources { paths: vec![at("policies")], allow: Vec::new() };
        let server = Server::new(&self.settings, sources).unwrap_or_else(|error| panic!("{error:?}"));
        let (address, admin) = (server.explicit_addresses()[0], server.admin_address().unwrap());
        let (signals, receiver) = mpsc::channel(4);
        let task = tokio::spawn(server.run(receiver));
        Gate { address, admin, signals, directory, task }
    }
}

impl Gate {
    /// A gate with these rules under `allow`.
    pub async fn allowing(rules: &[&str]) -> Self {
        Setup::allow(rules).start().await
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A new connection to the explicit door.
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A new connection to the explicit door from this loopback address.
    pub async fn connect_from(&self, source: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Sends these bytes on a new connection and reads until exeat closes it.
    pub async fn say(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // A refusal may close the connection before all was written.
        let _ = stream.write_all(bytes.as_ref()).await;
        read_to_end(&mut stream).await
    }

    /// Opens a tunnel; panics unless the answer is 200.
    pub async fn tunnel(&self, to: &str) -> TcpStream {
        let mut stream = self.connect().await;
        let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        stream
    }

    /// Waits until this many records are written, and returns them all in the order of their end.
    pub async fn records(&self, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(self.path("records.jsonl")).unwrap_or_default();
            let complete = text.rfind('\n').map_or("", |end| &text[..end]);
            let records: Vec<Value> =
                complete.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if records.len() >= count {
                return records;
            }
            assert!(Instant::now() < deadline, "{} of {count} records: {records:#?}", records.len());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The one record of a test with a single flow.
    pub async fn record(&self) -> Value {
        let mut records = self.records(1).await;
        assert_eq!(records.len(), 1, "{records:#?}");
        records.remove(0)
    }

    /// Replaces the policy and waits until the new one is in force.
    pub async fn change_policy(&self, policy: &str) {
        let revision = self.revision().await;
        let new = self.path("policies/.new");
        std::fs::write(&new, policy).unwrap();
        std::fs::rename(&new, self.path("policies/policy.yaml")).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while self.revision().await == revision {
            assert!(Instant::now() < deadline, "the policy did not change");
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn revision(&self) -> u64 {
        let policy: Value = serde_json::from_str(&self.ask_admin("/policy").await).unwrap();
        policy["revision"].as_u64().unwrap()
    }

    /// The body of an answer of the admin door.
    pub async fn ask_admin(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap()
    }

    /// One sample of the metrics, by its name with labels as it is written.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let metrics = self.ask_admin("/metrics").await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    /// Stops it in order, and waits until it has stopped.
    pub async fn stop(self) {
        self.signals.send(Signal::Stop).await.unwrap();
        self.stopped().await;
    }

    /// Waits until it has stopped.
    pub async fn stopped(self) {
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }

    /// Stops it in order; it must have written exactly so many records.
    pub async fn stop_and_count(self, count: usize) {
        let records = self.path("records.jsonl");
        let Self { signals, directory, task, .. } = self;
        signals.send(Signal::Stop).await.unwrap();
        timeout(PATIENCE, task).await.unwrap().unwrap();
        let text = std::fs::read_to_string(records).unwrap();
        drop(directory);
        assert_eq!(text.lines().count(), count, "{text}");
    }
}

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

/// Reads until the other side closes, or breaks off.
pub async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too; what came before it is in the bytes.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("no end in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The file `name` of the fixtures.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}
