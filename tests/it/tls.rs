//! What a ClientHello inside CONNECT leads to: whoever it names is who it may reach, and nobody else hears of it.

use std::io::ErrorKind;
use std::time::Duration;

use rustls::AlertDescription;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::tls::{
    ACCESS_DENIED, SECP384R1, Tls, X25519, extension, hello, hello_with, record, recorded, server_name, split,
};
use crate::support::upstream::Upstream;
use crate::support::{End, Gate, Setup, end, read_head};

/// A gate that lets TLS pass to `gate.example` and `a.example` at this port.
async fn gate(port: u16) -> Gate {
    Gate::allowing(&[&rule("gate.example", port, ""), &rule("a.example", port, "")]).await
}

fn rule(host: &str, port: u16, more: &str) -> String {
    format!("{{ host: {host}, ports: [{port}], protocol: tls, private: true{more} }}")
}

fn alert() -> End {
    End { last: ACCESS_DENIED.to_vec(), reset: false }
}

fn reset() -> End {
    End { last: Vec::new(), reset: true }
}

/// Writes bytes in segments of their own, as far as the kernel lets them be.
async fn dribble(stream: &mut TcpStream, bytes: &[u8]) {
    stream.set_nodelay(true).unwrap();
    for byte in bytes {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// What becomes of these first bytes in a tunnel to `a.example`, and its record.
async fn fate(first: &[u8]) -> (End, Value, Vec<Vec<u8>>) {
    let upstream = Upstream::silent().await;
    let gate = gate(upstream.port()).await;
    let mut tunnel = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
    tunnel.write_all(first).await.unwrap();
    let end = end(&mut tunnel).await;
    drop(tunnel);
    let record = gate.record().await;
    gate.stop().await;
    (end, record, upstream.heard())
}

#[tokio::test]
async fn a_handshake_passes_and_the_record_tells_whose() {
    let tls = Tls::new();
    let upstream = tls.echo(X25519).await;
    let gate = gate(upstream.port()).await;
    let tunnel = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
    let mut stream = tls.connect(tunnel, "a.example").await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut pong = [0; 4];
    stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"ping");
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut pong).await.unwrap(), 0);
    let record = gate.record().await;
    assert_eq!((&record["reason"], &record["verdict"]), (&"allowed".into(), &"allow".into()));
    assert_eq!(record["server_name"], "a.example");
    assert_eq!((&record["address"], &record["status"]), (&"127.0.0.1".into(), &200.into()));
    assert!(record["sent"].as_u64() > Some(200) && record["received"].as_u64() > Some(500), "{record}");
    gate.stop().await;
}

#[tokio::test]
async fn the_very_bytes_of_every_recorded_client_pass_however_they_are_cut() {
    let upstream = Upstream::silent().await;
    let gate = gate(upstream.port()).await;
    let to = format!("gate.example:{}", upstream.port());
    for client in ["curl", "curl-tls12", "openssl-tls10", "gnutls", "go", "python", "node", "java", "rustls"]
    {
        let hello = recorded(client);
        let cuts = [hello.clone(), split(&hello, 1), split(&hello, 7)];
        for bytes in cuts {
            let before = upstream.connections();
            let mut tunnel = gate.tunnel(&to).await;
            dribble(&mut tunnel, &bytes).await;
            tunnel.shutdown().await.unwrap();
            assert_eq!(end(&mut tunnel).await, End { last: Vec::new(), reset: false }, "{client}");
            assert_eq!(upstream.connections(), before + 1);
            assert!(upstream.heard()[before] == bytes, "{client}");
        }
    }
    gate.stop().await;
}

#[tokio::test]
async fn a_hello_in_the_same_segment_as_the_connect_passes_the_same_gate() {
    for (name, heard, ended) in [("a.example", true, None), ("b.example", false, Some(alert()))] {
        let upstream = Upstream::silent().await;
        let gate = gate(upstream.port()).await;
        let to = format!("a.example:{}", upstream.port());
        let hello = hello(&[name]);
        let connect = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
        let mut stream = gate.connect().await;
        stream.write_all(&[connect.as_bytes(), &hello].concat()).await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200"));
        match ended {
            Some(expected) => assert_eq!(end(&mut stream).await, expected),
            None => assert_eq!(upstream.hears(hello.len()).await, hello),
        }
        assert_eq!(upstream.heard().concat().is_empty(), !heard);
        drop(stream);
        gate.record().await;
        gate.stop().await;
    }
}

#[tokio::test]
async fn long_hellos_pass_and_endless_ones_do_not() {
    let padded =
        |size: usize| hello_with(&[extension(21, &vec![0; size]), server_name("a.example")].concat());
    for size in [8_000, 60_000] {
        let upstream = Upstream::silent().await;
        let gate = gate(upstream.port()).await;
        for hello in [padded(size), split(&padded(size), 100)] {
            let before = upstream.connections();
            if hello.len() > 65_536 {
                continue;
            }
            let mut tunnel = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
            tunnel.write_all(&hello).await.unwrap();
            tunnel.shutdown().await.unwrap();
            end(&mut tunnel).await;
            assert!(upstream.heard()[before] == hello, "{size}");
        }
        gate.stop().await;
    }
    let (end, record, heard) = fate(&split(&padded(65_480), 1 << 14)).await;
    assert_eq!((end, &record["reason"]), (alert(), &"bad_client_hello".into()));
    assert_eq!(heard, [b""]);
}

#[tokio::test]
async fn what_a_hello_says_decides_and_nothing_is_heard_before() {
    let sslv2 = [&[0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10][..], &[0; 37]].concat();
    let two_names = hello(&["a.example", "b.example"]);
    let twice = hello_with(&[server_name("a.example"), server_name("a.example")].concat());
    let no_names = hello_with(&extension(0, &[0, 0]));
    let ech = hello_with(&[server_name("a.example"), extension(0xfe0d, &[0; 8])].concat());
    let mut trailing = hello(&["a.example"]);
    let last = trailing.len() - 1;
    trailing[last] = 0;
    for (what, bytes, reason) in [
        ("no name", hello(&[]), "server_name_missing"),
        ("another name", hello(&["b.example"]), "server_name_mismatch"),
        ("another allowed name", hello(&["gate.example"]), "server_name_mismatch"),
        ("a name below it", hello(&["x.a.example"]), "server_name_mismatch"),
        ("two names", two_names, "bad_client_hello"),
        ("the extension twice", twice, "bad_client_hello"),
        ("an empty list", no_names, "bad_client_hello"),
        ("an empty name", hello(&[""]), "bad_client_hello"),
        ("an address", hello(&["127.0.0.1"]), "bad_client_hello"),
        ("a name with a NUL", hello(&["a.example\0"]), "bad_client_hello"),
        ("a name cut by a NUL", trailing, "bad_client_hello"),
        ("encrypted hello", ech, "ech_denied"),
        ("a browser's", recorded("firefox"), "ech_denied"),
        ("SSLv2", sslv2, "bad_client_hello"),
        ("an alert first", [record(0x15, &[1, 0]), hello(&["a.example"])].concat(), "bad_client_hello"),
        ("a CCS first", [record(0x14, &[1]), hello(&["a.example"])].concat(), "bad_client_hello"),
        (
            "another message first",
            record(0x16, &[&[16, 0, 0, 60][..], &[0; 60]].concat()),
            "bad_client_hello",
        ),
        ("data first", [record(0x17, &[9; 40]), hello(&["a.example"])].concat(), "bad_client_hello"),
    ] {
        let (end, record, heard) = fate(&bytes).await;
        assert_eq!((end, &record["reason"]), (alert(), &Value::from(reason)), "{what}");
        assert_eq!((&record["verdict"], &record["sent"]), (&"deny".into(), &0.into()), "{what}");
        assert_eq!(heard, [b""], "{what}");
    }
}

#[tokio::test]
async fn the_name_is_compared_in_its_one_form() {
    for name in ["A.Example", "a.example.", "A.EXAMPLE."] {
        let upstream = Upstream::silent().await;
        let gate = gate(upstream.port()).await;
        let mut tunnel = gate.tunnel(&format!("a.eXample.:{}", upstream.port())).await;
        let hello = hello(&[name]);
        tunnel.write_all(&hello).await.unwrap();
        assert_eq!(upstream.hears(hello.len()).await, hello);
        drop(tunnel);
        let record = gate.record().await;
        assert_eq!((&record["host"], &record["server_name"]), (&"a.example".into(), &"a.example".into()));
        gate.stop().await;
    }
}

#[tokio::test]
async fn the_outer_name_decides_where_a_rule_takes_ech() {
    for client in ["chromium", "firefox"] {
        let upstream = Upstream::silent().await;
        let gate = Gate::allowing(&[&rule("gate.example", upstream.port(), ", ech: outer")]).await;
        let mut tunnel = gate.tunnel(&format!("gate.example:{}", upstream.port())).await;
        let hello = recorded(client);
        tunnel.write_all(&hello).await.unwrap();
        assert!(upstream.hears(hello.len()).await == hello, "{client}");
        drop(tunnel);
        gate.stop().await;
    }
}

#[tokio::test]
async fn what_is_not_tls_is_reset_where_tls_must_come() {
    for first in
        [&b"SSH-2.0-client\r\n"[..], b"\0\0\0\x08\x04\xd2\x16\x2f", b"\xff\xff\xff", b"get / HTTP/1.1\r\n"]
    {
        let (end, record, heard) = fate(first).await;
        assert_eq!((end, &record["reason"]), (reset(), &"not_tls".into()), "{first:?}");
        assert_eq!(heard, [b""]);
    }
    // HTTP has words for it.
    let (end, record, heard) = fate(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").await;
    assert_eq!(record["verdict"], "deny");
    assert!(end.last.starts_with(b"HTTP/1.1 403") || end.last.starts_with(b"HTTP/1.1 400"), "{end:?}");
    assert_eq!(heard, [b""]);
}

#[tokio::test]
async fn a_client_is_told_by_an_alert_whatever_it_sent_behind_its_hello() {
    let tls = Tls::new();
    let upstream = tls.echo(X25519).await;
    let gate = gate(upstream.port()).await;
    let to = format!("a.example:{}", upstream.port());
    let error = tls.connect(gate.tunnel(&to).await, "b.example").await.unwrap_err();
    let denied = rustls::Error::AlertReceived(AlertDescription::AccessDenied);
    let inside = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    assert_eq!((error.kind(), inside), (ErrorKind::InvalidData, Some(&denied)));

    let mut tunnel = gate.tunnel(&to).await;
    let early = record(0x17, &[5; 16_000]);
    tunnel.write_all(&[hello(&["b.example"]), early.repeat(4)].concat()).await.unwrap();
    assert_eq!(end(&mut tunnel).await, alert());
    assert_eq!(upstream.heard(), [b"", b""]);
    gate.stop().await;
}

#[tokio::test]
async fn a_hello_that_never_ends_is_not_waited_for() {
    let upstream = Upstream::silent().await;
    let mut setup = Setup::allow(&[&rule("a.example", upstream.port(), "")]);
    setup.settings.timeouts.head = Duration::from_millis(200);
    let gate = setup.start().await;
    let hello = hello(&["a.example"]);
    for first in [&hello[..0], &hello[..1], &hello[..hello.len() - 1]] {
        let mut tunnel = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
        tunnel.write_all(first).await.unwrap();
        assert_eq!(end(&mut tunnel).await, reset());
    }
    for record in gate.records(3).await {
        assert_eq!(record["reason"], "head_timeout");
    }
    assert_eq!(upstream.heard(), [b"", b"", b""]);
    gate.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_before_its_hello_is_whole_reaches_nobody() {
    let upstream = Upstream::silent().await;
    let gate = gate(upstream.port()).await;
    let hello = hello(&["a.example"]);
    for (sent, resets) in [(0, false), (0, true), (hello.len() - 1, false), (hello.len() - 1, true)] {
        let mut tunnel = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
        tunnel.write_all(&hello[..sent]).await.unwrap();
        if resets {
            tunnel.set_zero_linger().unwrap();
        }
    }
    for record in gate.records(4).await {
        assert_eq!((&record["reason"], &record["sent"]), (&"client_reset".into(), &0.into()));
    }
    assert_eq!(upstream.heard(), [b"", b"", b"", b""]);
    gate.stop().await;
}

#[tokio::test]
async fn a_real_retry_passes() {
    let tls = Tls::new();
    let upstream = tls.echo(SECP384R1).await;
    let gate = gate(upstream.port()).await;
    let tunnel = gate.tunnel(&format!("a.example:{}", upstream.port())).await;
    let mut stream = tls.connect(tunnel, "a.example").await.unwrap();
    let kind = stream.get_ref().1.handshake_kind();
    assert_eq!(kind, Some(rustls::HandshakeKind::FullWithHelloRetryRequest));
    stream.write_all(b"ping").await.unwrap();
    let mut pong = [0; 4];
    stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"ping");
    gate.stop().await;
}
