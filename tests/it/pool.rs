//! Kept connections to upstreams: whose they are, and when they are used again.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::support::upstream::{Upstream, read_request};
use crate::support::{Gate, Setup, ask};

fn rules(page: &Upstream) -> String {
    format!("{{ host: \"*.example\", ports: [{}], private: true }}", page.port())
}

fn request(page: &Upstream, method: &str, host: &str) -> String {
    let port = page.port();
    format!("{method} http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")
}

#[tokio::test]
async fn a_kept_connection_is_its_clients_own() {
    let page = Upstream::page().await;
    let gate = Gate::allowing(&[&rules(&page)]).await;
    for (source, host, connections) in [
        ("127.0.0.1", "a.example", 1),
        ("127.0.0.1", "a.example", 1),
        // Another client, another name for the same address.
        ("127.0.0.2", "a.example", 2),
        ("127.0.0.3", "a.example", 3),
        ("127.0.0.1", "b.example", 4),
        ("127.0.0.2", "a.example", 4),
        ("127.0.0.1", "a.example", 4),
    ] {
        let mut stream = gate.connect_from(source).await;
        assert_eq!(ask(&mut stream, request(&page, "GET", host)).await.status, 200);
        assert_eq!(page.connections(), connections, "{source} {host}");
    }
    gate.stop_and_count(7).await;
}

#[tokio::test]
async fn another_policy_opens_its_own_connections() {
    let page = Upstream::page().await;
    let gate = Gate::allowing(&[&rules(&page)]).await;
    let mut stream = gate.connect().await;
    assert_eq!(ask(&mut stream, request(&page, "GET", "a.example")).await.status, 200);
    let policy = |rule: &str| format!("version: 1\nprofiles:\n  - name: new\n    allow:\n      - {rule}\n");
    gate.change_policy(&policy(&rules(&page))).await;
    assert_eq!(ask(&mut stream, request(&page, "GET", "a.example")).await.status, 200);
    assert_eq!(page.connections(), 2);
    // The same connection to the proxy, and what was allowed a moment ago is not any more.
    gate.change_policy(&policy("b.example")).await;
    assert_eq!(ask(&mut stream, request(&page, "GET", "a.example")).await.status, 403);
    assert_eq!(page.connections(), 2);
    drop(stream);
    let records = gate.records(3).await;
    assert_eq!(records[2]["reason"], "no_rule");
    assert_eq!(records[1]["profiles"], serde_json::json!(["new"]));
    gate.stop().await;
}

#[tokio::test]
async fn what_was_idle_for_too_long_is_not_used_again() {
    let page = Upstream::page().await;
    let mut setup = Setup::allow(&[&rules(&page)]);
    setup.settings.timeouts.keepalive = Duration::from_millis(500);
    let gate = setup.start().await;
    for connections in 1..=3 {
        let mut stream = gate.connect().await;
        assert_eq!(ask(&mut stream, request(&page, "GET", "a.example")).await.status, 200);
        assert_eq!(page.connections(), connections);
        // It is put back a moment after its answer has come.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    gate.stop().await;
}

/// An upstream that answers the first request on each connection, and closes at the second without a word.
async fn forgetful(at_second: &'static str) -> Upstream {
    Upstream::start(move |mut stream, heard| async move {
        read_request(&mut stream, &heard).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
        read_request(&mut stream, &heard).await;
        let _ = stream.write_all(at_second.as_bytes()).await;
    })
    .await
}

#[tokio::test]
async fn a_dead_connection_costs_an_idempotent_request_nothing() {
    for (method, status, connections) in [
        ("GET", 200, 2),
        ("HEAD", 200, 2),
        ("OPTIONS", 200, 2),
        ("PUT", 200, 2),
        ("DELETE", 200, 2),
        // It might be done twice.
        ("POST", 502, 1),
        ("PATCH", 502, 1),
    ] {
        let page = forgetful("").await;
        let gate = Gate::allowing(&[&rules(&page)]).await;
        let mut stream = gate.connect().await;
        assert_eq!(ask(&mut stream, request(&page, "GET", "a.example")).await.status, 200);
        stream.write_all(request(&page, method, "a.example").as_bytes()).await.unwrap();
        let head = crate::support::read_head(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method}: {head}");
        assert_eq!(page.connections(), connections, "{method}");
        let record = gate.records(2).await.remove(1);
        assert_eq!(record["reason"], if status == 200 { "allowed" } else { "upstream_reset" }, "{method}");
        drop(stream);
        gate.stop_and_count(2).await;
    }
}

#[tokio::test]
async fn a_request_with_a_body_or_a_part_of_an_answer_is_not_sent_again() {
    let page = forgetful("").await;
    let gate = Gate::allowing(&[&rules(&page)]).await;
    let mut stream = gate.connect().await;
    assert_eq!(ask(&mut stream, request(&page, "GET", "a.example")).await.status, 200);
    let put = request(&page, "PUT", "a.example").replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(ask(&mut stream, put).await.status, 502);
    assert_eq!(page.connections(), 1);
    drop(stream);
    gate.stop().await;

    let page = forgetful("HTTP/1.1 200 OK\r\nX: ").await;
    let gate = Gate::allowing(&[&rules(&page)]).await;
    let mut stream = gate.connect().await;
    assert_eq!(ask(&mut stream, request(&page, "GET", "a.example")).await.status, 200);
    assert_eq!(ask(&mut stream, request(&page, "GET", "a.example")).await.status, 502);
    assert_eq!(page.connections(), 1);
    drop(stream);
    gate.stop().await;
}

#[tokio::test]
async fn a_connection_in_use_holds_nobody_up() {
    // Its second request on a connection is never answered.
    let page = Upstream::start(|mut stream, heard| async move {
        read_request(&mut stream, &heard).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
        read_request(&mut stream, &heard).await;
        read_request(&mut stream, &heard).await;
    })
    .await;
    let gate = Gate::allowing(&[&rules(&page)]).await;
    let (mut first, mut second) = (gate.connect().await, gate.connect().await);
    assert_eq!(ask(&mut first, request(&page, "GET", "a.example")).await.status, 200);
    let again = request(&page, "GET", "a.example").replacen("/ HTTP", "/again HTTP", 1);
    first.write_all(again.as_bytes()).await.unwrap();
    page.has_heard("GET /again").await;
    assert_eq!(ask(&mut second, request(&page, "GET", "a.example")).await.status, 200);
    assert_eq!(page.connections(), 2);
    drop((first, second));
    gate.stop().await;
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_not_tried_twice() {
    let page = Upstream::closing("").await;
    let gate = Gate::allowing(&[&rules(&page)]).await;
    let mut stream = gate.connect().await;
    assert_eq!(ask(&mut stream, request(&page, "GET", "a.example")).await.status, 502);
    assert_eq!(page.connections(), 1);
    drop(stream);
    gate.stop_and_count(1).await;
}

#[tokio::test]
async fn connections_that_say_close_are_not_kept() {
    for said in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, Close\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let page = Upstream::answering(said).await;
        let gate = Gate::allowing(&[&rules(&page)]).await;
        let mut stream = gate.connect().await;
        for connections in 1..=2 {
            let reply = ask(&mut stream, request(&page, "GET", "a.example")).await;
            assert_eq!(
                (reply.status, reply.closes()),
                (200, false),
                "the client's connection stays: {reply:?}"
            );
            assert_eq!(page.connections(), connections, "{said:?}");
            page.ended(connections).await;
        }
        drop(stream);
        gate.stop().await;
    }
}
