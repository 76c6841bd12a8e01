//! A new policy comes into force however its files change, and takes back what it no longer allows.

use std::cell::OnceCell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use exeat::clock::today;
use exeat::server::Signal;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::process::Signal as Unix;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::binary::{Binary, Files};
use crate::support::tls::{ACCESS_DENIED, hello, server_hello};
use crate::support::upstream::Upstream;
use crate::support::{End, Gate, Reach, Setup, end, until};

/// A policy with these rules under `allow`.
fn policy(rules: &[String]) -> String {
    let rules: String = rules.iter().map(|rule| format!("      - {rule}\n")).collect();
    format!("version: 1\nprofiles:\n  - name: everyone\n    allow:\n{rules}")
}

fn tcp(host: &str, port: u16) -> String {
    format!("{{ host: {host}, ports: [{port}], protocol: tcp, private: true }}")
}

async fn answer(gate: &Reach, host: &str, port: u16) -> String {
    let to = format!("{host}:{port}");
    let mut stream = gate.connect().await;
    stream.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await.unwrap();
    crate::support::read_head(&mut stream).await
}

async fn allows(gate: &Reach, host: &str, port: u16) -> bool {
    answer(gate, host, port).await.starts_with("HTTP/1.1 200")
}

async fn reloads(gate: &Gate, result: &str) -> f64 {
    gate.metric(&format!("exeat_policy_reloads_total{{result=\"{result}\"}}")).await.unwrap()
}

async fn is_alive(stream: &mut TcpStream) -> bool {
    let mut echo = [0; 4];
    stream.write_all(b"ping").await.is_ok() && stream.read_exact(&mut echo).await.is_ok()
}

#[tokio::test]
async fn a_file_may_be_renamed_into_place_or_written_where_it_stands() {
    let upstream = Upstream::silent().await;
    let port = upstream.port();
    let gate = Setup::new(&policy(&[tcp("a.example", port)])).start().await;
    assert!(!allows(&gate, "b.example", port).await);
    gate.change_policy(&policy(&[tcp("b.example", port)])).await;
    assert!(allows(&gate, "b.example", port).await && !allows(&gate, "a.example", port).await);

    fs::write(gate.path("policies/policy.yaml"), policy(&[tcp("c.example", port)])).unwrap();
    gate.until_revision(3).await;
    assert!(allows(&gate, "c.example", port).await && !allows(&gate, "b.example", port).await);

    // One more file, and one less.
    let more = policy(&[tcp("b.example", port)]).replace("everyone", "more");
    fs::write(gate.path("policies/more.yaml"), more).unwrap();
    gate.until_revision(4).await;
    assert!(allows(&gate, "b.example", port).await);
    fs::remove_file(gate.path("policies/more.yaml")).unwrap();
    gate.until_revision(5).await;
    assert!(!allows(&gate, "b.example", port).await);
    assert_eq!((reloads(&gate, "success").await, reloads(&gate, "failure").await), (4.0, 0.0));
    gate.stop().await;
}

/// As a Kubernetes ConfigMap is mounted: the file is a link into `..data`, which is a link to a version.
fn config_map(directory: &Path, policy: &str) {
    fs::create_dir(directory.join("..v1")).unwrap();
    fs::write(directory.join("..v1/policy.yaml"), policy).unwrap();
    symlink("..v1", directory.join("..data")).unwrap();
    symlink("..data/policy.yaml", directory.join("policy.yaml")).unwrap();
}

#[tokio::test]
async fn a_config_map_is_swapped_by_its_link() {
    let upstream = Upstream::silent().await;
    let port = upstream.port();
    let mut setup = Setup::new(&policy(&[tcp("a.example", port)]));
    setup.lay_out = config_map;
    let gate = setup.start().await;
    for (revision, name) in [(2, "b.example"), (3, "c.example"), (4, "a.example")] {
        let version = gate.path(&format!("policies/..v{revision}"));
        fs::create_dir(&version).unwrap();
        fs::write(version.join("policy.yaml"), policy(&[tcp(name, port)])).unwrap();
        symlink(format!("..v{revision}"), gate.path("policies/..data_tmp")).unwrap();
        fs::rename(gate.path("policies/..data_tmp"), gate.path("policies/..data")).unwrap();
        fs::remove_dir_all(gate.path(&format!("policies/..v{}", revision - 1))).unwrap();
        gate.until_revision(revision).await;
        assert!(allows(&gate, name, port).await, "{name}");
    }
    assert_eq!(reloads(&gate, "failure").await, 0.0);
    gate.stop().await;
}

/// Releases, of which one is in force by a link; the first is older.
fn releases(directory: &Path, policy: &str) {
    fs::remove_dir(directory).unwrap();
    for (release, policy) in [("1", policy.replace("a.example", "b.example")), ("2", policy.to_owned())] {
        let release = directory.with_file_name(release);
        fs::create_dir(&release).unwrap();
        fs::write(release.join("policy.yaml"), policy).unwrap();
    }
    symlink("2", directory).unwrap();
}

#[tokio::test]
async fn a_directory_behind_a_link_may_be_taken_back_to_an_older_one() {
    let upstream = Upstream::silent().await;
    let port = upstream.port();
    let mut setup = Setup::new(&policy(&[tcp("a.example", port)]));
    setup.lay_out = releases;
    let gate = setup.start().await;
    assert!(allows(&gate, "a.example", port).await);
    for (revision, release, name) in [(2, "1", "b.example"), (3, "2", "a.example")] {
        symlink(release, gate.path("next")).unwrap();
        fs::rename(gate.path("next"), gate.path("policies")).unwrap();
        gate.until_revision(revision).await;
        assert!(allows(&gate, name, port).await, "{name}");
    }
    gate.stop().await;
}

#[tokio::test]
async fn a_hang_up_reads_everything_again_changed_or_not() {
    let gate = Gate::allowing(&["a.example"]).await;
    gate.signal(Signal::Reload).await;
    gate.until_revision(2).await;
    assert_eq!(reloads(&gate, "success").await, 1.0);
    gate.stop().await;
}

#[tokio::test]
async fn lists_are_followed_in_whatever_directory_they_are() {
    let upstream = Upstream::silent().await;
    let port = upstream.port();
    let mut setup = Setup::new(
        "version: 1\nprofiles:\n  - name: everyone\n    allow: [{ cidr: 127.0.0.1/32, ports: [1-65535], protocol: tcp }]\n    \
         deny_file: [../lists/denied.txt]\n",
    );
    setup.lay_out = |directory, policy| {
        let lists = directory.parent().unwrap().join("lists");
        fs::create_dir(&lists).unwrap();
        fs::write(lists.join("denied.txt"), "# none yet\n").unwrap();
        fs::write(directory.join("policy.yaml"), policy).unwrap();
    };
    let gate = setup.start().await;
    assert!(answer(&gate, "denied.example", port).await.contains("no_rule"));
    fs::write(gate.path("lists/denied.txt"), "denied.example\n").unwrap();
    gate.until_revision(2).await;
    assert!(answer(&gate, "denied.example", port).await.contains("denied_by_rule"));
    gate.stop().await;
}

#[tokio::test]
async fn a_broken_policy_changes_nothing_and_is_counted() {
    let upstream = Upstream::silent().await;
    let port = upstream.port();
    let good = policy(&[tcp("a.example", port)]);
    let gate = Setup::new(&good).start().await;
    for (failures, broken) in [(1.0, "version: 1\nprofiles: [\n"), (2.0, "version: 2\n"), (3.0, "")] {
        fs::write(gate.path("policies/policy.yaml"), broken).unwrap();
        until("no failure is counted", async || reloads(&gate, "failure").await == failures).await;
        assert_eq!(gate.revision().await, 1);
        assert!(allows(&gate, "a.example", port).await);
    }
    // Asked for, it is still broken, and told so again.
    gate.signal(Signal::Reload).await;
    until("no failure is counted", async || reloads(&gate, "failure").await == 4.0).await;
    gate.change_policy(&policy(&[tcp("b.example", port)])).await;
    assert!(allows(&gate, "b.example", port).await);
    assert_eq!(reloads(&gate, "success").await, 1.0);
    gate.stop().await;
}

#[tokio::test]
async fn a_directory_that_is_never_quiet_does_not_hold_a_reload_up() {
    let gate = Gate::allowing(&["a.example"]).await;
    let noise = gate.path("policies/noise.txt");
    let busy = tokio::spawn(async move {
        loop {
            fs::write(&noise, "noise").unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    gate.change_policy(&policy(&["b.example".to_owned()])).await;
    busy.abort();
    gate.stop().await;
}

#[tokio::test]
async fn open_flows_are_judged_anew() {
    let upstream = Upstream::echo().await;
    let port = upstream.port();
    let both = policy(&[tcp("a.example", port), tcp("b.example", port)]);
    let gate = Setup::new(&both).start().await;
    let mut kept = gate.tunnel(&format!("a.example:{port}")).await;
    let mut revoked = gate.tunnel(&format!("b.example:{port}")).await;
    assert!(is_alive(&mut kept).await && is_alive(&mut revoked).await);
    gate.change_policy(&policy(&[tcp("a.example", port)])).await;
    assert_eq!(end(&mut revoked).await, End { last: Vec::new(), reset: true });
    let record = gate.record().await;
    assert_eq!((&record["reason"], &record["verdict"]), (&"revoked".into(), &"deny".into()));
    assert_eq!((&record["sent"], &record["host"]), (&4.into(), &"b.example".into()));
    assert!(is_alive(&mut kept).await);
    let metric = "exeat_flows_total{ingress=\"connect\",reason=\"revoked\",verdict=\"deny\"}";
    assert_eq!(gate.metric(metric).await, Some(1.0));

    // The same rules in other words keep it too.
    gate.change_policy(&policy(&[tcp("'*.example'", port)])).await;
    assert!(is_alive(&mut kept).await);
    drop(kept);
    gate.stop().await;
}

#[tokio::test]
async fn a_flow_into_which_nobody_looked_goes_on_in_report_mode() {
    let upstream = Upstream::echo().await;
    let port = upstream.port();
    let gate = Setup::new(&policy(&[tcp("a.example", port)])).start().await;
    let mut open = gate.tunnel(&format!("a.example:{port}")).await;
    assert!(is_alive(&mut open).await);
    let rule = format!("{{ host: a.example, ports: [{port}], protocol: tls, private: true }}");
    let reports = policy(&[rule]).replace("    allow:", "    mode: report\n    allow:");
    gate.change_policy(&reports).await;
    // As one that begins now would.
    let mut new = gate.tunnel(&format!("a.example:{port}")).await;
    assert!(is_alive(&mut new).await && is_alive(&mut open).await);
    // What nobody looked into may be what is denied.
    gate.change_policy(&format!("{reports}    deny: [{{ host: a.example, protocol: tls }}]\n")).await;
    assert_eq!(end(&mut open).await, End { last: Vec::new(), reset: true });
    assert_eq!(gate.record().await["reason"], "revoked");
    assert!(is_alive(&mut new).await);
    drop(new);
    gate.stop().await;
}

#[tokio::test]
async fn a_flow_is_taken_back_in_whatever_state_it_is() {
    let silent = Upstream::silent().await;
    let retrying = Upstream::saying(|_| server_hello(true)).await;
    // Its queue is full, so it swallows connections.
    let hole = TcpSocket::new_v4().unwrap();
    hole.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let hole = hole.listen(0).unwrap();
    let _queued = TcpStream::connect(hole.local_addr().unwrap()).await.unwrap();
    let (hole_port, tls) = (hole.local_addr().unwrap().port(), |port: u16| {
        format!("{{ host: a.example, ports: [{port}], protocol: tls, private: true }}")
    });
    let rules = [tls(silent.port()), tls(retrying.port()), tcp("a.example", hole_port)];
    let gate = Setup::new(&policy(&rules)).start().await;

    let mut dialling = gate.connect().await;
    let to = format!("a.example:{hole_port}");
    dialling.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await.unwrap();
    let hello = hello(&["a.example"]);
    let mut silent_client = gate.tunnel(&format!("a.example:{}", silent.port())).await;
    let mut unanswered = gate.tunnel(&format!("a.example:{}", silent.port())).await;
    unanswered.write_all(&hello).await.unwrap();
    until("no hello", async || silent.heard().contains(&hello)).await;
    let mut retried = gate.tunnel(&format!("a.example:{}", retrying.port())).await;
    retried.write_all(&hello).await.unwrap();
    let mut request = vec![0; server_hello(true).len()];
    retried.read_exact(&mut request).await.unwrap();
    let open = async || gate.metric("exeat_flows_active{ingress=\"connect\"}").await;
    until("not all flows are open", async || open().await == Some(4.0)).await;

    gate.change_policy(&policy(&["b.example".to_owned()])).await;
    let refused = end(&mut dialling).await;
    assert!(refused.last.starts_with(b"HTTP/1.1 403 "), "{:?}", String::from_utf8_lossy(&refused.last));
    assert_eq!(end(&mut silent_client).await, End { last: Vec::new(), reset: true });
    for stream in [&mut unanswered, &mut retried] {
        assert_eq!(end(stream).await, End { last: ACCESS_DENIED.to_vec(), reset: false });
    }
    for record in gate.records(4).await {
        assert_eq!(record["reason"], "revoked");
    }
    drop((unanswered, retried));
    gate.stop().await;
}

#[tokio::test]
async fn reloads_lose_no_flow_that_is_being_opened() {
    let upstream = Upstream::echo().await;
    let port = upstream.port();
    let gate = Arc::new(Setup::new(&policy(&[tcp("a.example", port)])).start().await);
    let enough = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (gate, enough) = (Arc::clone(&gate), Arc::clone(&enough));
            tokio::spawn(async move {
                let mut flows = 0;
                while !enough.load(Ordering::Relaxed) {
                    let mut tunnel = gate.tunnel(&format!("a.example:{port}")).await;
                    assert!(is_alive(&mut tunnel).await);
                    flows += 1;
                }
                flows
            })
        })
        .collect();
    for revision in 2..12 {
        gate.signal(Signal::Reload).await;
        gate.until_revision(revision).await;
    }
    enough.store(true, Ordering::Relaxed);
    let mut flows = 0;
    for client in clients {
        flows += client.await.unwrap();
    }
    let records = gate.records(flows).await;
    assert!(records.len() == flows && records.iter().all(|record| record["reason"] == "allowed"));
    Arc::into_inner(gate).unwrap().stop().await;
}

#[tokio::test]
async fn a_rule_holds_to_the_end_of_its_last_day() {
    let upstream = Upstream::silent().await;
    let port = upstream.port();
    let rule = |host: &str, until: jiff::civil::Date| {
        format!("{{ host: {host}, ports: [{port}], protocol: tcp, private: true, until: {until} }}")
    };
    let rules = [rule("a.example", today()), rule("b.example", today().yesterday().unwrap())];
    let gate = Setup::new(&policy(&rules)).start().await;
    assert!(allows(&gate, "a.example", port).await && !allows(&gate, "b.example", port).await);
    gate.stop().await;
}

#[tokio::test]
async fn the_hosts_file_is_followed() {
    let upstream = Upstream::silent().await;
    let port = upstream.port();
    let gate = Setup::new(&policy(&[tcp("new.example", port)])).start().await;
    assert!(!allows(&gate, "new.example", port).await);
    fs::write(gate.path("hosts.new"), "127.0.0.1 new.example\n").unwrap();
    fs::rename(gate.path("hosts.new"), gate.path("hosts")).unwrap();
    until("the name is not found", async || allows(&gate, "new.example", port).await).await;
    assert_eq!(gate.revision().await, 1, "that is no news for the policy");
    gate.stop().await;
}

/// Settings that are named by a bare name make bare names of what stands beside them, in a directory without a name.
#[tokio::test]
async fn what_stands_beside_the_settings_is_followed() {
    let upstream = Upstream::silent().await;
    let rules = [tcp("d.example", upstream.port()), tcp("e.example", upstream.port())];
    let files = Files::new("auth: { required: false, basic: { file: users } }\n", &policy(&rules));
    let users = |name: &str| format!("{name}:{}\n", bcrypt::hash("secret", 4).unwrap());
    fs::write(files.directory.path().join("users"), users("a")).unwrap();
    let exeat = Binary::start(files, None).await;
    // What changes while exeat starts is seen by looking, and that is not done twice in the time of a test.
    for (round, name) in [(1, "d"), (2, "e")] {
        fs::write(exeat.path("users"), users(name)).unwrap();
        let told = || exeat.log().matches("a new file of users is in force").count();
        until("the users are not followed", async || told() == round).await;
        let host = format!("{name}.example");
        fs::write(exeat.path("hosts"), format!("127.0.0.1 {host}\n")).unwrap();
        until("the hosts are not followed", async || allows(&exeat, &host, upstream.port()).await).await;
    }
}

/// A file on a file system that does not answer is a pipe here, which is open and says nothing.
#[tokio::test]
async fn a_file_that_never_ends_holds_up_nothing_else() {
    let mut exeat = Binary::start(Files::new("", &policy(&["a.example".to_owned()])), None).await;
    mknodat(CWD, exeat.path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::rename(exeat.path("pipe"), exeat.path("hosts")).unwrap();
    let writer = OnceCell::new();
    // A pipe can't be opened so before somebody reads it.
    let open = || open(exeat.path("hosts"), OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty());
    until("nobody reads it", async || open().is_ok_and(|pipe| writer.set(pipe).is_ok())).await;
    assert_eq!(exeat.admin_answer("/healthz").await.0, "HTTP/1.0 200 OK");
    exeat.change_policy(&policy(&["b.example".to_owned()])).await;
    exeat.signal(Unix::TERM);
    assert_eq!(exeat.exit_code().await, Some(0), "{}", exeat.log());
    drop(writer);
}

#[tokio::test]
async fn a_hang_up_opens_the_audit_file_anew() {
    let gate = Gate::allowing(&["a.example"]).await;
    gate.say("CONNECT x.example:443 HTTP/1.1\r\nHost: x.example:443\r\n\r\n").await;
    assert_eq!(gate.record().await["host"], "x.example");
    fs::rename(gate.path("records.jsonl"), gate.path("records.1")).unwrap();
    gate.signal(Signal::Reload).await;
    until("there is no new file", async || gate.path("records.jsonl").exists()).await;
    gate.say("CONNECT y.example:443 HTTP/1.1\r\nHost: y.example:443\r\n\r\n").await;
    assert_eq!(gate.record().await["host"], "y.example");
    assert_eq!(fs::read_to_string(gate.path("records.1")).unwrap().lines().count(), 1);
    gate.stop().await;
}
