//! One of everything.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::upstream::Upstream;
use crate::support::{Gate, read_to_end};

#[tokio::test]
async fn a_request_is_forwarded_and_recorded() {
    let page = Upstream::page().await;
    let port = page.port();
    let gate = Gate::allowing(&[&format!("{{ host: a.example, ports: [{port}], private: true }}")]).await;
    let request = format!(
        "GET http://a.example:{port}/x?secret=1 HTTP/1.1\r\nHost: a.example:{port}\r\nConnection: close\r\n\r\n"
    );
    let answer = gate.say(request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    let heard = String::from_utf8(page.heard().remove(0)).unwrap();
    assert!(heard.starts_with(&format!("GET /x?secret=1 HTTP/1.1\r\nhost: a.example:{port}\r\n")), "{heard}");
    let record = gate.record().await;
    assert_eq!(record["reason"], "allowed");
    assert_eq!(record["path"], "/x");
    assert_eq!(record["received"], 5);
    gate.stop().await;
}

#[tokio::test]
async fn a_name_that_no_rule_allows_is_refused_with_a_reason() {
    let gate = Gate::allowing(&["a.example"]).await;
    let answer = gate.say("CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(
        answer.contains("proxy-status: exeat; error=http_request_denied; details=\"no_rule\"\r\n"),
        "{answer}"
    );
    assert_eq!(gate.record().await["reason"], "no_rule");
    assert_eq!(
        gate.metric("exeat_flows_total{ingress=\"connect\",reason=\"no_rule\",verdict=\"deny\"}").await,
        Some(1.0)
    );
    gate.stop().await;
}

#[tokio::test]
async fn a_tcp_rule_opens_a_tunnel_that_nobody_looks_into() {
    let echo = Upstream::echo().await;
    let port = echo.port();
    let gate =
        Gate::allowing(&[&format!("{{ host: a.example, ports: [{port}], protocol: tcp, private: true }}")])
            .await;
    let mut tunnel = gate.tunnel(&format!("a.example:{port}")).await;
    tunnel.write_all(b"SSH-2.0-client\r\n").await.unwrap();
    let mut answer = [0; 16];
    tunnel.read_exact(&mut answer).await.unwrap();
    tunnel.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut tunnel).await, "");
    let record = gate.record().await;
    assert_eq!((&record["sent"], &record["received"]), (&16.into(), &16.into()));
    gate.stop().await;
}
