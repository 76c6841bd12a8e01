//! Switching protocols: WebSocket through the proxy and through a tunnel, and what must not be a tunnel.

use std::sync::Arc;

use exeat::server::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::upstream::{Upstream, read_request, send_back};
use crate::support::{Gate, PATIENCE, Setup, ask, read_exactly, read_head, read_to_end, until};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";

/// An upstream that says this to a request, and sends back whatever follows it.
async fn switching(said: &'static str) -> Upstream {
    Upstream::start(move |mut stream, heard| async move {
        if read_request(&mut stream, &heard).await.is_none() {
            return;
        }
        stream.write_all(said.as_bytes()).await.unwrap();
        send_back(stream, heard).await;
    })
    .await
}

fn rule(page: &Upstream) -> String {
    format!("{{ host: a.example, ports: [{}], protocol: http, private: true }}", page.port())
}

/// A connection on which to ask, and the target to ask for: of the proxy itself, or inside a tunnel.
async fn way(gate: &Gate, page: &Upstream, inside: bool) -> (TcpStream, String) {
    let port = page.port();
    match inside {
        true => (gate.tunnel(&format!("a.example:{port}")).await, "/chat".to_owned()),
        false => (gate.connect().await, format!("http://a.example:{port}/chat")),
    }
}

fn request(page: &Upstream, target: &str, headers: &str) -> String {
    let port = page.port();
    format!("GET {target} HTTP/1.1\r\nHost: a.example:{port}\r\nSec-WebSocket-Key: k\r\n{headers}\r\n")
}

const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";

#[tokio::test]
async fn a_websocket_passes_with_early_bytes_on_both_sides() {
    for inside in [false, true] {
        let page = switching(concat!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n",
            "Sec-WebSocket-Accept: x\r\n\r\nearly"
        ))
        .await;
        let gate = Gate::allowing(&[&rule(&page)]).await;
        let (mut stream, target) = way(&gate, &page, inside).await;
        stream.write_all((request(&page, &target, UPGRADE) + "ahead").as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        for line in [
            "connection: upgrade\r\n",
            "upgrade: WebSocket\r\n",
            "sec-websocket-accept: x\r\n",
            "via: 1.1 exeat-",
        ] {
            assert!(head.contains(line), "{head}");
        }
        let both = read_exactly(&mut stream, 10).await;
        assert_eq!(both, "earlyahead");
        stream.write_all(b"more").await.unwrap();
        assert_eq!(read_exactly(&mut stream, 4).await, "more");
        stream.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, "");
        let heard = page.heard_text();
        assert!(heard.starts_with("GET /chat HTTP/1.1\r\n"), "{heard}");
        assert!(heard.contains("\r\nconnection: upgrade\r\nupgrade: websocket\r\n"), "{heard}");
        let record = gate.record().await;
        assert_eq!((&record["reason"], &record["status"]), (&"allowed".into(), &101.into()));
        assert_eq!((&record["sent"], &record["received"]), (&9.into(), &14.into()), "inside: {inside}");
        gate.stop().await;
    }
}

#[tokio::test]
async fn a_drain_leaves_alone_what_is_to_be_a_websocket() {
    let is_time = Arc::<Notify>::default();
    let waits = Arc::clone(&is_time);
    let page = Upstream::start(move |mut stream, heard| {
        let waits = Arc::clone(&waits);
        async move {
            read_request(&mut stream, &heard).await;
            waits.notified().await;
            stream.write_all(SWITCH.as_bytes()).await.unwrap();
            send_back(stream, heard).await;
        }
    })
    .await;
    let mut setup = Setup::allow(&[&rule(&page)]);
    setup.settings.timeouts.drain = PATIENCE;
    let gate = setup.start().await;
    let (mut stream, target) = way(&gate, &page, false).await;
    stream.write_all(request(&page, &target, UPGRADE).as_bytes()).await.unwrap();
    page.has_heard("\r\n\r\n").await;
    gate.signal(Signal::Stop).await;
    until("it still listens", async || TcpStream::connect(gate.address).await.is_err()).await;
    is_time.notify_one();
    let head = read_head(&mut stream).await;
    // Some clients take nothing else for a switch.
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("\r\nconnection: upgrade\r\n"), "{head}");
    stream.write_all(b"ping").await.unwrap();
    assert_eq!(read_exactly(&mut stream, 4).await, "ping");
    drop(stream);
    gate.stopped().await;
}

#[tokio::test]
async fn an_upgrade_that_the_upstream_declines_is_a_plain_exchange() {
    for inside in [false, true] {
        let page = Upstream::page().await;
        let gate = Gate::allowing(&[&rule(&page)]).await;
        let (mut stream, target) = way(&gate, &page, inside).await;
        // What follows is a request of its own, and judged as one.
        let behind = request(&page, &target, "").replace("a.example", "denied.example");
        let reply = ask(&mut stream, request(&page, &target, UPGRADE) + &behind).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
        let reply = crate::support::read_reply(&mut stream).await;
        assert_eq!(reply.status, if inside { 400 } else { 403 }, "{reply:?}");
        assert_eq!(page.heard_text().matches("GET ").count(), 1);
        drop(stream);
        gate.stop_and_count(2).await;
    }
}

#[tokio::test]
async fn nothing_switches_that_was_not_asked_to() {
    let h2c = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n";
    let tls = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: TLS/1.2\r\n\r\n";
    let other = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n";
    let two = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n";
    let silent = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    for inside in [false, true] {
        for (headers, said) in [
            ("", SWITCH),
            ("Upgrade: websocket\r\n", SWITCH),
            ("Connection: upgrade\r\nUpgrade: h2c\r\n", SWITCH),
            ("Connection: upgrade\r\nUpgrade: h2c\r\n", h2c),
            ("Connection: upgrade\r\nUpgrade: websocket, h2c\r\n", h2c),
            ("Connection: upgrade\r\nUpgrade: TLS/1.2\r\n", tls),
            (UPGRADE, h2c),
            (UPGRADE, other),
            (UPGRADE, two),
            (UPGRADE, silent),
        ] {
            let page = switching(said).await;
            let gate = Gate::allowing(&[&rule(&page)]).await;
            let (mut stream, target) = way(&gate, &page, inside).await;
            let reply = ask(&mut stream, request(&page, &target, headers)).await;
            assert_eq!(reply.status, 502, "{headers:?} {said:?}: {reply:?}");
            assert_eq!(reply.closes(), inside, "{headers:?} {said:?}: {reply:?}");
            page.ended(1).await;
            let heard = page.heard_text();
            assert!(!heard.contains("h2c") && !heard.contains("TLS"), "{heard}");
            assert_eq!(gate.record().await["reason"], "upstream_reset");
            drop(stream);
            gate.stop().await;
        }
    }
}

#[tokio::test]
async fn nothing_of_the_client_passes_before_the_switch() {
    let page = Upstream::start(|mut stream, heard| async move {
        use tokio::io::AsyncReadExt;
        read_request(&mut stream, &heard).await;
        let mut byte = [0];
        // Whatever comes now came too early.
        tokio::select! {
            _ = stream.read(&mut byte) => heard.add(&byte),
            () = tokio::time::sleep(std::time::Duration::from_millis(200)) => {}
        }
        stream.write_all(SWITCH.as_bytes()).await.unwrap();
        let _ = stream.read(&mut byte).await;
        heard.add(b"<after>");
        heard.add(&byte);
    })
    .await;
    let gate = Gate::allowing(&[&rule(&page)]).await;
    let (mut stream, target) = way(&gate, &page, false).await;
    stream.write_all((request(&page, &target, UPGRADE) + "A").as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    page.has_heard("\r\n\r\n<after>A").await;
    drop(stream);
    gate.stop().await;
}
