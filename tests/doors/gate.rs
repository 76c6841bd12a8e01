//! A running exeat with all its doors, a DNS server behind it, and a policy of the test's own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use exeat::config::Settings;
use exeat::policy::document::Sources;
use exeat::server::{Server, Signal};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::dns::Dns;
use crate::told;

pub use crate::reading::PATIENCE;

pub struct Gate {
    pub transparent: Vec<SocketAddr>,
    pub dns: Vec<SocketAddr>,
    pub admin: SocketAddr,
    pub servers: Dns,
    signals: mpsc::Sender<Signal>,
    directory: TempDir,
    running: JoinHandle<()>,
}

/// The settings of a test, before it starts.
pub struct Setup {
    pub settings: Settings,
    policy: String,
    ttl: u32,
    zone: Vec<(&'static str, &'static str)>,
}

impl Setup {
    /// With the given YAML as the policy.
    pub fn new(policy: &str) -> Self {
        let mut settings = Settings::default();
        settings.listen.explicit = Vec::new();
        settings.listen.transparent = vec!["127.0.0.1:0".parse().unwrap()];
        settings.listen.dns = vec!["127.0.0.1:0".parse().unwrap()];
        settings.listen.admin = Some("127.0.0.1:0".parse().unwrap());
        settings.timeouts.drain = Duration::from_secs(5);
        Self { settings, policy: policy.to_owned(), ttl: 60, zone: Vec::new() }
    }

    /// One profile for everyone, with these entries under `allow`, each a line of YAML without the dash.
    pub fn allow(rules: &[&str]) -> Self {
        let rules: String = rules.iter().map(|rule| format!("      - {rule}\n")).collect();
        Self::new(&format!("version: 1\nprofiles:\n  - name: everyone\n    allow:\n{rules}"))
    }

    pub fn ttl(mut self, seconds: u32) -> Self {
        self.ttl = seconds;
        self
    }

    /// A name that has an address from the start.
    pub fn zone(mut self, name: &'static str, address: &'static str) -> Self {
        self.zone.push((name, address));
        self
    }

    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    pub async fn start(mut self) -> Gate {
        let servers = Dns::with_ttl(self.ttl).await;
        self.zone.iter().for_each(|(name, address)| servers.set(name, &[address]));
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("policy.yaml"), &self.policy).unwrap();
        std::fs::write(at("hosts"), "127.0.0.1 localhost hosts.example\n").unwrap();
        if self.settings.dns.servers.is_empty() {
            self.settings.dns.servers = vec![servers.address().into()];
        }
        self.settings.dns.hosts = Some(at("hosts"));
        self.settings.audit.path = at("records.jsonl");
        let sources = Sources { paths: vec![at("policy.yaml")], allow: Vec::new() };
        let server = Server::new(&self.settings, sources).unwrap_or_else(|error| panic!("{error:?}"));
        let (signals, receiver) = mpsc::channel(4);
        Gate {
            transparent: server.transparent_addresses(),
            dns: server.dns_addresses(),
            admin: server.admin_address().unwrap(),
            servers,
            signals,
            directory,
            running: tokio::spawn(server.run(receiver)),
        }
    }
}

impl Gate {
    /// Waits until this many records are written, and returns them all in the order in which their flows began.
    pub async fn records(&self, count: usize) -> Vec<Value> {
        told::records(&self.records_path(), count).await
    }

    /// The one record of a test with a single flow.
    pub async fn record(&self) -> Value {
        told::record(&self.records_path()).await
    }

    /// One sample of the metrics, by its name with labels as it is written.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        told::metric(self.admin, name).await
    }

    /// Stops it in order; it must have written exactly so many records.
    pub async fn stop(self, records: usize) {
        let path = self.records_path();
        self.signals.send(Signal::Stop).await.unwrap();
        timeout(PATIENCE, self.running).await.unwrap().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), records, "{text}");
    }

    fn records_path(&self) -> PathBuf {
        self.directory.path().join("records.jsonl")
    }
}
