//! CONNECT: which targets can be read with certainty, and what a client hears of the others.

use tokio::io::AsyncWriteExt;

use crate::support::dns::Dns;
use crate::support::upstream::Upstream;
use crate::support::{Gate, Reply, Setup, ask, read_reply, read_to_end};

/// A gate that would let everything pass, and an upstream that must hear nothing.
async fn open_gate() -> (Gate, Upstream) {
    let page = Upstream::page().await;
    let any = "{ host: \"*\", ports: [1-65535], protocol: tcp, private: true, public_suffix: true }";
    let own = format!("{{ cidr: 127.0.0.0/8, ports: [{}], protocol: tcp }}", page.port());
    (Gate::allowing(&[any, &own]).await, page)
}

/// Sends each head with a request right behind it, and expects one answer alone: a 400 that closes.
async fn expect_refusals(cases: &[(&str, &str, &str)]) {
    let (gate, page) = open_gate().await;
    let port = page.port().to_string();
    for (index, (head, reason, why)) in cases.iter().enumerate() {
        let head = head.replace("PORT", &port);
        let behind = format!("GET http://a.example:{port}/behind HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
        let answer = gate.say(head.clone() + &behind).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{head:?}: {answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{head:?}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let record = gate.records(index + 1).await.remove(index);
        let told = (&record["reason"], &record["verdict"], &record["status"]);
        assert_eq!(told, (&(*reason).into(), &"deny".into(), &400.into()), "{head:?}");
        if why.is_empty() {
            assert_eq!(body, "", "{head:?}: hyper answers what it can't read without a body");
        } else {
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["reason"], *reason, "{head:?}");
            assert!(body["message"].as_str().unwrap().contains(why), "{head:?}: {body}");
            assert_eq!(body["flow"], record["flow"], "{head:?}");
        }
    }
    assert_eq!(page.connections(), 0);
    gate.stop().await;
}

#[tokio::test]
async fn a_target_without_one_certain_reading_is_refused() {
    let long_label = format!("CONNECT {}.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(64));
    let long_name = format!("CONNECT {}com:443 HTTP/1.1\r\nHost: x\r\n\r\n", "abcdefg.".repeat(32));
    let mut cases = vec![
        (long_label.as_str(), "bad_request", "longer than 63"),
        (long_name.as_str(), "bad_request", "longer than 253"),
    ];
    let targets = [
        ("user:secret@a.example:PORT", "user information"),
        ("@a.example:PORT", "user information"),
        ("a.example", "port is missing"),
        ("[::1]", "port is missing"),
        ("a.example:", "the port must be"),
        ("a.example:0", "the port must be"),
        ("a.example:65536", "the port must be"),
        ("a.example:+443", "the port must be"),
        ("a.example:0443", "the port must be"),
        ("a.example:99999999999999999999", "the port must be"),
        ("a.example:https", "the port must be"),
        (":443", "empty"),
        ("a..example:443", "empty label"),
        (".a.example:443", "empty label"),
        ("a.example..:443", "empty label"),
        ("-a.example:443", "'-'"),
        ("*.example:443", "a character other than"),
        ("a,b.example:443", "a character other than"),
        ("0x7f.1:PORT", "IPv4"),
        ("127.1:PORT", "IPv4"),
        ("0177.0.0.1:PORT", "IPv4"),
        ("2130706433:PORT", "IPv4"),
        ("127.0.0.1.:PORT", "IPv4"),
        ("0x7f000001:PORT", "IPv4"),
        ("[127.0.0.1]:PORT", "IPv6"),
        ("[a.example]:443", "IPv6"),
        ("/", "CONNECT needs host:port"),
        ("http://a.example:PORT/", "CONNECT needs host:port"),
        ("http://a.example:PORT", "CONNECT needs host:port"),
        ("*", "CONNECT needs host:port"),
        // What http's own parser refuses gets hyper's bodiless answer.
        ("[fe80::1%25lo]:443", "zone id"),
        ("a.example%2e:443", ""),
        ("a.example:443/x", ""),
        ("a.example:443:443", ""),
        ("[[::1]]:443", ""),
        ("[::1:443", ""),
        ("::1:443", ""),
        ("b\u{fc}cher.example:443", ""),
        ("a.example:443 x", ""),
        ("a.ex\\ample:443", ""),
    ];
    let heads: Vec<String> =
        targets.iter().map(|(to, _)| format!("CONNECT {to} HTTP/1.1\r\nHost: a.example\r\n\r\n")).collect();
    cases.extend(heads.iter().zip(&targets).map(|(head, (_, why))| (head.as_str(), "bad_request", *why)));
    expect_refusals(&cases).await;
}

#[tokio::test]
async fn host_is_the_target_and_there_is_no_body() {
    expect_refusals(&[
        ("CONNECT a.example:PORT HTTP/1.1\r\n\r\n", "bad_request", "Host header is missing"),
        ("CONNECT a.example:PORT HTTP/1.1\r\nHost: b.example:PORT\r\n\r\n", "host_mismatch", "differs"),
        ("CONNECT a.example:PORT HTTP/1.1\r\nHost: a.example:1\r\n\r\n", "host_mismatch", "differs"),
        (
            "CONNECT a.example:PORT HTTP/1.1\r\nHost: a.example:PORT\r\nHost: a.example:PORT\r\n\r\n",
            "host_mismatch",
            "doubled",
        ),
        ("CONNECT a.example:PORT HTTP/1.1\r\nHost: \r\n\r\n", "bad_request", "empty"),
        ("CONNECT a.example:PORT HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n", "bad_request", "character"),
        ("CONNECT a.example:PORT HTTP/1.1\r\nHost: b\u{fc}cher.example\r\n\r\n", "bad_request", "ASCII"),
        (
            "CONNECT a.example:PORT HTTP/1.1\r\nHost: a.example:PORT\r\nContent-Length: 3\r\n\r\nabc",
            "bad_request",
            "body",
        ),
        (
            "CONNECT a.example:PORT HTTP/1.1\r\nHost: a.example:PORT\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "bad_request",
            "body",
        ),
        ("CONNECT a.example:PORT HTTP/1.1\r\nHost : a.example:PORT\r\n\r\n", "bad_request", ""),
        ("CONNECT a.example:PORT HTTP/1.1\r\nHost: a.example:PORT\r\n folded\r\n\r\n", "bad_request", ""),
        ("connect a.example:PORT HTTP/1.1\r\nHost: a.example:PORT\r\n\r\n", "bad_request", "method"),
    ])
    .await;
}

#[tokio::test]
async fn forms_of_one_name_are_one_name() {
    let (gate, page) = open_gate().await;
    let port = page.port();
    let heads = [
        format!("CONNECT A.Example.:{port} HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        format!("CONNECT a.example:{port} HTTP/1.1\r\nHost: A.EXAMPLE.:{port}\r\nContent-Length: 0\r\n\r\n"),
        format!("CONNECT a.example:{port} HTTP/1.0\r\n\r\n"),
        format!("CONNECT a.example:{port} HTTP/1.1\nHost: a.example:{port}\n\n"),
    ];
    for (index, head) in heads.iter().enumerate() {
        let mut stream = gate.connect().await;
        let reply = ask(&mut stream, head).await;
        assert_eq!(reply.status, 200, "{head:?}: {reply:?}");
        // What came ahead of the tunnel's end is not lost.
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(read_reply(&mut stream).await.body.contains("hello"));
        drop(stream);
        let record = gate.records(index + 1).await.remove(index);
        assert_eq!((&record["host"], &record["port"]), (&"a.example".into(), &port.into()), "{head:?}");
    }
    gate.stop().await;
}

#[tokio::test]
async fn a_refused_connect_says_why_in_the_form_that_is_asked_for() {
    let gate = Gate::allowing(&["a.example", "{ host: b.example, ports: [443], private: true }"]).await;
    let refusal = async |to: &str, accept: &str| -> Reply {
        let mut stream = gate.connect().await;
        let reply = ask(&mut stream, format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{accept}\r\n")).await;
        assert!(reply.closes(), "{reply:?}");
        assert_eq!(read_to_end(&mut stream).await, "");
        reply
    };
    let reply = refusal("denied.example:443", "Accept: */*\r\n").await;
    assert_eq!(reply.status, 403);
    assert!(reply.head.contains("\r\ncontent-type: application/json\r\n"), "{reply:?}");
    assert!(reply.head.contains("\r\nx-proxy-error: blocked-by-allowlist\r\n"), "{reply:?}");
    let body = reply.json();
    assert_eq!(body["error"], "policy_denied");
    assert_eq!(body["destination"], "denied.example:443");
    assert_eq!(body["rule"], serde_json::Value::Null);
    assert!(body["hint"].as_str().unwrap().contains("denied.example"), "{body}");

    let reply = refusal("denied.example:443", "Accept: text/plain\r\n").await;
    assert!(reply.head.contains("\r\ncontent-type: text/plain; charset=utf-8\r\n"), "{reply:?}");
    assert!(reply.body.starts_with("exeat: no_rule: "), "{reply:?}");
    let reply = refusal("a.example", "Accept: text/html\r\n").await;
    assert_eq!((reply.status, reply.body.starts_with("exeat: bad_request: ")), (400, true), "{reply:?}");

    // The name is allowed, and leads where nobody may go.
    let reply = refusal("a.example:443", "").await;
    assert_eq!(reply.status, 403);
    assert!(
        reply.head.contains("error=destination_ip_prohibited; details=\"address_prohibited\""),
        "{reply:?}"
    );
    let records = gate.records(4).await;
    assert_eq!(records[3]["reason"], "address_prohibited");
    assert_eq!(records[3]["rule"].as_str().map(|rule| rule.ends_with("\"a.example\"")), Some(true));
    gate.stop().await;
}

#[tokio::test]
async fn what_follows_a_refused_connect_is_swallowed_and_the_answer_arrives() {
    let page = Upstream::page().await;
    let port = page.port();
    let gate = Gate::allowing(&[&format!("{{ host: a.example, ports: [{port}], private: true }}")]).await;
    let behind =
        format!("GET http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n").repeat(3000);
    let answer = gate
        .say(format!("CONNECT denied.example:443 HTTP/1.1\r\nHost: denied.example:443\r\n\r\n{behind}"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.").count(), 1, "{answer}");
    assert_eq!(gate.record().await["reason"], "no_rule");
    assert_eq!(page.connections(), 0);
    gate.stop().await;
}

#[tokio::test]
async fn a_denied_name_is_never_looked_up() {
    let dns = Dns::start().await;
    let mut setup = Setup::new(
        "version: 1
profiles:
  - name: everyone
    allow: [.allowed.test, { host: b.test, ports: [80], protocol: http, methods: [GET] }]
    deny: [secret.allowed.test]
",
    );
    setup.settings.dns.servers = vec![dns.address().into()];
    let gate = setup.start().await;
    for (head, reason) in [
        ("CONNECT stolen-words.evil.test:443", "no_rule"),
        ("CONNECT secret.allowed.test:443", "denied_by_rule"),
        ("CONNECT a.allowed.test:444", "no_rule"),
        ("GET http://stolen-words.evil.test/", "no_rule"),
        ("GET http://secret.allowed.test/", "denied_by_rule"),
        ("GET http://a.allowed.test:81/", "no_rule"),
        // Here the name is allowed, and the request is not.
        ("POST http://b.test/", "no_rule"),
    ] {
        let to = head.split_once(' ').unwrap().1.trim_start_matches("http://").trim_end_matches('/');
        let answer = gate.say(format!("{head} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains(reason), "{head}: {answer}");
    }
    assert_eq!(dns.asked(), Vec::<String>::new());
    let answer = gate.say("CONNECT a.allowed.test:443 HTTP/1.1\r\nHost: a.allowed.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(dns.asked(), ["a.allowed.test A", "a.allowed.test AAAA"]);
    gate.stop_and_count(8).await;
}

#[tokio::test]
async fn exeat_is_no_destination_of_its_own() {
    let gate = Gate::allowing(&[
        "{ host: a.example, ports: [1-65535], protocol: tcp, private: true }",
        "{ cidr: 127.0.0.0/8, ports: [1-65535], protocol: tcp }",
    ])
    .await;
    for (index, to) in [
        format!("a.example:{}", gate.address.port()),
        format!("127.0.0.1:{}", gate.admin.port()),
        format!("127.9.9.9:{}", gate.address.port()),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = gate.say(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{to}: {answer}");
        assert!(answer.contains("error=proxy_loop_detected; details=\"self_connect\""), "{to}: {answer}");
        assert_eq!(gate.records(index + 1).await[index]["reason"], "self_connect", "{to}");
    }
    gate.stop().await;
}

#[tokio::test]
async fn an_upstream_that_refuses_is_a_bad_gateway() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let gate = Gate::allowing(&[&format!(
        "{{ host: \"*.example\", ports: [{port}], protocol: tcp, private: true }}"
    )])
    .await;
    for (index, (name, error, reason)) in
        [("a.example", "connection_refused", "dial_refused"), ("nowhere.example", "dns_error", "dns_failed")]
            .into_iter()
            .enumerate()
    {
        let answer = gate.say(format!("CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
        assert!(answer.contains(&format!("error={error}; details=\"{reason}\"")), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        let record = gate.records(index + 1).await.remove(index);
        assert_eq!((&record["reason"], &record["verdict"]), (&reason.into(), &"allow".into()));
    }
    gate.stop().await;
}
