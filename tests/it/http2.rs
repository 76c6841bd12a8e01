//! Clients that speak HTTP/2 to the proxy: each stream is a flow of its own.

use std::fs;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use exeat::server::Signal;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use hyper::header::HeaderName;
use hyper::{Request, Response, StatusCode, Uri};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::https::{Ground, listener, tcp};
use crate::parents;
use crate::passwords::{Users, credentials};
use crate::support::authority::shake;
use crate::support::tls::{ACCESS_DENIED, hello};
use crate::support::upstream::Upstream;
use crate::support::{Gate, PATIENCE, Setup, until};

/// One connection over HTTP/2.
struct Client {
    requests: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// One stream of a tunnel.
struct Tunnel {
    send: SendStream<Bytes>,
    receive: RecvStream,
}

impl Client {
    async fn new(gate: &Gate, ground: &Ground) -> Self {
        let connector = ground.authority.connector(None, &["h2", "http/1.1"]);
        let stream = shake(&connector, gate.connect().await).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        // As browsers do: a stream that is not read leaves room for the others.
        let mut builder = h2::client::Builder::new();
        let shaken = builder.initial_connection_window_size(16 << 20).handshake(stream).await;
        let (requests, connection) = shaken.unwrap();
        Self { requests, connection: tokio::spawn(connection) }
    }

    /// Sends a head; with `end` nothing follows it.
    async fn send(&self, request: Request<()>, end: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let mut requests = self.requests.clone().ready().await.unwrap();
        requests.send_request(request, end).unwrap()
    }

    async fn ask(&self, request: Request<()>) -> Result<Response<RecvStream>, h2::Error> {
        let (response, _) = self.send(request, true).await;
        timeout(PATIENCE, response).await.expect("no answer in time")
    }

    async fn get(&self, uri: &str) -> (StatusCode, String) {
        let response = self.ask(get(uri)).await.unwrap();
        (response.status(), text(response.into_body()).await)
    }

    /// Waits for the end of the connection. The proxy may be gone before it has this client's own last words, which then
    /// can't be written.
    async fn ended(self) {
        let end = timeout(PATIENCE, self.connection).await.expect("it does not end").unwrap();
        assert!(end.as_ref().map_or_else(h2::Error::is_io, |()| true), "{end:?}");
    }

    /// Opens a tunnel; panics unless the answer is 200.
    async fn tunnel(&self, to: &str) -> Tunnel {
        let (response, send) = self.send(connect(to), false).await;
        let response = timeout(PATIENCE, response).await.expect("no answer in time").unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers().is_empty(), "{response:?}");
        Tunnel { send, receive: response.into_body() }
    }
}

impl Tunnel {
    fn write(&mut self, bytes: &[u8], end: bool) {
        self.send.send_data(Bytes::copy_from_slice(bytes), end).unwrap();
    }

    /// What comes next; the client may send as much again.
    async fn read(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let chunk = timeout(PATIENCE, self.receive.data()).await.expect("nothing came in time");
        if let Some(Ok(bytes)) = &chunk {
            self.receive.flow_control().release_capacity(bytes.len()).unwrap();
        }
        chunk
    }

    async fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend_from_slice(&self.read().await.expect("it has ended").unwrap());
        }
        all
    }

    async fn read_to_end(&mut self) -> Result<Vec<u8>, h2::Error> {
        let mut all = Vec::new();
        while let Some(chunk) = self.read().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all)
    }

    /// Sends so many bytes as the window opens, and ends.
    async fn pour(mut send: SendStream<Bytes>, mut count: usize) {
        while count > 0 {
            send.reserve_capacity(count.min(65_536));
            let room = poll_fn(|cx| send.poll_capacity(cx)).await.unwrap().unwrap();
            send.send_data(Bytes::from(vec![7; room]), false).unwrap();
            count -= room;
        }
        send.send_data(Bytes::new(), true).unwrap();
    }
}

fn request(method: &str, uri: &str) -> Request<()> {
    Request::builder().method(method).uri(uri.parse::<Uri>().unwrap()).body(()).unwrap()
}

fn get(uri: &str) -> Request<()> {
    request("GET", uri)
}

/// A request for the server of a.example as a whole.
fn whole_server(method: &str) -> Request<()> {
    let uri = Uri::builder().scheme("http").authority("a.example").path_and_query("*");
    Request::builder().method(method).uri(uri.build().unwrap()).body(()).unwrap()
}

fn connect(to: &str) -> Request<()> {
    request("CONNECT", to)
}

async fn text(mut body: RecvStream) -> String {
    let mut all = Vec::new();
    while let Some(chunk) = timeout(PATIENCE, body.data()).await.expect("no body in time") {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        all.extend_from_slice(&chunk);
    }
    String::from_utf8(all).unwrap()
}

fn web(port: u16) -> String {
    format!("{{ host: a.example, ports: [{port}], private: true }}")
}

#[tokio::test]
async fn requests_are_judged_and_forwarded_each_by_itself() {
    let upstream = Upstream::page().await;
    let (ground, port) = (Ground::new(), upstream.port());
    let gate = ground.setup(&[&web(port)]).start().await;
    let client = Client::new(&gate, &ground).await;
    assert_eq!(
        client.get(&format!("http://a.example:{port}/x?q=1")).await,
        (StatusCode::OK, "hello".to_owned())
    );

    let refused = client.ask(get("http://x.example/")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(refused.headers()["proxy-status"], "exeat; error=http_request_denied; details=\"no_rule\"");
    assert!(
        !refused.headers().contains_key("connection") && refused.headers().contains_key("content-length")
    );
    assert!(text(refused.into_body()).await.contains("\"no_rule\""));
    // To HEAD only the head is said.
    let refused = client.ask(request("HEAD", "http://x.example/")).await.unwrap();
    assert_eq!((refused.status(), refused.body().is_end_stream()), (StatusCode::FORBIDDEN, true));

    // Browsers send each piece of a cookie by itself, as it is compressed better (RFC 9113 §8.2.3).
    let mut in_pieces = get(&format!("http://a.example:{port}/cookie"));
    for piece in ["a=1", "b=2", "c=3"] {
        in_pieces.headers_mut().append("cookie", piece.parse().unwrap());
    }
    assert_eq!(client.ask(in_pieces).await.unwrap().status(), StatusCode::OK);

    // A body of unknown length, then one of known length.
    for length in [None, Some("9")] {
        let mut post = request("POST", &format!("http://a.example:{port}/post"));
        if let Some(length) = length {
            post.headers_mut().insert("content-length", length.parse().unwrap());
        }
        let (response, mut body) = client.send(post, false).await;
        body.send_data(Bytes::from("some"), false).unwrap();
        body.send_data(Bytes::from(" body"), true).unwrap();
        assert_eq!(response.await.unwrap().status(), StatusCode::OK);
    }
    let heard = String::from_utf8(upstream.heard().concat()).unwrap();
    assert!(heard.starts_with(&format!("GET /x?q=1 HTTP/1.1\r\nhost: a.example:{port}\r\n")), "{heard}");
    assert!(heard.contains("via: 2.0 exeat-"), "{heard}");
    assert!(
        heard.contains("content-length: 9\r\n") && heard.contains("transfer-encoding: chunked\r\n"),
        "{heard}"
    );
    assert!(heard.contains("some body") && !heard.contains("upgrade"), "{heard}");
    assert!(
        heard.contains("\r\ncookie: a=1; b=2; c=3\r\n") && heard.matches("cookie:").count() == 1,
        "{heard}"
    );
    let records = gate.records(6).await;
    assert!(records.iter().all(|record| record["ingress"] == "forward"));
    assert_eq!((&records[5]["sent"], &records[5]["method"]), (&9.into(), &"POST".into()));
}

#[tokio::test]
async fn what_is_no_request_to_a_proxy_is_refused_and_the_connection_goes_on() {
    let ground = Ground::new();
    let gate = ground.setup(&["a.example"]).start().await;
    let client = Client::new(&gate, &ground).await;
    let with = |mut request: Request<()>, name: &'static str, value: &str| {
        request.headers_mut().append(name, value.parse().unwrap());
        request
    };
    let cases = [
        (get("https://a.example/"), 400, "bad_request"),
        (get("ftp://a.example/"), 400, "bad_request"),
        (get("http://user@a.example/"), 400, "bad_request"),
        (get("http://a.example:99999/"), 400, "bad_request"),
        (request("get", "http://a.example/"), 400, "bad_request"),
        (whole_server("GET"), 400, "bad_request"),
        (with(get("http://a.example/"), "host", "b.example"), 400, "host_mismatch"),
        (
            with(with(get("http://a.example/"), "host", "a.example"), "host", "a.example"),
            400,
            "host_mismatch",
        ),
        (
            with(with(request("POST", "http://a.example/"), "content-length", "0"), "content-length", "0"),
            400,
            "bad_request",
        ),
        (connect("a.example"), 400, "bad_request"),
        (connect("x.example:443"), 403, "no_rule"),
        (with(connect("a.example:443"), "host", "b.example:443"), 400, "host_mismatch"),
        (with(get("http://a.example/"), "via", "1.1 exeat-00000000"), 403, ""),
    ];
    let count = cases.len() - 1;
    for (index, (request, status, reason)) in cases.into_iter().take(count).enumerate() {
        let said = format!("{request:?}");
        let response = client.ask(request).await.unwrap_or_else(|error| panic!("{said}: {error}"));
        assert_eq!(response.status(), status, "{said}");
        assert!(!response.headers().contains_key("connection"));
        assert_eq!(gate.records(index + 1).await[index]["reason"], reason, "{said}");
    }
    // A body that no header speaks of.
    let (response, mut body) = client.send(request("TRACE", "http://a.example/"), false).await;
    body.send_data(Bytes::from("x"), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 400);
    assert_eq!(gate.records(count + 1).await[count]["reason"], "bad_request");
    // The h2 crate itself refuses what HTTP/2 has no room for.
    for (name, value) in [("connection", "close"), ("transfer-encoding", "chunked"), ("upgrade", "h2c")] {
        let mut request = get("http://a.example/");
        request.headers_mut().insert(name, value.parse().unwrap());
        assert!(
            client.requests.clone().ready().await.unwrap().send_request(request, true).is_err(),
            "{name}"
        );
    }
    assert_eq!(client.get("http://x.example/").await.0, StatusCode::FORBIDDEN);
    gate.stop_and_count(count + 2).await;
}

#[tokio::test]
async fn a_tunnel_is_a_flow_with_the_gate_inside() {
    let (echo, page) = (Upstream::echo().await, Upstream::page().await);
    let (ground, port) = (Ground::new(), echo.port());
    let tls = format!("{{ host: b.example, ports: [{port}], protocol: tls, private: true }}");
    let gate = ground.setup(&[&tcp(port), &tls, &web(page.port())]).start().await;
    let client = Client::new(&gate, &ground).await;
    let mut tunnel = client.tunnel(&format!("a.example:{port}")).await;
    tunnel.write(b"ping", false);
    assert_eq!(tunnel.read_exactly(4).await, b"ping");
    // Each half ends by itself.
    tunnel.write(b"last", true);
    assert_eq!(tunnel.read_to_end().await.unwrap(), b"last");
    let record = gate.record().await;
    assert_eq!(
        (&record["ingress"], &record["reason"], &record["status"]),
        (&"connect".into(), &"allowed".into(), &200.into())
    );
    assert_eq!((&record["sent"], &record["received"]), (&8.into(), &8.into()));

    let mut tunnel = client.tunnel(&format!("b.example:{port}")).await;
    tunnel.write(&hello(&["evil.example"]), false);
    assert_eq!(tunnel.read_to_end().await.unwrap(), ACCESS_DENIED);
    assert_eq!(gate.records(2).await[1]["reason"], "server_name_mismatch");

    let mut tunnel = client.tunnel(&format!("a.example:{}", page.port())).await;
    let host = format!("a.example:{}", page.port());
    tunnel.write(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes(), false);
    let answer = String::from_utf8(tunnel.read_to_end().await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer}");
    let record = &gate.records(3).await[2];
    assert_eq!((&record["ingress"], &record["path"]), (&"connect".into(), &"/".into()));
}

#[tokio::test]
async fn a_reset_on_one_side_is_one_on_the_other() {
    let upstream = Upstream::start(|mut stream, heard| async move {
        let mut bytes = [0; 4];
        let _ = stream.read_exact(&mut bytes).await;
        if &bytes == b"kill" {
            // With a byte unread, or by this option, a close is a reset.
            let _ = stream.set_zero_linger();
            return;
        }
        if stream.read(&mut bytes).await.is_err() {
            heard.add(b"reset");
        }
    })
    .await;
    let (ground, port) = (Ground::new(), upstream.port());
    let gate = ground.setup(&[&tcp(port)]).start().await;
    let client = Client::new(&gate, &ground).await;
    let to = format!("a.example:{port}");
    let mut tunnel = client.tunnel(&to).await;
    tunnel.write(b"kill", false);
    let error = tunnel.read_to_end().await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CONNECT_ERROR));
    assert_eq!(gate.records(1).await[0]["reason"], "upstream_reset");

    // The client's reset arrives, whether or not it had ended its half before.
    for end in [false, true] {
        let mut tunnel = client.tunnel(&to).await;
        tunnel.write(b"wait", false);
        until("it is not heard", async || upstream.heard().len() > usize::from(end) + 1).await;
        if end {
            tunnel.write(b"", true);
        }
        tunnel.send.send_reset(Reason::CANCEL);
        let count = usize::from(end) + 2;
        assert_eq!(gate.records(count).await[count - 1]["reason"], "client_reset");
    }
    // One that goes away with all its streams.
    let mut tunnel = client.tunnel(&to).await;
    tunnel.write(b"wait", false);
    until("it is not heard", async || upstream.heard().len() > 3).await;
    client.connection.abort();
    assert_eq!(gate.records(4).await[3]["reason"], "client_reset");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    let upstream = Upstream::closing("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello").await;
    let (ground, port) = (Ground::new(), upstream.port());
    let gate = ground.setup(&[&web(port)]).start().await;
    let client = Client::new(&gate, &ground).await;
    let mut body = client.ask(get(&format!("http://a.example:{port}/"))).await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "hello");
    let error = timeout(PATIENCE, body.data()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(gate.record().await["reason"], "upstream_reset");
}

#[tokio::test]
async fn trailers_pass_without_what_would_mean_something_of_the_whole() {
    let fields = "Host: b.example\r\nContent-Length: 9\r\nSet-Cookie: a=1\r\nConnection: x-other\r\n";
    let head = "HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n";
    let upstream = Upstream::answering(format!("{head}2\r\nok\r\n0\r\nX-Sum: 1\r\n{fields}\r\n")).await;
    let (ground, port) = (Ground::new(), upstream.port());
    let gate = ground.setup(&[&web(port)]).start().await;
    let client = Client::new(&gate, &ground).await;
    let mut body = client.ask(get(&format!("http://a.example:{port}/"))).await.unwrap().into_body();
    assert_eq!(timeout(PATIENCE, body.data()).await.unwrap().unwrap().unwrap(), "ok");
    let trailers = timeout(PATIENCE, body.trailers()).await.unwrap().unwrap().unwrap();
    assert_eq!(trailers.iter().collect::<Vec<_>>(), [(&"x-sum".parse().unwrap(), &"1".parse().unwrap())]);
    assert_eq!(gate.record().await["reason"], "allowed");
    drop(client);
    gate.stop().await;
}

#[tokio::test]
async fn a_body_that_waits_to_be_asked_for_moves_when_the_upstream_asks() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (at_head, asks, status) in [
        ("HTTP/1.1 100 Continue\r\n\r\n", true, 200),
        // It does not know the expectation: after a second the client is asked all the same.
        ("", true, 200),
        ("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", false, 417),
    ] {
        let upstream = Upstream::saying(move |heard| {
            let text = String::from_utf8_lossy(heard);
            match text.split_once("\r\n\r\n") {
                Some((_, "")) => at_head.into(),
                Some((_, "hello")) => ok.into(),
                _ => Vec::new(),
            }
        })
        .await;
        let (ground, port) = (Ground::new(), upstream.port());
        let gate = ground.setup(&[&web(port)]).start().await;
        let client = Client::new(&gate, &ground).await;
        let mut post = request("POST", &format!("http://a.example:{port}/"));
        post.headers_mut().insert("expect", "100-continue".parse().unwrap());
        post.headers_mut().insert("content-length", "5".parse().unwrap());
        let (mut response, mut body) = client.send(post, false).await;
        let asked = timeout(PATIENCE, poll_fn(|cx| response.poll_informational(cx))).await.unwrap();
        let asked = asked.map(|asked| asked.unwrap().status());
        assert_eq!(asked, asks.then_some(StatusCode::CONTINUE), "{at_head:?}");
        assert!(upstream.heard_text().ends_with("\r\n\r\n"), "the body moved unasked");
        if asks {
            body.send_data(Bytes::from_static(b"hello"), true).unwrap();
        }
        assert_eq!(timeout(PATIENCE, response).await.unwrap().unwrap().status(), status, "{at_head:?}");
        assert_eq!(gate.record().await["status"], status);
        gate.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_whose_readers_are_slow_do_not_hold_up_the_others() {
    const SIZE: usize = 2 << 20;
    // Takes a byte that says what to do: sends much, takes much, or takes nothing.
    let upstream = Upstream::start(|mut stream, _| async move {
        match stream.read_u8().await {
            Ok(b'g') => drop(stream.write_all(&vec![9; SIZE]).await),
            Ok(b't') => {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                stream.write_all(&(all.len() as u32).to_be_bytes()).await.unwrap();
            }
            _ => std::future::pending().await,
        }
    })
    .await;
    let (ground, port) = (Ground::new(), upstream.port());
    let gate = ground.setup(&[&tcp(port)]).start().await;
    let client = Client::new(&gate, &ground).await;
    let to = format!("a.example:{port}");
    let mut stuck = Vec::new();
    for index in 0..40 {
        let mut tunnel = client.tunnel(&to).await;
        if index % 2 == 0 {
            // Never read by this client.
            tunnel.write(b"g", false);
            stuck.push((Some(tunnel), None));
        } else {
            // Never read by its upstream.
            tunnel.write(b"n", false);
            stuck.push((None, Some((tokio::spawn(Tunnel::pour(tunnel.send, 16 << 20)), tunnel.receive))));
        }
    }
    let mut others = JoinSet::new();
    for index in 0..40 {
        let mut tunnel = client.tunnel(&to).await;
        others.spawn(async move {
            if index % 2 == 0 {
                tunnel.write(b"g", false);
                assert_eq!(tunnel.read_to_end().await.unwrap().len(), SIZE);
            } else {
                tunnel.write(b"t", false);
                let Tunnel { send, receive } = tunnel;
                let (send, mut tunnel) = (tokio::spawn(Tunnel::pour(send, SIZE)), receive);
                let count = timeout(PATIENCE, tunnel.data()).await.unwrap().unwrap().unwrap();
                assert_eq!(count, &(SIZE as u32).to_be_bytes()[..]);
                send.await.unwrap();
            }
        });
    }
    while let Some(done) = others.join_next().await {
        done.unwrap();
    }
    // And what they hold is bounded: an upload that nobody takes has stopped.
    assert!(
        stuck.iter().filter_map(|(_, upload)| upload.as_ref()).all(|(pouring, _)| !pouring.is_finished())
    );
}

#[tokio::test]
async fn limits_are_told_on_the_stream() {
    let echo = Upstream::echo().await;
    let ground = Ground::new();
    let mut setup = ground.setup(&[&tcp(echo.port()), "a.example"]);
    setup.settings.limits.flows_per_client = NonZeroUsize::new(2);
    let gate = setup.start().await;
    let client = Client::new(&gate, &ground).await;
    let to = format!("a.example:{}", echo.port());
    let _open = (client.tunnel(&to).await, client.tunnel(&to).await);
    assert_eq!(client.ask(connect(&to)).await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(gate.record().await["reason"], "limit_client");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_answered_as_over_http_1_and_recorded() {
    let ground = Ground::new();
    let mut setup = ground.setup(&["a.example"]);
    setup.settings.limits.head_bytes = 8192;
    let gate = setup.start().await;
    let client = Client::new(&gate, &ground).await;
    // In a field, in many, in the path, and without a body or with one that still comes.
    let mut field = get("http://denied.example/");
    field.headers_mut().insert("x-long", "x".repeat(9000).parse().unwrap());
    let mut fields = connect("denied.example:443");
    for number in 0..150 {
        fields
            .headers_mut()
            .insert(HeaderName::try_from(format!("x-{number:018}")).unwrap(), "abc".parse().unwrap());
    }
    let path = get(&format!("http://denied.example/{}", "p".repeat(9000)));
    let mut count = 0;
    for (request, ingress) in [(field, "forward"), (fields, "connect"), (path, "forward")] {
        let response = client.ask(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let why = "exeat; error=http_request_error; details=\"bad_request\"";
        assert_eq!(response.headers()["proxy-status"], why);
        assert_eq!(text(response.into_body()).await, "");
        count += 1;
        let record = &gate.records(count).await[count - 1];
        let seen = [&record["ingress"], &record["reason"], &record["status"], &record["error"]];
        let expected: [Value; 4] =
            [ingress.into(), "bad_request".into(), 431.into(), "the head is too long".into()];
        assert_eq!(seen, expected.each_ref());
    }
    // Just below the bound it is a request as any other.
    let mut fits = get("http://denied.example/");
    fits.headers_mut().insert("x-long", "x".repeat(7800).parse().unwrap());
    assert_eq!(client.ask(fits).await.unwrap().status(), StatusCode::FORBIDDEN);
    // Beyond what is decoded at all the library answers.
    let mut longer = get("http://denied.example/");
    longer.headers_mut().insert("x-long", "x".repeat(17_000).parse().unwrap());
    assert_eq!(client.ask(longer).await.unwrap().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    drop(client);
    gate.stop_and_count(4).await;
}

/// The same request with credentials.
fn by(who: &str, mut request: Request<()>) -> Request<()> {
    request.headers_mut().insert("proxy-authorization", credentials(who, "secret").parse().unwrap());
    request
}

#[tokio::test]
async fn each_request_says_who_it_is_and_no_stream_speaks_for_another() {
    let (echo, page, ground) = (Upstream::echo().await, Upstream::page().await, Ground::new());
    let users = Users::new(&[("alice", "secret"), ("bob", "secret")], "");
    let rules = format!("[{}, {}]", tcp(echo.port()), web(page.port()));
    let mut setup = Setup::new(&format!(
        "version: 1\nprofiles: [{{ name: alice, clients: [\"user:alice\"], allow: {rules} }}]\n"
    ));
    setup.settings.listen.explicit = vec![listener(ground.files())];
    setup.settings.auth = Some(users.settings());
    let gate = setup.start().await;
    let client = Client::new(&gate, &ground).await;
    let requests = || {
        [connect(&format!("a.example:{}", echo.port())), get(&format!("http://a.example:{}/", page.port()))]
    };

    // The streams of one connection, before and after some of them were somebody's.
    for _ in 0..2 {
        for request in requests() {
            let to = request.uri().authority().unwrap().to_string();
            let asked = client.ask(request).await.unwrap();
            assert_eq!(asked.status(), StatusCode::PROXY_AUTHENTICATION_REQUIRED);
            assert_eq!(asked.headers()["proxy-authenticate"], "Basic realm=\"exeat\", charset=\"UTF-8\"");
            assert!(!asked.headers().contains_key("connection"));
            let told = text(asked.into_body()).await;
            assert!(told.contains("\"auth_required\"") && told.contains(&format!("\"{to}\"")), "{told}");
        }
        for request in requests() {
            let wrong = client.ask(by("carol", request)).await.unwrap();
            assert_eq!(wrong.status(), StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        }
        for (who, status) in [("alice", StatusCode::OK), ("bob", StatusCode::FORBIDDEN)] {
            for request in requests() {
                assert_eq!(client.ask(by(who, request)).await.unwrap().status(), status, "{who}");
            }
        }
    }
    assert!(!page.heard_text().to_lowercase().contains("authorization"), "{}", page.heard_text());

    // All at once, while a tunnel of alice's is open.
    let (response, mut send) =
        client.send(by("alice", connect(requests()[0].uri().to_string().as_str())), false).await;
    let mut tunnel = response.await.unwrap().into_body();
    let mut asking = JoinSet::new();
    for index in 0..90 {
        let who = ["alice", "bob", ""][index % 3];
        let request = requests()[1].clone();
        let request = if who.is_empty() { request } else { by(who, request) };
        let (response, _) = client.send(request, true).await;
        asking.spawn(async move { (who, response.await.unwrap().status().as_u16()) });
    }
    while let Some(told) = asking.join_next().await {
        assert!([("alice", 200), ("bob", 403), ("", 407)].contains(told.as_ref().unwrap()), "{told:?}");
    }
    send.send_data(Bytes::from("still"), true).unwrap();
    assert_eq!(tunnel.data().await.unwrap().unwrap(), "still");
    until("no record says what carol was refused", async || {
        gate.records_so_far().iter().any(|record| {
            let told = ["reason", "ingress", "host", "method", "path"].map(|key| record[key].as_str());
            told == ["auth_failed", "forward", "a.example", "GET", "/"].map(Some)
        })
    })
    .await;
}

#[tokio::test]
async fn a_client_has_so_many_streams_and_no_more() {
    let silent = Upstream::silent().await;
    let ground = Ground::new();
    let gate = ground.setup(&[&tcp(silent.port())]).start().await;
    let client = Client::new(&gate, &ground).await;
    let to = format!("a.example:{}", silent.port());
    client.tunnel(&to).await.send.send_reset(Reason::CANCEL);
    // The settings have come by now.
    assert_eq!(client.requests.current_max_send_streams(), 128);
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let upstream = Upstream::silent().await;
    let (ground, port) = (Ground::new(), upstream.port());
    let gate = ground.setup(&[&web(port)]).start().await;
    let client = Client::new(&gate, &ground).await;
    let taken_back = async {
        for _ in 0..1000 {
            let Ok(mut requests) = client.requests.clone().ready().await else { return };
            let uri = format!("http://a.example:{port}/");
            let Ok((response, mut stream)) = requests.send_request(get(&uri), true) else { return };
            // Once it has been seen.
            let before = upstream.connections();
            until("it is not forwarded", async || {
                upstream.connections() > before || client.connection.is_finished()
            })
            .await;
            stream.send_reset(Reason::CANCEL);
            drop(response);
        }
        panic!("it lets anyone take back a thousand requests");
    };
    taken_back.await;
    let error = timeout(PATIENCE, client.connection).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    let records = gate.records(102).await;
    let last = records.iter().find(|record| record["reason"] == "bad_request").unwrap();
    assert_eq!(last["error"], "too many requests were taken back at once");
    assert!(records.iter().filter(|record| record["reason"] == "client_reset").count() > 100);
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_recorded() {
    let ground = Ground::new();
    let gate = ground.setup(&["a.example"]).start().await;
    let connector = ground.authority.connector(None, &["h2"]);
    let mut stream = shake(&connector, gate.connect().await).await.unwrap();
    stream.write_all(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    let record = gate.record().await;
    assert_eq!(record["reason"], "bad_request");
    assert!(record["error"].as_str().unwrap().starts_with("HTTP/2: "), "{record}");
}

#[tokio::test]
async fn a_drain_says_goaway_and_waits_for_open_tunnels() {
    let echo = Upstream::echo().await;
    let ground = Ground::new();
    let mut setup = ground.setup(&[&tcp(echo.port())]);
    setup.settings.timeouts.drain = PATIENCE;
    let gate = setup.start().await;
    let (client, idle) = (Client::new(&gate, &ground).await, Client::new(&gate, &ground).await);
    assert_eq!(idle.get("http://x.example/").await.0, StatusCode::FORBIDDEN);
    let mut tunnel = client.tunnel(&format!("a.example:{}", echo.port())).await;
    tunnel.write(b"ping", false);
    assert_eq!(tunnel.read_exactly(4).await, b"ping");
    gate.signal(Signal::Stop).await;
    idle.ended().await;
    until("new streams are let in", async || {
        let Ok(mut requests) = client.requests.clone().ready().await else { return true };
        requests.send_request(get("http://x.example/"), true).is_err()
    })
    .await;
    tunnel.write(b"more", false);
    assert_eq!(tunnel.read_exactly(4).await, b"more");
    tunnel.write(b"", true);
    assert_eq!(tunnel.read_to_end().await.unwrap(), b"");
    client.ended().await;
    gate.stopped().await;
}

#[tokio::test]
async fn flows_that_stay_open_in_a_drain_are_reset() {
    let echo = Upstream::echo().await;
    let ground = Ground::new();
    let mut setup = ground.setup(&[&tcp(echo.port())]);
    setup.settings.timeouts.drain = Duration::from_millis(200);
    let gate = setup.start().await;
    let client = Client::new(&gate, &ground).await;
    let mut tunnel = client.tunnel(&format!("a.example:{}", echo.port())).await;
    tunnel.write(b"ping", false);
    assert_eq!(tunnel.read_exactly(4).await, b"ping");
    gate.signal(Signal::Stop).await;
    assert!(tunnel.read_to_end().await.is_err());
    let records = gate.stopped().await.records_so_far();
    assert_eq!((records.len(), &records[0]["reason"]), (1, &"draining".into()));
}

#[tokio::test]
async fn a_connection_without_a_stream_is_closed_after_a_while() {
    let ground = Ground::new();
    let mut setup = ground.setup(&["a.example"]);
    setup.settings.timeouts.keepalive = Duration::from_secs(1);
    let gate = setup.start().await;
    let client = Client::new(&gate, &ground).await;
    assert_eq!(client.get("http://x.example/").await.0, StatusCode::FORBIDDEN);
    // The client's own last words may come when nobody is there to take them.
    let ended = timeout(PATIENCE, client.connection).await.unwrap().unwrap();
    assert!(ended.as_ref().err().is_none_or(h2::Error::is_io), "{ended:?}");
    gate.stop_and_count(1).await;
}

#[tokio::test]
async fn an_exchange_in_which_nothing_moves_ends() {
    let upstream = Upstream::start(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello").await;
        std::future::pending::<()>().await;
    })
    .await;
    let (ground, port) = (Ground::new(), upstream.port());
    let mut setup = ground.setup(&[&web(port)]);
    setup.settings.timeouts.idle = Duration::from_millis(300);
    let gate = setup.start().await;
    let client = Client::new(&gate, &ground).await;
    let mut body = client.ask(get(&format!("http://a.example:{port}/"))).await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "hello");
    assert!(timeout(PATIENCE, body.data()).await.unwrap().unwrap().is_err());
    assert_eq!(gate.record().await["reason"], "idle_timeout");
}

#[tokio::test]
async fn nghttp_is_answered() {
    let upstream = Upstream::page().await;
    let (ground, port) = (Ground::new(), upstream.port());
    let gate = ground.setup(&[&web(port)]).start().await;
    let mut nghttp = tokio::process::Command::new("nghttp");
    nghttp.args(["-v", "--no-dep", "-H:scheme: http", &format!("-H:authority: a.example:{port}")]);
    let output = nghttp.arg(format!("https://{}/", gate.address)).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(":status: 200") && said.contains("hello"), "{said}");
    assert_eq!(gate.record().await["host"], "a.example");
}

#[tokio::test]
async fn nghttpx_brings_requests_and_tunnels() {
    let upstream = Upstream::page().await;
    let (ground, port) = (Ground::new(), upstream.port());
    let gate = ground.setup(&[&web(port)]).start().await;
    // nghttpx speaks HTTP/2 to its backend as a client of a proxy does, CONNECT included.
    let socket = ground.path().join("front");
    let configuration = ground.path().join("nghttpx.conf");
    let text = format!(
        "frontend=unix:{};no-tls\nbackend=127.0.0.1,{};;tls;proto=h2;sni=localhost\nhttp2-proxy=yes\ncacert={}\n\
         workers=1\nerrorlog-file={}\n",
        socket.display(),
        gate.address.port(),
        ground.path().join("ca.pem").display(),
        ground.path().join("log").display(),
    );
    fs::write(&configuration, text).unwrap();
    let mut nghttpx = tokio::process::Command::new("nghttpx")
        .arg("--conf")
        .arg(&configuration)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("nghttpx does not listen", async || UnixStream::connect(&socket).await.is_ok()).await;
    let say = async |request: String| {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    };
    let host = format!("a.example:{port}");
    let get = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = say(get).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    let inside = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = say(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n{inside}")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    let answer =
        say("CONNECT x.example:443 HTTP/1.1\r\nHost: x.example:443\r\nConnection: close\r\n\r\n".to_owned())
            .await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let records = gate.records(3).await;
    let facts: Vec<_> = records.iter().map(|record| (&record["ingress"], &record["reason"])).collect();
    assert_eq!(facts[0], (&"forward".into(), &"allowed".into()));
    assert_eq!(facts[1], (&"connect".into(), &"allowed".into()));
    assert_eq!(facts[2], (&"connect".into(), &"no_rule".into()));
    nghttpx.kill().await.unwrap();
}

#[tokio::test]
async fn streams_go_through_a_parent_as_connections_do() {
    let (ground, page) = (Ground::new(), Upstream::page().await);
    let corp = parents::carrier(parents::ESTABLISHED, page.address).await;
    let port = page.port();
    let mut setup = Setup::new(&parents::policy("corp", &[&web(port)]));
    setup.settings.listen.explicit = vec![listener(ground.files())];
    setup.settings.parents = vec![parents::parent("corp", &[parents::url(corp.address)])];
    let gate = setup.start().await;
    let client = Client::new(&gate, &ground).await;
    assert_eq!(client.get(&format!("http://a.example:{port}/")).await, (StatusCode::OK, "hello".to_owned()));
    let mut tunnel = client.tunnel(&format!("a.example:{port}")).await;
    tunnel.write(format!("GET / HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n").as_bytes(), true);
    let answer = String::from_utf8(tunnel.read_to_end().await.unwrap()).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    let heard = corp.heard_text();
    assert_eq!(heard.matches(&format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n")).count(), 2, "{heard}");
    for record in gate.records(2).await {
        assert_eq!(record["parent"], "corp", "{record}");
    }
    drop(client);
    gate.stop().await;
}
