//! What a flow leaves behind, however it ends: its record, its metrics, and what the admin door shows.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use exeat::admin::{self, Access, Readiness};
use exeat::client::Client;
use exeat::destination::Destination;
use exeat::error::Error;
use exeat::flow::{Flow, Ledger, Limits, Stop};
use exeat::ingress::Ingress;
use exeat::metrics::Metrics;
use exeat::policy::document::load_text;
use exeat::policy::{Policy, Question, Seen};
use exeat::reason::Reason;
use exeat::record::{Audit, Sink};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, openat};
use rustix::io::ioctl_fionread;
use rustix::pipe::fcntl_setpipe_size;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(20);
const NAME: &str = "static.crates.io";

/// A ledger whose records end up in a file.
struct Books {
    folder: TempDir,
    ledger: Arc<Ledger>,
}

impl Books {
    fn open() -> Self {
        Self::with(|audit| audit)
    }

    fn with(change: impl FnOnce(Audit) -> Audit) -> Self {
        let folder = TempDir::new().unwrap();
        let path = Some(folder.path().join("audit.jsonl"));
        let audit = change(Audit { path, opened: false, required: false, reserve: 0 });
        let metrics = Arc::new(Metrics::new().unwrap());
        let sink = Sink::open(&audit, metrics.records()).unwrap();
        Self { folder, ledger: Arc::new(Ledger::new(metrics, sink, Limits::default())) }
    }

    fn begin(&self, ingress: Ingress) -> Flow {
        let flow = self.ledger.begin(ingress, client());
        flow.take_permit().unwrap();
        flow
    }

    /// A flow to [`NAME`], judged by the policy.
    fn judged(&self, policy: &Policy) -> Flow {
        let flow = self.begin(Ingress::Connect);
        judge(policy, &flow);
        flow
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    /// Closes the sink and reads what is in the file.
    fn records(&self) -> Vec<Value> {
        self.ledger.sink().close(PATIENCE);
        read(&self.path())
    }

    fn metrics(&self) -> String {
        String::from_utf8(self.ledger.metrics().text().unwrap()).unwrap()
    }
}

fn read(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn reasons(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["reason"].as_str().unwrap()).collect()
}

fn client() -> Client {
    Client::new(([10, 0, 1, 9], 40_000).into(), [10, 0, 1, 1].into())
}

fn policy(allow: &str, revision: u64) -> Policy {
    let text = format!("version: 1\nprofiles:\n  - name: build\n    allow: [{allow}]\n");
    load_text(Path::new("p.yaml"), &text).unwrap().builder.finish(revision)
}

fn today() -> jiff::civil::Date {
    jiff::civil::date(2026, 11, 22)
}

/// Tells the flow where it goes and what the policy says of that.
fn judge(policy: &Policy, flow: &Flow) {
    let to = Destination::parse("static.crates.io:443").unwrap();
    let subject = policy.subject(&client());
    let seen = Seen::Tls { server_name: to.host.name(), ech: false };
    flow.to(&to);
    flow.seen(seen);
    let question = Question { to: &to, seen, address: None };
    let verdict = policy.decide(&subject, &question, today());
    flow.verdict(&verdict, subject.profile_names(), Duration::from_nanos(300));
}

fn rejudge(ledger: &Ledger, policy: Policy) -> usize {
    ledger
        .rejudge(move |client, question| policy.decide(&policy.subject(client), question, today()).is_allow())
}

/// Waits, without a pause of a guessed length, for what another thread brings about.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_flow_leaves_one_record_and_its_metrics() {
    let books = Books::open();
    let flow = books.judged(&policy("'*.crates.io'", 1));
    let id = flow.id().to_string();
    flow.dialled(
        Some("151.101.2.137:443".parse().unwrap()),
        Duration::from_millis(2),
        Duration::from_millis(3),
    );
    flow.status(200);
    flow.counters().sent.store(517, Ordering::Relaxed);
    flow.counters().received.store(4_096, Ordering::Relaxed);
    assert!(books.metrics().contains("exeat_flows_active{ingress=\"connect\"} 1\n"));
    flow.end(Ok(()));

    let records = books.records();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    for (key, value) in [
        ("flow", id.as_str()),
        ("ingress", "connect"),
        ("client", "10.0.1.9"),
        ("host", NAME),
        ("server_name", NAME),
        ("address", "151.101.2.137"),
        ("verdict", "allow"),
        ("reason", "allowed"),
        ("rule", "p.yaml:4 \"*.crates.io\""),
    ] {
        assert_eq!(record[key], value, "{key}");
    }
    assert_eq!((record["sent"].as_u64(), record["received"].as_u64()), (Some(517), Some(4_096)));
    assert_eq!((record["dial_ms"].as_f64(), record["status"].as_u64()), (Some(5.0), Some(200)));
    let metrics = books.metrics();
    for line in [
        "exeat_flows_active{ingress=\"connect\"} 0",
        "exeat_flows_total{ingress=\"connect\",reason=\"allowed\",verdict=\"allow\"} 1",
        "exeat_bytes_total{direction=\"sent\"} 517",
        "exeat_rule_hits_total{profile=\"build\",rule=\"*.crates.io\"} 1",
        "exeat_decision_seconds_count 1",
        "exeat_dns_seconds_count 1",
        "exeat_dial_seconds_count 1",
        "exeat_flow_seconds_count 1",
    ] {
        assert!(metrics.contains(&format!("{line}\n")), "{line} is not in\n{metrics}");
    }
}

#[test]
fn the_way_a_flow_ends_is_in_its_record() {
    let books = Books::open();
    let (allowing, denying) = (policy("'*.crates.io'", 1), policy("other.example", 1));
    books.judged(&denying).end(Err(Error::Denied(Reason::NoRule)));
    books.judged(&allowing).end(Err(Error::DialTimeout));
    books.judged(&allowing).end(Err(Error::BadRequest("x".repeat(1_000).into())));
    books.begin(Ingress::Forward).end(Err(Error::HeadTimeout));
    let records = books.records();
    assert_eq!(reasons(&records), ["no_rule", "dial_timeout", "bad_request", "head_timeout"]);
    let verdicts: Vec<_> = records.iter().map(|record| record["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["deny", "allow", "deny", "deny"]);
    assert!(records[0]["error"].is_null() && records[0]["rule"].is_null());
    assert_eq!(records[1]["error"], "no address answered in time");
    assert_eq!(records[2]["error"].as_str().map(str::len), Some(256));
    assert!(!books.metrics().contains("rule=\"other.example\""), "a rule that decided nothing was hit");
}

#[tokio::test]
async fn a_flow_that_nobody_ends_is_recorded_all_the_same() {
    let books = Books::open();
    let panics = books.begin(Ingress::Connect);
    let panicked = tokio::spawn(async move {
        let _flow = panics;
        tokio::task::yield_now().await;
        panic!("on purpose");
    });
    assert!(panicked.await.unwrap_err().is_panic());

    let aborted = books.begin(Ingress::Connect);
    let task = tokio::spawn(async move {
        let _flow = aborted;
        std::future::pending::<()>().await;
    });
    tokio::task::yield_now().await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());

    let hung_up = books.begin(Ingress::Forward);
    hung_up.ends_with_connection();
    drop(hung_up);

    let open = books.begin(Ingress::Connect);
    books.ledger.stop_all();
    assert_eq!(open.stopped().await, Stop::Draining);
    drop(open);
    let late = books.begin(Ingress::Connect);
    let stop = late.stopped().await;
    late.end(Err(stop.into()));

    let records = books.records();
    assert_eq!(reasons(&records), ["internal", "internal", "client_reset", "draining", "draining"]);
    assert_eq!(records[0]["error"], "a panic ended the flow");
    assert_eq!(records[1]["error"], "the flow was dropped");
    assert!(books.metrics().contains("exeat_flows_active{ingress=\"connect\"} 0\n"));
    assert_eq!(books.ledger.open(), 0);
}

#[tokio::test]
async fn a_new_policy_revokes_what_it_denies_and_nothing_else() {
    let books = Books::open();
    let first = policy("'*.crates.io'", 1);
    let open = books.judged(&first);
    let (undecided, kept) = (books.begin(Ingress::Connect), books.begin(Ingress::Connect));
    assert_eq!(rejudge(&books.ledger, policy("static.crates.io", 2)), 0);
    let third = policy("other.example", 3);
    assert_eq!(rejudge(&books.ledger, third), 1);
    assert_eq!(open.stopped().await, Stop::Revoked);
    open.end(Err(Stop::Revoked.into()));

    // It was still being judged by the first policy when the third one went through the open flows.
    judge(&first, &undecided);
    assert_eq!(undecided.stopped().await, Stop::Revoked);
    drop(undecided);

    rejudge(&books.ledger, policy("'*.crates.io'", 4));
    judge(&first, &kept);
    kept.end(Ok(()));
    assert_eq!(reasons(&books.records()), ["revoked", "revoked", "allowed"]);
}

#[tokio::test]
async fn a_waiting_flow_is_woken_when_it_is_revoked() {
    let books = Books::open();
    let flow = books.judged(&policy("'*.crates.io'", 1));
    let waiting = tokio::spawn(async move {
        let stop = flow.stopped().await;
        flow.end(Err(stop.into()));
        stop
    });
    tokio::task::yield_now().await;
    assert_eq!(rejudge(&books.ledger, policy("other.example", 2)), 1);
    assert_eq!(waiting.await.unwrap(), Stop::Revoked);
}

#[test]
fn the_series_of_a_rule_goes_with_the_rule() {
    let books = Books::open();
    let first = policy("'*.crates.io'", 1);
    books.judged(&first).end(Ok(()));
    let tunnel = books.judged(&first);
    let series = "exeat_rule_hits_total{profile=\"build\",rule=\"*.crates.io\"}";
    books.ledger.metrics().rules().keep(&policy("'*.crates.io', other.example", 2));
    assert!(books.metrics().contains(&format!("{series} 1\n")));
    books.ledger.metrics().rules().keep(&policy("other.example", 3));
    tunnel.end(Ok(()));
    assert!(!books.metrics().contains(series), "an old tunnel brought the series back");
}

#[test]
fn the_record_names_the_rule_of_the_last_verdict() {
    let books = Books::open();
    let (allows, other) = (policy(NAME, 1), policy("other.example", 2));
    let flow = books.judged(&allows);
    let named = flow.rule();
    assert!(named.as_deref().is_some_and(|rule| rule.contains(NAME)), "{named:?}");
    judge(&other, &flow);
    assert_eq!(flow.rule(), None);
    // A rule of its own for the address, and then none.
    flow.decider(allows.rules().next().unwrap());
    assert_eq!(flow.rule(), named);
    judge(&other, &flow);
    assert_eq!(flow.rule(), None);
    flow.end(Err(Error::Denied(Reason::NoRule)));
    assert_eq!(books.records()[0]["rule"], Value::Null);
}

#[test]
fn the_start_of_a_flow_is_recorded_if_that_is_wanted() {
    let books = Books::with(|audit| Audit { opened: true, ..audit });
    let flow = books.judged(&policy("'*.crates.io'", 1));
    flow.opened();
    flow.end(Ok(()));
    let records = books.records();
    let schemas: Vec<_> = records.iter().map(|record| record["schema"].as_str().unwrap()).collect();
    assert_eq!(schemas, ["exeat.flow.opened/v1", "exeat.flow/v1"]);
    assert_eq!(records[0]["flow"], records[1]["flow"]);
}

#[test]
fn a_rotated_file_is_left_and_only_owner_and_group_read_it() {
    let books = Books::open();
    let mode = fs::metadata(books.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
    let rotated = books.folder.path().join("audit.jsonl.1");
    books.begin(Ingress::Connect).end(Err(Error::HeadTimeout));
    until("the first record", || fs::metadata(books.path()).unwrap().len() > 0);
    fs::rename(books.path(), &rotated).unwrap();
    books.ledger.sink().reopen();
    until("the new file", || books.path().exists());
    books.begin(Ingress::Connect).end(Err(Error::HeadTimeout));
    assert_eq!((books.records().len(), read(&rotated).len()), (1, 1));
}

#[test]
fn a_named_pipe_that_nobody_reads_holds_up_no_record() {
    let books = Books::open();
    let kept = books.folder.path().join("audit.jsonl.1");
    fs::rename(books.path(), &kept).unwrap();
    let rw = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, books.path(), FileType::Fifo, rw, 0).unwrap();
    books.ledger.sink().reopen();
    books.begin(Ingress::Connect).end(Err(Error::HeadTimeout));
    until("a record in the file that was open", || fs::metadata(&kept).unwrap().len() > 0);
    let told = "exeat_audit_reopens_total{result=\"failure\"} 1\n";
    assert!(books.metrics().contains(told), "{}", books.metrics());

    // One that somebody reads will do.
    let mut pipe = File::from(openat(CWD, books.path(), OFlags::RDONLY | OFlags::NONBLOCK, rw).unwrap());
    books.ledger.sink().reopen();
    books.begin(Ingress::Connect).end(Err(Error::HeadTimeout));
    books.ledger.sink().close(PATIENCE);
    let mut line = String::new();
    pipe.read_to_string(&mut line).unwrap();
    assert_eq!((line.lines().count(), read(&kept).len()), (1, 1), "{line}");
    assert!(books.metrics().contains("exeat_audit_reopens_total{result=\"success\"} 1\n"));
    let counters = Metrics::new().unwrap().records();
    let audit = Audit { path: Some(books.path()), opened: false, required: false, reserve: 0 };
    drop(pipe);
    let error = Sink::open(&audit, counters).expect_err("nobody reads it any more").to_string();
    assert!(error.ends_with("audit.jsonl: it is a named pipe that nobody reads, or no file"), "{error}");
}

#[test]
fn a_file_that_can_not_be_opened_is_named() {
    let path = Some("/nonexistent/audit.jsonl".into());
    let audit = Audit { path, opened: false, required: false, reserve: 0 };
    let counters = Metrics::new().unwrap().records();
    let error = Sink::open(&audit, counters).expect_err("there is no such folder").to_string();
    assert!(error.starts_with("can't append to /nonexistent/audit.jsonl: "), "{error}");
}

/// Records that go to a full disk, and the link that can be made to lead elsewhere.
fn full_disk(required: bool) -> (Books, PathBuf) {
    let folder = TempDir::new().unwrap();
    let link = folder.path().join("link");
    symlink("/dev/full", &link).unwrap();
    let mut books = Books::with(|audit| Audit { path: Some(link.clone()), required, reserve: 10, ..audit });
    books.folder = folder;
    (books, link)
}

#[test]
fn a_full_disk_loses_nothing_that_finds_room_later() {
    let (books, link) = full_disk(true);
    books.begin(Ingress::Connect).end(Err(Error::HeadTimeout));
    until("the sink stalls", || books.ledger.sink().refuses());
    let refused = books.ledger.begin(Ingress::Connect, client());
    let error = refused.take_permit().expect_err("records are required");
    assert_eq!(error.reason(), Reason::AuditUnavailable);
    refused.end(Err(error));

    fs::remove_file(&link).unwrap();
    symlink(books.path(), &link).unwrap();
    books.ledger.sink().reopen();
    until("the sink recovers", || !books.ledger.sink().refuses());
    assert_eq!(reasons(&books.records()), ["head_timeout", "audit_unavailable"]);
    assert!(books.metrics().contains("exeat_records_lost_total 0\n"));
}

#[test]
fn a_line_that_found_half_its_room_goes_on_where_it_stopped() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pipe");
    let rw = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, &path, FileType::Fifo, rw, 0).unwrap();
    let read = || File::from(openat(CWD, &path, OFlags::RDONLY | OFlags::NONBLOCK, rw).unwrap());
    let small = read();
    let room = fcntl_setpipe_size(&small, 4096).unwrap();
    let books = Books::with(|audit| Audit { path: Some(path.clone()), required: true, reserve: 10, ..audit });
    for _ in 0..50 {
        books.begin(Ingress::Connect).end(Err(Error::HeadTimeout));
    }
    until("the pipe is full", || ioctl_fionread(&small).unwrap() as usize == room);
    drop(small);
    until("the sink stalls", || books.ledger.sink().refuses());

    // SIGHUP, for a policy perhaps: nobody has moved the file away.
    let again = read();
    fcntl_setpipe_size(&again, 1 << 18).unwrap();
    books.ledger.sink().reopen();
    books.ledger.sink().close(PATIENCE);
    drop(books);
    let mut lines = String::new();
    (&again).read_to_string(&mut lines).unwrap();
    let whole = lines.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count();
    assert_eq!((whole, lines.lines().count()), (50, 50), "{lines}");
}

#[test]
fn what_another_left_of_a_line_spoils_no_record() {
    let half = "{\"schema\":\"exeat.flow/v1\",\"ti";
    let folder = TempDir::new().unwrap();
    let path = |name| folder.path().join(name);
    fs::write(path("first"), half).unwrap();
    fs::write(path("second"), half).unwrap();
    let books = Books::with(|audit| Audit { path: Some(path("first")), ..audit });
    let written = |path: &Path| fs::read_to_string(path).unwrap().lines().count() == 2;
    books.begin(Ingress::Connect).end(Err(Error::HeadTimeout));
    until("a record in the first", || written(&path("first")));
    fs::rename(path("second"), path("first")).unwrap();
    books.ledger.sink().reopen();
    books.begin(Ingress::Connect).end(Err(Error::HeadTimeout));
    until("a record in the second", || written(&path("first")));
    books.ledger.sink().close(PATIENCE);
    let text = fs::read_to_string(path("first")).unwrap();
    let record = text.strip_prefix(half).unwrap().strip_prefix('\n').unwrap();
    assert!(serde_json::from_str::<Value>(record).is_ok(), "{text}");
}

#[test]
fn flows_go_on_without_records_and_the_lost_are_counted() {
    let (books, _) = full_disk(false);
    for _ in 0..5 {
        books.begin(Ingress::Connect).end(Err(Error::HeadTimeout));
    }
    books.ledger.sink().close(PATIENCE);
    assert!(books.metrics().contains("exeat_records_lost_total 5\n"), "{}", books.metrics());
}

#[test]
fn promtool_finds_nothing_to_say() {
    let books = Books::open();
    let allowing = policy("'*.crates.io'", 1);
    books.judged(&allowing).end(Ok(()));
    books.ledger.metrics().policy_in_force(allowing.len(), jiff::Timestamp::now());
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = promtool.expect("this test needs promtool, of Debian's package prometheus");
    promtool.stdin.take().unwrap().write_all(books.metrics().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn every_series_exists_before_the_first_flow() {
    let metrics = Books::open().metrics();
    for ingress in Ingress::ALL {
        for reason in Reason::ALL {
            let verdict = if reason.allows() { "allow" } else { "deny" };
            let labels = format!("{{ingress=\"{ingress}\",reason=\"{reason}\",verdict=\"{verdict}\"}}");
            assert!(metrics.contains(&format!("exeat_flows_total{labels} 0\n")), "{labels}");
        }
    }
    for line in [
        "exeat_bytes_total{direction=\"sent\"} 0",
        "exeat_bytes_total{direction=\"received\"} 0",
        "exeat_policy_reloads_total{result=\"success\"} 0",
        "exeat_policy_reloads_total{result=\"failure\"} 0",
        "exeat_records_lost_total 0",
        "process_open_fds ",
        "exeat_build_info{",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
}

#[tokio::test]
async fn the_admin_door_speaks_http_and_answers_with_many_flows_open() {
    let books = Books::open();
    let flows: Vec<Flow> = (0..40_000).map(|_| books.begin(Ingress::Connect)).collect();
    let policy = Arc::new(ArcSwap::from_pointee(policy("'*.crates.io'", 1)));
    let ledger = Arc::clone(&books.ledger);
    let state = admin::State::new(ledger, policy, Arc::new(Readiness::default()), Access::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let served = tokio::spawn(admin::serve_connection(accepted, Arc::new(state)));

    for (line, last) in
        [("HEAD /metrics", ""), ("GET /healthz", ""), ("GET /flows?limit=40000", "Connection: close\r\n")]
    {
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
    }
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    let (head, rest) = answers.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: "), "{head}");
    assert!(rest.starts_with("HTTP/1.1 200"), "the answer to HEAD had a body");
    assert!(rest.contains("\r\n\r\nok\nHTTP/1.1 200"), "the connection was not kept alive");
    assert_eq!(answers.matches("\"flow\":\"").count(), 40_000);
    served.await.unwrap();
    drop(flows);
}
