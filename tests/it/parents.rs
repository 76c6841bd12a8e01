//! Parent proxies: which flows go through one, what it is asked for and shown, and what becomes of a flow when it refuses
//! or fails.

mod chains;
mod health;
mod squid;

use std::net::SocketAddr;
use std::path::Path;

use exeat::mistake::Place;
use exeat::parent::{Account, PasswordSource, Resolve, Settings, Url};
use exeat::policy::document::Sources;
use exeat::server::{Server, StartError};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::tls::{ACCESS_DENIED, hello};
use crate::support::upstream::{Heard, Upstream, read_request};
use crate::support::{Gate, Setup, ask, end, read_exactly, read_head, read_reply};

pub const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// A parent of that name with these URLs.
pub fn parent(name: &str, urls: &[String]) -> Settings {
    Settings {
        name: name.to_owned(),
        place: Place::start(Path::new("exeat.yaml")),
        urls: urls.iter().map(|url| Url::parse(url).unwrap()).collect(),
        resolve: Resolve::Here,
        account: None,
        ca: None,
    }
}

pub fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// The policy of one profile for everyone, with a `parent`.
pub fn policy(parent: &str, rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("      - {rule}\n")).collect();
    format!("version: 1\nprofiles:\n  - name: everyone\n    parent: {parent}\n    allow:\n{rules}")
}

fn tcp(host: &str, port: u16) -> String {
    format!("{{ host: {host}, ports: [{port}], protocol: tcp, private: true }}")
}

fn web(host: &str, port: u16) -> String {
    format!("{{ host: {host}, ports: [{port}], private: true }}")
}

/// A gate whose flows go through `corp`.
async fn gate(corp: Settings, rules: &[&str]) -> Gate {
    let mut setup = Setup::new(&policy("corp", rules));
    setup.settings.parents = vec![corp];
    setup.start().await
}

/// A proxy that answers each CONNECT with these bytes, and leads every tunnel to one upstream.
pub async fn carrier(answer: &'static str, to: SocketAddr) -> Upstream {
    Upstream::start(move |stream, heard| carry(stream, heard, answer, to)).await
}

async fn carry(mut stream: TcpStream, heard: Heard, answer: &str, to: SocketAddr) {
    let Some(_) = read_request(&mut stream, &heard).await else { return };
    let mut upstream = TcpStream::connect(to).await.unwrap();
    stream.write_all(answer.as_bytes()).await.unwrap();
    // Either side may break off.
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
}

/// A proxy that answers each request with these bytes, and closes.
async fn answering(answer: impl Into<String>) -> Upstream {
    Upstream::closing(answer).await
}

fn connect(to: &str) -> String {
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn a_tunnel_is_asked_for_by_its_screened_address() {
    let echo = Upstream::echo().await;
    let corp = carrier(ESTABLISHED, echo.address).await;
    let port = echo.port();
    let direct =
        format!("{{ host: b.example, ports: [{port}], protocol: tcp, private: true, parent: direct }}");
    let gate = gate(parent("corp", &[url(corp.address)]), &[&tcp("a.example", port), &direct]).await;
    for (count, (host, through)) in [("a.example", true), ("b.example", false)].into_iter().enumerate() {
        // Only one is open at a time.
        gate.records(count).await;
        let mut tunnel = gate.tunnel(&format!("{host}:{port}")).await;
        tunnel.write_all(b"hello").await.unwrap();
        assert_eq!(read_exactly(&mut tunnel, 5).await, "hello");
        let open = gate.ask_admin("/flows").await;
        assert_eq!(open.contains("\"parent\":\"corp\""), through, "{open}");
    }
    let records = gate.records(2).await;
    for (record, through) in records.iter().zip([true, false]) {
        assert_eq!(record["address"], "127.0.0.1");
        assert_eq!(record["parent"], if through { "corp".into() } else { serde_json::Value::Null });
        assert_eq!((&record["sent"], &record["received"]), (&5.into(), &5.into()));
    }
    assert_eq!(corp.connections(), 1);
    let heard = corp.heard_text();
    let head = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nvia: 1.1 exeat-");
    assert!(heard.starts_with(&head), "{heard}");
    assert!(!heard.contains("authorization"), "{heard}");
    let counted = format!(
        "exeat_parent_connections_total{{parent=\"corp\",result=\"opened\",url=\"{}\"}}",
        url(corp.address)
    );
    assert_eq!(gate.metric(&counted).await, Some(1.0));
    gate.stop().await;
}

#[tokio::test]
async fn where_the_parent_resolves_it_is_asked_for_the_name() {
    let echo = Upstream::echo().await;
    let corp = carrier(ESTABLISHED, echo.address).await;
    let settings = Settings { resolve: Resolve::Parent, ..parent("corp", &[url(corp.address)]) };
    // No name server and no hosts file here knows it.
    let gate = gate(settings, &["{ host: elsewhere.example, ports: [7], protocol: tcp }"]).await;
    let mut tunnel = gate.tunnel("elsewhere.example:7").await;
    tunnel.write_all(b"hello").await.unwrap();
    assert_eq!(read_exactly(&mut tunnel, 5).await, "hello");
    drop(tunnel);
    assert!(
        corp.heard_text().starts_with("CONNECT elsewhere.example:7 HTTP/1.1\r\n"),
        "{}",
        corp.heard_text()
    );
    let record = gate.record().await;
    assert_eq!((&record["address"], &record["parent"]), (&serde_json::Value::Null, &"corp".into()));
    // An address is screened here all the same.
    let answer = gate.say(connect("127.0.0.1:7")).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert_eq!(corp.connections(), 1);
    gate.stop().await;
}

#[tokio::test]
async fn nothing_that_is_said_early_is_lost() {
    for answer in [
        "HTTP/1.1 200 OK\r\n\r\nSSH-2.0-early\r\n",
        "HTTP/1.0 200 Connection established\r\nContent-Length: 3\r\nProxy-Agent: x\r\n\r\nSSH-2.0-early\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nSSH-2.0-early\r\n",
    ] {
        let echo = Upstream::echo().await;
        let corp = carrier(answer, echo.address).await;
        let port = echo.port();
        let gate = gate(parent("corp", &[url(corp.address)]), &[&tcp("a.example", port)]).await;
        let mut stream = gate.connect().await;
        let request = format!("CONNECT a.example:{port} HTTP/1.1\r\nHost: a.example:{port}\r\n\r\nmine");
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(read_exactly(&mut stream, 15 + 4).await, "SSH-2.0-early\r\nmine", "{answer:?}");
        drop(stream);
        gate.stop().await;
    }
}

#[tokio::test]
async fn what_is_inside_is_judged_here_and_so_are_addresses() {
    let echo = Upstream::echo().await;
    let corp = carrier(ESTABLISHED, echo.address).await;
    let port = echo.port();
    let tls = format!("{{ host: a.example, ports: [{port}], protocol: tls, private: true }}");
    let public = format!("{{ host: b.example, ports: [{port}], protocol: tls }}");
    let gate = gate(parent("corp", &[url(corp.address)]), &[&tls, &public]).await;
    let mut tunnel = gate.tunnel(&format!("a.example:{port}")).await;
    tunnel.write_all(&hello(&["evil.example"])).await.unwrap();
    assert_eq!(end(&mut tunnel).await.last, ACCESS_DENIED);
    assert_eq!(gate.records(1).await[0]["reason"], "server_name_mismatch");
    assert!(corp.heard_text().ends_with("\r\n\r\n"), "no byte of the client has passed");

    for denied in [format!("b.example:{port}"), format!("c.example:{port}")] {
        let answer = gate.say(connect(&denied)).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    assert_eq!(corp.connections(), 1);
    let records = gate.records(3).await;
    assert_eq!(
        (&records[1]["reason"], &records[2]["reason"]),
        (&"address_prohibited".into(), &"no_rule".into())
    );
    gate.stop().await;
}

#[tokio::test]
async fn rules_that_go_different_ways_do_not_combine() {
    let page = Upstream::page().await;
    let corp = carrier(ESTABLISHED, page.address).await;
    let port = page.port();
    let pub_direct = format!(
        "{{ host: a.example, ports: [{port}], protocol: http, paths: [\"/pub/**\"], private: true, parent: direct }}"
    );
    let gate = gate(parent("corp", &[url(corp.address)]), &[&pub_direct, &web("a.example", port)]).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
    // A tunnel stands before anyone knows what it is for: the first rule has it go straight.
    let mut tunnel = gate.tunnel(&format!("a.example:{port}")).await;
    assert_eq!(ask(&mut tunnel, get("/pub/x")).await.status, 200);
    let reply = ask(&mut tunnel, get("/secret")).await;
    assert_eq!((reply.status, reply.closes()), (403, true), "{reply:?}");
    assert!(reply.body.contains("another way") && reply.body.contains("the same `parent`"), "{reply:?}");
    assert_eq!(corp.connections(), 0);
    // A request says what it is for beforehand.
    for (path, connections) in [("/secret", 1), ("/pub/x", 1), ("/secret", 1)] {
        let mut stream = gate.connect().await;
        let request = get(path).replace("GET ", &format!("GET http://a.example:{port}"));
        assert_eq!(ask(&mut stream, request).await.status, 200, "{path}");
        assert_eq!(corp.connections(), connections, "{path}");
    }
    gate.stop().await;
}

#[tokio::test]
async fn plain_requests_go_through_a_tunnel_where_exeat_resolves() {
    let page = Upstream::page().await;
    let corp = carrier(ESTABLISHED, page.address).await;
    let port = page.port();
    let gate = gate(parent("corp", &[url(corp.address)]), &[&web("a.example", port)]).await;
    let mut stream = gate.connect().await;
    for _ in 0..2 {
        let request = format!("GET http://a.example:{port}/x HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
        assert_eq!(ask(&mut stream, request).await.body, "hello");
    }
    assert_eq!(corp.connections(), 1, "the second request goes on the same connection");
    let heard = page.heard_text();
    assert!(heard.starts_with(&format!("GET /x HTTP/1.1\r\nhost: a.example:{port}\r\n")), "{heard}");
    assert!(corp.heard_text().starts_with(&format!("CONNECT 127.0.0.1:{port} ")), "{}", corp.heard_text());
    gate.stop().await;
}

#[tokio::test]
async fn plain_requests_are_sent_on_by_a_parent_that_resolves() {
    let corp = Upstream::page().await;
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "s3cret\n").unwrap();
    let account = Account {
        username: "exeat".to_owned(),
        password: PasswordSource::File(password.clone()),
        place: Place::start(Path::new("exeat.yaml")),
    };
    let settings =
        Settings { resolve: Resolve::Parent, account: Some(account), ..parent("corp", &[url(corp.address)]) };
    let gate = gate(settings, &["{ host: elsewhere.example, ports: [80, 8080] }"]).await;
    let mut stream = gate.connect().await;
    let get = |path: &str| {
        format!(
            "GET http://elsewhere.example{path} HTTP/1.1\r\nHost: elsewhere.example\r\n\
             Proxy-Authorization: Basic bWluZTptaW5l\r\nProxy-Connection: keep-alive\r\n\r\n"
        )
    };
    for path in ["/a?b=c", "/b"] {
        assert_eq!(ask(&mut stream, get(path)).await.body, "hello");
    }
    assert_eq!(corp.connections(), 1);
    let heard = corp.heard_text();
    let first = heard.split("\r\n\r\n").next().unwrap();
    assert!(
        first.starts_with("GET http://elsewhere.example/a?b=c HTTP/1.1\r\nhost: elsewhere.example\r\n"),
        "{heard}"
    );
    // exeat:s3cret, and nothing of what the client has for exeat.
    assert_eq!(heard.matches("proxy-authorization: Basic ZXhlYXQ6czNjcmV0\r\n").count(), 2, "{heard}");
    assert!(!heard.contains("bWluZ") && !heard.contains("proxy-connection"), "{heard}");
    assert!(heard.contains("GET http://elsewhere.example/b HTTP/1.1\r\n"), "{heard}");
    let records = gate.records(2).await;
    for record in &records {
        assert_eq!((&record["parent"], &record["address"]), (&"corp".into(), &serde_json::Value::Null));
    }
    // A password that changes is the next one.
    std::fs::write(directory.path().join(".new"), "other").unwrap();
    std::fs::rename(directory.path().join(".new"), &password).unwrap();
    gate.signal(exeat::server::Signal::Reload).await;
    crate::support::until("the new password is not in use", async || {
        let mut stream = gate.connect().await;
        ask(&mut stream, get("/c")).await;
        corp.heard_text().contains("proxy-authorization: Basic ZXhlYXQ6b3RoZXI=\r\n")
    })
    .await;
    let written = std::fs::read_to_string(gate.path("records.jsonl")).unwrap();
    for page in [&written, &gate.ask_admin("/policy").await, &gate.ask_admin("/metrics").await] {
        assert!(!page.contains("s3cret") && !page.contains("ZXhlYXQ6"), "{page}");
    }
    gate.stop().await;
}

#[tokio::test]
async fn a_parent_s_question_for_credentials_is_not_the_client_s_to_answer() {
    let asks = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"corp\"\r\n\
                Content-Length: 0\r\n\r\n";
    let corp = answering(asks).await;
    for resolve in [Resolve::Here, Resolve::Parent] {
        let settings = Settings { resolve, ..parent("corp", &[url(corp.address)]) };
        let gate = gate(settings, &[&web("a.example", 8080)]).await;
        let mut stream = gate.connect().await;
        let request = "GET http://a.example:8080/ HTTP/1.1\r\nHost: a.example:8080\r\n\r\n";
        let reply = ask(&mut stream, request).await;
        assert_eq!(reply.status, 502, "{reply:?}");
        assert!(reply.head.contains("; received-status=407; details=\"parent_failed\"\r\n"), "{reply:?}");
        assert!(!reply.head.contains("authenticate"), "{reply:?}");
        let record = gate.record().await;
        assert_eq!((&record["reason"], &record["parent"]), (&"parent_failed".into(), &"corp".into()));
        assert!(record["error"].as_str().unwrap().contains("without other credentials"), "{record}");
        gate.stop().await;
    }
}

#[tokio::test]
async fn a_new_policy_sends_new_flows_another_way_and_no_kept_connection_is_used_for_it() {
    let page = Upstream::page().await;
    let (corp, dmz) = (carrier(ESTABLISHED, page.address).await, carrier(ESTABLISHED, page.address).await);
    let port = page.port();
    let rules = [web("a.example", port), tcp("b.example", port)];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let mut setup = Setup::new(&policy("corp", &rules));
    setup.settings.parents = vec![parent("corp", &[url(corp.address)]), parent("dmz", &[url(dmz.address)])];
    let gate = setup.start().await;
    let get = format!("GET http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
    let mut stream = gate.connect().await;
    assert_eq!(ask(&mut stream, &get).await.status, 200);
    let mut tunnel = gate.tunnel(&format!("b.example:{port}")).await;
    let counts = || (corp.connections(), dmz.connections(), page.connections());
    assert_eq!(counts(), (2, 0, 2));

    gate.change_policy(&policy("dmz", &rules)).await;
    assert_eq!(ask(&mut stream, &get).await.status, 200);
    assert_eq!(counts(), (2, 1, 3));
    // What is open goes on as it is.
    tunnel.write_all(format!("GET / HTTP/1.1\r\nHost: b.example:{port}\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut tunnel).await.body, "hello");

    // A parent that the settings don't have is no policy.
    std::fs::write(gate.path("policies/policy.yaml"), policy("crop", &rules)).unwrap();
    crate::support::until("the policy was not refused", async || {
        gate.metric("exeat_policy_reloads_total{result=\"failure\"}").await == Some(1.0)
    })
    .await;
    assert_eq!(ask(&mut stream, &get).await.status, 200);
    assert_eq!(counts(), (2, 1, 3));

    gate.change_policy(&policy("direct", &rules)).await;
    assert_eq!(ask(&mut stream, &get).await.status, 200);
    assert_eq!(counts(), (2, 1, 4));
    drop((stream, tunnel));
    gate.stop().await;
}

#[tokio::test]
async fn exeat_does_not_start_with_a_policy_that_names_no_parent_of_the_settings() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.yaml");
    std::fs::write(&path, policy("crop", &["a.example"])).unwrap();
    let mut settings = Setup::new("").settings;
    settings.audit.path = directory.path().join("records.jsonl");
    settings.parents = vec![parent("corp", &["http://127.0.0.1:1".to_owned()])];
    let sources = Sources { paths: vec![path], allow: Vec::new() };
    let Err(StartError::Policy(mistakes)) = Server::new(&settings, sources) else { panic!("it started") };
    let told = mistakes[0].to_string();
    assert!(
        told.contains("policy.yaml:4:13: error: `parent` is") && told.contains("did you mean `corp`?"),
        "{told}"
    );
}
