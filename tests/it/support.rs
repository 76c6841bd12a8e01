//! A running exeat with a policy of the test's own, and upstreams for it to reach.

pub mod authority;
pub mod binary;
#[allow(dead_code, reason = "tests/dial.rs shares it, and needs more of it")]
pub mod dns;
mod reading;
mod records;
mod reply;
pub mod signer;
pub mod squid;
pub mod tls;
mod told;
pub mod upstream;

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use exeat::config::Settings;
use exeat::policy::document::Sources;
use exeat::server::{Server, Signal};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

pub use reading::{End, PATIENCE, end, read_head, read_to_end};
pub use reply::{Reply, anonymous, ask, read_exactly, read_reply};

/// A running exeat, in this process. Its hosts file gives the names below `example` loopback addresses, so
/// rules for them need `private: true`.
pub struct Gate {
    pub signals: mpsc::Sender<Signal>,
    reach: Reach,
    task: JoinHandle<()>,
}

/// Where a running exeat is met: what a client, an operator and a reader of its files can do.
pub struct Reach {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    directory: TempDir,
}

/// The settings of a test, before it starts.
pub struct Setup {
    pub settings: Settings,
    pub policy: String,
    pub hosts: String,
    /// Puts the policy into its directory.
    pub lay_out: fn(&Path, &str),
}

impl Setup {
    /// The settings of every test, with the given YAML as the policy.
    pub fn new(policy: &str) -> Self {
        let mut settings = Settings::default();
        settings.listen.explicit = vec!["127.0.0.1:0".parse().unwrap()];
        settings.listen.admin = Some("127.0.0.1:0".parse().unwrap());
        settings.timeouts.drain = Duration::from_secs(5);
        let hosts = "127.0.0.1 a.example b.example c.example denied.example gate.example\n".to_owned();
        Self { settings, policy: policy.to_owned(), hosts, lay_out: one_file }
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
        (self.lay_out)(&at("policies"), &self.policy);
        std::fs::write(at("hosts"), &self.hosts).unwrap();
        self.settings.dns.hosts = Some(at("hosts"));
        if self.settings.audit.path == Path::new("-") {
            self.settings.audit.path = at("records.jsonl");
        }
        let sources = Sources { paths: vec![at("policies")], allow: Vec::new() };
        let server = Server::new(&self.settings, sources).unwrap_or_else(|error| panic!("{error:?}"));
        let (address, admin) = (server.explicit_addresses()[0], server.admin_address().unwrap());
        let (signals, receiver) = mpsc::channel(4);
        let task = tokio::spawn(server.run(receiver));
        Gate { signals, reach: Reach { address, admin, directory }, task }
    }
}

impl Gate {
    /// A gate with these rules under `allow`.
    pub async fn allowing(rules: &[&str]) -> Self {
        Setup::allow(rules).start().await
    }

    pub async fn signal(&self, signal: Signal) {
        self.signals.send(signal).await.unwrap();
    }

    /// Stops it in order, and waits until it has stopped.
    pub async fn stop(self) {
        self.signal(Signal::Stop).await;
        self.stopped().await;
    }

    /// Stops it in order; it must have written exactly so many records.
    pub async fn stop_and_count(self, count: usize) {
        self.signal(Signal::Stop).await;
        let left = self.stopped().await;
        let text = std::fs::read_to_string(left.path("records.jsonl")).unwrap();
        assert_eq!(text.lines().count(), count, "{text}");
    }

    /// Waits until it has stopped, and returns what it leaves behind.
    pub async fn stopped(self) -> Reach {
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
        self.reach
    }
}

impl Deref for Gate {
    type Target = Reach;

    fn deref(&self) -> &Reach {
        &self.reach
    }
}

impl Reach {
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
        open_tunnel(self.connect().await, to).await
    }

    /// The same from this loopback address.
    pub async fn tunnel_from(&self, source: &str, to: &str) -> TcpStream {
        open_tunnel(self.connect_from(source).await, to).await
    }

    /// Waits until this many records are written, and returns them all in the order in which their flows began.
    pub async fn records(&self, count: usize) -> Vec<Value> {
        told::records(&self.path("records.jsonl"), count).await
    }

    /// The records that are written, in the order in which their flows began.
    pub fn records_so_far(&self) -> Vec<Value> {
        records::read(&self.path("records.jsonl"))
    }

    /// The one record of a test with a single flow.
    pub async fn record(&self) -> Value {
        told::record(&self.path("records.jsonl")).await
    }

    /// Replaces the policy and waits until the new one is in force.
    pub async fn change_policy(&self, policy: &str) {
        let revision = self.revision().await;
        let new = self.path("policies/.new");
        std::fs::write(&new, policy).unwrap();
        std::fs::rename(&new, self.path("policies/policy.yaml")).unwrap();
        self.until_revision(revision + 1).await;
    }

    /// Waits until this revision of the policy is in force.
    pub async fn until_revision(&self, revision: u64) {
        until("the policy did not change", async || self.revision().await == revision).await;
    }

    pub async fn revision(&self) -> u64 {
        let policy: Value = serde_json::from_str(&self.ask_admin("/policy").await).unwrap();
        policy["revision"].as_u64().unwrap()
    }

    /// The body of an answer of the admin door.
    pub async fn ask_admin(&self, path: &str) -> String {
        self.admin_answer(path).await.1
    }

    /// The status line of an answer of the admin door, and its body.
    pub async fn admin_answer(&self, path: &str) -> (String, String) {
        told::answer(self.admin, path).await
    }

    /// One sample of the metrics, by its name with labels as it is written.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        told::metric(self.admin, name).await
    }
}

/// Waits until something is so.
pub async fn until(otherwise: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{otherwise}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The policy as one file.
fn one_file(directory: &Path, policy: &str) {
    std::fs::write(directory.join("policy.yaml"), policy).unwrap();
}

/// The file `name` of the fixtures.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Asks for a tunnel on a connection; panics unless the answer is 200.
async fn open_tunnel(mut stream: TcpStream, to: &str) -> TcpStream {
    let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    stream
}
