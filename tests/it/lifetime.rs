//! How connections begin, wait, stand still and end.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::support::upstream::{Upstream, read_request};
use crate::support::{Gate, Setup, ask, read_head, read_reply, read_to_end};
use exeat::server::Signal;

fn rule(page: &Upstream) -> String {
    format!("{{ host: a.example, ports: [{}], private: true }}", page.port())
}

fn get(page: &Upstream, path: &str) -> String {
    let port = page.port();
    format!("GET http://a.example:{port}{path} HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n")
}

/// An upstream that hears requests and says nothing.
async fn silent() -> Upstream {
    Upstream::start(
        |mut stream, heard| async move { while read_request(&mut stream, &heard).await.is_some() {} },
    )
    .await
}

/// An upstream that sends without end.
async fn endless() -> Upstream {
    Upstream::start(|mut stream, heard| async move {
        read_request(&mut stream, &heard).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
    })
    .await
}

#[tokio::test]
async fn a_head_that_dawdles_is_told_so() {
    let mut setup = Setup::allow(&["a.example"]);
    setup.settings.timeouts.head = Duration::from_millis(100);
    let gate = setup.start().await;
    let mut stream = gate.connect().await;
    // Before the first byte there is no hurry.
    tokio::time::sleep(Duration::from_millis(200)).await;
    stream.write_all(b"GET http://a.example/ HTTP/1.1\r\nHost: a").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"), "{answer}");
    let why = "\r\nproxy-status: exeat; error=http_request_error; details=\"head_timeout\"\r\n\r\n";
    assert!(answer.ends_with(why), "{answer}");
    let record = gate.record().await;
    assert_eq!((&record["reason"], &record["status"]), (&"head_timeout".into(), &408.into()));
    gate.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_record() {
    let page = Upstream::page().await;
    let mut setup = Setup::allow(&[&rule(&page)]);
    setup.settings.timeouts.keepalive = Duration::from_secs(1);
    let gate = setup.start().await;
    let mut fresh = gate.connect().await;
    let mut used = gate.connect().await;
    assert_eq!(ask(&mut used, get(&page, "/")).await.status, 200);
    assert_eq!(read_to_end(&mut fresh).await, "");
    assert_eq!(read_to_end(&mut used).await, "");
    let closed = gate.connect().await;
    drop(closed);
    gate.stop_and_count(1).await;
}

#[tokio::test]
async fn a_head_that_breaks_off_is_the_clients_doing() {
    let gate = Gate::allowing(&["a.example"]).await;
    let mut stream = gate.connect().await;
    stream.write_all(b"GET http://a.example/ HT").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
    let record = gate.record().await;
    assert_eq!((&record["reason"], &record["status"]), (&"client_reset".into(), &serde_json::Value::Null));
    gate.stop().await;
}

#[tokio::test]
async fn thousands_of_requests_share_a_connection() {
    let page = Upstream::page().await;
    let gate = Gate::allowing(&[&rule(&page)]).await;
    let mut stream = gate.connect().await;
    for number in 0..3000 {
        let reply = ask(&mut stream, get(&page, &format!("/{number}"))).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
    }
    assert_eq!(page.connections(), 1);
    drop(stream);
    gate.stop_and_count(3000).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let page = Upstream::start(|mut stream, heard| async move {
        while let Some(request) = read_request(&mut stream, &heard).await {
            let path = request.split(' ').nth(1).unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let gate = Gate::allowing(&[&rule(&page)]).await;
    let mut stream = gate.connect().await;
    let denied = "GET http://denied.example/ HTTP/1.1\r\nHost: denied.example\r\n\r\n";
    let requests: String = (0..100).map(|n| get(&page, &format!("/{n}")) + denied).collect();
    stream.write_all(requests.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    for number in 0..100 {
        assert_eq!(read_reply(&mut stream).await.body, format!("/{number}"));
        assert_eq!(read_reply(&mut stream).await.status, 403);
    }
    assert_eq!(read_to_end(&mut stream).await, "");
    gate.stop_and_count(200).await;
}

#[tokio::test]
async fn a_client_that_breaks_the_connection_frees_its_upstream() {
    for path in ["/", "/body"] {
        let page = Upstream::start(|mut stream, heard| async move {
            if read_request(&mut stream, &heard).await.is_some_and(|request| request.contains("/body")) {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\npart").await.unwrap();
            }
            read_request(&mut stream, &heard).await;
        })
        .await;
        let gate = Gate::allowing(&[&rule(&page)]).await;
        let mut stream = gate.connect().await;
        stream.write_all(get(&page, path).as_bytes()).await.unwrap();
        page.has_heard("\r\n\r\n").await;
        if path == "/body" {
            read_head(&mut stream).await;
        }
        stream.set_zero_linger().unwrap();
        drop(stream);
        page.ended(1).await;
        assert_eq!(gate.record().await["reason"], "client_reset", "{path}");
        gate.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_may_be_gone_is_waited_for_as_a_half_closed_one() {
    let page = silent().await;
    let mut setup = Setup::allow(&[&rule(&page)]);
    setup.settings.timeouts.half_closed = Duration::from_millis(200);
    let gate = setup.start().await;
    let mut stream = gate.connect().await;
    stream.write_all(get(&page, "/").as_bytes()).await.unwrap();
    page.has_heard("\r\n\r\n").await;
    drop(stream);
    page.ended(1).await;
    assert_eq!(gate.record().await["reason"], "client_reset");
    gate.stop().await;
}

#[tokio::test]
async fn a_client_that_may_be_gone_is_waited_for_no_longer_than_one_that_is_there() {
    let page = Upstream::start(|mut stream, heard| async move {
        read_request(&mut stream, &heard).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let mut setup = Setup::allow(&[&rule(&page)]);
    setup.settings.timeouts.idle = Duration::from_millis(500);
    setup.settings.timeouts.half_closed = Duration::from_secs(3600);
    let gate = setup.start().await;
    let mut stream = gate.connect().await;
    stream.write_all(get(&page, "/").as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    stream.shutdown().await.unwrap();
    assert_eq!(gate.record().await["reason"], "client_reset");
    gate.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_can_not_hold_on_to_its_flow() {
    // Revoked, drained, or simply still for too long.
    for reason in ["revoked", "draining", "idle_timeout"] {
        let page = endless().await;
        let mut setup = Setup::allow(&[&rule(&page)]);
        setup.settings.timeouts.drain = Duration::from_millis(50);
        if reason == "idle_timeout" {
            setup.settings.timeouts.idle = Duration::from_secs(1);
        }
        let gate = setup.start().await;
        let mut stream = gate.connect().await;
        stream.write_all(get(&page, "/").as_bytes()).await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        match reason {
            "revoked" => {
                gate.change_policy(NOBODY).await;
            }
            "draining" => gate.signals.send(Signal::Stop).await.unwrap(),
            _ => {}
        }
        assert_eq!(gate.record().await["reason"], reason);
        page.ended(1).await;
        drop(stream);
        if reason == "draining" {
            gate.stopped().await;
        } else {
            gate.stop().await;
        }
    }
}

#[tokio::test]
async fn a_drain_lets_answers_finish_and_closes_what_is_idle() {
    let page = Upstream::start(|mut stream, heard| async move {
        read_request(&mut stream, &heard).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none").await.unwrap();
        // The rest once it is asked for.
        read_request(&mut stream, &heard).await;
    })
    .await;
    let slow = Upstream::start(|mut stream, heard| async move {
        read_request(&mut stream, &heard).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
    })
    .await;
    let mut setup = Setup::allow(&[&rule(&page), &rule(&slow)]);
    setup.settings.timeouts.drain = Duration::from_secs(3);
    let gate = setup.start().await;
    let mut idle = gate.connect().await;
    let mut used = gate.connect().await;
    let denied = ask(&mut used, "GET http://denied.example/ HTTP/1.1\r\nHost: denied.example\r\n\r\n").await;
    assert_eq!(denied.status, 403);
    let mut busy = gate.connect().await;
    busy.write_all(get(&slow, "/").as_bytes()).await.unwrap();
    slow.has_heard("\r\n\r\n").await;
    let mut stuck = gate.connect().await;
    stuck.write_all(get(&page, "/").as_bytes()).await.unwrap();
    read_head(&mut stuck).await;
    gate.signals.send(Signal::Stop).await.unwrap();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(read_to_end(&mut used).await, "");
    let reply = read_reply(&mut busy).await;
    assert_eq!((reply.body.as_str(), reply.closes()), ("hello", true), "{reply:?}");
    assert_eq!(read_to_end(&mut busy).await, "");
    // What does not finish in time is cut.
    assert_eq!(read_to_end(&mut stuck).await, "one");
    let records = gate.records(3).await;
    let reasons: Vec<_> = records.iter().map(|record| record["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["no_rule", "allowed", "draining"]);
    drop((idle, used, busy, stuck));
    gate.stopped().await;
}

#[tokio::test]
async fn limits_are_answered_and_freed() {
    let page = silent().await;
    let mut setup = Setup::allow(&[&rule(&page)]);
    setup.settings.limits.flows_per_client = NonZeroUsize::new(1);
    let gate = setup.start().await;
    let mut first = gate.connect().await;
    first.write_all(get(&page, "/").as_bytes()).await.unwrap();
    page.has_heard("\r\n\r\n").await;
    let mut second = gate.connect().await;
    let reply = ask(&mut second, get(&page, "/")).await;
    assert_eq!(reply.status, 429, "{reply:?}");
    assert!(reply.head.contains("error=connection_limit_reached; details=\"limit_client\""), "{reply:?}");
    // Another client has a limit of its own.
    let mut other = gate.connect_from("127.0.0.2").await;
    other.write_all(get(&page, "/other").as_bytes()).await.unwrap();
    page.has_heard("/other").await;
    assert_eq!(page.connections(), 2);
    first.set_zero_linger().unwrap();
    drop(first);
    page.ended(1).await;
    gate.records(2).await;
    second.write_all(get(&page, "/again").as_bytes()).await.unwrap();
    page.has_heard("/again").await;
    for stream in [second, other] {
        stream.set_zero_linger().unwrap();
    }
    gate.stop().await;
}

const NOBODY: &str = "version: 1\nprofiles: [{ name: nobody, allow: [b.example] }]\n";

#[tokio::test]
async fn a_new_policy_ends_what_it_denies() {
    // While the upstream is silent there is still an answer to give.
    let page = silent().await;
    let gate = Gate::allowing(&[&rule(&page)]).await;
    let mut stream = gate.connect().await;
    stream.write_all(get(&page, "/").as_bytes()).await.unwrap();
    page.has_heard("\r\n\r\n").await;
    gate.change_policy(NOBODY).await;
    let reply = read_reply(&mut stream).await;
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (403, Some("revoked")), "{reply:?}");
    assert!(reply.json()["hint"].as_str().is_some_and(|hint| hint.starts_with("ask again")), "{reply:?}");
    page.ended(1).await;
    drop(stream);
    gate.stop_and_count(1).await;

    // Later there is only the connection to break.
    let page = endless().await;
    let gate = Gate::allowing(&[&rule(&page)]).await;
    let mut stream = gate.connect().await;
    stream.write_all(get(&page, "/").as_bytes()).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut sink = tokio::io::sink();
        tokio::io::copy(&mut stream, &mut sink).await.unwrap_err().kind()
    });
    page.has_heard("\r\n\r\n").await;
    gate.change_policy(NOBODY).await;
    assert_eq!(reading.await.unwrap(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(gate.record().await["reason"], "revoked");
    page.ended(1).await;
    gate.stop_and_count(1).await;
}

#[tokio::test]
async fn a_tunnel_between_two_requests_is_judged_by_the_policy_of_the_next() {
    let page = Upstream::page().await;
    let http = format!("{{ host: a.example, ports: [{}], protocol: http, private: true }}", page.port());
    let gate = Gate::allowing(&[&http]).await;
    let port = page.port();
    let mut tunnel = gate.tunnel(&format!("a.example:{port}")).await;
    let request = format!("GET / HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
    assert_eq!(ask(&mut tunnel, &request).await.status, 200);
    gate.change_policy(NOBODY).await;
    assert_eq!(ask(&mut tunnel, &request).await.status, 403);
    assert_eq!(page.heard_text().matches("GET ").count(), 1);
    drop(tunnel);
    gate.stop_and_count(2).await;
}

/// RFC 9112 §9.3: what a proxy of HTTP/1.0 before this one passes on may ask for it in error.
#[tokio::test]
async fn an_old_client_keeps_no_connection_though_it_asks() {
    let page = Upstream::page().await;
    let gate = Gate::allowing(&[&rule(&page)]).await;
    let denied = "GET http://denied.example/ HTTP/1.0\r\n\r\n".to_owned();
    for (index, asked) in [get(&page, "/"), denied].iter().enumerate() {
        let old = asked.replace("HTTP/1.1", "HTTP/1.0");
        let keeps = old.replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n");
        let mut stream = gate.connect().await;
        let reply = ask(&mut stream, keeps.repeat(2)).await;
        assert!(reply.head.starts_with("HTTP/1.0 "), "{reply:?}");
        assert!(!reply.head.contains("keep-alive"), "{reply:?}");
        assert_eq!(read_to_end(&mut stream).await, "");
        assert_eq!(gate.records(index + 1).await.len(), index + 1);
    }
    assert_eq!(page.heard_text().matches("GET ").count(), 1);
    gate.stop_and_count(2).await;
}
