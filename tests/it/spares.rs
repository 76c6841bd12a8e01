//! Sockets of tunnels that are over, which carry the next ones to the same address.

use std::fs;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::upstream::{Upstream, send_back};
use crate::support::{End, Gate, Setup, end};

/// Says first from which port it was connected to, then what it hears.
async fn named() -> Upstream {
    Upstream::start(|mut stream, heard| async move {
        let port = stream.peer_addr().unwrap().port();
        stream.write_u16(port).await.unwrap();
        send_back(stream, heard).await;
    })
    .await
}

fn rule(upstream: &Upstream) -> String {
    format!("{{ host: a.example, ports: [{}], protocol: tcp, private: true }}", upstream.port())
}

/// A tunnel that carries this word there and back, and the socket of this process that it leaves by.
async fn tunnel(gate: &Gate, client: &str, upstream: &Upstream, word: &[u8]) -> (TcpStream, String) {
    let mut stream = gate.tunnel_from(client, &format!("a.example:{}", upstream.port())).await;
    let port = stream.read_u16().await.unwrap();
    stream.write_all(word).await.unwrap();
    let mut echo = vec![0; word.len()];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(echo, word);
    (stream, socket_from(port, upstream.port()))
}

/// The socket of this process that is connected from one port to another: its inode.
fn socket_from(port: u16, to: u16) -> String {
    // proc(5): local address, remote address, … inode.
    let is_it = |line: &&str| {
        let ends: Vec<&str> = line.split_whitespace().skip(1).take(2).collect();
        let [from, there] = ends[..] else { return false };
        from.ends_with(&format!(":{port:04X}")) && there.ends_with(&format!(":{to:04X}"))
    };
    let sockets = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let line = sockets.lines().find(is_it).expect("a socket between these ports");
    line.split_whitespace().nth(9).unwrap().to_owned()
}

/// Ends a tunnel from the client's side, and waits until it is recorded as the `nth`.
async fn finish(gate: &Gate, mut stream: TcpStream, nth: usize) {
    stream.shutdown().await.unwrap();
    assert_eq!(end(&mut stream).await, End { last: Vec::new(), reset: false });
    gate.records(nth).await;
}

#[tokio::test]
async fn the_next_tunnel_to_the_same_address_has_the_socket_of_the_last_one() {
    let (upstream, other) = (named().await, named().await);
    let gate = Gate::allowing(&[&rule(&upstream), &rule(&other)]).await;
    let me = "127.0.0.1";
    let (stream, first) = tunnel(&gate, me, &upstream, b"the first one's words").await;
    finish(&gate, stream, 1).await;

    let (stream, elsewhere) = tunnel(&gate, me, &other, b"elsewhere").await;
    assert_ne!(elsewhere, first, "its next first sequence number can be told by who was at its other end");
    finish(&gate, stream, 2).await;

    let (stream, second) = tunnel(&gate, me, &upstream, b"others").await;
    assert_eq!(second, first);
    // A socket is of one tunnel at a time.
    let (beside, third) = tunnel(&gate, me, &upstream, b"beside it").await;
    assert_ne!(third, first);
    finish(&gate, stream, 3).await;
    finish(&gate, beside, 4).await;
    gate.stop().await;
}

#[tokio::test]
async fn what_leaves_as_it_is_told_has_a_socket_of_its_own() {
    let upstream = named().await;
    let rule = rule(&upstream);
    let gate = Setup::new(&format!(
        "version: 1\nprofiles:\n\
         \x20 - {{ name: told, clients: [127.0.0.1], outgoing: {{ source: [127.0.8.1] }}, allow: [{rule}] }}\n\
         \x20 - {{ name: free, clients: [127.0.0.2], allow: [{rule}] }}\n"
    ))
    .start()
    .await;
    let mut sockets = Vec::new();
    for (turn, client) in ["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2"].into_iter().enumerate() {
        let (stream, socket) = tunnel(&gate, client, &upstream, b"hello").await;
        finish(&gate, stream, turn + 1).await;
        sockets.push(socket);
    }
    assert_eq!(sockets[1], sockets[3], "{sockets:?}");
    assert!(sockets[0] != sockets[1] && sockets[2] != sockets[1], "{sockets:?}");
    gate.stop().await;
}
