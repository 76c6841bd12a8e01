//! Every reason there is: how it comes about, what the client sees, what the record and the metrics say.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use exeat::client::Client;
use exeat::flow::{Ledger, Limits};
use exeat::ingress::Ingress;
use exeat::metrics::Metrics;
use exeat::reason::Reason;
use exeat::record::{Audit, Sink};
use exeat::server::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::dns::Dns;
use crate::support::tls::{ACCESS_DENIED, extension, hello, hello_with, server_name};
use crate::support::upstream::Upstream;
use crate::support::{End, Gate, Setup, end, until};

/// Reasons that need a door or a setting this version has not.
const LATER: [Reason; 3] = [Reason::AuthRequired, Reason::AuthFailed, Reason::ParentFailed];

/// What a client does to meet a reason, and what it sees of it.
enum Way {
    /// It sends this to the door, and gets an answer that begins so.
    Ask(String, &'static str),
    /// It opens a tunnel, sends this, and the tunnel ends so.
    Inside(Vec<u8>, End),
    /// It opens a tunnel, sends this, and leaves: by a reset, or in order.
    Leave(Vec<u8>, Exit),
}

enum Exit {
    Reset,
    Order,
}

/// One row: what happens under which rule, and in which surroundings.
struct Row {
    reason: Reason,
    /// Under `allow`, for `a.example` at the upstream's port.
    rule: &'static str,
    more: fn(&mut Setup),
    way: Way,
}

fn alert() -> End {
    End { last: ACCESS_DENIED.to_vec(), reset: false }
}

fn reset() -> End {
    End { last: Vec::new(), reset: true }
}

fn connect(to: &str) -> String {
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")
}

const TLS: &str = "protocol: tls";
const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\n";
const BAD_GATEWAY: &str = "HTTP/1.1 502 Bad Gateway\r\n";

/// What needs nothing but a request and a rule. PORT stands for the upstream's port, and so on.
fn rows() -> Vec<Row> {
    let row = |reason, rule, way| Row { reason, rule, more: |_| {}, way };
    let ech = hello_with(&[server_name("a.example"), extension(0xfe0d, &[0; 8])].concat());
    let get = |to: &str, host: &str| {
        format!("GET http://{to}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    };
    let nobody =
        |setup: &mut Setup| setup.policy = setup.policy.replace("allow:", "clients: [192.0.2.1]\n    allow:");
    let short_idle = |setup: &mut Setup| setup.settings.timeouts.idle = Duration::from_millis(200);
    let short_head = |setup: &mut Setup| setup.settings.timeouts.head = Duration::from_millis(200);
    vec![
        row(Reason::Allowed, "protocol: tcp", Way::Leave(b"ping".to_vec(), Exit::Order)),
        Row {
            more: |setup| setup.policy = setup.policy.replace("allow:", "mode: report\n    allow:"),
            ..row(Reason::ReportOnly, TLS, Way::Leave(hello(&["b.example"]), Exit::Order))
        },
        row(Reason::NoRule, TLS, Way::Ask(connect("b.example:443"), FORBIDDEN)),
        row(Reason::DeniedByRule, TLS, Way::Ask(connect("denied.example:443"), FORBIDDEN)),
        Row { more: nobody, ..row(Reason::NoProfile, TLS, Way::Ask(connect("a.example:PORT"), FORBIDDEN)) },
        row(Reason::AddressProhibited, TLS, Way::Ask(connect("public.example:PORT"), FORBIDDEN)),
        row(Reason::ServerNameMissing, TLS, Way::Inside(hello(&[]), alert())),
        row(Reason::ServerNameMismatch, TLS, Way::Inside(hello(&["b.example"]), alert())),
        row(Reason::EchDenied, TLS, Way::Inside(ech, alert())),
        row(
            Reason::HostMismatch,
            "protocol: http",
            Way::Ask(get("a.example:PORT", "b.example"), "HTTP/1.1 400 "),
        ),
        row(Reason::NotTls, TLS, Way::Inside(b"SSH-2.0-client\r\n".to_vec(), reset())),
        row(Reason::NotHttp, "protocol: http", Way::Inside(hello(&["a.example"]), alert())),
        row(Reason::BadRequest, TLS, Way::Ask(connect("a.example"), "HTTP/1.1 400 Bad Request\r\n")),
        row(Reason::BadClientHello, TLS, Way::Inside(hello(&["a.example", "b.example"]), alert())),
        Row { more: short_head, ..row(Reason::HeadTimeout, TLS, Way::Inside(vec![0x16], reset())) },
        row(Reason::DnsFailed, TLS, Way::Ask(connect("missing.example:PORT"), BAD_GATEWAY)),
        row(Reason::DialRefused, TLS, Way::Ask(connect("b.example:REFUSING"), BAD_GATEWAY)),
        Row {
            more: |setup| setup.settings.timeouts.dial = Duration::from_millis(300),
            ..row(
                Reason::DialTimeout,
                TLS,
                Way::Ask(connect("b.example:HOLE"), "HTTP/1.1 504 Gateway Timeout\r\n"),
            )
        },
        // The broadcast address of the loopback network: no connection can be made to it.
        row(Reason::DialFailed, TLS, Way::Ask(connect("127.255.255.255:PORT"), BAD_GATEWAY)),
        row(Reason::UpstreamReset, "protocol: tcp", Way::Inside(b"reset".to_vec(), reset())),
        row(Reason::ClientReset, "protocol: tcp", Way::Leave(b"ping".to_vec(), Exit::Reset)),
        Row {
            more: short_idle,
            ..row(Reason::IdleTimeout, "protocol: tcp", Way::Inside(b"ping".to_vec(), reset()))
        },
        Row {
            more: |setup| {
                setup.settings.audit =
                    exeat::config::Audit { path: PathBuf::from("/dev/full"), opened: false, required: true }
            },
            ..row(
                Reason::AuditUnavailable,
                TLS,
                Way::Ask(connect("a.example:PORT"), "HTTP/1.1 503 Service Unavailable\r\n"),
            )
        },
    ]
}

/// An upstream that resets whoever says "reset", a port that refuses and one that swallows connections.
struct World {
    upstream: Upstream,
    dns: Dns,
    refusing: TcpSocket,
    hole: TcpListener,
    _queued: TcpStream,
}

impl World {
    async fn new() -> Self {
        let upstream = Upstream::start(|stream, heard| async move {
            loop {
                let mut buffer = [0; 1024];
                stream.readable().await.unwrap();
                match stream.try_read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => heard.add(&buffer[..count]),
                    Err(_) => continue,
                }
                if buffer.starts_with(b"reset") {
                    stream.set_zero_linger().unwrap();
                    return;
                }
            }
        })
        .await;
        let dns = Dns::start().await;
        dns.set("public.example", &["10.0.0.1"]);
        let refusing = TcpSocket::new_v4().unwrap();
        refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let hole = TcpSocket::new_v4().unwrap();
        hole.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let hole = hole.listen(0).unwrap();
        let queued = TcpStream::connect(hole.local_addr().unwrap()).await.unwrap();
        Self { upstream, dns, refusing, hole, _queued: queued }
    }

    async fn gate(&self, row: &Row) -> Gate {
        let port = self.upstream.port();
        let mut setup = Setup::new(&format!(
            "version: 1\nprofiles:\n  - name: p\n    allow:\n      - {{ host: a.example, ports: [{port}], private: true, {} }}\n      \
             - {{ host: b.example, ports: [{}, {}], protocol: tls, private: true }}\n      \
             - {{ host: '*.example', ports: [{port}], protocol: tls }}\n      \
             - {{ cidr: 127.255.255.255/32, ports: [{port}], protocol: tls }}\n    deny: [denied.example]\n",
            row.rule,
            self.refusing.local_addr().unwrap().port(),
            self.hole.local_addr().unwrap().port(),
        ));
        setup.settings.dns.servers = vec![self.dns.address().into()];
        (row.more)(&mut setup);
        setup.start().await
    }

    fn filled(&self, text: &str) -> String {
        let port = |socket: std::io::Result<std::net::SocketAddr>| socket.unwrap().port().to_string();
        text.replace("PORT", &self.upstream.port().to_string())
            .replace("REFUSING", &port(self.refusing.local_addr()))
            .replace("HOLE", &port(self.hole.local_addr()))
    }
}

/// One flow with this reason is counted, and open no more.
async fn assert_counted(gate: &Gate, ingress: &str, reason: Reason) {
    let verdict = if reason.allows() { "allow" } else { "deny" };
    let name =
        format!("exeat_flows_total{{ingress=\"{ingress}\",reason=\"{reason}\",verdict=\"{verdict}\"}}");
    until(&name, async || gate.metric(&name).await.is_some_and(|count| count >= 1.0)).await;
    assert_eq!(gate.metric(&format!("exeat_flows_active{{ingress=\"{ingress}\"}}")).await, Some(0.0));
}

async fn play(world: &World, row: &Row) {
    let gate = world.gate(row).await;
    let mut ingress = "connect";
    let to = format!("a.example:{}", world.upstream.port());
    if row.reason == Reason::AuditUnavailable {
        // The first record finds out that none can be written.
        gate.say(connect("first.test:443")).await;
        let refused =
            async || gate.say(world.filled(&connect("a.example:PORT"))).await.contains("audit_unavailable");
        until("the sink does not fail", refused).await;
    }
    match &row.way {
        Way::Ask(request, answer) => {
            if request.starts_with("GET") {
                ingress = "forward";
            }
            let said = gate.say(world.filled(request)).await;
            assert!(said.starts_with(answer), "{}: {said}", row.reason);
            assert!(said.contains(&format!("details=\"{}\"", row.reason)), "{}: {said}", row.reason);
            assert!(said.contains(&format!("\"reason\":\"{}\"", row.reason)), "{}: {said}", row.reason);
            let blocked = said.contains("x-proxy-error: blocked-by-allowlist\r\n");
            assert_eq!(blocked, *answer == FORBIDDEN, "{}: {said}", row.reason);
        }
        Way::Inside(first, ended) => {
            let mut tunnel = gate.tunnel(&to).await;
            tunnel.write_all(first).await.unwrap();
            assert_eq!(&end(&mut tunnel).await, ended, "{}", row.reason);
        }
        Way::Leave(first, exit) => {
            let before = world.upstream.connections();
            let mut tunnel = gate.tunnel(&to).await;
            tunnel.write_all(first).await.unwrap();
            until("it is not heard", async || {
                world.upstream.heard().get(before).is_some_and(|heard| heard == first)
            })
            .await;
            if matches!(exit, Exit::Reset) {
                tunnel.set_zero_linger().unwrap();
            }
        }
    }
    assert_counted(&gate, ingress, row.reason).await;
    if row.reason != Reason::AuditUnavailable {
        let record = gate.record().await;
        assert_eq!(record["reason"], row.reason.as_str());
        assert_eq!(record["verdict"], if row.reason.allows() { "allow" } else { "deny" });
        assert_eq!(record["ingress"], ingress);
    }
    gate.stop().await;
}

#[tokio::test]
async fn every_reason_comes_about_and_is_told_the_same_everywhere() {
    let world = World::new().await;
    let mut met = BTreeSet::new();
    for row in rows() {
        play(&world, &row).await;
        met.insert(row.reason.as_str());
    }
    for (reason, played) in [
        (
            Reason::LimitFlows,
            limit(|setup| setup.settings.limits.flows = NonZeroUsize::new(1), "503 Service Unavailable")
                .await,
        ),
        (
            Reason::LimitClient,
            limit(
                |setup| setup.settings.limits.flows_per_client = NonZeroUsize::new(1),
                "429 Too Many Requests",
            )
            .await,
        ),
        (Reason::SelfConnect, self_connect().await),
        (Reason::Revoked, revoked().await),
        (Reason::Draining, draining().await),
        (Reason::Internal, internal()),
    ] {
        assert_eq!(played, reason.as_str());
        met.insert(played);
    }
    met.extend(LATER.map(Reason::as_str));
    let all: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(met, all);
}

fn known(reason: &serde_json::Value) -> &'static str {
    let word = reason.as_str().unwrap();
    Reason::ALL.iter().find(|reason| reason.as_str() == word).unwrap().as_str()
}

/// A second flow beside one that holds the only place.
async fn limit(change: fn(&mut Setup), status: &str) -> &'static str {
    let upstream = Upstream::echo().await;
    let to = format!("a.example:{}", upstream.port());
    let rule = format!("{{ host: a.example, ports: [{}], protocol: tcp, private: true }}", upstream.port());
    let mut setup = Setup::allow(&[&rule]);
    change(&mut setup);
    let gate = setup.start().await;
    let open = gate.tunnel(&to).await;
    let answer = gate.say(connect(&to)).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
    let record = gate.record().await;
    drop(open);
    // The place comes back.
    gate.records(2).await;
    drop(gate.tunnel(&to).await);
    gate.stop().await;
    known(&record["reason"])
}

async fn self_connect() -> &'static str {
    let gate = Gate::allowing(&["{ host: a.example, ports: [1-65535], protocol: tcp, private: true }"]).await;
    let answer = gate.say(connect(&format!("a.example:{}", gate.address.port()))).await;
    assert!(answer.starts_with(FORBIDDEN), "{answer}");
    let record = gate.record().await;
    gate.stop().await;
    known(&record["reason"])
}

async fn revoked() -> &'static str {
    let upstream = Upstream::echo().await;
    let rule = format!("{{ host: a.example, ports: [{}], protocol: tcp, private: true }}", upstream.port());
    let gate = Gate::allowing(&[&rule]).await;
    let mut open = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
    gate.change_policy("version: 1\nprofiles:\n  - name: p\n    allow: [b.example]\n").await;
    assert_eq!(end(&mut open).await, reset());
    let record = gate.record().await;
    gate.stop().await;
    known(&record["reason"])
}

async fn draining() -> &'static str {
    let upstream = Upstream::echo().await;
    let rule = format!("{{ host: a.example, ports: [{}], protocol: tcp, private: true }}", upstream.port());
    let gate = Gate::allowing(&[&rule]).await;
    let mut open = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
    gate.signal(Signal::Stop).await;
    gate.signal(Signal::Stop).await;
    assert_eq!(end(&mut open).await, reset());
    known(&gate.stopped().await.records_so_far()[0]["reason"])
}

/// Nothing that a client can do brings a defect about, so the flow is the test's own: its task panics.
fn internal() -> &'static str {
    let directory = tempfile::tempdir().unwrap();
    let ledger = ledger(&directory.path().join("records.jsonl"));
    let theirs = Arc::clone(&ledger);
    let broken = std::thread::spawn(move || {
        let client = Client::new(([10, 0, 0, 1], 4000).into(), [10, 0, 0, 2].into());
        let _flow = theirs.begin(Ingress::Connect, client);
        std::panic::panic_any(());
    });
    assert!(broken.join().is_err());
    let metrics = ledger.metrics().text().unwrap();
    let metrics = String::from_utf8_lossy(metrics.as_ref()).into_owned();
    assert!(
        metrics.contains("exeat_flows_total{ingress=\"connect\",reason=\"internal\",verdict=\"deny\"} 1\n")
    );
    ledger.sink().close(Duration::from_secs(5));
    let text = std::fs::read_to_string(directory.path().join("records.jsonl")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["error"], "a panic ended the flow");
    known(&record["reason"])
}

fn ledger(path: &Path) -> Arc<Ledger> {
    let metrics = Arc::new(Metrics::new().unwrap());
    let audit = Audit { path: Some(path.to_owned()), opened: false, required: false, reserve: 0 };
    let sink = Sink::open(&audit, metrics.records()).unwrap();
    Arc::new(Ledger::new(metrics, sink, Limits::default()))
}

#[test]
fn a_flow_that_nobody_ends_is_recorded_when_exeat_can_wait_no_longer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("records.jsonl");
    let ledger = ledger(&path);
    let client = Client::new(([10, 0, 0, 1], 4000).into(), [10, 0, 0, 2].into());
    let flows: Vec<_> = (0..1000).map(|_| ledger.begin(Ingress::Connect, client.clone())).collect();
    ledger.stop_all();
    assert_eq!((ledger.end_all(), ledger.end_all()), (1000, 0));
    drop(flows);
    ledger.sink().close(Duration::from_secs(5));
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("\"reason\":\"draining\"")).count(), 1000);
    assert_eq!(text.lines().count(), 1000);
}
