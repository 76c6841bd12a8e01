//! What an upstream may answer, and what the client gets of it.

use jiff::fmt::rfc2822;
use jiff::{Timestamp, ToSpan};
use tokio::io::AsyncWriteExt;

use crate::support::upstream::{Upstream, read_request};
use crate::support::{Gate, Setup, anonymous, ask, read_to_end};

fn rule(page: &Upstream) -> String {
    format!("{{ host: a.example, ports: [{}], private: true }}", page.port())
}

fn request(page: &Upstream, method: &str, version: &str) -> String {
    let port = page.port();
    format!("{method} http://a.example:{port}/ HTTP/{version}\r\nHost: a.example:{port}\r\n\r\n")
}

#[tokio::test]
async fn each_framing_of_an_answer_arrives_whole() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let via = "via: 1.1 exeat\r\n";
    let length = format!("{ok}content-length: 5\r\n{via}\r\nhello");
    let chunks = format!("{ok}{via}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let old = format!("HTTP/1.0 200 OK\r\n{via}\r\nhello");
    // The request's method and version, what the upstream says before it closes, and what the client gets.
    let cases = [
        ("GET", "1.1", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", length.clone()),
        (
            "GET",
            "1.1",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            length.clone(),
        ),
        ("GET", "1.1", "HTTP/1.1 200 OK\r\nContent-Length: 5, 005\r\n\r\nhello", length.clone()),
        (
            "GET",
            "1.1",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close, X-Hop, content-length\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nProxy-Status: exeat; error=x\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\r\nhello",
            length.clone(),
        ),
        ("GET", "1.1", "HTTP/1.1 200 OK\r\n\r\nhello", chunks.clone()),
        (
            "GET",
            "1.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n",
            chunks.clone(),
        ),
        (
            "GET",
            "1.1",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            chunks.clone(),
        ),
        (
            "GET",
            "1.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 99\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            chunks.clone(),
        ),
        ("GET", "1.1", "HTTP/1.0 200 OK\r\n\r\nhello", chunks.replace("1.1 exeat", "1.0 exeat")),
        (
            "GET",
            "1.1",
            "HTTP/1.0 200 Fine\r\nContent-Length: 5\r\n\r\nhello",
            length.replace("200 OK", "200 Fine").replace("1.1 exeat", "1.0 exeat"),
        ),
        (
            "GET",
            "1.1",
            "HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            length.clone(),
        ),
        ("GET", "1.1", "HTTP/1.1 204 No Content\r\n\r\n", format!("HTTP/1.1 204 No Content\r\n{via}\r\n")),
        (
            "GET",
            "1.1",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
            format!("HTTP/1.1 204 No Content\r\n{via}\r\n"),
        ),
        (
            "GET",
            "1.1",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
            format!("HTTP/1.1 304 Not Modified\r\netag: x\r\n{via}\r\n"),
        ),
        (
            "HEAD",
            "1.1",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            format!("{ok}content-length: 5\r\n{via}\r\n"),
        ),
        (
            "HEAD",
            "1.1",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            format!("{ok}{via}\r\n"),
        ),
        ("HEAD", "1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", format!("{ok}{via}\r\n")),
        ("GET", "1.0", "HTTP/1.1 200 OK\r\n\r\nhello", old.clone()),
        (
            "GET",
            "1.0",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            old.clone(),
        ),
        (
            "GET",
            "1.0",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            format!("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n{via}\r\nhello"),
        ),
        // Surplus bytes never reach the client.
        (
            "GET",
            "1.1",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            length.clone(),
        ),
        (
            "HEAD",
            "1.1",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            format!("{ok}content-length: 5\r\n{via}\r\n"),
        ),
    ];
    for (method, version, said, expected) in cases {
        let page = Upstream::closing(said).await;
        let gate = Gate::allowing(&[&rule(&page)]).await;
        let mut stream = gate.connect().await;
        stream.write_all(request(&page, method, version).as_bytes()).await.unwrap();
        // Half-closed by the client, and answered all the same.
        stream.shutdown().await.unwrap();
        let answer = anonymous(&read_to_end(&mut stream).await);
        let (answer, expected) = (sorted(&answer), sorted(&expected));
        assert_eq!(answer, expected, "{method} {version} {said:?}");
        let record = gate.record().await;
        assert_eq!(record["reason"], "allowed", "{said:?}: {record}");
        gate.stop().await;
    }
}

/// RFC 9110 §6.6.1.
#[tokio::test]
async fn an_answer_without_a_date_gets_that_of_its_coming() {
    let ancient = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (said, kept) in [(format!("Date: {ancient}\r\n"), true), (String::new(), false)] {
        let page =
            Upstream::closing(format!("HTTP/1.1 200 OK\r\n{said}Content-Length: 5\r\n\r\nhello")).await;
        let gate = Gate::allowing(&[&rule(&page)]).await;
        let mut stream = gate.connect().await;
        let before = Timestamp::now() - 2.seconds(); // the time of day is kept for a second
        let reply = ask(&mut stream, &request(&page, "GET", "1.1")).await;
        let dates: Vec<&str> = reply.head.lines().filter_map(|line| line.strip_prefix("date: ")).collect();
        let [date] = dates[..] else { panic!("{reply:?}") };
        if kept {
            assert_eq!(date, ancient);
        } else {
            let date = rfc2822::DateTimeParser::new().parse_timestamp(date).unwrap();
            assert!(before <= date && date <= Timestamp::now(), "{reply:?}");
        }
        drop(stream);
        gate.stop().await;
    }
}

fn sorted(message: &str) -> Vec<&str> {
    let (head, body) = message.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{message:?}"));
    // Of what exeat adds, the end of the connection and the date are of other tests.
    let is_own = |line: &&str| *line == "connection: close" || line.starts_with("date: ");
    let mut lines: Vec<&str> = head.split("\r\n").filter(|line| !is_own(line)).collect();
    lines[1..].sort_unstable();
    lines.push(body);
    lines
}

#[tokio::test]
async fn what_can_not_be_passed_on_is_a_bad_gateway() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(40_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X: y\r\n".repeat(101));
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly";
    for said in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "garbage\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n folded\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        switch,
        &long,
        &many,
    ] {
        let page = Upstream::closing(said).await;
        let gate = Gate::allowing(&[&rule(&page)]).await;
        let mut stream = gate.connect().await;
        let reply = ask(&mut stream, request(&page, "POST", "1.1")).await;
        assert_eq!(reply.status, 502, "{said:?}: {reply:?}");
        assert!(
            reply.head.contains("error=connection_terminated; details=\"upstream_reset\""),
            "{said:?}: {reply:?}"
        );
        assert_eq!(reply.json()["reason"], "upstream_reset");
        let record = gate.record().await;
        assert_eq!(
            (&record["reason"], &record["verdict"]),
            (&"upstream_reset".into(), &"allow".into()),
            "{said:?}"
        );
        assert_eq!(record["status"], 502);
        page.ended(1).await;
        // The client's connection is as good as before.
        assert_eq!(ask(&mut stream, request(&page, "POST", "1.1")).await.status, 502);
        assert_eq!(page.connections(), 2, "{said:?}");
        drop(stream);
        gate.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_looks_whole() {
    for (version, said) in [
        ("1.1", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
        ("1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        ("1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"),
        ("1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
        ("1.0", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
        // The end of the connection would be the end of the answer here.
        ("1.0", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    ] {
        let page = Upstream::closing(said).await;
        let gate = Gate::allowing(&[&rule(&page)]).await;
        let mut stream = gate.connect().await;
        stream.write_all(request(&page, "GET", version).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let end = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await;
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "{version} {said:?}");
        assert!(!answer.ends_with(b"0\r\n\r\n"), "{answer:?}");
        assert_eq!(gate.record().await["reason"], "upstream_reset", "{version} {said:?}");
        gate.stop().await;
    }
}

#[tokio::test]
async fn surplus_bytes_close_the_upstream_and_answer_nobody() {
    let page = Upstream::start(|mut stream, heard| async move {
        while read_request(&mut stream, &heard).await.is_some() {
            let said = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
            if stream.write_all(said.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let gate = Gate::allowing(&[&rule(&page)]).await;
    let mut stream = gate.connect().await;
    for count in 1..=5 {
        let reply = ask(&mut stream, request(&page, "GET", "1.1")).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
        page.ended(count).await;
        assert_eq!(page.connections(), count);
    }
    drop(stream);
    gate.stop().await;
}

#[tokio::test]
async fn an_upstream_that_says_nothing_is_given_up() {
    let page = Upstream::start(|mut stream, heard| async move {
        read_request(&mut stream, &heard).await;
        read_request(&mut stream, &heard).await;
    })
    .await;
    let mut setup = Setup::allow(&[&rule(&page)]);
    setup.settings.timeouts.idle = std::time::Duration::from_millis(200);
    let gate = setup.start().await;
    let mut stream = gate.connect().await;
    let reply = ask(&mut stream, request(&page, "GET", "1.1")).await;
    assert_eq!(reply.status, 504, "{reply:?}");
    assert_eq!(gate.record().await["reason"], "idle_timeout");
    page.ended(1).await;
    gate.stop().await;
}
