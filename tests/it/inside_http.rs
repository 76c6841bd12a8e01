//! Requests inside a CONNECT tunnel.

use tokio::io::AsyncWriteExt;

use crate::support::upstream::{Upstream, read_request};
use crate::support::{Gate, anonymous, ask, read_reply, read_to_end};

fn rule(page: &Upstream, more: &str) -> String {
    format!("{{ host: a.example, ports: [{}], protocol: http, private: true{more} }}", page.port())
}

fn get(page: &Upstream, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.example:{}\r\n\r\n", page.port())
}

#[tokio::test]
async fn each_request_of_a_tunnel_has_its_own_verdict_and_record() {
    let page = Upstream::page().await;
    let gate = Gate::allowing(&[&rule(&page, ", methods: [GET], paths: [\"/pub/**\"]")]).await;
    let mut tunnel = gate.tunnel(&format!("a.example:{}", page.port())).await;
    let port = page.port();
    for (target, status) in [
        ("/private".to_owned(), 403),
        ("/pub/x?q".to_owned(), 200),
        ("/private".to_owned(), 403),
        (format!("http://a.example:{port}/pub/y"), 200),
    ] {
        let reply = ask(&mut tunnel, get(&page, &target)).await;
        assert_eq!((reply.status, reply.closes()), (status, false), "{target}: {reply:?}");
    }
    let post = get(&page, "/pub/x").replace("GET", "POST");
    assert_eq!(ask(&mut tunnel, post).await.status, 403);
    let reply = ask(&mut tunnel, get(&page, "/pub/../private")).await;
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (400, Some("bad_request")), "{reply:?}");
    drop(tunnel);
    let records = gate.records(6).await;
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            assert_eq!(record["ingress"], "connect");
            assert_eq!(record["host"], "a.example");
            format!("{} {} {}", record["method"], record["path"], record["reason"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        told,
        [
            "GET /private no_rule",
            "GET /pub/x allowed",
            "GET /private no_rule",
            "GET /pub/y allowed",
            "POST /pub/x no_rule",
            "GET /pub/../private bad_request",
        ]
    );
    let heard = anonymous(&page.heard_text());
    let expected =
        |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a.example:{port}\r\nvia: 1.1 exeat\r\n\r\n");
    assert_eq!(heard, expected("/pub/x?q") + &expected("/pub/y"));
    assert_eq!(page.connections(), 1);
    gate.stop_and_count(6).await;
}

#[tokio::test]
async fn what_leads_elsewhere_or_is_malformed_closes_the_tunnel() {
    let page = Upstream::page().await;
    let port = page.port();
    let other = format!("{{ host: b.example, ports: [{port}], protocol: http, private: true }}");
    let gate = Gate::allowing(&[&rule(&page, ""), &other]).await;
    let host = format!("Host: a.example:{port}\r\n");
    for (index, (request, reason)) in [
        (format!("GET / HTTP/1.1\r\nHost: b.example:{port}\r\n\r\n"), "host_mismatch"),
        ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), "host_mismatch"),
        (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), "host_mismatch"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "bad_request"),
        (format!("GET http://b.example:{port}/ HTTP/1.1\r\n{host}\r\n"), "host_mismatch"),
        (format!("GET https://a.example:{port}/ HTTP/1.1\r\n{host}\r\n"), "bad_request"),
        (format!("GET a.example:{port} HTTP/1.1\r\n{host}\r\n"), "bad_request"),
        (format!("GET * HTTP/1.1\r\n{host}\r\n"), "bad_request"),
        (format!("CONNECT b.example:{port} HTTP/1.1\r\nHost: b.example:{port}\r\n\r\n"), "bad_request"),
        (format!("GET / HTTP/1.1\r\n{host}X : 1\r\n\r\n"), "bad_request"),
        (format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n"), "bad_request"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut tunnel = gate.tunnel(&format!("a.example:{port}")).await;
        let behind = get(&page, "/behind");
        tunnel.write_all((request.clone() + &behind).as_bytes()).await.unwrap();
        let answer = read_to_end(&mut tunnel).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{request:?}: {answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{request:?}: {answer}");
        let record = gate.records(index + 1).await.remove(index);
        assert_eq!(
            (&record["reason"], &record["ingress"]),
            (&reason.into(), &"connect".into()),
            "{request:?}"
        );
    }
    assert_eq!(page.heard_text(), "");
    gate.stop().await;
}

#[tokio::test]
async fn options_for_the_server_as_a_whole_passes() {
    let page = Upstream::page().await;
    let gate = Gate::allowing(&[&rule(&page, "")]).await;
    let mut tunnel = gate.tunnel(&format!("a.example:{}", page.port())).await;
    assert_eq!(ask(&mut tunnel, get(&page, "*").replace("GET", "OPTIONS")).await.status, 200);
    assert!(page.heard_text().starts_with("OPTIONS * HTTP/1.1\r\n"), "{}", page.heard_text());
    drop(tunnel);
    assert_eq!(gate.record().await["path"], "*");
    gate.stop().await;
}

#[tokio::test]
async fn the_end_of_the_upstream_is_the_end_of_the_tunnel() {
    for said in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\n\r\nhello",
    ] {
        let page = Upstream::closing(said).await;
        let gate = Gate::allowing(&[&rule(&page, "")]).await;
        let mut tunnel = gate.tunnel(&format!("a.example:{}", page.port())).await;
        let reply = ask(&mut tunnel, get(&page, "/")).await;
        assert_eq!((reply.body.as_str(), reply.closes()), ("hello", true), "{said:?}: {reply:?}");
        assert_eq!(read_to_end(&mut tunnel).await, "");
        assert_eq!(gate.record().await["reason"], "allowed");
        gate.stop().await;
    }
    // Or it closes a connection that has been idle for too long: the client hears it, and asks on another one.
    let page = Upstream::closing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    let gate = Gate::allowing(&[&rule(&page, "")]).await;
    let mut tunnel = gate.tunnel(&format!("a.example:{}", page.port())).await;
    let reply = ask(&mut tunnel, get(&page, "/")).await;
    assert_eq!((reply.body.as_str(), reply.closes()), ("hello", false), "{reply:?}");
    assert_eq!(read_to_end(&mut tunnel).await, "");
    gate.stop_and_count(1).await;
    // One that goes away without a word is told as it is, once.
    let page = Upstream::start(|mut stream, heard| async move {
        read_request(&mut stream, &heard).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
        read_request(&mut stream, &heard).await;
    })
    .await;
    let gate = Gate::allowing(&[&rule(&page, "")]).await;
    let mut tunnel = gate.tunnel(&format!("a.example:{}", page.port())).await;
    assert!(!ask(&mut tunnel, get(&page, "/")).await.closes());
    let reply = ask(&mut tunnel, get(&page, "/")).await;
    assert_eq!((reply.status, reply.closes()), (502, true), "{reply:?}");
    assert_eq!(read_to_end(&mut tunnel).await, "");
    assert_eq!(page.connections(), 1);
    gate.stop_and_count(2).await;
}

#[tokio::test]
async fn a_client_that_closes_ends_its_tunnel_after_the_answer() {
    let page = Upstream::page().await;
    let gate = Gate::allowing(&[&rule(&page, "")]).await;
    let mut tunnel = gate.tunnel(&format!("a.example:{}", page.port())).await;
    let request = get(&page, "/").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let reply = ask(&mut tunnel, request).await;
    assert_eq!((reply.status, reply.closes()), (200, true), "{reply:?}");
    assert_eq!(read_to_end(&mut tunnel).await, "");
    page.ended(1).await;
    assert!(!page.heard_text().contains("connection:"), "{}", page.heard_text());
    gate.stop_and_count(1).await;
}

#[tokio::test]
async fn bytes_that_a_rule_is_not_for_are_refused() {
    let page = Upstream::page().await;
    let port = page.port();
    let to = format!("a.example:{port}");
    let hello = std::fs::read(crate::support::fixture("hello/curl.bin")).ok();
    // HTTP where TLS is wanted.
    let gate =
        Gate::allowing(&[&format!("{{ host: a.example, ports: [{port}], protocol: tls, private: true }}")])
            .await;
    let mut tunnel = gate.tunnel(&to).await;
    let reply = ask(&mut tunnel, get(&page, "/")).await;
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (403, Some("not_tls")), "{reply:?}");
    drop(tunnel);
    assert_eq!(gate.record().await["reason"], "not_tls");
    gate.stop().await;
    // Neither where HTTP is wanted; TLS is in the tests of the TLS gate.
    let gate = Gate::allowing(&[&rule(&page, "")]).await;
    let mut tunnel = gate.tunnel(&to).await;
    tunnel.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    assert_eq!(read_to_end(&mut tunnel).await, "");
    assert_eq!(gate.record().await["reason"], "not_http");
    if let Some(hello) = hello {
        let mut tunnel = gate.tunnel(&to).await;
        tunnel.write_all(&hello).await.unwrap();
        let mut alert = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut tunnel, &mut alert).await;
        assert_eq!(alert, exeat::reply::TLS_ACCESS_DENIED);
        assert_eq!(gate.records(2).await[1]["reason"], "not_http");
    }
    assert_eq!(page.heard_text(), "");
    gate.stop().await;
}

#[tokio::test]
async fn a_request_together_with_its_connect_passes_the_same_gate() {
    let page = Upstream::page().await;
    let port = page.port();
    let gate = Gate::allowing(&[&rule(&page, ", paths: [\"/pub/**\"]")]).await;
    let mut stream = gate.connect().await;
    let connect = format!("CONNECT a.example:{port} HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
    let both = get(&page, "/private") + &get(&page, "/pub/x");
    stream.write_all((connect + &both).as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut stream).await.status, 200);
    assert_eq!(read_reply(&mut stream).await.status, 403);
    assert_eq!(read_reply(&mut stream).await.body, "hello");
    assert_eq!(page.heard_text().matches("GET ").count(), 1);
    drop(stream);
    gate.stop_and_count(2).await;
}
