//! From real flows to a policy that lets the same through: `exeat suggest`, and `exeat check` on what it prints.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tokio::io::AsyncWriteExt;

use crate::support::tls::hello;
use crate::support::upstream::Upstream;
use crate::support::{Gate, Setup};

fn exeat(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_exeat")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What the command prints about an audit; it has to succeed.
fn suggested(arguments: &[&str]) -> String {
    let output = exeat(&[&["suggest"], arguments].concat());
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    text(&output.stdout)
}

fn checked(paths: &[&Path]) {
    let paths: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let output = exeat(&[&["check"][..], &paths].concat());
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains("0 errors, 0 warnings"), "{said}");
}

/// A request, a hello and something else through a gate; each has a port of its own.
async fn traffic(gate: &Gate, ports: [u16; 3]) {
    let [web, tls, other] = ports;
    let head =
        format!("GET http://a.example:{web}/ HTTP/1.1\r\nHost: a.example:{web}\r\nConnection: close\r\n\r\n");
    assert!(gate.say(head).await.starts_with("HTTP/1.1 200"));
    for (port, first) in [(tls, hello(&["b.example"])), (other, b"SSH-2.0-client\r\n".to_vec())] {
        let mut tunnel = gate.tunnel(&format!("b.example:{port}")).await;
        tunnel.write_all(&first).await.unwrap();
    }
}

#[tokio::test]
async fn what_passed_in_report_mode_passes_the_suggested_policy() {
    let (page, tls, other) = (Upstream::page().await, Upstream::silent().await, Upstream::silent().await);
    let ports = [page.port(), tls.port(), other.port()];
    // Report mode never opens the guard, and here every name leads to this machine: a rule opens it, and the records
    // are given a public address below.
    let [a, b, c] = ports;
    let rules = [
        format!("{{ host: a.example, ports: [{a}], protocol: tls, private: true }}"),
        format!("{{ host: b.example, ports: [{b}, {c}], protocol: http, private: true }}"),
    ];
    let mut setup = Setup::allow(&[&rules[0], &rules[1]]);
    setup.policy = setup.policy.replace("- name: everyone", "- name: everyone\n    mode: report");
    setup.settings.audit.opened = true;
    let gate = setup.start().await;
    traffic(&gate, ports).await;
    other.hears(16).await;
    tls.hears(10).await;
    // A request has no record of its start.
    gate.records(5).await;
    let records = std::fs::read_to_string(gate.path("records.jsonl")).unwrap();
    gate.stop().await;

    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // As they are: nothing that leads to this machine is allowed, but everything is offered.
    std::fs::write(at("audit.jsonl"), &records).unwrap();
    let offered = suggested(&[at("audit.jsonl").to_str().unwrap()]);
    std::fs::write(at("offered.yaml"), &offered).unwrap();
    checked(&[&at("offered.yaml")]);
    assert!(
        offered.contains("# Not allowed: the name led to a private or other special address."),
        "{offered}"
    );
    let taken = offered.replace("# allow:", "allow:").replace("# - ", "- ");
    let gate = Setup::new(&taken).start().await;
    traffic(&gate, ports).await;
    for record in gate.records(3).await {
        assert_eq!(record["reason"], "allowed", "{record}\n{taken}");
    }
    gate.stop().await;

    // With public addresses there are rules.
    std::fs::write(
        at("audit.jsonl"),
        records.replace("\"address\":\"127.0.0.1\"", "\"address\":\"93.184.216.34\""),
    )
    .unwrap();
    let policy = suggested(&["--by", "all", at("audit.jsonl").to_str().unwrap()]);
    std::fs::write(at("policy.yaml"), &policy).unwrap();
    checked(&[&at("policy.yaml")]);
    for (destination, code) in [
        (format!("http://a.example:{a}"), 0),
        (format!("https://a.example:{a}"), 3),
        (format!("https://b.example:{b}"), 0),
        (format!("http://b.example:{b}"), 3),
        (format!("https://b.example:{c}"), 0),
        ("b.example".to_owned(), 3),
    ] {
        let output = exeat(&["explain", "--policy", at("policy.yaml").to_str().unwrap(), &destination]);
        assert_eq!(output.status.code(), Some(code), "{destination}: {}{policy}", text(&output.stdout));
    }
    // And beside it there is nothing new.
    let baseline = ["--baseline", at("policy.yaml").to_str().unwrap(), at("audit.jsonl").to_str().unwrap()]
        .map(str::to_owned);
    let nothing = suggested(&baseline.each_ref().map(String::as_str));
    assert!(nothing.contains("profiles: []"), "{nothing}");
}

#[test]
fn it_reads_several_files_and_the_standard_input_and_tells_what_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("bad.jsonl"), "{}\nnothing\n").unwrap();
    let output = exeat(&["suggest", at("bad.jsonl").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(
        said.contains("bad.jsonl:1: left out: it is no record") && said.contains("bad.jsonl:2: left out:"),
        "{said}"
    );

    for (name, bytes, said) in [
        ("audit.gz", Some(&b"\x1f\x8b\x08"[..]), "it is compressed; use `zcat FILE | exeat suggest -`"),
        ("none.jsonl", None, "it can't be read"),
        (".", None, "it is a directory"),
    ] {
        if let Some(bytes) = bytes {
            std::fs::write(at(name), bytes).unwrap();
        }
        let output = exeat(&["suggest", at(name).to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(text(&output.stderr).contains(said), "{name}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "");
    }

    let mut command = Command::new(env!("CARGO_BIN_EXE_exeat"));
    let mut child =
        command.args(["suggest", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && text(&output.stdout).contains("version: 1\n"));
}

/// A tunnel over DNS makes a name for each packet: the memory it takes here has a bound.
#[test]
fn a_long_audit_is_read_with_bounded_memory() {
    let mut command = Command::new("prlimit");
    command.args(["--as=600000000", env!("CARGO_BIN_EXE_exeat"), "suggest", "--by", "client", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = std::io::BufWriter::new(child.stdin.take().unwrap());
    let writer = std::thread::spawn(move || {
        for number in 0..300_000u32 {
            // Some below one domain, the others each below its own; a new client now and then.
            let host = match number % 10 {
                0 => format!("q{number}.tunnel.example.com"),
                _ => format!("www.shop{number}.com"),
            };
            let client = format!("10.{}.{}.1", number / 60_000, (number / 300) % 200);
            writeln!(
                stdin,
                "{{\"schema\":\"exeat.flow/v1\",\"time\":\"2026-11-22T16:00:00Z\",\"ingress\":\"connect\",\
                 \"client\":\"{client}\",\"profiles\":[],\"host\":\"{host}\",\"port\":443,\"server_name\":\"{host}\",\
                 \"address\":null,\"reason\":\"report_only\",\"sent\":1,\"received\":1}}"
            )
            .unwrap();
        }
        stdin.flush().unwrap();
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let (said, policy) = (text(&output.stderr), text(&output.stdout));
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("flows are left out: there are more destinations or clients than are kept"),
        "{said}"
    );
    assert!(policy.contains("# INCOMPLETE: "));
}

#[test]
fn a_policy_that_could_not_be_written_whole_is_a_failure() {
    let run = |out: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_exeat"));
        command.args(["suggest", "-"]).stdin(Stdio::null()).stdout(out).output().unwrap()
    };
    let full = run(File::options().write(true).open("/dev/full").unwrap().into());
    assert_eq!(full.status.code(), Some(1));
    assert!(text(&full.stderr).starts_with("error: the answer can't be written: "), "{}", text(&full.stderr));
    // Who reads no more of it has enough.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let unread = run(writer.into());
    assert_eq!((unread.status.code(), text(&unread.stderr)), (Some(0), String::new()));
}
