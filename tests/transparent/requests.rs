//! What a redirected client asks for in plain HTTP.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gate::{Gate, Setup};
use crate::namespace::{self, connect};
use crate::reading::read_to_end;
use crate::server::Server;
use crate::{RESET, hear, in_order, read_answer, redirected};

const SERVER: &str = "93.184.216.34:80";

async fn gate() -> Gate {
    let gate =
        redirected(Setup::allow(&["a.example", "b.example", "{ host: a.example, ports: [8080] }"])).await;
    gate.servers.set("a.example", &["93.184.216.34"]);
    gate.servers.set("b.example", &["93.184.216.35"]);
    gate
}

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[test]
fn requests_that_come_together_are_judged_one_by_one() {
    namespace::run("requests::requests_that_come_together_are_judged_one_by_one", async {
        let gate = gate().await;
        let _a = Server::page(SERVER, "server a").await;
        let _b = Server::page("93.184.216.35:80", "server b").await;
        let mut stream = connect(SERVER).await;
        // Servers have to take the absolute form too (RFC 9112 §3.2.2).
        let absolute = "GET http://A.EXAMPLE:80/ HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned();
        let all = [get("a.example"), get("evil.example"), get("b.example"), absolute].concat();
        stream.write_all(all.as_bytes()).await.unwrap();
        for expected in
            ["server a for a.example", "no_rule", "server b for b.example", "server a for a.example"]
        {
            let answer = read_answer(&mut stream).await;
            assert!(answer.contains(expected), "{expected}: {answer}");
        }
        let records = in_order(&gate, 4).await;
        let hosts: Vec<&str> = records.iter().map(|record| record["host"].as_str().unwrap()).collect();
        assert_eq!(hosts, ["a.example", "evil.example", "b.example", "a.example"]);
        drop(stream);
        gate.stop(4).await;
    });
}

#[test]
fn what_is_no_plain_request_to_an_origin_is_refused() {
    namespace::run("requests::what_is_no_plain_request_to_an_origin_is_refused", async {
        let gate = gate().await;
        let server = Server::page(SERVER, "server a").await;
        let evil = Server::page("93.184.216.66:80", "evil").await;
        let cases = [
            // As to a proxy, for another host than the header says.
            ("GET http://evil.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", 400, "host_mismatch"),
            ("GET http://a.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400, "host_mismatch"),
            ("CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n", 400, "bad_request"),
            ("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", 400, "bad_request"),
            // Another port than the connection's, whether a rule has it or not.
            ("GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n", 400, "host_mismatch"),
            ("GET / HTTP/1.1\r\nHost: a.example:443\r\n\r\n", 400, "host_mismatch"),
            ("GET / HTTP/1.1\r\nHost: a.example\r\nHost: evil.example\r\n\r\n", 400, "host_mismatch"),
            ("GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
            ("GET / HTTP/1.1\r\nHost: evil.example@a.example\r\n\r\n", 400, "bad_request"),
            ("GET / HTTP/1.0\r\n\r\n", 403, "no_rule"),
        ];
        for (number, (request, status, reason)) in cases.iter().enumerate() {
            let mut stream = connect(SERVER).await;
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = read_answer(&mut stream).await;
            let record = in_order(&gate, number + 1).await.remove(number);
            assert!(
                answer.starts_with("HTTP/1.") && answer[8..].starts_with(&format!(" {status} ")),
                "{request}: {answer}"
            );
            assert_eq!(record["reason"], *reason, "{request}: {record}");
        }
        assert_eq!((server.connections(), evil.connections()), (0, 0));
        gate.stop(cases.len()).await;
    });
}

#[test]
fn http_2_without_tls_is_reset() {
    namespace::run("requests::http_2_without_tls_is_reset", async {
        let gate = gate().await;
        let server = Server::page(SERVER, "server a").await;
        let mut stream = connect(SERVER).await;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        assert_eq!(hear(&mut stream).await, RESET);
        // An upgrade to it is left out, and the answer is the origin's to the plain request.
        let mut stream = connect(SERVER).await;
        let upgrade = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        assert!(read_answer(&mut stream).await.ends_with("server a for a.example"));
        drop(stream);
        let records = in_order(&gate, 2).await;
        assert_eq!(
            (&records[0]["reason"], &records[0]["host"]),
            (&"no_rule".into(), &"93.184.216.34".into())
        );
        assert_eq!(records[1]["reason"], "allowed");
        assert_eq!(server.connections(), 1);
        gate.stop(2).await;
    });
}

#[test]
fn a_websocket_is_upgraded_and_carries_on() {
    namespace::run("requests::a_websocket_is_upgraded_and_carries_on", async {
        let gate = gate().await;
        let said = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        let server =
            Server::saying(
                SERVER,
                move |_, new| {
                    if new.ends_with(b"\r\n\r\n") { said.into() } else { new.to_vec() }
                },
            )
            .await;
        let mut stream = connect(SERVER).await;
        let upgrade = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"));
        for frame in [b"ping", b"pong"] {
            stream.write_all(frame).await.unwrap();
            let mut echo = [0; 4];
            stream.read_exact(&mut echo).await.unwrap();
            assert_eq!(echo, *frame);
        }
        stream.shutdown().await.unwrap();
        read_to_end(&mut stream).await;
        let record = gate.record().await;
        assert_eq!((&record["reason"], &record["status"]), (&"allowed".into(), &101.into()));
        assert_eq!(server.connections(), 1);
        gate.stop(1).await;
    });
}
