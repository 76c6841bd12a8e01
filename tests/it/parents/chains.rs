//! exeat behind exeat: over TLS, with credentials, and in a circle.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use exeat::mistake::Place;
use exeat::parent::{Account, PasswordSource, Resolve, Settings};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::{ESTABLISHED, carrier, connect, gate, parent, policy, tcp, url, web};
use crate::https::{Ground, listener};
use crate::passwords::Users;
use crate::support::binary::{Binary, Files};
use crate::support::tls::{extension, hello_with, server_name};
use crate::support::upstream::Upstream;
use crate::support::{Gate, Setup, ask, read_exactly};

/// An account whose password is in a file beside others.
fn account(directory: &Path, password: &str) -> Account {
    let path = directory.join("password");
    fs::write(&path, password).unwrap();
    Account {
        username: "exeat".to_owned(),
        password: PasswordSource::File(path),
        place: Place::start(Path::new("exeat.yaml")),
    }
}

/// A gate that speaks TLS and wants to know who one is.
async fn above(ground: &Ground, users: &Users, rules: &[&str]) -> Gate {
    let mut setup = Setup::allow(rules);
    setup.settings.listen.explicit = vec![listener(ground.files())];
    setup.settings.auth = Some(users.settings());
    setup.start().await
}

#[tokio::test]
async fn exeat_is_a_parent_over_tls_and_knows_its_child_by_a_password() {
    let (echo, page) = (Upstream::echo().await, Upstream::page().await);
    let (ground, users) = (Ground::new(), Users::new(&[("exeat", "s3cret")], ""));
    let rules = [tcp("a.example", echo.port()), web("b.example", page.port())];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let above = above(&ground, &users, &rules).await;
    let corp = Settings {
        resolve: Resolve::Parent,
        account: Some(account(ground.path(), "s3cret")),
        ca: Some(ground.path().join("ca.pem")),
        ..parent("corp", &[format!("https://{}", above.address)])
    };
    let child = gate(corp.clone(), &rules).await;
    let mut tunnel = child.tunnel(&format!("a.example:{}", echo.port())).await;
    // More than fits a record of TLS.
    let much = "hello".repeat(20_000);
    tunnel.write_all(much.as_bytes()).await.unwrap();
    assert!(read_exactly(&mut tunnel, much.len()).await == much);
    drop(tunnel);
    let mut stream = child.connect().await;
    let get = format!("GET http://b.example:{0}/ HTTP/1.1\r\nHost: b.example:{0}\r\n\r\n", page.port());
    assert_eq!(ask(&mut stream, &get).await.body, "hello");
    assert!(!page.heard_text().to_ascii_lowercase().contains("proxy-"), "{}", page.heard_text());
    for (record, ingress) in above.records(2).await.iter().zip(["connect", "forward"]) {
        assert_eq!((&record["user"], &record["ingress"]), (&"exeat".into(), &ingress.into()), "{record}");
    }

    // What the parent's policy denies is told as its refusal.
    child.change_policy(&policy("corp", &["{ host: c.example, ports: [7], protocol: tcp }"])).await;
    let reply = child.say(connect("c.example:7")).await;
    assert!(reply.starts_with("HTTP/1.1 502") && reply.contains("received-status=403"), "{reply}");
    assert_eq!(above.records(3).await[2]["reason"], "no_rule");
    child.stop().await;

    // Neither a password that is wrong nor an authority that is not trusted leads further.
    let wrong = Settings { account: Some(account(ground.path(), "wrong")), ..corp.clone() };
    let other = Ground::new();
    let foreign = Settings { ca: Some(other.path().join("ca.pem")), ..corp };
    for (settings, told) in [(wrong, "it answers 407"), (foreign, "failed in the TLS handshake: ")] {
        let child = gate(settings, &rules).await;
        let reply = child.say(connect(&format!("a.example:{}", echo.port()))).await;
        assert!(reply.starts_with("HTTP/1.1 502") && reply.contains(told), "{reply}");
        child.stop().await;
    }
    above.stop().await;
}

/// A way to `to` that takes little at a time: small segments make the sender's buffer small too.
async fn narrow(to: SocketAddr) -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_tcp_mss(500).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(8).unwrap();
    let listener = TcpListener::from_std(socket.into()).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut from, mut back) = stream.into_split();
        let (mut answers, mut onward) = TcpStream::connect(to).await.unwrap().into_split();
        tokio::spawn(async move { copy(&mut answers, &mut back).await });
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            onward.write_all(&buffer[..count]).await.unwrap();
            sleep(Duration::from_millis(2)).await;
        }
    });
    address
}

#[tokio::test]
async fn a_long_hello_comes_whole_to_a_parent_over_tls_that_is_slow_to_take_it() {
    let (upstream, ground) = (Upstream::silent().await, Ground::new());
    let port = upstream.port();
    let above = ground.setup(&[&tcp("a.example", port)]).start().await;
    let corp = Settings {
        resolve: Resolve::Parent,
        ca: Some(ground.path().join("ca.pem")),
        ..parent("corp", &[format!("https://{}", narrow(above.address).await)])
    };
    let child = gate(corp, &[&format!("{{ host: a.example, ports: [{port}], protocol: tls }}")]).await;
    let hello = hello_with(&[extension(21, &[0; 60_000]), server_name("a.example")].concat());
    let mut tunnel = child.tunnel(&format!("a.example:{port}")).await;
    tunnel.write_all(&hello).await.unwrap();
    assert!(upstream.hears(hello.len()).await == hello);
    drop(tunnel);
    child.stop().await;
    above.stop().await;
}

#[tokio::test]
async fn a_circle_through_another_proxy_is_found_out() {
    let mirror = Upstream::start(|mut stream, heard| async move {
        let request = crate::support::upstream::read_request(&mut stream, &heard).await.unwrap();
        // Its address is told in the name of the destination's port.
        let port: u16 = request.split([':', ' ']).nth(2).unwrap().parse().unwrap();
        let mut back = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        back.write_all(request.as_bytes()).await.unwrap();
        let _ = copy_bidirectional(&mut stream, &mut back).await;
    })
    .await;
    let settings = Settings { resolve: Resolve::Parent, ..parent("corp", &[url(mirror.address)]) };
    let gate = gate(settings, &["{ host: a.example, ports: [1-65535], protocol: tcp }"]).await;
    let reply = gate.say(connect(&format!("a.example:{}", gate.address.port()))).await;
    assert!(reply.starts_with("HTTP/1.1 502") && reply.contains("received-status=403"), "{reply}");
    let records = gate.records(2).await;
    let reasons: Vec<_> = records.iter().map(|record| record["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["parent_failed", "self_connect"]);
    gate.stop().await;
}

#[tokio::test]
async fn the_program_takes_parents_from_its_settings_and_their_passwords_from_its_environment() {
    let echo = Upstream::echo().await;
    let corp = carrier(ESTABLISHED, echo.address).await;
    let settings = format!(
        "parents: {{ corp: {{ urls: [\"{}\"], username: exeat, password_env: CORP_PASSWORD }} }}\n",
        url(corp.address)
    );
    let rules = [tcp("a.example", echo.port())];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let files = Files::new(&settings, &policy("corp", &rules));
    let output = files.command(None).env_remove("CORP_PASSWORD").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("exeat.yaml:5:") && told.contains("the environment has no CORP_PASSWORD"),
        "{told}"
    );

    let files = Files { log: "debug", environment: &[("CORP_PASSWORD", "s3cret")], ..files };
    let binary = Binary::start(files, None).await;
    let mut tunnel = binary.tunnel(&format!("a.example:{}", echo.port())).await;
    tunnel.write_all(b"hello").await.unwrap();
    assert_eq!(read_exactly(&mut tunnel, 5).await, "hello");
    assert!(
        corp.heard_text().contains("proxy-authorization: Basic ZXhlYXQ6czNjcmV0\r\n"),
        "{}",
        corp.heard_text()
    );
    let log = binary.log();
    assert!(!log.contains("s3cret") && !log.contains("ZXhlYXQ6"), "{log}");
}

#[tokio::test]
async fn check_looks_into_the_settings_for_the_parents() {
    let files = Files::new(
        "parents: { corp: { urls: [\"http://127.0.0.1:3128\"] } }\n",
        &policy("crop", &["a.example"]),
    );
    let check = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_exeat"));
        let output =
            command.arg("check").args(arguments).current_dir(files.directory.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, told) = check(&["policies"]);
    let expected = "policies/policy.yaml:1:1: warning: nobody has looked whether the settings have the parents that are \
                    named: crop\n  hint: exeat check --config exeat.yaml looks\n";
    assert!(code == Some(0) && told.contains(expected), "{told}");
    for arguments in [&["--config", "exeat.yaml"][..], &["--config", "exeat.yaml", "policies"]] {
        let (code, told) = check(arguments);
        assert!(code == Some(2) && told.contains("policy.yaml:4:13: error: `parent` is"), "{told}");
        assert!(told.contains("did you mean `corp`?"), "{told}");
    }
    fs::write(files.directory.path().join("policies/policy.yaml"), policy("corp", &["a.example"])).unwrap();
    let (code, told) = check(&["--config", "exeat.yaml"]);
    assert!(code == Some(0) && told.contains("0 errors, 0 warnings"), "{told}");
    let path: PathBuf = files.directory.path().join("exeat.yaml");
    fs::write(&path, "parents: { corp: { url: x } }\n").unwrap();
    let (code, told) = check(&["--config", "exeat.yaml"]);
    assert!(code == Some(2) && told.contains("did you mean `urls`?"), "{told}");
}

#[tokio::test]
async fn a_parent_is_not_asked_to_repeat_what_it_is_shown() {
    // The answer to TRACE is the request as it came (RFC 9110 §9.3.8).
    let corp = Upstream::saying(|heard| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: message/http\r\nContent-Length";
        [format!("{head}: {}\r\n\r\n", heard.len()).as_bytes(), heard].concat()
    })
    .await;
    let ground = Ground::new();
    let secret = account(ground.path(), "s3cret");
    for (account, status) in [(None, 200), (Some(secret), 400)] {
        let settings = Settings { resolve: Resolve::Parent, account, ..parent("corp", &[url(corp.address)]) };
        let gate = gate(settings, &[&web("a.example", 8080)]).await;
        let mut stream = gate.connect().await;
        let trace =
            "TRACE http://a.example:8080/ HTTP/1.1\r\nHost: a.example:8080\r\nMax-Forwards: 1\r\n\r\n";
        let reply = ask(&mut stream, trace).await;
        assert_eq!(reply.status, status, "{reply:?}");
        let is_repeated = reply.body.contains("max-forwards: 0");
        assert_eq!(is_repeated, status == 200, "{reply:?}");
        assert!(!corp.heard_text().contains("authorization"), "{}", corp.heard_text());
        let reason = if status == 200 { "allowed" } else { "bad_request" };
        assert_eq!(gate.record().await["reason"], reason);
        drop(stream);
        gate.stop().await;
    }
}
