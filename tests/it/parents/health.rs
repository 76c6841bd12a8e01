//! A parent with several URLs: which is asked when one refuses, breaks down, or is silent.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tokio::io::AsyncWriteExt;

use super::{ESTABLISHED, answering, carrier, connect, parent, policy, tcp, url};
use crate::support::upstream::{Upstream, read_request};
use crate::support::{Gate, Setup, ask};

/// A gate with two proxies as its parent.
async fn gate(urls: [SocketAddr; 2], port: u16, dial: Duration) -> Gate {
    let mut setup = Setup::new(&policy("corp", &[&tcp("a.example", port)]));
    setup.settings.parents = vec![parent("corp", &urls.map(url))];
    setup.settings.timeouts.dial = dial;
    setup.start().await
}

async fn counted(gate: &Gate, result: &str, address: SocketAddr) -> f64 {
    let name = format!(
        "exeat_parent_connections_total{{parent=\"corp\",result=\"{result}\",url=\"{}\"}}",
        url(address)
    );
    gate.metric(&name).await.unwrap()
}

async fn is_up(gate: &Gate, address: SocketAddr) -> bool {
    gate.metric(&format!("exeat_parent_up{{parent=\"corp\",url=\"{}\"}}", url(address))).await.unwrap() == 1.0
}

/// An address that refuses while the socket lives: it is bound, and nobody listens.
fn closed() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[tokio::test]
async fn a_refusal_is_final_and_a_breakdown_is_not() {
    let echo = Upstream::echo().await;
    let too_long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    for (answer, told, asked) in [
        ("HTTP/1.1 403 Forbidden\r\n\r\n", Some("refuses the destination: it answers 403"), 0),
        ("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n", Some("it answers 407"), 0),
        ("HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", Some("opens no tunnel: it answers 302"), 0),
        ("HTTP/1.1 204 No Content\r\n\r\n", Some("opens no tunnel: it answers 204"), 0),
        ("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", Some("it answers 101"), 0),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", None, 1),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", None, 1),
        ("", None, 1),
        ("HTTP/1.1 200", None, 1),
        ("SSH-2.0-x\r\n\r\n", None, 1),
        (too_long.as_str(), None, 1),
    ] {
        let first = answering(answer).await;
        let second = carrier(ESTABLISHED, echo.address).await;
        let gate = gate([first.address, second.address], echo.port(), Duration::from_secs(10)).await;
        let mut stream = gate.connect().await;
        let reply = ask(&mut stream, connect(&format!("a.example:{}", echo.port()))).await;
        assert_eq!(first.connections(), 1);
        assert_eq!(second.connections(), asked, "{answer:.40?}: {reply:?}");
        match told {
            None => assert_eq!(reply.status, 200, "{answer:.40?}: {reply:?}"),
            Some(told) => {
                assert!(reply.status == 502 && reply.body.contains(told), "{reply:?}");
                let record = gate.record().await;
                assert_eq!(
                    (&record["reason"], &record["verdict"]),
                    (&"parent_failed".into(), &"allow".into())
                );
                let error = record["error"].as_str().unwrap();
                assert!(
                    error.starts_with("the parent corp at http://127.0.0.1:") && error.contains(told),
                    "{error}"
                );
                assert_eq!(counted(&gate, "refused", first.address).await, 1.0);
            }
        }
        // None of this says that it can't be connected to.
        assert!(is_up(&gate, first.address).await);
        drop(stream);
        gate.stop().await;
    }
}

#[tokio::test]
async fn one_that_takes_no_connection_is_passed_over_for_a_while() {
    let echo = Upstream::echo().await;
    let (_socket, dead) = closed();
    let alive = carrier(ESTABLISHED, echo.address).await;
    let gate = gate([dead, alive.address], echo.port(), Duration::from_secs(10)).await;
    for _ in 0..3 {
        drop(gate.tunnel(&format!("a.example:{}", echo.port())).await);
    }
    assert_eq!(
        (counted(&gate, "failed", dead).await, counted(&gate, "opened", alive.address).await),
        (1.0, 3.0)
    );
    assert!(!is_up(&gate, dead).await && is_up(&gate, alive.address).await);
    gate.stop().await;
}

#[tokio::test]
async fn where_all_are_down_all_are_tried() {
    let (_one, first) = closed();
    let (_two, second) = closed();
    let gate = gate([first, second], 7, Duration::from_secs(10)).await;
    for count in 1..=3 {
        let reply = gate.say(connect("a.example:7")).await;
        assert!(reply.starts_with("HTTP/1.1 502") && reply.contains("could not be connected to"), "{reply}");
        assert!(reply.contains("error=destination_unavailable; details=\"parent_failed\""), "{reply}");
        for dead in [first, second] {
            assert_eq!(counted(&gate, "failed", dead).await, f64::from(count));
        }
    }
    gate.stop().await;
}

#[tokio::test]
async fn an_answer_has_its_time_and_silence_is_told_from_it() {
    let dribbling = Upstream::start(|mut stream, heard| async move {
        read_request(&mut stream, &heard).await;
        for byte in ESTABLISHED.bytes().cycle() {
            // Until exeat has had enough.
            if stream.write_all(&[if byte == b'\n' { b' ' } else { byte }]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let echo = Upstream::echo().await;
    let alive = carrier(ESTABLISHED, echo.address).await;
    let time = Duration::from_millis(500);
    let gate = gate([dribbling.address, alive.address], echo.port(), time).await;
    let to = format!("a.example:{}", echo.port());
    // It may be the destination's doing, so no other proxy is asked, until it is usual.
    for count in 1..=3 {
        let began = tokio::time::Instant::now();
        let reply = gate.say(connect(&to)).await;
        assert!(began.elapsed() >= time);
        assert!(reply.starts_with("HTTP/1.1 502") && reply.contains("did not answer in time"), "{reply}");
        assert_eq!(alive.connections(), 0);
        assert_eq!(is_up(&gate, dribbling.address).await, count < 3, "{count}");
    }
    drop(gate.tunnel(&to).await);
    assert_eq!((dribbling.connections(), alive.connections()), (3, 1));
    let errors: Vec<Value> =
        gate.records(4).await.into_iter().map(|mut record| record["reason"].take()).collect();
    assert_eq!(errors, ["parent_failed", "parent_failed", "parent_failed", "allowed"]);
    gate.stop().await;
}
