//! Requests with random faults: whatever comes, exeat lives, every record is one line of JSON, and the
//! upstream hears nothing but whole requests for the name that is allowed.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::upstream::{Upstream, read_request};
use crate::support::{Gate, ask};

const SEEDS: &[&str] = &[
    "GET http://a.example:PORT/x HTTP/1.1\r\nHost: a.example:PORT\r\nAccept: */*\r\n\r\n",
    "POST http://a.example:PORT/x HTTP/1.1\r\nHost: a.example:PORT\r\nContent-Length: 5\r\n\r\nhello",
    "POST http://a.example:PORT/x HTTP/1.1\r\nHost: a.example:PORT\r\nTrailer: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n\r\n",
    "CONNECT a.example:PORT HTTP/1.1\r\nHost: a.example:PORT\r\n\r\nGET / HTTP/1.1\r\nHost: a.example:PORT\r\n\r\n",
    "GET http://a.example:PORT/ HTTP/1.1\r\nHost: a.example:PORT\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
];

/// What is put in, doubled, or put in the place of something else.
const BITS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "@",
    "%2e",
    "//",
    "..",
    "[",
    "]",
    "0",
    "-1",
    "é",
    "\u{80}",
    "Host: b.example\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Content-Length: 3\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\n",
    "HTTP/1.0",
    "CONNECT ",
    "b.example",
    "fffffffffffffffff",
];

#[derive(Clone, Debug)]
enum Fault {
    Put(usize, usize),
    Drop(usize, usize),
    Flip(usize, u8),
    Again(usize, usize),
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        (any::<usize>(), 0..BITS.len()).prop_map(|(at, bit)| Fault::Put(at, bit)),
        (any::<usize>(), 1..20_usize).prop_map(|(at, count)| Fault::Drop(at, count)),
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Fault::Flip(at, byte)),
        (any::<usize>(), 1..40_usize).prop_map(|(at, count)| Fault::Again(at, count)),
    ];
    prop::collection::vec(fault, 1..4)
}

fn mutate(seed: &str, faults: &[Fault]) -> Vec<u8> {
    let mut bytes = seed.as_bytes().to_vec();
    for fault in faults {
        let length = bytes.len();
        match fault {
            Fault::Put(at, bit) => {
                let at = at % (length + 1);
                bytes.splice(at..at, BITS[*bit].bytes());
            }
            Fault::Drop(at, count) => {
                let at = at % (length + 1);
                bytes.drain(at..(at + count).min(length));
            }
            Fault::Flip(at, byte) if length > 0 => bytes[at % length] = *byte,
            Fault::Again(at, count) if length > 0 => {
                let at = at % length;
                let part = bytes[at..(at + count).min(length)].to_vec();
                bytes.splice(at..at, part);
            }
            Fault::Flip(..) | Fault::Again(..) => {}
        }
    }
    bytes
}

/// One request line, one Host, one framing, and nothing that belongs to another connection.
fn expect_one_reading(request: &str, port: &str) {
    let (head, _) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let [method, path, "HTTP/1.1"] = words[..] else { panic!("{request:?}") };
    assert!(!method.is_empty() && path.starts_with('/'), "{request:?}");
    let headers: Vec<(&str, &str)> = lines.map(|line| line.split_once(": ").unwrap()).collect();
    let all = |name: &str| -> Vec<&str> {
        headers.iter().filter(|(own, _)| *own == name).map(|(_, value)| *value).collect()
    };
    assert_eq!(all("host"), [format!("a.example:{port}")], "{request:?}");
    let framings = [all("content-length"), all("transfer-encoding")].concat();
    assert!(framings.len() <= 1, "{request:?}");
    assert!(all("transfer-encoding").iter().all(|coding| *coding == "chunked"), "{request:?}");
    // A token of its own: `xh2c` is no protocol that anybody speaks.
    let mut protocols = all("upgrade").into_iter().flat_map(|line| line.split([',', '/']));
    assert!(protocols.all(|protocol| !protocol.trim().eq_ignore_ascii_case("h2c")), "{request:?}");
    assert!(headers.iter().all(|(name, _)| !name.starts_with("proxy-")), "{request:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_too_odd() {
    let requests: Arc<Mutex<Vec<String>>> = Arc::default();
    let all = Arc::clone(&requests);
    let page = Upstream::start(move |mut stream, heard| {
        let all = Arc::clone(&all);
        async move {
            while let Some(request) = read_request(&mut stream, &heard).await {
                all.lock().unwrap().push(request);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
            }
        }
    })
    .await;
    let port = page.port().to_string();
    let gate =
        Gate::allowing(&[&format!("{{ host: a.example, ports: [{port}], protocol: http, private: true }}")])
            .await;
    let runtime = tokio::runtime::Handle::current();
    let say = async |bytes: Vec<u8>| {
        let mut stream = gate.connect().await;
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.map(|_| answer)
    };
    tokio::task::block_in_place(|| {
        let mut runner =
            TestRunner::new(Config { cases: 500, failure_persistence: None, ..Config::default() });
        let strategy = (0..SEEDS.len(), faults());
        let result = runner.run(&strategy, |(seed, faults)| {
            let bytes = mutate(&SEEDS[seed].replace("PORT", &port), &faults);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let answer = runtime.block_on(say(bytes));
            let answer = answer.map_err(|_| TestCaseError::fail(format!("no end: {text:?}")))?;
            prop_assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{text:?}: {answer:?}");
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error}"));
    });
    // Still there, and as strict as before.
    let mut stream = gate.connect().await;
    let request = format!("GET http://a.example:{port}/last HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
    assert_eq!(ask(&mut stream, request).await.status, 200);
    drop(stream);
    for request in requests.lock().unwrap().iter() {
        expect_one_reading(request, &port);
    }
    let records = gate.records(1).await;
    assert!(records.iter().all(|record| record["reason"] != "internal"), "{records:#?}");
    gate.stop().await;
}

const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTrailer: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nConnection: close\r\n\r\nhello",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_too_odd() {
    let next: Arc<Mutex<Vec<u8>>> = Arc::default();
    let said = Arc::clone(&next);
    let page = Upstream::start(move |mut stream, heard| {
        let said = said.lock().unwrap().clone();
        async move {
            read_request(&mut stream, &heard).await;
            let _ = stream.write_all(&said).await;
        }
    })
    .await;
    let port = page.port();
    let gate = Gate::allowing(&[&format!("{{ host: a.example, ports: [{port}], private: true }}")]).await;
    let runtime = tokio::runtime::Handle::current();
    let request =
        |more: &str| format!("GET http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\n{more}\r\n");
    let ask = async |more: &str| {
        let mut stream = gate.connect().await;
        stream.write_all(request(more).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.map(|_| answer)
    };
    let count = Cell::new(0);
    tokio::task::block_in_place(|| {
        let mut runner =
            TestRunner::new(Config { cases: 500, failure_persistence: None, ..Config::default() });
        let strategy = (0..ANSWERS.len(), faults(), any::<bool>());
        let result = runner.run(&strategy, |(answer, faults, upgrades)| {
            let bytes = mutate(ANSWERS[answer], &faults);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            *next.lock().unwrap() = bytes;
            let more = if upgrades { "Connection: upgrade\r\nUpgrade: websocket\r\n" } else { "" };
            let answer = runtime.block_on(ask(more));
            count.set(count.get() + 1);
            let answer = answer.map_err(|_| TestCaseError::fail(format!("no end: {text:?}")))?;
            // Nothing: it broke off before its head was on the way to the client.
            prop_assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{text:?}: {answer:?}");
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error}"));
    });
    let records = gate.records(count.get()).await;
    assert!(records.iter().all(|record| record["reason"] != "internal"), "{records:#?}");
    gate.stop_and_count(count.get()).await;
}
