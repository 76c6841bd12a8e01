//! Report mode: what would be denied passes and is recorded, but deny rules and the guard stand.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::tls::{ACCESS_DENIED, extension, hello, hello_with, server_name};
use crate::support::upstream::Upstream;
use crate::support::{End, Gate, Setup, end};

/// A gate in report mode, with one rule for `a.example` that says this of protocol and more.
async fn gate(port: u16, rule: &str, deny: &str) -> Gate {
    setup(port, rule, deny).start().await
}

fn setup(port: u16, rule: &str, deny: &str) -> Setup {
    Setup::new(&format!(
        "version: 1\nprofiles:\n  - name: p\n    mode: report\n    allow:\n      - {{ host: a.example, ports: [{port}], \
         private: true, {rule} }}\n    deny: [{deny}]\n"
    ))
}

fn assert_reported(record: &Value) {
    let verdict = (&record["verdict"], &record["would_deny"], &record["reason"]);
    assert_eq!(verdict, (&"allow".into(), &true.into(), &"report_only".into()), "{record}");
}

#[tokio::test]
async fn what_is_inside_passes_although_a_rule_would_refuse_it() {
    let ech = hello_with(&[server_name("a.example"), extension(0xfe0d, &[0; 8])].concat());
    for (rule, first) in [
        ("protocol: tls", hello(&[])),
        ("protocol: tls", hello(&["b.example"])),
        ("protocol: tls", ech),
        ("protocol: tls", b"SSH-2.0-client\r\n".to_vec()),
        ("protocol: http", b"SSH-2.0-client\r\n".to_vec()),
        ("protocol: http", hello(&["a.example"])),
        ("protocol: http, methods: [GET]", hello(&["a.example"])),
    ] {
        let upstream = Upstream::silent().await;
        let gate = gate(upstream.port(), rule, "").await;
        let mut tunnel = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
        tunnel.write_all(&first).await.unwrap();
        assert_eq!(upstream.hears(first.len()).await, first);
        drop(tunnel);
        assert_reported(&gate.record().await);
        let passed = r#"exeat_flows_total{ingress="connect",reason="report_only",verdict="allow"}"#;
        assert_eq!(gate.metric(passed).await, Some(1.0));
        gate.stop().await;
    }
}

#[tokio::test]
async fn a_request_passes_although_its_method_is_not_listed() {
    let page = Upstream::page().await;
    let port = page.port();
    let gate = gate(port, "protocol: http, methods: [GET]", "").await;
    for (method, reported) in [("GET", false), ("PUT", true)] {
        let head = format!("{method} http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\n");
        let answer = gate.say(format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let record = gate.records(1 + usize::from(reported)).await.pop().unwrap();
        assert_eq!(record["would_deny"], reported, "{record}");
    }
    gate.stop().await;
}

#[tokio::test]
async fn what_is_refused_all_the_same_was_not_let_through() {
    let gate = Setup::new("version: 1\nprofiles:\n  - { name: p, mode: report }\n").start().await;
    let answer = gate.say("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let record = gate.record().await;
    assert_eq!((&record["verdict"], &record["reason"]), (&"deny".into(), &"address_prohibited".into()));
    assert_eq!(record["would_deny"], false, "{record}");
    gate.stop().await;
}

#[tokio::test]
async fn what_a_rule_allows_is_not_reported() {
    let upstream = Upstream::silent().await;
    let gate = gate(upstream.port(), "protocol: tls", "").await;
    let mut tunnel = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
    // A client that takes its time is still a TLS client.
    tokio::time::sleep(Duration::from_millis(400)).await;
    tunnel.write_all(&hello(&["a.example"])).await.unwrap();
    upstream.hears(hello(&["a.example"]).len()).await;
    drop(tunnel);
    let record = gate.record().await;
    assert_eq!((&record["reason"], &record["would_deny"]), (&"allowed".into(), &false.into()));
    gate.stop().await;
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let upstream = Upstream::start(|mut stream, heard| async move {
        stream.write_all(b"220 hello").await.unwrap();
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            heard.add(&buffer[..count]);
        }
    })
    .await;
    let gate = gate(upstream.port(), "protocol: tls", "").await;
    let mut tunnel = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
    let mut banner = [0; 9];
    tunnel.read_exact(&mut banner).await.unwrap();
    assert_eq!(&banner, b"220 hello");
    tunnel.write_all(b"EHLO").await.unwrap();
    assert_eq!(upstream.hears(4).await, b"EHLO");
    drop(tunnel);
    assert_reported(&gate.record().await);
    gate.stop().await;
}

#[tokio::test]
async fn when_nobody_speaks_it_is_idle() {
    let upstream = Upstream::silent().await;
    let mut setup = setup(upstream.port(), "protocol: tls", "");
    setup.settings.timeouts.idle = Duration::from_millis(300);
    let gate = setup.start().await;
    let mut tunnel = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
    assert_eq!(end(&mut tunnel).await, End { last: Vec::new(), reset: true });
    assert_eq!(gate.record().await["reason"], "idle_timeout");
    gate.stop().await;
}

#[tokio::test]
async fn deny_rules_are_not_relaxed_by_waiting() {
    for (deny, name) in
        [("denied.example", "denied.example"), ("{ host: a.example, protocol: tls }", "a.example")]
    {
        for wait in [0, 500] {
            let upstream = Upstream::silent().await;
            let gate = gate(upstream.port(), "protocol: http", deny).await;
            let mut tunnel = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
            tokio::time::sleep(Duration::from_millis(wait)).await;
            tunnel.write_all(&hello(&[name])).await.unwrap();
            assert_eq!(end(&mut tunnel).await, End { last: ACCESS_DENIED.to_vec(), reset: false });
            drop(tunnel);
            let record = gate.record().await;
            assert_eq!((&record["reason"], &record["would_deny"]), (&"denied_by_rule".into(), &false.into()));
            assert_eq!(upstream.heard(), [b""]);
            gate.stop().await;
        }
    }
    let gate = gate(1, "protocol: tls", "denied.example").await;
    let answer = gate.say("CONNECT denied.example:443 HTTP/1.1\r\nHost: denied.example:443\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("denied_by_rule"), "{answer}");
    gate.stop().await;
}

#[tokio::test]
async fn the_guard_is_not_relaxed() {
    let upstream = Upstream::silent().await;
    let port = upstream.port();
    let gate = gate(port, "protocol: tls", "").await;
    // No rule is about this name, which would pass if it did not lead to this host.
    for to in [format!("b.example:{port}"), format!("127.0.0.1:{port}"), "169.254.169.254:80".to_owned()] {
        let answer = gate.say(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("address_prohibited"), "{answer}");
    }
    assert_eq!(upstream.connections(), 0);
    gate.stop().await;
}

#[tokio::test]
async fn what_opens_the_guard_does_so_wherever_it_stands() {
    let upstream = Upstream::silent().await;
    let port = upstream.port();
    let opens = format!("{{ host: a.example, ports: [{port}], protocol: tls, private: true }}");
    let wider =
        format!("{{ host: .example, ports: [{port}], protocol: tls, private: true, public_suffix: true }}");
    let public = format!("{{ host: a.example, ports: [{port}] }}");
    for rules in [[&opens, &public], [&public, &opens], [&public, &wider]] {
        let rules = format!("      - {}\n      - {}\n", rules[0], rules[1]);
        let policy = format!("version: 1\nprofiles:\n  - name: p\n    mode: report\n    allow:\n{rules}");
        let gate = Setup::new(&policy).start().await;
        let mut tunnel = gate.tunnel(&format!("a.example:{port}")).await;
        tunnel.write_all(b"SSH-2.0-client\r\n").await.unwrap();
        drop(tunnel);
        assert_reported(&gate.record().await);
        gate.stop().await;
    }
}
