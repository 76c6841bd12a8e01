//! The load generator of the benches does what it says, each kind of load through exeat. How fast is of no account.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../benches/load/main.rs"]
#[allow(dead_code, reason = "a test has no command line")]
mod load;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use self::load::loads::tally::Report;
use self::load::loads::{Load, bare, bulk, dns, echo, http, idle, origin, overload, tunnels};

/// Whatever a load does in these tests is over long before; they end by their count.
const PATIENCE: Duration = Duration::from_secs(60);

/// An origin, exeat before it, and the load that goes through.
struct Stand {
    exeat: Child,
    _directory: tempfile::TempDir,
    dns: SocketAddr,
    load: Load,
}

impl Stand {
    async fn new(count: u64) -> Self {
        let listeners = origin::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let origin = listeners[0].local_addr().unwrap();
        tokio::spawn(origin::serve(listeners));
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(directory.path().join(name), text).unwrap();
        write("hosts", "127.0.0.1 origin.example 0-origin.example 1-origin.example\n".to_owned());
        let port = origin.port();
        write(
            "policy.yaml",
            format!(
                "version: 1\nprofiles:\n  - name: p\n    allow:\n\
                 \x20     - {{ host: origin.example, ports: [{port}], private: true }}\n\
                 \x20     - {{ host: '*-origin.example', ports: [{port}], private: true }}\n"
            ),
        );
        write(
            "exeat.yaml",
            "listen: { explicit: ['127.0.0.1:0'], dns: ['127.0.0.1:0'], admin: null }\n\
             policy: [policy.yaml]\naudit: { path: records.jsonl }\n\
             dns: { servers: ['127.0.0.1:9'], hosts: hosts }\n"
                .to_owned(),
        );
        let mut exeat = Command::new(env!("CARGO_BIN_EXE_exeat"))
            .args(["serve", "--config", "exeat.yaml"])
            .current_dir(directory.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(exeat.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut said = |words: &str| -> SocketAddr {
            let line = log.find(|line| line.contains(words)).unwrap();
            line.split(words).nth(1).unwrap().parse().unwrap()
        };
        let proxy = Some(said("clients connect to http://"));
        let dns = said("DNS questions are answered at ");
        let to = "origin.example".to_owned();
        let load = Load {
            proxy,
            origin,
            to,
            authorization: None,
            ports: 1,
            concurrency: 8,
            seconds: PATIENCE,
            count,
        };
        Self { exeat, _directory: directory, dns, load }
    }

    fn load(&self) -> Load {
        self.load.clone()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _ = self.exeat.kill();
        let _ = self.exeat.wait();
    }
}

#[track_caller]
fn assert_all(report: &Report, steps: usize) {
    assert_eq!(report.steps, steps, "{report}");
    assert!(report.others.is_empty(), "{report}");
    // The second line is for machines.
    let line = report.to_string().lines().nth(1).unwrap().to_owned();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["steps"], steps);
}

#[tokio::test]
async fn tunnels_round_trips_and_requests_are_counted() {
    let stand = Stand::new(100).await;
    assert_all(&tunnels::run(stand.load()).await.unwrap(), 100);
    assert_all(&echo::run(stand.load(), 1024).await.unwrap(), 100);
    assert_all(&http::run(stand.load(), 1).await.unwrap(), 100);
    assert_all(&http::run(stand.load(), 2).await.unwrap(), 100);
    assert_all(&dns::run(stand.load(), stand.dns).await.unwrap(), 100);
    let direct = Load { proxy: None, ..stand.load() };
    assert_all(&tunnels::run(direct.clone()).await.unwrap(), 100);
    assert_all(&http::run(direct, 1).await.unwrap(), 100);
}

#[tokio::test]
async fn bytes_are_counted_both_ways() {
    let stand = Stand::new(200).await;
    for upload in [false, true] {
        let report = bulk::run(stand.load(), upload).await.unwrap();
        assert!(report.gb > 0.0 && report.others.is_empty(), "{report}");
    }
}

#[tokio::test]
async fn tunnels_are_held_and_touched() {
    let stand = Stand::new(u64::MAX).await;
    let load = Load { concurrency: 50, ..stand.load() };
    let mut reports = Vec::new();
    idle::run(load, &b"touch\n"[..], |report| reports.push(report)).await.unwrap();
    assert_eq!(reports.len(), 2);
    reports.iter().for_each(|report| assert_all(report, 50));
}

#[tokio::test]
async fn tunnels_come_at_a_rate_and_refusals_are_told_apart() {
    let stand = Stand::new(100).await;
    let load = Load { concurrency: 1000, ..stand.load() };
    assert_all(&overload::run(load.clone(), 500.0, PATIENCE).await.unwrap(), 100);
    let denied = Load { to: "evil.example".to_owned(), ..load };
    let report = overload::run(denied, 500.0, PATIENCE).await.unwrap();
    assert_eq!((report.steps, report.others.get("403")), (0, Some(&100)), "{report}");
}

#[tokio::test]
async fn an_alert_is_no_hello() {
    let stand = Stand::new(10).await;
    let refuser = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let load = Load { proxy: None, origin: refuser.local_addr().unwrap(), ..stand.load() };
    tokio::spawn(async move {
        loop {
            let (mut client, _) = refuser.accept().await.unwrap();
            let _ = client.read(&mut [0; 2048]).await.unwrap();
            client.write_all(&[21, 3, 3, 0, 2, 2, 49]).await.unwrap();
        }
    });
    let report = tunnels::run(load).await.unwrap();
    assert_eq!((report.steps, report.others.get("failed")), (0, Some(&10)), "{report}");
}

#[tokio::test]
async fn a_bare_relay_carries_them_too() {
    let stand = Stand::new(100).await;
    for (connect, splice) in [(true, false), (true, true), (false, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let bare = bare::Bare { listen, origin: stand.load.origin, ports: 1, connect, splice };
        tokio::spawn(bare.run(listener));
        // Without CONNECT it stands where a firewall would have taken the load to.
        let (proxy, origin) = if connect { (Some(listen), stand.load.origin) } else { (None, listen) };
        let load = Load { proxy, origin, ..stand.load() };
        assert_all(&tunnels::run(load.clone()).await.unwrap(), 100);
        assert_all(&echo::run(load.clone(), 1024).await.unwrap(), 100);
        let report = bulk::run(load, false).await.unwrap();
        assert!(report.gb > 0.0 && report.others.is_empty(), "{report}");
    }
}
