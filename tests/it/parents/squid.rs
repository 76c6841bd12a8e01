//! The real Squid as a parent, with the rules that its own configuration begins with.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use exeat::mistake::Place;
use exeat::parent::{Account, PasswordSource, Resolve, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{connect, parent, policy, web};
use crate::support::squid::Squid;
use crate::support::tls::{Tls, X25519};
use crate::support::upstream::Upstream;
use crate::support::{Gate, Setup};

const HOSTS: &str = "127.0.0.1 a.example b.example\n";

/// As Debian ships it, but for the ports of the tests: CONNECT to the ports of TLS alone.
fn conf(tls_port: u16, http_port: u16) -> String {
    format!(
        "acl SSL_ports port {tls_port}\nacl Safe_ports port {tls_port}\nacl Safe_ports port {http_port}\n\
         acl refused dstdomain b.example\nhttp_access deny !Safe_ports\nhttp_access deny CONNECT !SSL_ports\n\
         http_access deny refused\n"
    )
}

fn account(directory: &Path) -> Account {
    let path = directory.join("corp");
    fs::write(&path, "s3cret\n").unwrap();
    Account {
        username: "exeat".to_owned(),
        password: PasswordSource::File(path),
        place: Place::start(Path::new("exeat.yaml")),
    }
}

async fn gate(squid: &Squid, resolve: Resolve, account: Option<Account>, ports: [u16; 2]) -> Gate {
    let url = format!("http://127.0.0.1:{}", squid.port);
    let corp = Settings { resolve, account, ..parent("corp", &[url]) };
    let rules = [web("'*.example'", ports[0]), web("'*.example'", ports[1])];
    let mut setup = Setup::new(&policy("corp", &rules.iter().map(String::as_str).collect::<Vec<_>>()));
    setup.settings.parents = vec![corp];
    setup.start().await
}

async fn curl(gate: &Gate, arguments: &[&str]) -> Output {
    let mut curl = Command::new("curl");
    curl.env_clear().args(["-sS", "--max-time", "20", "-x", &format!("http://{}", gate.address)]);
    curl.args(arguments).output().await.unwrap()
}

/// Speaks TLS through the gate to a server that sends everything back.
async fn speaks_tls(gate: &Gate, tls: &Tls, port: u16) {
    let tunnel = gate.tunnel(&format!("a.example:{port}")).await;
    let mut stream = tls.connect(tunnel, "a.example").await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut said = [0; 5];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"hello");
}

#[tokio::test]
async fn squid_opens_what_it_allows_and_what_it_refuses_is_told() {
    let tls = Tls::new();
    let (echo, page) = (tls.echo(X25519).await, Upstream::page().await);
    let ports = [echo.port(), page.port()];
    let squid =
        Squid::start(Path::new("/"), HOSTS, |_| conf(ports[0], ports[1]) + "http_access allow all\n").await;
    for resolve in [Resolve::Here, Resolve::Parent] {
        let gate = gate(&squid, resolve, None, ports).await;
        speaks_tls(&gate, &tls, ports[0]).await;
        let asked = if resolve == Resolve::Here { "127.0.0.1" } else { "a.example" };
        squid.has_logged(&format!("CONNECT {asked}:{}", ports[0])).await;

        // Plain requests: Squid opens no tunnel to their port, and sends them on where it resolves.
        let output = curl(&gate, &[&format!("http://a.example:{}/", ports[1])]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match resolve {
            Resolve::Here => assert!(said.contains("refuses the destination: it answers 403"), "{said}"),
            Resolve::Parent => {
                assert_eq!(said, "hello", "{output:?}");
                squid.has_logged(&format!("GET http://a.example:{}/", ports[1])).await;
            }
        }
        // By name it can only judge what it is asked by name.
        let reply = gate.say(connect(&format!("b.example:{}", ports[0]))).await;
        let is_refused = reply.starts_with("HTTP/1.1 502") && reply.contains("received-status=403");
        assert_eq!(is_refused, resolve == Resolve::Parent, "{reply}");
        let records = gate.records(3).await;
        assert!(records.iter().all(|record| record["parent"] == "corp"), "{records:#?}");
        if resolve == Resolve::Parent {
            assert_eq!(records[2]["reason"], "parent_failed");
        }
        gate.stop().await;
    }
}

#[tokio::test]
async fn squid_that_asks_for_a_password_is_told_it() {
    let tls = Tls::new();
    let (echo, page) = (tls.echo(X25519).await, Upstream::page().await);
    let ports = [echo.port(), page.port()];
    let squid = Squid::start(Path::new("/"), HOSTS, |directory| {
        let users = directory.join("users");
        fs::write(&users, "exeat:$apr1$exeat$n1SgMfmhi8vzN0Hxph5C21\n").unwrap();
        fs::set_permissions(&users, fs::Permissions::from_mode(0o644)).unwrap();
        format!(
            "auth_param basic program /usr/lib/squid/basic_ncsa_auth {}\nauth_param basic realm corp\n{}\
             acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n",
            users.display(),
            conf(ports[0], ports[1])
        )
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    for (account, works) in [(Some(account(directory.path())), true), (None, false)] {
        let gate = gate(&squid, Resolve::Parent, account, ports).await;
        let output = curl(&gate, &[&format!("http://a.example:{}/", ports[1])]).await;
        assert_eq!(String::from_utf8_lossy(&output.stdout) == "hello", works, "{output:?}");
        if works {
            speaks_tls(&gate, &tls, ports[0]).await;
        } else {
            let reply = gate.say(connect(&format!("a.example:{}", ports[0]))).await;
            assert!(reply.contains("received-status=407"), "{reply}");
            for record in gate.records(2).await {
                assert_eq!((&record["reason"], &record["status"]), (&"parent_failed".into(), &502.into()));
                assert!(record["error"].as_str().unwrap().contains("407"), "{record}");
            }
        }
        gate.stop().await;
    }
}
