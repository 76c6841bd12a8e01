//! What a redirected client says in its ClientHellos.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gate::{Gate, Setup};
use crate::namespace::{self, connect};
use crate::reading::read_to_end;
use crate::server::Server;
use crate::tls::{
    ACCESS_DENIED, extension, hello, hello_with, record, recorded, server_hello, server_name, split,
};
use crate::{facts, in_order, redirected};

const SERVER: &str = "93.184.216.34:443";

async fn gate(rules: &[&str]) -> Gate {
    let gate = redirected(Setup::allow(rules)).await;
    for name in ["gate.example", "a.example", "b.example"] {
        gate.servers.set(name, &["93.184.216.34"]);
    }
    gate
}

/// A server that answers as one of TLS does, and sends back what it was sent.
async fn echo() -> Server {
    Server::saying(SERVER, |before, new| {
        let hello = if before.is_empty() { server_hello(false) } else { Vec::new() };
        [&hello, new].concat()
    })
    .await
}

/// Sends pieces one by one, each in a segment of its own, and returns as many bytes as were sent.
async fn echoed(pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = connect(SERVER).await;
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        stream.write_all(piece).await.unwrap();
        // Lets the piece go out, and be read, by itself.
        tokio::task::yield_now().await;
    }
    let server_hello = server_hello(false);
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut said = vec![0; server_hello.len() + length];
    stream.read_exact(&mut said).await.unwrap();
    assert!(said.starts_with(&server_hello));
    said.split_off(server_hello.len())
}

/// What a client is told that sends this, and nothing more.
async fn answer(bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(SERVER).await;
    stream.write_all(bytes).await.unwrap();
    read_to_end(&mut stream).await.into_bytes()
}

#[test]
fn recorded_clients_pass_however_their_hello_is_cut() {
    namespace::run("hello::recorded_clients_pass_however_their_hello_is_cut", async {
        let gate = gate(&["gate.example"]).await;
        let server = echo().await;
        let clients = ["curl", "openssl-tls12", "go", "gnutls", "java", "node", "python", "rustls"];
        for client in clients {
            let whole = recorded(client);
            assert_eq!(echoed(&[&whole]).await, whole, "{client}");
            for size in [1, 50] {
                let in_records = split(&whole, size);
                assert_eq!(echoed(&[&in_records]).await, in_records, "{client} in records of {size}");
            }
            let bytes: Vec<&[u8]> = whole.chunks(7).collect();
            assert_eq!(echoed(&bytes).await, whole, "{client} in segments");
        }
        let records = gate.records(4 * clients.len()).await;
        assert!(
            records.iter().all(|record| facts(record) == ("transparent", "allowed", "gate.example", 443))
        );
        assert_eq!(server.connections(), records.len());
        gate.stop(records.len()).await;
    });
}

#[test]
fn encrypted_hellos_are_refused_unless_the_outer_name_may_decide() {
    namespace::run("hello::encrypted_hellos_are_refused_unless_the_outer_name_may_decide", async {
        let gate = gate(&["gate.example", "{ host: a.example, ech: outer }"]).await;
        let server = echo().await;
        let encrypted = |name| hello_with(&[server_name(name), extension(0xfe0d, &[0; 8])].concat());
        for hello in [recorded("chromium"), recorded("firefox"), encrypted("gate.example")] {
            assert_eq!(answer(&hello).await, ACCESS_DENIED);
        }
        assert_eq!(echoed(&[&encrypted("a.example")]).await, encrypted("a.example"));
        assert_eq!(answer(&encrypted("b.example")).await, ACCESS_DENIED);
        let records = in_order(&gate, 5).await;
        let reasons: Vec<&str> = records.iter().map(|record| record["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["ech_denied", "ech_denied", "ech_denied", "allowed", "no_rule"]);
        assert_eq!(server.connections(), 1);
        gate.stop(5).await;
    });
}

#[test]
fn a_hello_that_cannot_be_read_in_one_way_is_refused_before_anything_is_dialled() {
    namespace::run(
        "hello::a_hello_that_cannot_be_read_in_one_way_is_refused_before_anything_is_dialled",
        async {
            let gate = gate(&["a.example", "b.example", "{ cidr: 93.184.216.66/32 }"]).await;
            let server = echo().await;
            // The form of SSLv2: a length with its top bit set, client_hello, a version.
            let sslv2 = [&[0x80, 0x1c, 1, 3, 1, 0, 3, 0, 0, 0, 16, 0, 0, 0x2f][..], &[7; 16]].concat();
            let cases: [(Vec<u8>, &str); 7] = [
                (hello(&[]), "no_rule"),
                (hello(&["93.184.216.34"]), "bad_client_hello"),
                (hello(&["[2606:2800::34]"]), "bad_client_hello"),
                (hello(&["a.example", "b.example"]), "bad_client_hello"),
                (hello(&["a.example\0.evil.example"]), "bad_client_hello"),
                ([record(0x14, &[1]), hello(&["a.example"])].concat(), "bad_client_hello"),
                (sslv2, "bad_client_hello"),
            ];
            for (number, (bytes, reason)) in cases.iter().enumerate() {
                let told = answer(bytes).await;
                assert!(told.is_empty() || told == ACCESS_DENIED, "{number}: {told:x?}");
                let records = in_order(&gate, number + 1).await;
                let found = records[number]["reason"].as_str().unwrap();
                assert_eq!(found, *reason, "{number}: {}", records[number]);
            }
            assert_eq!(server.connections(), 0);
            assert!(gate.servers.asked().is_empty());
            gate.stop(cases.len()).await;
        },
    );
}

#[test]
fn a_second_hello_is_held_to_the_name_of_the_first() {
    namespace::run("hello::a_second_hello_is_held_to_the_name_of_the_first", async {
        let gate = gate(&["a.example", "b.example"]).await;
        let first = hello(&["a.example"]);
        let length = first.len();
        let server = Server::saying(SERVER, move |before, _| server_hello(before.len() < length)).await;
        for (second, reason) in [
            (hello(&["a.example"]), "allowed"),
            (hello(&["b.example"]), "server_name_mismatch"),
            (split(&hello(&["b.example"]), 1), "server_name_mismatch"),
            (hello(&[]), "server_name_missing"),
        ] {
            let mut stream = connect(SERVER).await;
            stream.write_all(&first).await.unwrap();
            let mut retry = vec![0; server_hello(true).len()];
            stream.read_exact(&mut retry).await.unwrap();
            assert_eq!(retry, server_hello(true));
            stream.write_all(&second).await.unwrap();
            let mut told = vec![0; if reason == "allowed" { retry.len() } else { ACCESS_DENIED.len() }];
            stream.read_exact(&mut told).await.unwrap();
            assert_eq!(told == ACCESS_DENIED, reason != "allowed", "{told:x?}");
        }
        let records: Vec<Value> = in_order(&gate, 4).await;
        let reasons: Vec<&str> = records.iter().map(|record| record["reason"].as_str().unwrap()).collect();
        assert_eq!(
            reasons,
            ["allowed", "server_name_mismatch", "server_name_mismatch", "server_name_missing"]
        );
        assert_eq!(server.connections(), 4);
        // Nothing of a second hello that was refused went out.
        assert!(records[1..].iter().all(|record| record["sent"] == length), "{records:#?}");
        gate.stop(4).await;
    });
}
