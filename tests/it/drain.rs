//! The end: nobody new is let in, open flows get their time, and every record is written.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::Duration;

use exeat::server::Signal;
use rustix::process::Signal as Unix;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::binary::{Binary, Files};
use crate::support::upstream::Upstream;
use crate::support::{End, PATIENCE, Setup, end, read_head, until};

fn tcp(port: u16) -> String {
    format!("{{ host: a.example, ports: [{port}], protocol: tcp, private: true }}")
}

fn policy(rule: &str) -> String {
    format!("version: 1\nprofiles:\n  - name: p\n    allow:\n      - {rule}\n")
}

async fn ping(stream: &mut TcpStream) {
    let mut echo = [0; 4];
    stream.write_all(b"ping").await.unwrap();
    stream.read_exact(&mut echo).await.unwrap();
}

#[tokio::test]
async fn open_flows_get_their_time_and_nobody_new_gets_in() {
    let upstream = Upstream::echo().await;
    let mut setup = Setup::allow(&[&tcp(upstream.port())]);
    setup.settings.timeouts.drain = PATIENCE;
    let gate = setup.start().await;
    assert_eq!(gate.admin_answer("/readyz").await.0, "HTTP/1.0 200 OK");
    let mut open = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
    // Connections without a request are of no weight.
    let mut silent = gate.connect().await;
    let mut kept = gate.connect().await;
    kept.write_all(b"GET http://x.example/ HTTP/1.1\r\nHost: x.example\r\n\r\n").await.unwrap();
    assert!(read_head(&mut kept).await.starts_with("HTTP/1.1 403"));

    gate.signal(Signal::Stop).await;
    until("it does not drain", async || {
        gate.admin_answer("/readyz").await.0 == "HTTP/1.0 503 Service Unavailable"
    })
    .await;
    assert_eq!(gate.admin_answer("/healthz").await.0, "HTTP/1.0 200 OK");
    until("it still listens", async || TcpStream::connect(gate.address).await.is_err()).await;
    assert_eq!(end(&mut silent).await.last, b"");
    end(&mut kept).await;
    ping(&mut open).await;
    // When the last flow ends, so does exeat, and does not wait out its time.
    drop(open);
    let reach = gate.stopped().await;
    let reasons: Vec<_> = reach.records_so_far().iter().map(|record| record["reason"].clone()).collect();
    assert_eq!(reasons, ["allowed", "no_rule"]);
}

#[tokio::test]
async fn a_hang_up_counts_while_open_flows_get_their_time() {
    let upstream = Upstream::echo().await;
    let mut setup = Setup::allow(&[&tcp(upstream.port())]);
    setup.settings.timeouts.drain = PATIENCE;
    let gate = setup.start().await;
    let mut open = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
    ping(&mut open).await;
    gate.signal(Signal::Stop).await;
    until("it still listens", async || TcpStream::connect(gate.address).await.is_err()).await;
    fs::rename(gate.path("records.jsonl"), gate.path("records.1")).unwrap();
    gate.signal(Signal::Reload).await;
    until("there is no new file", async || gate.path("records.jsonl").exists()).await;
    drop(open);
    let records = gate.stopped().await.records_so_far();
    assert_eq!((records.len(), &records[0]["reason"]), (1, &"allowed".into()));
}

#[tokio::test]
async fn flows_that_stay_open_are_cut_when_their_time_is_over() {
    let upstream = Upstream::echo().await;
    let mut setup = Setup::allow(&[&tcp(upstream.port())]);
    setup.settings.timeouts.drain = Duration::from_millis(300);
    let gate = setup.start().await;
    let mut open = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
    ping(&mut open).await;
    gate.signal(Signal::Stop).await;
    assert_eq!(end(&mut open).await, End { last: Vec::new(), reset: true });
    let records = gate.stopped().await.records_so_far();
    assert_eq!(records.len(), 1);
    assert_eq!((&records[0]["reason"], &records[0]["sent"]), (&"draining".into(), &4.into()));
}

#[tokio::test]
async fn a_second_word_ends_everything_at_once_in_whatever_state() {
    let silent = Upstream::silent().await;
    // Its queue is full, so it swallows connections.
    let hole = TcpSocket::new_v4().unwrap();
    hole.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let hole = hole.listen(0).unwrap();
    let hole_port = hole.local_addr().unwrap().port();
    let _queued = TcpStream::connect(hole.local_addr().unwrap()).await.unwrap();
    let http = format!("{{ host: a.example, ports: [{}], private: true }}", silent.port());
    let mut setup = Setup::allow(&[&http, &tcp(hole_port)]);
    setup.settings.timeouts.drain = Duration::from_secs(3600);
    setup.settings.timeouts.dial = Duration::from_secs(3600);
    let gate = setup.start().await;

    let mut dialling = gate.connect().await;
    let to = format!("a.example:{hole_port}");
    dialling.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await.unwrap();
    let mut quiet = gate.tunnel(&format!("a.example:{}", silent.port())).await;
    let mut asking = gate.connect().await;
    let to = format!("a.example:{}", silent.port());
    asking.write_all(format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await.unwrap();
    until("not all are open", async || {
        let active = async |door| gate.metric(&format!("exeat_flows_active{{ingress=\"{door}\"}}")).await;
        active("connect").await == Some(2.0)
            && active("forward").await == Some(1.0)
            && silent.connections() == 2
    })
    .await;
    gate.signal(Signal::Stop).await;
    gate.signal(Signal::Stop).await;
    assert!(end(&mut dialling).await.last.starts_with(b"HTTP/1.1 503 "));
    assert!(end(&mut asking).await.last.starts_with(b"HTTP/1.1 503 "));
    assert_eq!(end(&mut quiet).await, End { last: Vec::new(), reset: true });
    let records = gate.stopped().await.records_so_far();
    assert_eq!(records.len(), 3, "{records:#?}");
    assert!(records.iter().all(|record| record["reason"] == "draining"), "{records:#?}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_recorded_at_the_end() {
    let upstream = Upstream::start(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
        while stream.write_all(&[0; 65536]).await.is_ok() {}
    })
    .await;
    let rule = format!("{{ host: a.example, ports: [{}], protocol: http, private: true }}", upstream.port());
    let mut setup = Setup::allow(&[&rule]);
    setup.settings.timeouts.drain = Duration::from_millis(100);
    let gate = setup.start().await;
    let mut client = gate.connect().await;
    let to = format!("a.example:{}", upstream.port());
    client.write_all(format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200"));
    // Until its buffers are full and nothing moves.
    let received = async || gate.metric("exeat_bytes_total{direction=\"received\"}").await;
    until("it never stops", async || {
        let before = received().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        before == received().await && before > Some(0.0)
    })
    .await;
    gate.signal(Signal::Stop).await;
    let records = gate.stopped().await.records_so_far();
    assert_eq!(records.len(), 1, "{records:#?}");
    assert_eq!(records[0]["reason"], "draining");
    drop(client);
}

#[tokio::test]
async fn the_program_drains_on_sigterm_and_exits_with_0() {
    let upstream = Upstream::echo().await;
    let files = Files::new("timeouts: { drain: 20s }\n", &policy(&tcp(upstream.port())));
    let mut exeat = Binary::start(files, None).await;
    let mut open = exeat.tunnel(&format!("a.example:{}", upstream.port())).await;
    exeat.say("CONNECT x.example:443 HTTP/1.1\r\nHost: x.example:443\r\n\r\n").await;
    exeat.signal(Unix::TERM);
    until("it still listens", async || TcpStream::connect(exeat.address).await.is_err()).await;
    assert_eq!(exeat.admin_answer("/readyz").await.0, "HTTP/1.0 503 Service Unavailable");
    ping(&mut open).await;
    exeat.signal(Unix::INT);
    assert_eq!(end(&mut open).await, End { last: Vec::new(), reset: true });
    assert_eq!(exeat.exit_code().await, Some(0), "{}", exeat.log());
    let reasons: Vec<_> = exeat.records_so_far().iter().map(|record| record["reason"].clone()).collect();
    assert_eq!(reasons, ["draining", "no_rule"]);
}

#[tokio::test]
async fn the_program_tells_at_its_end_which_records_are_not_written() {
    let files = Files::new("", &policy("a.example"));
    symlink("/dev/full", files.directory.path().join("records.jsonl")).unwrap();
    let mut exeat = Binary::start(files, None).await;
    for _ in 0..2 {
        exeat.say("CONNECT x.example:443 HTTP/1.1\r\nHost: x.example:443\r\n\r\n").await;
    }
    exeat.signal(Unix::TERM);
    assert_eq!(exeat.exit_code().await, Some(0), "{}", exeat.log());
    until("no word of it", async || exeat.log().contains("they are lost records=2\n")).await;
}

#[tokio::test]
async fn a_file_of_records_that_may_not_grow_is_a_full_disk_and_no_end() {
    let mut exeat = Binary::start(Files::new("", &policy("a.example")), None).await;
    exeat.limit_files(Some(100));
    exeat.say("CONNECT x.example:443 HTTP/1.1\r\nHost: x.example:443\r\n\r\n").await;
    until("no word of it", async || exeat.log().contains("records can't be written, trying again")).await;
    assert_eq!(fs::metadata(exeat.path("records.jsonl")).unwrap().len(), 100);
    exeat.limit_files(None);
    assert_eq!(exeat.record().await["host"], "x.example");
    exeat.signal(Unix::TERM);
    assert_eq!(exeat.exit_code().await, Some(0), "{}", exeat.log());
}

#[tokio::test]
async fn the_program_follows_files_and_sighup() {
    let upstream = Upstream::echo().await;
    let port = upstream.port();
    let mut exeat = Binary::start(Files::new("", &policy("x.example")), None).await;
    // The settings, and so the policy, were named by a relative path.
    exeat.change_policy(&policy(&tcp(port))).await;
    let mut open = exeat.tunnel(&format!("a.example:{port}")).await;
    ping(&mut open).await;
    exeat.signal(Unix::HUP);
    exeat.until_revision(3).await;
    ping(&mut open).await;
    fs::write(exeat.path("policies/policy.yaml"), "version: 1\nprofile: []\n").unwrap();
    let failures = "exeat_policy_reloads_total{result=\"failure\"}";
    until("no failure", async || exeat.metric(failures).await == Some(1.0)).await;
    until("no word of it", async || exeat.log().contains("policy.yaml:2:1: error: ")).await;
    ping(&mut open).await;
    drop(open);
    exeat.records(1).await;
    exeat.signal(Unix::TERM);
    assert_eq!(exeat.exit_code().await, Some(0));
}

#[tokio::test]
async fn the_program_outlives_the_reader_of_its_diagnostics() {
    let mut exeat = Binary::start(Files::new("", &policy("a.example")), None).await;
    exeat.stop_listening();
    for revision in 2..5 {
        exeat.signal(Unix::HUP);
        exeat.until_revision(revision).await;
    }
    assert!(exeat.say("CONNECT x.example:1 HTTP/1.1\r\nHost: x.example:1\r\n\r\n").await.contains("no_rule"));
    exeat.signal(Unix::TERM);
    assert_eq!(exeat.exit_code().await, Some(0));
}

#[tokio::test]
async fn the_program_says_why_it_does_not_start() {
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let run = |files: &Files, arguments: &[&str]| {
        let output = files.command(None).args(arguments).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let good = policy("a.example");
    let (code, said) = run(&Files::new("", &good), &["--listen", &address.to_string()]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("can't listen on {address}: Address already in use")), "{said}");

    let settings = Files::new("limits: { flows: -1, head_bites: 3 }\ntimeouts: { head: soon }\n", &good);
    let (code, said) = run(&settings, &[]);
    assert_eq!(code, Some(2), "{said}");
    for mistake in ["exeat.yaml:5:18: error: ", "exeat.yaml:5:22: error: ", "exeat.yaml:6:19: error: "] {
        assert!(said.contains(mistake), "{mistake}: {said}");
    }
    let broken =
        "version: 1\nprofiles:\n  - name: p\n    allow: ['*.com', {host: a.example, port: 1}]\n  - nam: q\n";
    let (code, said) = run(&Files::new("", broken), &[]);
    assert_eq!(code, Some(2), "{said}");
    for mistake in ["policy.yaml:4:13: error: ", "policy.yaml:4:40: error: ", "policy.yaml:5:5: error: "] {
        assert!(said.contains(mistake), "{mistake}: {said}");
    }
    let (code, said) = run(&Files::new("", &good), &["--policy", "nowhere.yaml"]);
    assert!(code == Some(2) && said.contains("nowhere.yaml"), "{said}");
    let (code, said) = run(&Files::new("", &good), &["--no-such-flag"]);
    assert_eq!(code, Some(2), "{said}");

    let shut = Files::new("", &good);
    for listen in ["{ explicit: [], admin: null }", "{ explicit: [], admin: '127.0.0.1:0' }"] {
        fs::write(shut.directory.path().join("exeat.yaml"), format!("listen: {listen}\n")).unwrap();
        let (code, said) = run(&shut, &[]);
        let wrong = "exeat.yaml:1:1: error: `listen` has no door: no client could connect\n  hint: name an address in ";
        assert!(code == Some(2) && said.contains(wrong), "{listen}: {code:?}: {said}");
    }

    let files = Files::new("", &good);
    let hosts = fs::File::create(files.directory.path().join("hosts")).unwrap();
    hosts.set_len((64 << 20) + 1).unwrap();
    let (code, said) = run(&files, &[]);
    let wrong = "names can't be resolved: hosts: it is larger than 64 MiB: 67108865 bytes";
    assert!(code == Some(2) && said.contains(wrong), "{code:?}: {said}");
}

/// exeat where it finds this text as its `/etc/resolv.conf`.
fn with_resolv_conf(files: &Files, text: &[u8], arguments: &[&str]) -> Command {
    fs::write(files.directory.path().join("resolv.conf"), text).unwrap();
    with_mount(files, "--bind resolv.conf /etc/resolv.conf", arguments)
}

/// exeat where something is mounted, in a namespace of its own.
fn with_mount(files: &Files, mount: &str, arguments: &[&str]) -> Command {
    let lay = format!("mount {mount} && exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &lay, env!("CARGO_BIN_EXE_exeat")]);
    command.args(arguments).current_dir(files.directory.path()).stdin(Stdio::null());
    command
}

#[test]
fn the_program_asks_nobody_else_where_resolv_conf_can_not_be_used() {
    let files = Files::new("", &policy("a.example"));
    let serve = &["serve", "--config", "exeat.yaml"][..];
    let run = &["run", "--config", "exeat.yaml", "--", "true"][..];
    let long = [b' '; (1 << 20) + 1];
    for (text, wrong) in [
        (&long[..], "it is larger than 1 MiB: 1048577 bytes"),
        (b"nameserver dns.example\n", "it names no usable DNS server: line 1 has \"dns.example\""),
        (b"\xff\xfen\0a\0", "it names no DNS server and is not text"),
    ] {
        for command in [serve, run] {
            let output = with_resolv_conf(&files, text, command).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
            let wrong = format!("names can't be resolved: /etc/resolv.conf: {wrong}");
            assert!(said.contains(&wrong) && said.contains("or list the servers by `dns.servers`"), "{said}");
        }
    }
    // It may name nobody.
    let mut exeat =
        with_resolv_conf(&files, b"search example\n", serve).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(exeat.stderr.take().unwrap()).lines().map_while(Result::ok);
    let said: Vec<_> = lines.by_ref().take_while(|line| !line.contains("clients connect to")).collect();
    assert!(lines.next().is_some(), "it has ended: {said:?}");
    assert!(said.iter().any(|line| line.contains("asking the DNS server on this host")), "{said:?}");
    exeat.kill().unwrap();
    exeat.wait().unwrap();
}

#[test]
fn a_directory_that_may_be_missing_is_no_cause_for_a_warning() {
    let files = Files::new("", &policy("a.example"));
    // As on a host without systemd-resolved.
    let serve = ["serve", "--config", "exeat.yaml", "--dns", "127.0.0.1:0"];
    let mut exeat = with_mount(&files, "-t tmpfs none /run", &serve).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(exeat.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("DNS questions are answered")), "it has ended");
    // Whoever tells of this one has tried to watch them all.
    let hosts = fs::File::create(files.directory.path().join("hosts")).unwrap();
    hosts.set_len((64 << 20) + 1).unwrap();
    let said: Vec<_> = lines.by_ref().take_while(|line| !line.contains("larger than 64 MiB")).collect();
    assert!(!said.iter().any(|line| line.contains("can't watch")), "{said:?}");
    exeat.kill().unwrap();
    exeat.wait().unwrap();
}

#[tokio::test]
async fn a_port_is_free_again_after_the_end() {
    let mut setup = Setup::allow(&["a.example"]);
    // Nobody else has an address that no other test uses, and so none of its ports.
    let own: SocketAddr = "127.0.0.77:0".parse().unwrap();
    setup.settings.listen.explicit = vec![own.into()];
    setup.settings.listen.admin = Some(own);
    let gate = setup.start().await;
    let (address, admin) = (gate.address, gate.admin);
    gate.stop().await;
    for address in [address, admin] {
        drop(TcpListener::bind(address).await.unwrap());
    }
}
