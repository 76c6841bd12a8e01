//! The transparent door, behind a real firewall in a namespace of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test that can't run has to say so")]
#![allow(unreachable_pub, dead_code, reason = "what the tests stand on is shared between binaries")]

#[path = "it/support/dns.rs"]
mod dns;
#[path = "doors/gate.rs"]
mod gate;
#[path = "transparent/hello.rs"]
mod hello;
#[path = "doors/namespace.rs"]
mod namespace;
#[path = "transparent/parents.rs"]
mod parents;
#[path = "it/support/reading.rs"]
mod reading;
#[path = "it/support/records.rs"]
mod records;
#[path = "transparent/remembered.rs"]
mod remembered;
#[path = "transparent/requests.rs"]
mod requests;
#[path = "doors/server.rs"]
mod server;
#[path = "it/support/tls.rs"]
mod tls;
#[path = "it/support/told.rs"]
mod told;
#[path = "it/support/upstream.rs"]
mod upstream;

/// What the servers of other tests count on.
mod support {
    pub use crate::reading::PATIENCE;
}

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::gate::{Gate, PATIENCE, Setup};
use crate::namespace::{CLIENT_V4, CLIENT_V6, connect, deliver, redirect, redirect_questions, try_connect};
use crate::reading::read_to_end;
use crate::server::{Server, Tls};

/// A gate whose transparent door takes both families and gets what the client connects to.
async fn redirected(setup: Setup) -> Gate {
    let gate = setup.settings(|all| all.listen.transparent = vec!["[::]:0".parse().unwrap()]).start().await;
    redirect(gate.transparent[0]);
    gate
}

/// What comes back on a connection that says nothing: of a reset, the error.
async fn hear(stream: &mut TcpStream) -> Result<String, std::io::ErrorKind> {
    let mut buffer = [0; 256];
    let read = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("nothing came");
    read.map(|count| String::from_utf8_lossy(&buffer[..count]).into_owned()).map_err(|error| error.kind())
}

/// Connects, says nothing, and returns what comes.
async fn listen(to: &str) -> Result<String, std::io::ErrorKind> {
    // A reset may overtake the news that the connection stands.
    let mut stream = try_connect(to).await.map_err(|error| error.kind())?;
    hear(&mut stream).await
}

const RESET: Result<String, std::io::ErrorKind> = Err(std::io::ErrorKind::ConnectionReset);

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The records in the order in which their flows began: their ids are consecutive.
async fn in_order(gate: &Gate, count: usize) -> Vec<Value> {
    let mut records = gate.records(count).await;
    records.sort_by_key(|record| record["flow"].as_str().unwrap().to_owned());
    records
}

fn facts(record: &Value) -> (&str, &str, &str, u64) {
    let text = |key: &str| record[key].as_str().unwrap_or("-");
    (text("ingress"), text("reason"), text("host"), record["port"].as_u64().unwrap_or_default())
}

#[test]
fn tls_is_judged_by_its_server_name_and_reaches_the_server_of_the_name() {
    namespace::run("tls_is_judged_by_its_server_name_and_reaches_the_server_of_the_name", async {
        let gate = redirected(Setup::allow(&["a.example"])).await;
        gate.servers.set("a.example", &["93.184.216.34"]);
        let tls = Tls::new(&["a.example", "b.example"]);
        let good = tls.serve("93.184.216.34:443", "good").await;
        let evil = tls.serve("93.184.216.66:443", "evil").await;

        let said = tls.speak(connect("93.184.216.34:443").await, Some("a.example")).await;
        assert_eq!(said.unwrap(), "good");
        let record = gate.record().await;
        assert_eq!(facts(&record), ("transparent", "allowed", "a.example", 443));
        assert_eq!(
            (&record["server_name"], &record["address"]),
            (&"a.example".into(), &"93.184.216.34".into())
        );
        assert_eq!(record["client"], CLIENT_V4);

        // A name that is allowed, on the way to a server that is not: it reaches the server of the name.
        let said = tls.speak(connect("93.184.216.66:443").await, Some("a.example")).await;
        assert_eq!(said.unwrap(), "good");
        // A name that is not allowed, on the way to a server that is.
        let said = tls.speak(connect("93.184.216.34:443").await, Some("b.example")).await;
        assert!(said.unwrap_err().to_string().contains("AccessDenied"));
        // No name at all.
        let said = tls.speak(connect("93.184.216.34:443").await, None).await;
        assert!(said.unwrap_err().to_string().contains("AccessDenied"));
        let records = in_order(&gate, 4).await;
        assert_eq!(facts(&records[1]), ("transparent", "allowed", "a.example", 443));
        assert_eq!(records[1]["address"], "93.184.216.34");
        assert_eq!(facts(&records[2]), ("transparent", "no_rule", "b.example", 443));
        assert_eq!(facts(&records[3]), ("transparent", "no_rule", "93.184.216.34", 443));
        assert_eq!((good.connections(), evil.connections()), (2, 0));
        assert_eq!(gate.servers.asked(), ["a.example A", "a.example AAAA"], "a denied name is not looked up");
        gate.stop(4).await;
    });
}

#[test]
fn a_client_with_too_many_connections_is_reset() {
    namespace::run("a_client_with_too_many_connections_is_reset", async {
        let setup = Setup::allow(&["a.example"])
            .settings(|all| all.limits.connections_per_client = NonZeroUsize::new(2));
        let gate = redirected(setup).await;
        let mut open = vec![connect("93.184.216.34:443").await, connect("93.184.216.34:443").await];
        assert_eq!(listen("93.184.216.34:443").await, RESET);
        let record = gate.record().await;
        assert_eq!(facts(&record), ("transparent", "limit_client", "93.184.216.34", 443));
        assert_eq!(record["error"], "this client has too many connections open");
        // One that has ended makes room; its own record tells when.
        open.pop();
        gate.records(2).await;
        let tls = Tls::new(&["b.example"]);
        let said = tls.speak(connect("93.184.216.34:443").await, Some("b.example")).await;
        assert!(said.unwrap_err().to_string().contains("AccessDenied"));
        drop(open);
        gate.stop(4).await;
    });
}

#[test]
fn a_load_balancer_tells_whose_connections_it_brings() {
    namespace::run("a_load_balancer_tells_whose_connections_it_brings", async {
        let senders = format!("{CLIENT_V4}/32").parse().unwrap();
        let setup = Setup::allow(&["{ host: a.example, protocol: http }"]);
        let listener =
            |address: &str| exeat::config::Listener { senders: vec![senders], ..address.parse().unwrap() };
        let gate = setup.settings(|all| all.listen.transparent = vec![listener("[::]:0")]).start().await;
        redirect(gate.transparent[0]);
        for (header, client) in
            [("PROXY TCP4 192.0.2.7 93.184.216.34 4000 80\r\n", "192.0.2.7"), ("", CLIENT_V4)]
        {
            let mut stream = connect("93.184.216.34:80").await;
            let request = format!("{header}GET / HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = read_to_end(&mut stream).await;
            assert_eq!(answer.starts_with("HTTP/1.1 403"), !header.is_empty(), "{answer}");
            let records = gate.records(if header.is_empty() { 2 } else { 1 }).await;
            assert_eq!(records.last().unwrap()["client"], client);
        }
        gate.stop(2).await;
    });
}

#[test]
fn the_address_that_the_client_chose_is_preferred_where_the_name_has_it() {
    namespace::run("the_address_that_the_client_chose_is_preferred_where_the_name_has_it", async {
        let gate = redirected(Setup::allow(&["a.example"])).await;
        gate.servers.set("a.example", &["93.184.216.34", "93.184.216.35", "2606:2800::34"]);
        let tls = Tls::new(&["a.example"]);
        for address in ["93.184.216.34:443", "93.184.216.35:443", "[2606:2800::34]:443"] {
            tls.serve(address, "good").await;
            for _ in 0..3 {
                tls.speak(connect(address).await, Some("a.example")).await.unwrap();
            }
        }
        let records = in_order(&gate, 9).await;
        let dialled: Vec<&str> = records.iter().map(|record| record["address"].as_str().unwrap()).collect();
        let [four, five, six] = [["93.184.216.34"; 3], ["93.184.216.35"; 3], ["2606:2800::34"; 3]];
        assert_eq!(dialled, [four, five, six].concat());
        assert_eq!(records[8]["client"], CLIENT_V6);
        gate.stop(9).await;
    });
}

#[test]
fn each_request_of_a_connection_goes_to_its_own_host() {
    namespace::run("each_request_of_a_connection_goes_to_its_own_host", async {
        let gate = redirected(Setup::allow(&["a.example", "b.example"])).await;
        gate.servers.set("a.example", &["93.184.216.34"]);
        gate.servers.set("b.example", &["93.184.216.35"]);
        let _a = Server::page("93.184.216.34:80", "server a").await;
        let _b = Server::page("93.184.216.35:80", "server b").await;
        let evil = Server::page("93.184.216.66:80", "evil").await;

        let mut stream = connect("93.184.216.66:80").await;
        for (host, status, body) in [
            ("a.example", "200", "server a for a.example"),
            ("b.example", "200", "server b for b.example"),
            ("a.example", "200", "server a for a.example"),
            ("evil.example", "403", "\"reason\":\"no_rule\""),
            ("93.184.216.66", "403", "\"reason\":\"no_rule\""),
            ("b.example", "200", "server b for b.example"),
            ("b.example:8080", "400", "\"reason\":\"host_mismatch\""),
        ] {
            let request = format!("GET /x HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = read_answer(&mut stream).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(body),
                "{host}: {answer}"
            );
        }
        drop(stream);
        let records = gate.records(7).await;
        let told: Vec<_> = records
            .iter()
            .map(|record| (record["ingress"].as_str().unwrap(), record["reason"].as_str().unwrap()))
            .collect();
        let (good, bad) = (("transparent", "allowed"), ("transparent", "no_rule"));
        assert_eq!(told, [good, good, good, bad, bad, good, ("transparent", "host_mismatch")]);
        assert_eq!(evil.connections(), 0);
        gate.stop(7).await;
    });
}

/// Reads a head and the body whose length it says.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let end = loop {
        let mut byte = [0];
        if timeout(PATIENCE, stream.read(&mut byte)).await.unwrap().unwrap() == 0 {
            return String::from_utf8_lossy(&answer).into_owned();
        }
        answer.push(byte[0]);
        if answer.ends_with(b"\r\n\r\n") {
            break answer.len();
        }
    };
    let head = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    answer.resize(end + length.parse::<usize>().unwrap(), 0);
    stream.read_exact(&mut answer[end..]).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

const BANNER: &str = "SSH-2.0-OpenSSH_9.6\r\n";

#[test]
fn a_server_that_speaks_first_is_reached_by_the_name_that_was_asked_for() {
    namespace::run("a_server_that_speaks_first_is_reached_by_the_name_that_was_asked_for", async {
        let rules = ["{ host: \"*.git.example\", ports: [22], protocol: tcp }", "web.example"];
        let gate = redirected(Setup::allow(&rules)).await;
        redirect_questions(gate.dns[0]);
        gate.servers.set("eu.git.example", &["93.184.216.34"]);
        gate.servers.set("web.example", &["93.184.216.35"]);
        let ssh = Server::banner("93.184.216.34:22", BANNER).await;
        let other = Server::banner("93.184.216.35:22", BANNER).await;

        // Nobody has asked for it, so nobody knows what this address is.
        assert_eq!(listen("93.184.216.34:22").await, RESET);
        // Through connection tracking to a server that does not exist, and back.
        assert_eq!(look_up("eu.git.example").await, ResponseCode::NoError);
        assert_eq!(look_up("web.example").await, ResponseCode::NoError);
        assert_eq!(look_up("evil.example").await, ResponseCode::NXDomain);
        let mut stream = connect("93.184.216.34:22").await;
        assert_eq!(hear(&mut stream).await.unwrap(), BANNER);
        stream.write_all(b"SSH-2.0-client\r\n").await.unwrap();
        drop(stream);
        // The rule is for one name and one port.
        assert_eq!(listen("93.184.216.35:22").await, RESET);
        assert_eq!(listen("93.184.216.34:2222").await, RESET);

        let mut records = in_order(&gate, 7).await;
        records.retain(|record| record["ingress"] == "transparent");
        assert_eq!(facts(&records[0]), ("transparent", "no_rule", "93.184.216.34", 22));
        assert_eq!(facts(&records[1]), ("transparent", "allowed", "eu.git.example", 22));
        assert_eq!(
            (&records[1]["address"], &records[1]["received"]),
            (&"93.184.216.34".into(), &BANNER.len().into())
        );
        assert_eq!(facts(&records[2]), ("transparent", "no_rule", "web.example", 22));
        assert_eq!(facts(&records[3]), ("transparent", "no_rule", "eu.git.example", 2222));
        assert_eq!((ssh.connections(), other.connections()), (1, 0));
        gate.stop(7).await;
    });
}

/// Asks a server that is not there for the IPv4 addresses of a name.
async fn look_up(name: &str) -> ResponseCode {
    let socket = UdpSocket::bind((CLIENT_V4, 0)).await.unwrap();
    socket.connect("93.184.216.53:53").await.unwrap();
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), RecordType::A));
    socket.send(&message.to_vec().unwrap()).await.unwrap();
    let mut buffer = [0; 512];
    let count = timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("no answer").unwrap();
    Message::from_vec(&buffer[..count]).unwrap().metadata.response_code
}

#[test]
fn the_exact_names_of_tcp_rules_are_known_without_a_question() {
    namespace::run("the_exact_names_of_tcp_rules_are_known_without_a_question", async {
        let rule = "{ host: git.example, ports: [22], protocol: tcp }";
        let gate = redirected(Setup::allow(&[rule]).zone("git.example", "93.184.216.34")).await;
        let _ssh = Server::banner("93.184.216.34:22", BANNER).await;
        let deadline = Instant::now() + PATIENCE;
        let mut flows = 1;
        while listen("93.184.216.34:22").await != Ok(BANNER.to_owned()) {
            assert!(Instant::now() < deadline, "the name is never looked up");
            sleep(Duration::from_millis(20)).await;
            flows += 1;
        }
        assert_eq!(
            facts(gate.records(flows).await.last().unwrap()),
            ("transparent", "allowed", "git.example", 22)
        );
        gate.stop(flows).await;
    });
}

#[test]
fn rules_for_addresses_are_about_the_address_that_was_connected_to() {
    namespace::run("rules_for_addresses_are_about_the_address_that_was_connected_to", async {
        let policy = "version: 1\nprofiles:\n  - name: p\n    allow:\n      - { cidr: 93.184.216.34/31, ports: [443, 80] }\n      - { cidr: 93.184.216.34/31, ports: [5432], protocol: tcp }\n    deny: [denied.example]\n";
        let gate = redirected(Setup::new(policy)).await;
        let tls = Tls::new(&["a.example", "denied.example"]);
        tls.serve("93.184.216.34:443", "good").await;
        let _page = Server::page("93.184.216.34:80", "page").await;
        let _data = Server::banner("93.184.216.34:5432", "hello\n").await;
        assert_eq!(tls.speak(connect("93.184.216.34:443").await, None).await.unwrap(), "good");
        assert_eq!(tls.speak(connect("93.184.216.34:443").await, Some("a.example")).await.unwrap(), "good");
        assert!(tls.speak(connect("93.184.216.34:443").await, Some("denied.example")).await.is_err());
        assert!(tls.speak(connect("93.184.216.66:443").await, None).await.is_err());
        assert_eq!(listen("93.184.216.34:5432").await.unwrap(), "hello\n");
        assert_eq!(listen("93.184.216.66:5432").await, RESET);
        let mut stream = connect("93.184.216.34:80").await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
        assert!(read_answer(&mut stream).await.ends_with("page for a.example"));
        stream.write_all(b"GET / HTTP/1.1\r\nHost: denied.example\r\n\r\n").await.unwrap();
        assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 403"));
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(read_answer(&mut stream).await.ends_with("page for 93.184.216.34"));
        let records = gate.records(9).await;
        let reasons: Vec<&str> = records.iter().map(|record| record["reason"].as_str().unwrap()).collect();
        let count = |reason| reasons.iter().filter(|other| **other == reason).count();
        assert_eq!((count("allowed"), count("denied_by_rule"), count("no_rule")), (5, 2, 2), "{reasons:?}");
        assert!(gate.servers.asked().is_empty(), "no name was looked up");
        gate.stop(9).await;
    });
}

#[test]
fn a_port_that_no_rule_lists_is_reset_before_a_byte_is_sent() {
    namespace::run("a_port_that_no_rule_lists_is_reset_before_a_byte_is_sent", async {
        let gate = redirected(Setup::allow(&["a.example"])).await;
        let server = Server::echo("93.184.216.34:8443").await;
        assert_eq!(listen("93.184.216.34:8443").await, RESET);
        assert_eq!(listen("[2606:2800::34]:25").await, RESET);
        let records = in_order(&gate, 2).await;
        assert_eq!(facts(&records[0]), ("transparent", "no_rule", "93.184.216.34", 8443));
        assert_eq!(facts(&records[1]), ("transparent", "no_rule", "2606:2800::34", 25));
        assert_eq!(server.connections(), 0);
        gate.stop(2).await;
    });
}

#[test]
fn a_connection_that_was_not_redirected_is_refused_as_a_loop() {
    namespace::run("a_connection_that_was_not_redirected_is_refused_as_a_loop", async {
        let gate =
            redirected(Setup::allow(&["\"*\"", "{ cidr: 0.0.0.0/0, ports: [1-65535], protocol: tcp }"]))
                .await;
        let port = gate.transparent[0].port();
        for address in [format!("127.0.0.1:{port}"), format!("93.184.216.34:{port}"), format!("[::1]:{port}")]
        {
            match TcpStream::connect(&address).await {
                Ok(mut stream) => assert_eq!(hear(&mut stream).await, RESET, "{address}"),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{address}"),
            }
        }
        // Redirected, and yet it asks for this very door; and for another one.
        assert_eq!(listen(&format!("{CLIENT_V4}:{port}")).await, RESET);
        let admin = gate.admin.port();
        assert_eq!(listen(&format!("93.184.216.34:{admin}")).await, RESET);
        let records = gate.records(5).await;
        assert!(records.iter().all(|record| record["reason"] == "self_connect"), "{records:#?}");
        gate.stop(5).await;
    });
}

#[test]
fn a_socket_that_keeps_the_original_address_says_where_it_was_to_go() {
    namespace::run("a_socket_that_keeps_the_original_address_says_where_it_was_to_go", async {
        let setup = Setup::allow(&["a.example"]);
        let gate =
            setup.settings(|all| all.listen.transparent = vec!["[::]:0".parse().unwrap()]).start().await;
        deliver(gate.transparent[0]);
        gate.servers.set("a.example", &["93.184.216.34", "2606:2800::34"]);
        let tls = Tls::new(&["a.example"]);
        tls.serve("93.184.216.34:443", "four").await;
        tls.serve("[2606:2800::34]:443", "six").await;
        assert_eq!(tls.speak(connect("93.184.216.34:443").await, Some("a.example")).await.unwrap(), "four");
        assert_eq!(tls.speak(connect("[2606:2800::34]:443").await, Some("a.example")).await.unwrap(), "six");
        let port = gate.transparent[0].port();
        assert_eq!(listen(&format!("93.184.216.66:{port}")).await, RESET);
        let records = in_order(&gate, 3).await;
        assert_eq!(facts(&records[0]), ("transparent", "allowed", "a.example", 443));
        assert_eq!(facts(&records[1]), ("transparent", "allowed", "a.example", 443));
        assert_eq!(records[2]["reason"], "self_connect");
        gate.stop(3).await;
    });
}

#[test]
fn report_mode_lets_a_silent_client_hear_the_server_at_the_original_address() {
    namespace::run("report_mode_lets_a_silent_client_hear_the_server_at_the_original_address", async {
        let policy = "version: 1\nprofiles:\n  - name: learn\n    mode: report\n    deny: [denied.example]\n";
        let gate = redirected(Setup::new(policy)).await;
        gate.servers.set("a.example", &["93.184.216.34"]);
        let _ssh = Server::banner("93.184.216.35:22", BANNER).await;
        let tls = Tls::new(&["a.example", "denied.example"]);
        tls.serve("93.184.216.34:443", "good").await;
        assert_eq!(listen("93.184.216.35:22").await.unwrap(), BANNER);
        assert_eq!(tls.speak(connect("93.184.216.34:443").await, None).await.unwrap(), "good");
        assert_eq!(tls.speak(connect("93.184.216.34:443").await, Some("a.example")).await.unwrap(), "good");
        assert!(tls.speak(connect("93.184.216.34:443").await, Some("denied.example")).await.is_err());
        // Deny rules and the guard stand.
        assert_eq!(listen("10.9.0.1:22").await, RESET);
        let records = gate.records(5).await;
        let mut told: Vec<_> = records
            .iter()
            .map(|record| (record["reason"].as_str().unwrap(), record["host"].as_str().unwrap()))
            .collect();
        told.sort_unstable();
        assert_eq!(
            told,
            [
                ("address_prohibited", "10.9.0.1"),
                ("denied_by_rule", "denied.example"),
                ("report_only", "93.184.216.34"),
                ("report_only", "93.184.216.35"),
                ("report_only", "a.example"),
            ]
        );
        gate.stop(5).await;
    });
}

#[test]
fn a_client_that_says_nothing_or_nonsense_is_reset() {
    namespace::run("a_client_that_says_nothing_or_nonsense_is_reset", async {
        let setup = Setup::allow(&["a.example"]).settings(|all| all.timeouts.head = Duration::from_secs(1));
        let gate = redirected(setup).await;
        let server = Server::echo("93.184.216.34:443").await;
        assert_eq!(listen("93.184.216.34:443").await, RESET);
        let mut stream = connect("93.184.216.34:443").await;
        stream.write_all(BANNER.as_bytes()).await.unwrap();
        assert_eq!(hear(&mut stream).await, RESET);
        let mut stream = connect("93.184.216.34:443").await;
        stream.write_all(b"\x16\x03\x01\x00\x05\x02\0\0\x01\0").await.unwrap();
        assert_eq!(read_to_end(&mut stream).await.as_bytes(), b"\x15\x03\x01\0\x02\x021");
        drop(connect("93.184.216.34:443").await);
        let records = gate.records(4).await;
        let reasons: Vec<&str> = records.iter().map(|record| record["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["head_timeout", "no_rule", "bad_client_hello", "client_reset"]);
        assert_eq!(server.connections(), 0);
        gate.stop(4).await;
    });
}

#[test]
fn ten_thousand_redirected_connections_have_ten_thousand_records() {
    namespace::run("ten_thousand_redirected_connections_have_ten_thousand_records", async {
        const EACH: usize = 100;
        const CLIENTS: usize = 100;
        let gate = redirected(Setup::allow(&["{ cidr: 93.184.216.34/32, ports: [7], protocol: tcp }"])).await;
        let server = Server::echo("93.184.216.34:7").await;
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(async {
                for _ in 0..EACH {
                    let mut stream = connect("93.184.216.34:7").await;
                    stream.write_all(b"12345").await.unwrap();
                    stream.shutdown().await.unwrap();
                    assert_eq!(read_to_end(&mut stream).await, "12345");
                }
            });
        }
        clients.join_all().await;
        assert_eq!(server.connections(), EACH * CLIENTS);
        let records = gate.records(EACH * CLIENTS).await;
        assert!(
            records.iter().all(|record| record["reason"] == "allowed"
                && record["sent"] == 5
                && record["received"] == 5)
        );
        assert_eq!(gate.metric("exeat_records_lost_total").await, Some(0.0));
        gate.stop(EACH * CLIENTS).await;
    });
}
