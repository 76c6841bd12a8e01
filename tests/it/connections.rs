//! Bounds on connections, whatever comes on them: in all, and of each client.

use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::https::Ground;
use crate::support::upstream::Upstream;
use crate::support::{End, Gate, Setup, end, read_head, read_to_end, until};

const CONNECT: &str = "CONNECT denied.example:443 HTTP/1.1\r\nHost: denied.example:443\r\n\r\n";
const TEXT: &str =
    "GET http://denied.example/ HTTP/1.1\r\nHost: denied.example\r\nAccept: text/plain\r\n\r\n";
/// So many more are told why they come to nothing.
const TOLD: usize = 16;

fn limited(mut setup: Setup, per_client: usize) -> Setup {
    setup.settings.limits.connections_per_client = NonZeroUsize::new(per_client);
    setup
}

/// Connections on which nothing is said; they count from here on.
async fn idle(gate: &Gate, count: usize) -> Vec<TcpStream> {
    let before = active(gate).await;
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(gate.connect().await);
    }
    until("they are not accepted", async || active(gate).await == before + count).await;
    streams
}

/// Opens a connection that has to be reset. A reset may overtake the news that it stands.
async fn expect_reset(gate: &Gate) {
    match TcpStream::connect(gate.address).await {
        Ok(mut stream) => assert_eq!(end(&mut stream).await, End { last: Vec::new(), reset: true }),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

async fn active(gate: &Gate) -> usize {
    gate.metric("exeat_connections_active").await.unwrap() as usize
}

async fn refused(gate: &Gate) -> usize {
    gate.metric("exeat_connections_refused_total").await.unwrap() as usize
}

#[tokio::test]
async fn a_client_with_too_many_connections_is_told_and_others_are_served() {
    let gate = limited(Setup::allow(&["a.example"]), 3).start().await;
    let mut open = idle(&gate, 3).await;
    let answer = gate.say(CONNECT).await;
    assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{answer}");
    for part in [
        "error=connection_limit_reached; details=\"limit_client\"",
        "connection: close",
        "this client has too many connections open",
        "`limits.connections_per_client` bounds them",
        "\"destination\":\"denied.example:443\"",
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    let answer = gate.say(TEXT).await;
    assert!(answer.contains("exeat: limit_client: this client has too many connections open\n"), "{answer}");
    let records = gate.records(2).await;
    for (record, ingress, port) in [(&records[0], "connect", 443), (&records[1], "forward", 80)] {
        assert_eq!(
            [&record["ingress"], &record["reason"], &record["host"], &record["port"], &record["status"]],
            [&ingress.into(), &"limit_client".into(), &"denied.example".into(), &port.into(), &429.into()]
                as [&Value; 5]
        );
    }
    let mut other = gate.connect_from("127.0.0.2").await;
    other.write_all(CONNECT.as_bytes()).await.unwrap();
    assert!(read_head(&mut other).await.starts_with("HTTP/1.1 403"));
    assert_eq!(refused(&gate).await, 2);
    // A place that is free again is the next one's.
    open.pop();
    until("no place is free", async || active(&gate).await < 3).await;
    assert!(gate.say(CONNECT).await.starts_with("HTTP/1.1 403"));
    drop(open);
    gate.stop_and_count(4).await;
}

#[tokio::test]
async fn what_comes_beyond_those_that_are_told_is_reset() {
    let mut setup = limited(Setup::allow(&["a.example"]), 1);
    setup.settings.timeouts.head = Duration::from_secs(1);
    let gate = setup.start().await;
    let _open = idle(&gate, 1).await;
    let (mut beyond, mut resets) = (Vec::new(), 0);
    while gate.records_so_far().is_empty() {
        assert!(beyond.len() < 10_000, "none is reset");
        match TcpStream::connect(gate.address).await {
            Ok(stream) => beyond.push(stream),
            // A reset may overtake the news that it stands.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                resets += 1;
            }
        }
    }
    let came = beyond.len() + resets;
    // Whoever asks for nothing is told nothing, and leaves no record.
    for stream in &mut beyond {
        let End { last, reset } = end(stream).await;
        assert_eq!(last, b"");
        resets += usize::from(reset);
    }
    assert!(came - resets >= TOLD, "{resets} of {came}");
    let record = &gate.records(resets).await[0];
    assert_eq!(
        [&record["ingress"], &record["reason"], &record["host"], &record["error"]],
        [
            &"forward".into(),
            &"limit_client".into(),
            &Value::Null,
            &"this client has too many connections open".into()
        ]
    );
    assert_eq!(refused(&gate).await, came);
    gate.stop_and_count(resets).await;
}

#[tokio::test]
async fn a_connection_is_refused_before_tls_has_cost_anything() {
    let ground = Ground::new();
    let gate = limited(ground.setup(&["a.example"]), 1).start().await;
    let open = idle(&gate, 1).await;
    expect_reset(&gate).await;
    assert_eq!(gate.record().await["reason"], "limit_client");
    drop(open);
    until("no place is free", async || active(&gate).await == 0).await;
    assert!(ground.authority.shake(gate.connect().await).await.is_ok());
}

#[tokio::test]
async fn behind_a_load_balancer_the_clients_that_it_names_are_counted() {
    let mut setup = limited(Setup::allow(&["a.example"]), 1);
    setup.settings.listen.explicit[0].senders = vec!["127.0.0.1/32".parse().unwrap()];
    let gate = setup.start().await;
    let mut open = Vec::new();
    for (client, status) in [("192.0.2.1", "403"), ("192.0.2.2", "403"), ("192.0.2.1", "429")] {
        let mut stream = gate.connect().await;
        let header = format!("PROXY TCP4 {client} 10.0.0.1 4000 3128\r\n");
        // Answered in place, and kept.
        let request = "GET http://x.example/ HTTP/1.1\r\nHost: x.example\r\n\r\n";
        stream.write_all(format!("{header}{request}").as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{client}: {head}");
        open.push(stream);
    }
    let records = gate.records(3).await;
    assert_eq!((&records[2]["client"], &records[2]["reason"]), (&"192.0.2.1".into(), &"limit_client".into()));
}

#[tokio::test]
async fn a_tunnel_keeps_its_place_until_it_ends() {
    let upstream = Upstream::echo().await;
    let rule = format!("{{ host: a.example, ports: [{}], protocol: tcp, private: true }}", upstream.port());
    let gate = limited(Setup::allow(&[&rule]), 1).start().await;
    let tunnel = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
    assert!(gate.say(CONNECT).await.starts_with("HTTP/1.1 429"));
    drop(tunnel);
    until("no place is free", async || active(&gate).await == 0).await;
    assert!(gate.say(CONNECT).await.starts_with("HTTP/1.1 403"));
}

#[tokio::test]
async fn beyond_the_limit_on_all_connections_clients_wait_their_turn() {
    let mut setup = Setup::allow(&["a.example"]);
    setup.settings.limits.connections = NonZeroUsize::new(3);
    setup.settings.threads = Some(1);
    let gate = setup.start().await;
    let mut open = idle(&gate, 3).await;
    let mut waiting = gate.connect().await;
    waiting.write_all(CONNECT.as_bytes()).await.unwrap();
    assert_eq!((active(&gate).await, gate.records_so_far().len()), (3, 0));
    open.pop();
    assert!(read_to_end(&mut waiting).await.starts_with("HTTP/1.1 403"));
    assert_eq!(refused(&gate).await, 0);
}
