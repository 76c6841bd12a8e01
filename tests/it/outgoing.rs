//! Connections that leave by the address of their profile, through the whole of exeat.

use std::sync::Arc;

use exeat::parent;
use exeat::policy::outgoing::Outgoing;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::parents;
use crate::support::upstream::{Upstream, read_request};
use crate::support::{Setup, ask};

/// Answers each request with the address that it came from.
async fn mirror() -> Upstream {
    Upstream::start(|mut stream, heard| async move {
        let from = stream.peer_addr().unwrap().ip().to_string();
        while read_request(&mut stream, &heard).await.is_some() {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{from}", from.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// Two tenants, told apart by their addresses, each with a source address of its own.
fn tenants(port: u16) -> Setup {
    let rule = format!("{{ host: \"*.example\", ports: [{port}], private: true }}");
    Setup::new(&format!(
        "version: 1\nprofiles:\n\
         \x20 - {{ name: one, clients: [127.0.0.1], outgoing: {{ source: [127.0.8.1] }}, allow: [{rule}] }}\n\
         \x20 - {{ name: two, clients: [127.0.0.2], outgoing: {{ source: [127.0.8.2] }}, allow: [{rule}] }}\n\
         \x20 - {{ name: three, clients: [127.0.0.3], allow: [{rule}] }}\n"
    ))
}

fn get(port: u16, path: &str) -> String {
    format!("GET http://a.example:{port}{path} HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n")
}

async fn body(stream: &mut TcpStream, request: String) -> String {
    let reply = ask(stream, request).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

#[tokio::test]
async fn upstreams_see_the_address_of_the_tenant() {
    let mirror = mirror().await;
    let port = mirror.port();
    let mut setup = tenants(port);
    // For the one whose profile says nothing.
    let other = Outgoing { source_v4: Some([127, 0, 8, 3].into()), ..Outgoing::default() };
    setup.settings.outgoing = Some(Arc::new(other));
    let gate = setup.start().await;
    for (client, source) in
        [("127.0.0.1", "127.0.8.1"), ("127.0.0.2", "127.0.8.2"), ("127.0.0.3", "127.0.8.3")]
    {
        let mut stream = gate.connect_from(client).await;
        assert_eq!(body(&mut stream, get(port, "/")).await, source);
        let mut tunnel = gate.tunnel_from(client, &format!("a.example:{port}")).await;
        let request = format!("GET / HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
        assert_eq!(body(&mut tunnel, request).await, source, "inside a tunnel");
    }
    gate.stop_and_count(6).await;
}

#[tokio::test]
async fn a_kept_connection_serves_only_requests_that_would_leave_as_it_did() {
    let mirror = mirror().await;
    let port = mirror.port();
    // One client, whose paths are allowed by two profiles.
    let rule = |path: &str| {
        format!("{{ host: a.example, ports: [{port}], protocol: http, paths: [{path}], private: true }}")
    };
    let gate = Setup::new(&format!(
        "version: 1\nprofiles:\n\
         \x20 - {{ name: one, outgoing: {{ source: [127.0.8.1] }}, allow: [{}] }}\n\
         \x20 - {{ name: two, outgoing: {{ source: [127.0.8.2] }}, allow: [{}] }}\n",
        rule("/one"),
        rule("/two")
    ))
    .start()
    .await;
    let mut stream = gate.connect().await;
    for (path, source, connections) in [
        ("/one", "127.0.8.1", 1),
        ("/two", "127.0.8.2", 2),
        ("/one", "127.0.8.1", 2),
        ("/two", "127.0.8.2", 2),
    ] {
        assert_eq!(body(&mut stream, get(port, path)).await, source, "{path}");
        assert_eq!(mirror.connections(), connections, "{path}");
    }
    gate.stop().await;
}

#[tokio::test]
async fn where_no_rule_decides_the_first_profile_that_says_anything_does() {
    let mirror = mirror().await;
    let port = mirror.port();
    let rule =
        format!("{{ host: a.example, ports: [{port}], methods: [GET], protocol: http, private: true }}");
    let gate = Setup::new(&format!(
        "version: 1\nprofiles:\n\
         \x20 - {{ name: silent, mode: report }}\n\
         \x20 - {{ name: one, mode: report, outgoing: {{ source: [127.0.8.1] }} }}\n\
         \x20 - {{ name: two, mode: report, outgoing: {{ source: [127.0.8.2] }}, allow: [{rule}] }}\n"
    ))
    .start()
    .await;
    let mut stream = gate.connect().await;
    assert_eq!(body(&mut stream, get(port, "/")).await, "127.0.8.2");
    let post = get(port, "/").replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(body(&mut stream, post).await, "127.0.8.1");
    assert_eq!(gate.records(2).await[1]["reason"], "report_only");
    gate.stop().await;
}

#[tokio::test]
async fn what_can_not_leave_as_it_should_is_told_to_the_client_and_the_record() {
    let mirror = mirror().await;
    let port = mirror.port();
    let good = tenants(port).policy;
    let gate = Setup::new(&good.replace("127.0.8.1", "192.0.2.7")).start().await;
    let reply = ask(&mut gate.connect().await, get(port, "/")).await;
    let why = "the source address 192.0.2.7 is not one of this host";
    assert_eq!(reply.status, 502);
    let record = gate.record().await;
    assert_eq!(record["reason"], "dial_failed");
    assert_eq!(record["error"], format!("connecting to 127.0.0.1:{port} failed: {why}"));
    assert!(reply.body.contains(why), "{reply:?}");
    assert_eq!(mirror.connections(), 0);
    // The other tenant is not concerned, and a reload mends it.
    assert_eq!(body(&mut gate.connect_from("127.0.0.2").await, get(port, "/")).await, "127.0.8.2");
    gate.change_policy(&good).await;
    assert_eq!(body(&mut gate.connect().await, get(port, "/")).await, "127.0.8.1");
    gate.stop().await;
}

#[tokio::test]
async fn the_policy_page_says_how_connections_leave() {
    let gate = tenants(443).start().await;
    let policy: Value = serde_json::from_str(&gate.ask_admin("/policy").await).unwrap();
    let shown: Vec<_> = policy["profiles"].as_array().unwrap().iter().map(|row| &row["outgoing"]).collect();
    let words = |number: u8| Value::from(format!("source 127.0.8.{number}, IPv4 alone"));
    assert_eq!(shown, [&words(1), &words(2), &Value::Null]);
    gate.stop().await;
}

#[tokio::test]
async fn a_parent_sees_the_address_of_the_tenant_too() {
    let mirror = mirror().await;
    let rules = "outgoing: { source: [127.0.8.1] }, allow: [elsewhere.example]";
    let policy = format!("version: 1\nprofiles:\n  - {{ name: one, parent: corp, {rules} }}\n");
    let corp = parents::parent("corp", &[parents::url(mirror.address)]);
    let mut setup = Setup::new(&policy);
    setup.settings.parents = vec![parent::Settings { resolve: parent::Resolve::Parent, ..corp }];
    let gate = setup.start().await;
    let mut stream = gate.connect().await;
    let request = "GET http://elsewhere.example/ HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n";
    assert_eq!(body(&mut stream, request.to_owned()).await, "127.0.8.1");
    drop(stream);
    gate.stop().await;
}
