//! Plain requests to the proxy: what is refused, and what the upstream hears of the rest.

use serde_json::Value;

use crate::support::upstream::Upstream;
use crate::support::{Gate, anonymous, ask};

/// Sends each request with another behind it, and expects one answer alone, which closes.
async fn expect_refusals(cases: &[(String, u16, &str, &str)]) {
    let page = Upstream::page().await;
    let port = page.port().to_string();
    let gate = Gate::allowing(&[&format!("{{ host: a.example, ports: [{port}], private: true }}")]).await;
    for (index, (request, status, reason, why)) in cases.iter().enumerate() {
        let request = request.replace("PORT", &port);
        let behind = format!("GET http://a.example:{port}/behind HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
        let answer = gate.say(request.clone() + &behind).await;
        let line = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&line), "{request:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{request:?}: {answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{request:?}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let record = gate.records(index + 1).await.remove(index);
        assert_eq!(
            (&record["reason"], &record["status"]),
            (&(*reason).into(), &(*status).into()),
            "{request:?}"
        );
        assert_eq!(record["verdict"], "deny", "{request:?}");
        if why.is_empty() {
            assert_eq!(body, "", "{request:?}");
        } else {
            let body: Value = serde_json::from_str(body).unwrap();
            assert!(body["message"].as_str().unwrap().contains(why), "{request:?}: {body}");
        }
    }
    assert_eq!(page.connections(), 0);
    gate.stop().await;
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.example:PORT\r\n\r\n")
}

fn with(headers: &str) -> String {
    format!("POST http://a.example:PORT/ HTTP/1.1\r\nHost: a.example:PORT\r\n{headers}\r\n\r\n")
}

#[tokio::test]
async fn a_target_is_a_whole_http_uri() {
    let bad = "bad_request";
    expect_refusals(&[
        (get("/"), 400, bad, "whole http:// URI"),
        (get("a.example:PORT"), 400, bad, "whole http:// URI"),
        (get("*"), 400, bad, "whole http:// URI"),
        (get("https://a.example:PORT/"), 400, bad, "https:// goes through CONNECT"),
        (get("ftp://a.example:PORT/"), 400, bad, "only http://"),
        (get("ws://a.example:PORT/"), 400, bad, "only http://"),
        (get("http://user:secret@a.example:PORT/"), 400, bad, "user information"),
        (get("http://127.1:PORT/"), 400, bad, "IPv4"),
        (get("http://0x7f000001:PORT/"), 400, bad, "IPv4"),
        (get("http://a..example:PORT/"), 400, bad, "empty label"),
        (get("http://a.example:0/"), 400, bad, "port"),
        (get("http://a.example:/"), 400, bad, "port"),
        (get("http://:PORT/"), 400, bad, "empty"),
        (get("http:///x"), 400, bad, ""),
        (get("http:a.example"), 400, bad, "whole http:// URI"),
        (get("//a.example:PORT/"), 400, bad, "whole http:// URI"),
        (get("http://a.example:PORT/ x"), 400, bad, ""),
        (get("http://a.example:PORT/\u{0}"), 400, bad, ""),
        (get("http://a.example:PORT/\tx"), 400, bad, ""),
        ("OPTIONS * HTTP/1.1\r\nHost: a.example:PORT\r\n\r\n".into(), 400, bad, "whole http:// URI"),
    ])
    .await;
}

#[tokio::test]
async fn a_head_that_can_be_read_in_two_ways_is_refused() {
    let bad = "bad_request";
    let line = |line: &str| format!("{line}\r\nHost: a.example:PORT\r\n\r\n");
    let hostless = |headers: &str| format!("GET http://a.example:PORT/ HTTP/1.1\r\n{headers}\r\n");
    expect_refusals(&[
        (line("get http://a.example:PORT/ HTTP/1.1"), 400, bad, "method"),
        (line("Get http://a.example:PORT/ HTTP/1.1"), 400, bad, "method"),
        (line("GET  http://a.example:PORT/ HTTP/1.1"), 400, bad, ""),
        (line("GET http://a.example:PORT/  HTTP/1.1"), 400, bad, ""),
        (line("GET http://a.example:PORT/"), 400, bad, ""),
        (line("GET http://a.example:PORT/ HTTP/1.2"), 400, bad, ""),
        (line("GET http://a.example:PORT/ HTTP/2.0"), 400, bad, ""),
        (line("GET http://a.example:PORT/ http/1.1"), 400, bad, ""),
        (line("G(T http://a.example:PORT/ HTTP/1.1"), 400, bad, ""),
        (hostless(""), 400, bad, "Host header is missing"),
        (hostless("Host: b.example:PORT\r\n"), 400, "host_mismatch", "differs"),
        (hostless("Host: a.example\r\n"), 400, "host_mismatch", "differs"),
        (hostless("Host: a.example:PORT\r\nHost: b.example\r\n"), 400, "host_mismatch", "doubled"),
        (hostless("Host: a.example:PORT\r\nhost: a.example:PORT\r\n"), 400, "host_mismatch", "doubled"),
        (hostless("Host: a.example:PORT/x\r\n"), 400, bad, "port"),
        (with("X: a\r\n b"), 400, bad, ""),
        (with(" X: a"), 400, bad, ""),
        (with("X : a"), 400, bad, ""),
        (with("X\t: a"), 400, bad, ""),
        (with(": a"), 400, bad, ""),
        (with("X"), 400, bad, ""),
        (with("X\u{0}: a"), 400, bad, ""),
        (with("X: a\u{0}b"), 400, bad, ""),
        (with("X: a\u{1}b"), 400, bad, ""),
        (with("X: a\u{7f}b"), 400, bad, ""),
        (with("X: a\rb"), 400, bad, ""),
        (with("X: a\r"), 400, bad, ""),
        (with("\u{fc}: a"), 400, bad, ""),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 400, bad, ""),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\r\n\r\n".into(), 400, bad, ""),
    ])
    .await;
}

#[tokio::test]
async fn framing_that_can_be_read_in_two_ways_is_refused() {
    let bad = "bad_request";
    let te = |value: &str| with(&format!("Transfer-Encoding:{value}\r\n\r\n0"));
    let cl = |value: &str| with(&format!("Content-Length: {value}"));
    expect_refusals(&[
        (te(" chunked, chunked"), 400, bad, "exactly"),
        (te(" gzip, chunked"), 400, bad, "exactly"),
        (te(" ,chunked"), 400, bad, "exactly"),
        (te(" chunked\r\nTransfer-Encoding: chunked"), 400, bad, "exactly"),
        (te(" gzip\r\nTransfer-Encoding: chunked"), 400, bad, "exactly"),
        (te(" identity\r\nTransfer-Encoding: chunked"), 400, bad, "exactly"),
        (te(" xchunked"), 400, bad, ""),
        (te(" chunked;q=1"), 400, bad, ""),
        (te(" chunked,"), 400, bad, ""),
        (te(" \"chunked\""), 400, bad, ""),
        (te(" \u{b}chunked"), 400, bad, ""),
        (te(" chunked\u{a0}"), 400, bad, ""),
        (te(" gzip"), 400, bad, ""),
        (te(" identity"), 400, bad, ""),
        (te(""), 400, bad, ""),
        (te(" chunked\r\nTransfer-Encoding: gzip"), 400, bad, ""),
        (cl("3\r\nContent-Length: 4"), 400, bad, ""),
        (cl("3, 4"), 400, bad, ""),
        (cl("3, 3"), 400, bad, ""),
        (cl("+3"), 400, bad, ""),
        (cl("-3"), 400, bad, ""),
        (cl("0x3"), 400, bad, ""),
        (cl("3 3"), 400, bad, ""),
        (cl("3;"), 400, bad, ""),
        (cl(""), 400, bad, ""),
        (cl("18446744073709551616"), 400, bad, ""),
        (
            "POST http://a.example:PORT/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
            bad,
            "",
        ),
        (
            "TRACE http://a.example:PORT/ HTTP/1.1\r\nHost: a.example:PORT\r\nMax-Forwards: 0\r\n\r\n".into(),
            400,
            bad,
            "no further",
        ),
        (
            "OPTIONS http://a.example:PORT/ HTTP/1.1\r\nHost: a.example:PORT\r\nMax-Forwards: 0\r\n\r\n"
                .into(),
            400,
            bad,
            "no further",
        ),
        (
            "OPTIONS http://a.example:PORT/ HTTP/1.1\r\nHost: a.example:PORT\r\nMax-Forwards: +1\r\n\r\n"
                .into(),
            400,
            bad,
            "one number",
        ),
        (
            "TRACE http://a.example:PORT/ HTTP/1.1\r\nHost: a.example:PORT\r\nContent-Length: 1\r\n\r\nx"
                .into(),
            400,
            bad,
            "TRACE",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_head_is_bounded() {
    let (line, long) = ("X: y\r\n".repeat(101), "a".repeat(40_000));
    expect_refusals(&[
        (with(&format!("X: {long}")), 431, "bad_request", ""),
        (with(line.trim_end()), 431, "bad_request", ""),
        (get(&format!("http://a.example:PORT/{long}")), 431, "bad_request", ""),
        (get(&format!("http://{}:PORT/", &long[..20_000])), 400, "bad_request", "longer than 253"),
    ])
    .await;
}

#[tokio::test]
async fn a_head_may_have_a_hundred_fields() {
    let gate = Gate::allowing(&["a.example"]).await;
    for (fields, status) in [(100, 403), (101, 431)] {
        let beside_host = "X: y\r\n".repeat(fields - 1);
        let request = format!("GET http://b.example/ HTTP/1.1\r\nHost: b.example\r\n{beside_host}\r\n");
        let answer = ask(&mut gate.connect().await, request).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    gate.stop().await;
}

/// What hyper itself finds wrong it answers with a status alone.
#[tokio::test]
async fn a_head_that_exeat_finds_wrong_is_answered_with_the_reason() {
    let gate = Gate::allowing(&["a.example"]).await;
    let why = "proxy-status: exeat; error=http_request_error; details=\"bad_request\"\r\n";
    for (request, is_told) in
        [("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true), ("GET / HTTP/1.1\r\nX\r\n\r\n", false)]
    {
        let answer = gate.say(request).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert_eq!(answer.contains(why), is_told, "{answer}");
    }
    let records = gate.records(2).await;
    assert!(records.iter().all(|record| record["reason"] == "bad_request"), "{records:?}");
    gate.stop().await;
}

#[tokio::test]
async fn the_upstream_hears_one_reading() {
    let page = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let port = page.port();
    let gate = Gate::allowing(&[&format!("{{ host: a.example, ports: [{port}], private: true }}")]).await;
    let base = format!("http://a.example:{port}");
    let host = format!("Host: a.example:{port}\r\n");
    let via = "via: 1.1 exeat\r\n";
    let own = format!("host: a.example:{port}\r\n");
    let cases = [
        // Lines that end in LF alone are written anew.
        (
            format!("GET {base}/ HTTP/1.1\n{host}X: 1\n\n"),
            format!("GET / HTTP/1.1\r\n{own}x: 1\r\n{via}\r\n"),
        ),
        (format!("\r\n\r\nGET {base}/ HTTP/1.1\r\n{host}\r\n"), format!("GET / HTTP/1.1\r\n{own}{via}\r\n")),
        // The name that was judged is the name that is sent.
        (
            format!("GET http://A.EXAMPLE.:{port}/a?b=c#d HTTP/1.1\r\nHost: a.Example:{port}\r\n\r\n"),
            format!("GET /a?b=c HTTP/1.1\r\n{own}{via}\r\n"),
        ),
        (format!("GET {base} HTTP/1.1\r\n{host}\r\n"), format!("GET / HTTP/1.1\r\n{own}{via}\r\n")),
        (format!("GET {base}?x HTTP/1.1\r\n{host}\r\n"), format!("GET /?x HTTP/1.1\r\n{own}{via}\r\n")),
        // hyper reads `http://a` and `http://a/` as one, so that no `*` can be made of the former (RFC 9112 §3.2.4).
        (format!("OPTIONS {base} HTTP/1.1\r\n{host}\r\n"), format!("OPTIONS / HTTP/1.1\r\n{own}{via}\r\n")),
        // One framing: the chunks, written anew, without what stood beside them.
        (
            format!(
                "POST {base}/ HTTP/1.1\r\n{host}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n"
            ),
            format!("POST / HTTP/1.1\r\n{own}{via}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            format!(
                "POST {base}/ HTTP/1.1\r\n{host}Transfer-Encoding: \tChunked \r\nContent-Length: 3\r\n\r\n0005  \r\nhello\r\n0\r\n\r\n"
            ),
            format!("POST / HTTP/1.1\r\n{own}{via}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ),
        // The body of a GET is not dropped.
        (
            format!("GET {base}/ HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
            format!("GET / HTTP/1.1\r\n{own}{via}transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
        ),
        (
            format!("POST {base}/ HTTP/1.1\r\n{host}Content-Length: 003\r\nContent-Length: 3\r\n\r\nabc"),
            format!("POST / HTTP/1.1\r\n{own}content-length: 3\r\n{via}\r\nabc"),
        ),
        // What belongs to one connection stays on it, and what is for the proxy with the proxy.
        (
            format!(
                "GET {base}/ HTTP/1.1\r\n{host}Connection: close, X-Hop, Host, Via\r\nConnection: x-other\r\nX-Hop: 1\r\nX-Other: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic c2VjcmV0\r\nProxy-X: 1\r\nCookie: a\r\nAuthorization: Bearer b\r\n\r\n"
            ),
            format!("GET / HTTP/1.1\r\n{own}cookie: a\r\nauthorization: Bearer b\r\n{via}\r\n"),
        ),
        (
            format!(
                "GET {base}/ HTTP/1.1\r\n{host}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
            ),
            format!("GET / HTTP/1.1\r\n{own}{via}\r\n"),
        ),
        (
            format!("GET {base}/ HTTP/1.0\r\nVia: 1.0 other\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nvia: 1.0 other\r\nvia: 1.0 exeat\r\n{own}\r\n"),
        ),
        // Neither HTTP/1.0 nor a request with a body can switch protocols.
        (
            format!("GET {base}/ HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
            format!("GET / HTTP/1.1\r\n{own}via: 1.0 exeat\r\n\r\n"),
        ),
        (
            format!(
                "POST {base}/ HTTP/1.1\r\n{host}Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx"
            ),
            format!("POST / HTTP/1.1\r\n{own}content-length: 1\r\n{via}\r\nx"),
        ),
        // Nor does HTTP/1.0 know of expectations.
        (
            format!("POST {base}/ HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"),
            format!("POST / HTTP/1.1\r\n{own}content-length: 1\r\nvia: 1.0 exeat\r\n\r\nx"),
        ),
        (
            format!("TRACE {base}/ HTTP/1.1\r\n{host}Max-Forwards: 10\r\n\r\n"),
            format!("TRACE / HTTP/1.1\r\n{own}max-forwards: 9\r\n{via}\r\n"),
        ),
        (
            format!("GET {base}/ HTTP/1.1\r\n{host}Max-Forwards: 0\r\nTE: trailers\r\n\r\n"),
            format!("GET / HTTP/1.1\r\n{own}max-forwards: 0\r\nte: trailers\r\nconnection: te\r\n{via}\r\n"),
        ),
    ];
    for (index, (request, expected)) in cases.iter().enumerate() {
        let before = page.heard_text().len();
        let mut stream = gate.connect().await;
        let reply = ask(&mut stream, request).await;
        assert_eq!(reply.status, 200, "{request:?}: {reply:?}");
        let heard = anonymous(&page.heard_text()[before..]);
        assert_eq!(sorted(&heard), sorted(expected), "{request:?}: {heard:?}");
        let record = gate.records(index + 1).await.remove(index);
        assert_eq!(
            (&record["reason"], &record["host"]),
            (&"allowed".into(), &"a.example".into()),
            "{request:?}"
        );
    }
    let text = std::fs::read_to_string(gate.path("records.jsonl")).unwrap();
    assert!(!text.contains("c2VjcmV0") && !text.contains("Bearer") && !text.contains("b=c"), "{text}");
    gate.stop().await;
}

/// The request line, the header lines in alphabetical order, the body.
fn sorted(message: &str) -> Vec<&str> {
    let (head, body) = message.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{message:?}"));
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    lines[1..].sort_unstable();
    lines.push(body);
    lines
}

#[tokio::test]
async fn each_request_of_a_connection_has_its_own_verdict() {
    let page = Upstream::page().await;
    let port = page.port();
    let gate = Gate::allowing(&[&format!(
        "{{ host: a.example, ports: [{port}], protocol: http, methods: [GET, HEAD], paths: [\"/pub/**\"], private: true }}"
    )])
    .await;
    let mut stream = gate.connect().await;
    let cases = [
        ("GET", "a.example", "/pub/x?secret=/../", 200, "allowed"),
        ("GET", "denied.example", "/pub/x", 403, "no_rule"),
        ("HEAD", "b.example", "/pub/x", 403, "no_rule"),
        ("DELETE", "a.example", "/pub/x", 403, "no_rule"),
        ("GET", "a.example", "/private", 403, "no_rule"),
        ("GET", "a.example", "/private?/pub/x", 403, "no_rule"),
        ("GET", "a.example", "/%70ub/x", 200, "allowed"),
        ("GET", "a.example", "/pub/y", 200, "allowed"),
    ];
    for (index, (method, host, path, status, reason)) in cases.into_iter().enumerate() {
        let request = format!("{method} http://{host}:{port}{path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        let reply = if method == "HEAD" {
            tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
            let head = crate::support::read_head(&mut stream).await;
            assert!(head.contains("\r\ncontent-length: "), "{head}");
            crate::support::Reply { status: head[9..12].parse().unwrap(), head, body: String::new() }
        } else {
            ask(&mut stream, request).await
        };
        assert_eq!(reply.status, status, "{method} {host}{path}: {reply:?}");
        assert!(!reply.closes(), "{reply:?}");
        let record = gate.records(index + 1).await.remove(index);
        assert_eq!(record["reason"], reason, "{method} {host}{path}");
        assert_eq!(record["ingress"], "forward");
        assert_eq!(record["path"], path.split('?').next().unwrap());
    }
    assert_eq!(page.heard_text().matches(" HTTP/1.1\r\n").count(), 3, "{}", page.heard_text());
    drop(stream);
    gate.stop().await;
}

#[tokio::test]
async fn a_path_with_two_readings_meets_no_paths_rule() {
    let page = Upstream::page().await;
    let port = page.port();
    let policy = format!(
        "version: 1
profiles:
  - name: everyone
    allow:
      - {{ host: a.example, ports: [{port}], protocol: http, paths: [\"/pub/**\"], private: true }}
      - {{ host: b.example, ports: [{port}], protocol: http, private: true }}
      - {{ host: c.example, ports: [{port}], protocol: http, private: true }}
    deny:
      - {{ host: c.example, ports: [{port}], protocol: http, paths: [\"/admin/**\"] }}
"
    );
    let gate = crate::support::Setup::new(&policy).start().await;
    let paths = [
        "/pub/../private",
        "/pub/./x",
        "/pub/%2e%2e/private",
        "/pub/.%2E/private",
        "/pub/..%2fprivate",
        "/pub%2f..%2fprivate",
        "/pub/\\..\\private",
        "/pub/%5c..%5cprivate",
        "/pub//private",
        "//pub/x",
        "/pub/;/x",
        "/pub/..;/private",
        "/pub/%3b/x",
        "/pub/%252e%252e/x",
        "/pub/%00",
        "/pub/%zz",
    ];
    let mut count = 0;
    for path in paths {
        for (host, status, reason) in [
            ("a.example", 400, "bad_request"),
            ("b.example", 200, "allowed"),
            ("c.example", 403, "denied_by_rule"),
        ] {
            let mut stream = gate.connect().await;
            let request = format!("GET http://{host}:{port}{path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
            let reply = ask(&mut stream, request).await;
            assert_eq!(reply.status, status, "{host}{path}: {reply:?}");
            count += 1;
            assert_eq!(gate.records(count).await[count - 1]["reason"], reason, "{host}{path}");
        }
    }
    let heard = page.heard_text();
    assert!(!heard.contains("host: a.example") && !heard.contains("host: c.example"), "{heard}");
    gate.stop().await;
}

#[tokio::test]
async fn a_path_pattern_and_a_path_are_read_alike() {
    let page = Upstream::page().await;
    let port = page.port();
    let policy = format!(
        "version: 1
profiles:
  - name: everyone
    allow:
      - {{ host: a.example, ports: [{port}], protocol: http, private: true, paths: [\"/my%20files/*\", \"/caf%C3%A9\", \"/5%25*\", \"/%2A%5Bx%5D%3F\"] }}
      - {{ host: b.example, ports: [{port}], protocol: http, private: true }}
    deny:
      - {{ host: b.example, ports: [{port}], protocol: http, paths: [\"/my%20files/**\"] }}
"
    );
    let gate = crate::support::Setup::new(&policy).start().await;
    let cases = [
        ("a.example", "/my%20files/x", "allowed"),
        ("a.example", "/my%20files/%78?q", "allowed"),
        ("a.example", "/caf%c3%a9", "allowed"),
        ("a.example", "/5%25", "allowed"),
        ("a.example", "/5%25off", "allowed"),
        ("a.example", "/*%5bx]%3F", "allowed"),
        ("a.example", "/ax%3F", "no_rule"),
        ("a.example", "/my%2520files/x", "bad_request"),
        ("a.example", "/my+files/x", "no_rule"),
        ("b.example", "/my%20files/x", "denied_by_rule"),
        ("b.example", "/my%20files/%C3%A9", "denied_by_rule"),
        ("b.example", "/myfiles/x", "allowed"),
    ];
    for (index, (host, path, reason)) in cases.into_iter().enumerate() {
        let mut stream = gate.connect().await;
        ask(&mut stream, format!("GET http://{host}:{port}{path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"))
            .await;
        assert_eq!(gate.records(index + 1).await[index]["reason"], reason, "{host}{path}");
    }
    gate.stop().await;
}

#[tokio::test]
async fn a_request_that_comes_back_is_refused() {
    let page = Upstream::page().await;
    let port = page.port();
    let gate = Gate::allowing(&[&format!("{{ host: a.example, ports: [{port}], private: true }}")]).await;
    let mut stream = gate.connect().await;
    let request =
        |via: &str| format!("GET http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\n{via}\r\n");
    let reply = ask(&mut stream, request("")).await;
    let (_, own) = reply.head.split_once("\r\nvia: 1.1 ").unwrap();
    let own = own.split("\r\n").next().unwrap().to_owned();
    for via in [format!("Via: 1.1 {own}\r\n"), format!("Via: 1.0 other, 1.1 {own} (it)\r\nVia: 1.1 x\r\n")] {
        let reply = ask(&mut stream, request(&via)).await;
        assert_eq!(reply.status, 403, "{reply:?}");
        assert!(reply.head.contains("error=proxy_loop_detected; details=\"self_connect\""), "{reply:?}");
    }
    assert_eq!(ask(&mut stream, request("Via: 1.1 exeat-other\r\n")).await.status, 200);
    let reasons: Vec<Value> =
        gate.records(4).await.into_iter().map(|record| record["reason"].clone()).collect();
    assert_eq!(reasons, ["allowed", "self_connect", "self_connect", "allowed"]);
    drop(stream);
    gate.stop().await;
}

#[tokio::test]
async fn a_refused_upload_is_answered_before_the_connection_ends() {
    let gate = Gate::allowing(&["a.example"]).await;
    let body = "x".repeat(200_000);
    let answer = gate
        .say(format!(
            "POST http://denied.example/ HTTP/1.1\r\nHost: denied.example\r\nContent-Length: 200000\r\n\r\n{body}"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("}\n"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(gate.record().await["reason"], "no_rule");
    gate.stop().await;
}
