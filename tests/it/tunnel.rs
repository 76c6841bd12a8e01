//! Tunnels that are not TLS by port: rules that do not look inside, those that take either, and addresses.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::tls::{ACCESS_DENIED, Tls, X25519, hello};
use crate::support::upstream::{Upstream, send_back};
use crate::support::{End, Gate, Setup, end, read_head};

const BANNER: &[u8] = b"220 mail.example ESMTP\r\n";

/// A server that speaks first, and then says what it hears.
async fn greeter() -> Upstream {
    Upstream::start(|mut stream, heard| async move {
        stream.write_all(BANNER).await.unwrap();
        send_back(stream, heard).await;
    })
    .await
}

async fn exchange(stream: &mut TcpStream, words: &[u8]) {
    stream.write_all(words).await.unwrap();
    let mut echo = vec![0; words.len()];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(echo, words);
}

#[tokio::test]
async fn a_server_may_speak_first_where_nobody_looks() {
    let upstream = greeter().await;
    let port = upstream.port();
    let gate =
        Gate::allowing(&[&format!("{{ host: a.example, ports: [{port}], protocol: tcp, private: true }}")])
            .await;
    let mut tunnel = gate.tunnel(&format!("a.example:{port}")).await;
    let mut banner = [0; BANNER.len()];
    tunnel.read_exact(&mut banner).await.unwrap();
    assert_eq!(banner, BANNER);
    exchange(&mut tunnel, b"EHLO client\r\n").await;
    // Even what looks like TLS or HTTP, and names somebody else.
    exchange(&mut tunnel, &hello(&["b.example"])).await;
    tunnel.shutdown().await.unwrap();
    assert_eq!(end(&mut tunnel).await, End { last: Vec::new(), reset: false });
    assert_eq!(gate.record().await["reason"], "allowed");
    gate.stop().await;
}

#[tokio::test]
async fn a_deny_of_one_protocol_makes_the_gate_look_inside() {
    let upstream = greeter().await;
    let port = upstream.port();
    let mut setup = Setup::new(&format!(
        "version: 1\nprofiles:\n  - name: p\n    allow:\n      - {{ host: a.example, ports: [{port}], protocol: tcp, \
         private: true }}\n    deny:\n      - {{ host: a.example, protocol: tls }}\n"
    ));
    setup.settings.timeouts.head = Duration::from_millis(300);
    let gate = setup.start().await;
    let to = format!("a.example:{port}");

    let mut tunnel = gate.tunnel(&to).await;
    tunnel.write_all(b"SSH-2.0-client\r\n").await.unwrap();
    tunnel.shutdown().await.unwrap();
    // All of it is read: to close with something unread would be a reset.
    let last = [BANNER, b"SSH-2.0-client\r\n"].concat();
    assert_eq!(end(&mut tunnel).await, End { last, reset: false });
    assert_eq!(gate.record().await["reason"], "allowed");

    let mut tunnel = gate.tunnel(&to).await;
    tunnel.write_all(&hello(&["a.example"])).await.unwrap();
    assert_eq!(end(&mut tunnel).await, End { last: ACCESS_DENIED.to_vec(), reset: false });
    drop(tunnel);
    assert_eq!(gate.records(2).await[1]["reason"], "denied_by_rule");

    // The server's word is not passed on before the client's is known.
    let mut tunnel = gate.tunnel(&to).await;
    assert_eq!(end(&mut tunnel).await, End { last: Vec::new(), reset: true });
    assert_eq!(gate.records(3).await[2]["reason"], "head_timeout");
    gate.stop().await;
}

#[tokio::test]
async fn without_a_protocol_a_rule_takes_tls_or_http_on_other_ports() {
    let tls = Tls::new();
    let (secure, page) = (tls.echo(X25519).await, Upstream::page().await);
    let rule = |port: u16| format!("{{ host: a.example, ports: [{port}], private: true }}");
    let gate = Gate::allowing(&[&rule(secure.port()), &rule(page.port())]).await;

    let tunnel = gate.tunnel(&format!("a.example:{}", secure.port())).await;
    let mut stream = tls.connect(tunnel, "a.example").await.unwrap();
    stream.shutdown().await.unwrap();
    // To its end: a client that leaves tickets unread leaves with a reset.
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(gate.records(1).await[0]["reason"], "allowed");

    let to = format!("a.example:{}", page.port());
    let mut tunnel = gate.tunnel(&to).await;
    tunnel.write_all(format!("GET /x HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await.unwrap();
    assert!(read_head(&mut tunnel).await.starts_with("HTTP/1.1 200"));
    drop(tunnel);
    assert_eq!(gate.records(2).await[1]["path"], "/x");

    let mut tunnel = gate.tunnel(&to).await;
    tunnel.write_all(b"SSH-2.0-client\r\n").await.unwrap();
    assert_eq!(end(&mut tunnel).await, End { last: Vec::new(), reset: true });
    assert_eq!(gate.records(3).await[2]["reason"], "not_tls");
    gate.stop().await;
}

#[tokio::test]
async fn an_address_needs_no_server_name_but_a_denied_one_is_denied() {
    let upstream = Upstream::silent().await;
    let port = upstream.port();
    let gate = Setup::new(&format!(
        "version: 1\nprofiles:\n  - name: p\n    allow:\n      - {{ cidr: 127.0.0.0/8, ports: [{port}], protocol: tls }}\n    \
         deny:\n      - denied.example\n      - .bad.example\n      - {{ cidr: 127.0.0.9/32 }}\n"
    ))
    .start()
    .await;
    let to = format!("127.0.0.1:{port}");
    for (index, names) in [&[][..], &["a.example"]].into_iter().enumerate() {
        let hello = hello(names);
        let mut tunnel = gate.tunnel(&to).await;
        tunnel.write_all(&hello).await.unwrap();
        tunnel.shutdown().await.unwrap();
        end(&mut tunnel).await;
        assert_eq!(upstream.heard()[index], hello);
        let record = &gate.records(index + 1).await[index];
        assert_eq!((&record["reason"], &record["host"]), (&"allowed".into(), &"127.0.0.1".into()));
        assert_eq!(record["server_name"].as_str(), names.first().copied());
    }
    for (index, name) in ["denied.example", "DENIED.example.", "x.bad.example"].into_iter().enumerate() {
        let mut tunnel = gate.tunnel(&to).await;
        tunnel.write_all(&hello(&[name])).await.unwrap();
        assert_eq!(end(&mut tunnel).await.last, ACCESS_DENIED);
        drop(tunnel);
        assert_eq!(gate.records(index + 3).await[index + 2]["reason"], "denied_by_rule", "{name}");
    }
    let answer =
        gate.say(format!("CONNECT 127.0.0.9:{port} HTTP/1.1\r\nHost: 127.0.0.9:{port}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("denied_by_rule"), "{answer}");
    assert_eq!(upstream.connections(), 5);
    gate.stop().await;
}

#[tokio::test]
async fn each_side_may_end_before_the_other() {
    // The upstream answers only after the client's end, and a client's silence after the upstream's is heard out.
    let upstream = Upstream::start(|mut stream, heard| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        heard.add(&all);
        stream.write_all(b"all heard").await.unwrap();
    })
    .await;
    let port = upstream.port();
    let gate =
        Gate::allowing(&[&format!("{{ host: a.example, ports: [{port}], protocol: tcp, private: true }}")])
            .await;
    let mut tunnel = gate.tunnel(&format!("a.example:{port}")).await;
    tunnel.write_all(b"question").await.unwrap();
    tunnel.shutdown().await.unwrap();
    assert_eq!(end(&mut tunnel).await, End { last: b"all heard".to_vec(), reset: false });
    let record = gate.record().await;
    assert_eq!((&record["sent"], &record["received"]), (&8.into(), &9.into()));
    gate.stop().await;
}

#[tokio::test]
async fn silence_ends_a_tunnel_sooner_once_it_is_half_closed() {
    for (idle, half_closed, shut) in [(300, 60_000, false), (60_000, 300, true)] {
        let upstream = Upstream::start(|mut stream, _| async move {
            let _ = stream.read_to_end(&mut Vec::new()).await;
            std::future::pending::<()>().await;
        })
        .await;
        let port = upstream.port();
        let rule = format!("{{ host: a.example, ports: [{port}], protocol: tcp, private: true }}");
        let mut setup = Setup::allow(&[&rule]);
        setup.settings.timeouts.idle = Duration::from_millis(idle);
        setup.settings.timeouts.half_closed = Duration::from_millis(half_closed);
        let gate = setup.start().await;
        let mut tunnel = gate.tunnel(&format!("a.example:{port}")).await;
        if shut {
            tunnel.shutdown().await.unwrap();
        }
        assert_eq!(end(&mut tunnel).await, End { last: Vec::new(), reset: true });
        assert_eq!(gate.record().await["reason"], "idle_timeout");
        gate.stop().await;
    }
}
