//! What a client can do to an HTTP/2 connection frame by frame: it is ended, or costs no more than the bytes it sends, and
//! others are served meanwhile. And what it can have an upstream do.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use crate::https::Ground;
use crate::support::authority::shake;
use crate::support::binary::{Binary, Files};
use crate::support::upstream::{Heard, Upstream, read_request};
use crate::support::{PATIENCE, ask, until};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// A type that nobody knows.
const GREASE: u8 = 0x2a;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Of a flood that nothing ends, as much as that.
const FLOOD: usize = 16 << 20;
/// What it may add to the memory of the process, which has to hold what is under way in a few buffers.
const GROWTH: usize = 6 << 20;
/// The same where small frames wait for an upstream: half the window of a connection, and some.
const GROWTH_IN_FRAMES: usize = 12 << 20;

/// The codes of RFC 9113 §7.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A program with a door in the clear and one over TLS.
struct Ways {
    exeat: Binary,
    ground: Ground,
    over_tls: SocketAddr,
    page: Upstream,
    silent: Upstream,
    crumbs: Upstream,
}

/// The two halves of a connection of raw frames.
type Raw = (ReadHalf<TlsStream<TcpStream>>, WriteHalf<TlsStream<TcpStream>>);

impl Ways {
    async fn new() -> Self {
        let (ground, page) = (Ground::new(), Upstream::page().await);
        let (silent, crumbs) = (Upstream::start(deaf).await, Upstream::start(crumble).await);
        let rule = |port: u16, protocol: &str| {
            format!("{{ host: a.example, ports: [{port}], private: true, protocol: {protocol} }}")
        };
        let rules = [rule(page.port(), "http"), rule(crumbs.port(), "http"), rule(silent.port(), "tcp")];
        let rules = format!("[{}]", rules.join(", "));
        let files = Files::new("", &format!("version: 1\nprofiles:\n  - name: p\n    allow: {rules}\n"));
        let listen = "listen: { explicit: ['127.0.0.1:0', { address: '127.0.0.1:0', \
                      tls: { certificate: tls.crt, key: tls.key } }], admin: '127.0.0.1:0' }\n\
                      policy: [policies]\naudit: { path: records.jsonl }\ndns: { hosts: hosts }\n";
        fs::write(files.directory.path().join("exeat.yaml"), listen).unwrap();
        for name in ["tls.crt", "tls.key"] {
            fs::copy(ground.path().join(name), files.directory.path().join(name)).unwrap();
        }
        let exeat = Binary::start(files, None).await;
        let log = exeat.log();
        let over_tls = log.split("clients connect to https://").nth(1).unwrap().lines().next().unwrap();
        Self { over_tls: over_tls.parse().unwrap(), exeat, ground, page, silent, crumbs }
    }

    /// A connection whose first words have been said.
    async fn connect(&self) -> Raw {
        let connector = self.ground.authority.connector(None, &["h2"]);
        let stream = TcpStream::connect(self.over_tls).await.unwrap();
        let (receive, mut send) = split(shake(&connector, stream).await.unwrap());
        send.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        (receive, send)
    }

    /// Another client gets its page.
    async fn serves(&self, flood: &str) {
        let port = self.page.port();
        let request = format!("GET http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
        let mut stream = TcpStream::connect(self.exeat.address).await.unwrap();
        let reply = timeout(PATIENCE, ask(&mut stream, request)).await;
        assert_eq!(reply.unwrap_or_else(|_| panic!("nobody else is served: {flood}")).status, 200, "{flood}");
    }

    /// The head of a CONNECT to the upstream that takes nothing.
    fn connect_frame(&self, stream: u32) -> Vec<u8> {
        let to = format!("a.example:{}", self.silent.port());
        frame(HEADERS, END_HEADERS, stream, &fields(&[(":method", "CONNECT"), (":authority", &to)]))
    }

    fn get_frame(&self, stream: u32) -> Vec<u8> {
        self.get_from(&self.page, stream)
    }

    fn get_from(&self, upstream: &Upstream, stream: u32) -> Vec<u8> {
        let to = format!("a.example:{}", upstream.port());
        let get = [(":method", "GET"), (":scheme", "http"), (":authority", &to), (":path", "/")];
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(&get))
    }
}

/// An upstream that takes nothing of what it is sent.
async fn deaf(stream: TcpStream, _: Heard) {
    std::future::pending::<()>().await;
    drop(stream);
}

/// An upstream that answers in pieces of a single byte, as fast as they are taken.
async fn crumble(mut stream: TcpStream, heard: Heard) {
    if read_request(&mut stream, &heard).await.is_some() {
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        while stream.write_all(&answer).await.is_ok() {
            answer = b"1\r\n7\r\n".repeat(1024);
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Header fields as literals that no table remembers (RFC 7541 §6.2.2).
fn fields(pairs: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    pairs.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// Sends what comes first, and then the rest over and over, until so much is sent or the other side has ended it.
async fn flood(mut send: WriteHalf<TlsStream<TcpStream>>, flood: &Flood<'_>, progress: &Progress) {
    let mut chunk = flood.first.clone();
    for turn in 0.. {
        if progress.ended.load(Ordering::Relaxed) || send.write_all(&chunk).await.is_err() {
            return;
        }
        if progress.sent.fetch_add(chunk.len(), Ordering::Relaxed) > FLOOD {
            return;
        }
        chunk = (0..64).flat_map(|part| (flood.again)(turn * 64 + part)).collect();
    }
}

/// Reads frames to the end of the connection, and returns the code of its GOAWAY.
async fn goaway(mut receive: ReadHalf<TlsStream<TcpStream>>, progress: Arc<Progress>) -> Option<u32> {
    let mut code = None;
    let mut head = [0; 9];
    while receive.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if receive.read_exact(&mut payload).await.is_err() {
            break;
        }
        if head[3] == GOAWAY {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            progress.ended.store(true, Ordering::Relaxed);
        }
    }
    progress.ended.store(true, Ordering::Relaxed);
    code
}

/// One kind of flood.
struct Flood<'a> {
    name: &'a str,
    first: Vec<u8>,
    /// What then comes again and again.
    again: Box<dyn Fn(u32) -> Vec<u8> + 'a>,
}

impl<'a> Flood<'a> {
    fn new(name: &'a str, first: Vec<u8>, again: impl Fn(u32) -> Vec<u8> + 'a) -> Self {
        Self { name, first, again: Box::new(again) }
    }
}

#[derive(Default)]
struct Progress {
    sent: AtomicUsize,
    ended: AtomicBool,
}

#[tokio::test]
async fn floods_that_mean_nothing_end_the_connection() {
    let ways = Ways::new().await;
    let odd = |turn: u32| 2 * turn + 1;
    let update = |by: u32| move |_| frame(WINDOW_UPDATE, 0, 0, &by.to_be_bytes());
    let taken_back =
        |turn| [ways.get_frame(odd(turn)), frame(RST_STREAM, 0, odd(turn), &8_u32.to_be_bytes())].concat();
    let (to_deaf, empty_head) = (ways.connect_frame(1), frame(HEADERS, 0, 1, &[]));
    let begun = frame(HEADERS, 0, 1, &fields(&[(":method", "GET")]));
    let field = fields(&[("x", "y")]);
    let calm = ENHANCE_YOUR_CALM;
    for (one, code) in [
        (Flood::new("requests that are reset at once", Vec::new(), taken_back), calm),
        (Flood::new("a head without an end", begun, |_| frame(CONTINUATION, 0, 1, &field)), calm),
        (Flood::new("a head of empty frames", empty_head, |_| frame(CONTINUATION, 0, 1, &[])), calm),
        (Flood::new("empty data", to_deaf, |_| frame(DATA, 0, 1, &[])), calm),
        (Flood::new("a window beyond its bound", Vec::new(), update(0x7fff_ffff)), FLOW_CONTROL_ERROR),
        (Flood::new("a window by nothing", Vec::new(), update(0)), PROTOCOL_ERROR),
    ] {
        let name = one.name;
        let (receive, send) = ways.connect().await;
        let progress = Arc::new(Progress::default());
        let told = tokio::spawn(goaway(receive, Arc::clone(&progress)));
        let sent = timeout(PATIENCE, flood(send, &one, &progress)).await;
        assert!(sent.is_ok(), "{name}: it is not ended");
        let told = timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{name}: it is not ended"));
        assert_eq!(told.unwrap(), Some(code), "{name}");
        ways.serves(name).await;
    }
    let is_told = |record: &serde_json::Value| record["reason"] == "bad_request";
    let told = async || ways.exeat.records_so_far().iter().filter(|record| is_told(record)).count() == 6;
    until("a connection that was ended has no record", told).await;
}

#[tokio::test]
async fn floods_that_may_mean_something_cost_no_memory() {
    let ways = Ways::new().await;
    let open: Vec<u8> = (0..100).flat_map(|turn| ways.connect_frame(2 * turn + 1)).collect();
    let window = |turn: u32| [&[0, 4][..], &(65_535 + turn % 2 * 1_000_000).to_be_bytes()].concat();
    let floods = [
        Flood::new("pings", Vec::new(), |turn| frame(PING, 0, 0, &u64::from(turn).to_be_bytes())),
        Flood::new("settings", Vec::new(), |_| frame(SETTINGS, 0, 0, &[])),
        Flood::new("windows that open and close", open, |turn| frame(SETTINGS, 0, 0, &window(turn))),
        Flood::new("priorities", Vec::new(), |turn| frame(PRIORITY, 0, 2 * turn + 1, &[0; 5])),
        Flood::new("frames that nobody knows", Vec::new(), |_| frame(GREASE, 0, 0, &[1; 100])),
        Flood::new("more than the window", ways.connect_frame(1), |_| frame(DATA, 0, 1, &[7; 16_384])),
        Flood::new("single bytes", ways.connect_frame(1), |_| frame(DATA, 0, 1, &[7])),
    ];
    for one in floods {
        let name = one.name;
        let bound = if name == "single bytes" { GROWTH_IN_FRAMES } else { GROWTH };
        // The allocator keeps some of what it once had, for the next one.
        let first = unread_flood(&ways, &one).await;
        let before = ways.exeat.memory();
        let second = unread_flood(&ways, &one).await;
        // And gives what is free back after a second, while there is something to do.
        let is_bounded = async || {
            ways.serves(name).await;
            ways.exeat.memory().saturating_sub(before) < bound
        };
        until(&format!("{name}: more than {bound} bytes"), is_bounded).await;
        drop((first, second));
    }
}

/// Sends one of whose answers nothing is read, and holds what is left of its connection.
async fn unread_flood(ways: &Ways, one: &Flood<'_>) -> impl Sized + use<> {
    let (unread, send) = ways.connect().await;
    let progress = Progress::default();
    tokio::select! {
        () = flood(send, one, &progress) => {}
        () = stalled(&progress) => {}
    }
    ways.serves(one.name).await;
    unread
}

/// Resolves once nothing moves any more: the other side takes no more until its answers are read.
async fn stalled(progress: &Progress) {
    let mut before = 0;
    loop {
        sleep(Duration::from_secs(1)).await;
        let sent = progress.sent.load(Ordering::Relaxed);
        if sent == before {
            return;
        }
        before = sent;
    }
}

#[tokio::test]
async fn answers_in_crumbs_that_nobody_reads_cost_no_memory() {
    let ways = Ways::new().await;
    // The allocator keeps some of what it once had, for the next ones.
    let first = unread_crumbs(&ways, 1).await;
    let before = ways.exeat.memory();
    let second = unread_crumbs(&ways, 2).await;
    let is_bounded = async || {
        ways.serves("crumbs").await;
        ways.exeat.memory().saturating_sub(before) < GROWTH_IN_FRAMES
    };
    until(&format!("more than {GROWTH_IN_FRAMES} bytes"), is_bounded).await;
    drop((first, second));
}

/// Asks for many answers with room for all of them, reads none, and waits until nothing more is taken of them: the same
/// for so many connections.
async fn unread_crumbs(ways: &Ways, connections: usize) -> impl Sized + use<> {
    const STREAMS: u32 = 20;
    let most = 0x7fff_ffff_u32.to_be_bytes();
    let windows =
        [frame(SETTINGS, 0, 0, &[&[0, 4][..], &most].concat()), frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0])];
    let gets = (0..STREAMS).flat_map(|turn| ways.get_from(&ways.crumbs, 2 * turn + 1));
    let asked: Vec<u8> = windows.concat().into_iter().chain(gets).collect();
    let (unread, mut send) = ways.connect().await;
    send.write_all(&asked).await.unwrap();
    let is_answered = async || ways.crumbs.connections() == connections * STREAMS as usize;
    until("not all are answered", is_answered).await;
    let received = async || ways.exeat.metric("exeat_bytes_total{direction=\"received\"}").await;
    let is_still = async || {
        let before = received().await;
        sleep(Duration::from_secs(1)).await;
        received().await == before
    };
    until("it does not come to a standstill", is_still).await;
    (unread, send)
}
