//! Between the first hello and the server's answer: a HelloRetryRequest lets the client name another server.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::tls::{
    ACCESS_DENIED, CHANGE_CIPHER_SPEC, extension, hello, hello_with, record, server_hello, server_name, split,
};
use crate::support::upstream::Upstream;
use crate::support::{End, Gate, Setup, end};

/// A gate before an upstream that answers the first hello so.
struct Scene {
    upstream: Upstream,
    gate: Gate,
    first: Vec<u8>,
}

impl Scene {
    async fn new(answer: Vec<u8>) -> Self {
        Self::with(answer, |_| {}).await
    }

    async fn with(answer: Vec<u8>, change: impl FnOnce(&mut Setup)) -> Self {
        let first = hello(&["a.example"]);
        let length = first.len();
        let upstream =
            Upstream::saying(move |heard| if heard.len() == length { answer.clone() } else { Vec::new() })
                .await;
        Self::before(upstream, change).await
    }

    async fn before(upstream: Upstream, change: impl FnOnce(&mut Setup)) -> Self {
        let port = upstream.port();
        let rules = ["a", "b"]
            .map(|name| format!("{{ host: {name}.example, ports: [{port}], protocol: tls, private: true }}"));
        let mut setup = Setup::allow(&[&rules[0], &rules[1]]);
        change(&mut setup);
        Self { upstream, gate: setup.start().await, first: hello(&["a.example"]) }
    }

    /// A tunnel in which the first hello was sent, with this behind it.
    async fn tunnel(&self, behind: &[u8]) -> TcpStream {
        let mut tunnel = self.gate.tunnel(&format!("a.example:{}", self.upstream.port())).await;
        tunnel.write_all(&[&self.first, behind].concat()).await.unwrap();
        tunnel
    }
}

/// A server that asks for another hello, and answers with this once it has heard so many bytes.
async fn asking(first: usize, all: usize, answer: Vec<u8>) -> Upstream {
    Upstream::saying(move |heard| match heard.len() {
        length if length == first => server_hello(true),
        length if length == all => answer.clone(),
        _ => Vec::new(),
    })
    .await
}

async fn receive(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, expected);
}

/// What may stand before a second hello.
fn fronts() -> [Vec<u8>; 5] {
    let early = record(0x17, &[3; 400]);
    [
        Vec::new(),
        CHANGE_CIPHER_SPEC.to_vec(),
        early.clone(),
        [&CHANGE_CIPHER_SPEC[..], &early, &early].concat(),
        [&early[..], &CHANGE_CIPHER_SPEC, &early].concat(),
    ]
}

#[tokio::test]
async fn a_second_hello_with_the_same_name_passes_as_it_was_sent() {
    for front in fronts() {
        for size in [1, 50, 1000] {
            for eager in [false, true] {
                let first = hello(&["a.example"]);
                let flight = [front.clone(), split(&first, size)].concat();
                let answer = [&CHANGE_CIPHER_SPEC[..], &server_hello(false)].concat();
                let upstream = asking(first.len(), first.len() + flight.len(), answer.clone()).await;
                let scene = Scene::before(upstream, |_| {}).await;
                let flight = [&flight[..], b"more"].concat();
                let mut tunnel = scene.tunnel(if eager { &flight } else { b"" }).await;
                receive(&mut tunnel, &server_hello(true)).await;
                if !eager {
                    tunnel.write_all(&flight).await.unwrap();
                }
                let all = [&first[..], &flight].concat();
                assert!(scene.upstream.hears(all.len()).await == all);
                receive(&mut tunnel, &answer).await;
                drop(tunnel);
                scene.gate.stop().await;
            }
        }
    }
}

#[tokio::test]
async fn a_second_hello_is_judged_as_the_first_was() {
    let ech = hello_with(&[server_name("a.example"), extension(0xfe0d, &[0; 8])].concat());
    for (second, reason) in [
        (hello(&["b.example"]), "server_name_mismatch"),
        (split(&hello(&["b.example"]), 1), "server_name_mismatch"),
        (split(&hello(&["b.example"]), 50), "server_name_mismatch"),
        (hello(&[]), "server_name_missing"),
        (hello(&["a.example", "b.example"]), "bad_client_hello"),
        (ech, "ech_denied"),
        ([&[0x14, 3, 3, 0, 1, 2][..], &hello(&["a.example"])].concat(), "bad_client_hello"),
    ] {
        for front in fronts() {
            for eager in [false, true] {
                let scene = Scene::new(server_hello(true)).await;
                let flight = [&front[..], &second].concat();
                let mut tunnel = scene.tunnel(if eager { &flight } else { b"" }).await;
                receive(&mut tunnel, &server_hello(true)).await;
                if !eager {
                    tunnel.write_all(&flight).await.unwrap();
                }
                assert_eq!(end(&mut tunnel).await, End { last: ACCESS_DENIED.to_vec(), reset: false });
                let record = scene.gate.record().await;
                assert_eq!(record["reason"], Value::from(reason));
                assert_eq!(record["sent"], scene.first.len());
                assert!(scene.upstream.heard() == [&scene.first[..]], "{reason}");
                drop(tunnel);
                scene.gate.stop().await;
            }
        }
    }
}

/// RFC 8446 §4.1.4 forbids it: a client that answers it would send what nobody judges.
#[tokio::test]
async fn a_server_that_asks_twice_ends_it() {
    let first = hello(&["a.example"]);
    let all = 2 * first.len();
    let (asks, early) = (server_hello(true), record(0x17, &[3; 400]));
    for (answer, wrong) in [
        (asks.clone(), "asks for a third ClientHello"),
        (split(&asks, 1), "asks for a third ClientHello"),
        ([&CHANGE_CIPHER_SPEC[..], &asks].concat(), "asks for a third ClientHello"),
        ([record(0x15, &[1, 112]), asks.clone()].concat(), "asks for a third ClientHello"),
        ([&early[..], &asks].concat(), "has a record of another type before or within it"),
    ] {
        let scene = Scene::before(asking(first.len(), all, answer).await, |_| {}).await;
        let mut tunnel = scene.tunnel(&[&first[..], &hello(&["b.example"])].concat()).await;
        receive(&mut tunnel, &asks).await;
        assert_eq!(end(&mut tunnel).await, End { last: Vec::new(), reset: true });
        let record = scene.gate.record().await;
        assert_eq!((&record["reason"], &record["sent"]), (&"upstream_reset".into(), &all.into()));
        assert!(record["error"].as_str().unwrap().contains(wrong), "{record}");
        assert!(scene.upstream.heard() == [[&first[..], &first].concat()]);
        scene.gate.stop().await;
    }
    // Both at once: the second can't be passed for a part of the first.
    let together = record(0x16, &[&asks[5..], &asks[5..]].concat());
    for (answer, first_passes) in [([&asks[..], &asks].concat(), true), (together, false)] {
        let scene = Scene::new(answer).await;
        let mut tunnel = scene.tunnel(&first).await;
        if first_passes {
            receive(&mut tunnel, &asks).await;
        }
        assert_eq!(end(&mut tunnel).await, End { last: Vec::new(), reset: true });
        assert_eq!(scene.gate.record().await["reason"], "upstream_reset");
        scene.gate.stop().await;
    }
}

#[tokio::test]
async fn what_report_mode_let_pass_in_the_first_hello_is_not_hidden_by_the_second() {
    for (nameless, would_deny) in [(true, true), (false, false)] {
        let first = if nameless { hello(&[]) } else { hello(&["a.example"]) };
        let second = hello(&["a.example"]);
        let upstream = asking(first.len(), first.len() + second.len(), server_hello(false)).await;
        let report = |setup: &mut Setup| {
            setup.policy = setup.policy.replace("    allow:", "    mode: report\n    allow:");
        };
        let scene = Scene::before(upstream, report).await;
        let mut tunnel = scene.gate.tunnel(&format!("a.example:{}", scene.upstream.port())).await;
        tunnel.write_all(&first).await.unwrap();
        receive(&mut tunnel, &server_hello(true)).await;
        tunnel.write_all(&second).await.unwrap();
        receive(&mut tunnel, &server_hello(false)).await;
        drop(tunnel);
        let record = scene.gate.record().await;
        assert_eq!(record["would_deny"], would_deny, "{record}");
        assert_eq!(record["reason"], if would_deny { "report_only" } else { "allowed" });
        assert_eq!(record["server_name"].is_null(), nameless, "{record}");
        scene.gate.stop().await;
    }
}

#[tokio::test]
async fn a_request_for_another_hello_passes_however_it_is_cut() {
    // The last cut is within the change_cipher_spec that servers send after it, which waits for what it belongs to.
    let answer = [server_hello(true), CHANGE_CIPHER_SPEC.to_vec()].concat();
    for cut in [44, 46, answer.len() - 3] {
        let (first, rest) = (answer[..cut].to_vec(), answer[cut..].to_vec());
        let length = hello(&["a.example"]).len();
        let upstream = Upstream::start(move |mut stream, heard| {
            let sent = [first.clone(), rest.clone()];
            async move {
                let mut hello = vec![0; length];
                stream.read_exact(&mut hello).await.unwrap();
                heard.add(&hello);
                stream.set_nodelay(true).unwrap();
                for piece in sent {
                    stream.write_all(&piece).await.unwrap();
                    // Lets the piece go out, and be read, by itself.
                    tokio::task::yield_now().await;
                }
                stream.read_exact(&mut hello).await.unwrap();
                heard.add(&hello);
                stream.write_all(&server_hello(false)).await.unwrap();
            }
        })
        .await;
        let scene = Scene::before(upstream, |_| {}).await;
        let mut tunnel = scene.tunnel(b"").await;
        receive(&mut tunnel, &server_hello(true)).await;
        tunnel.write_all(&scene.first).await.unwrap();
        receive(&mut tunnel, &[&CHANGE_CIPHER_SPEC[..], &server_hello(false)].concat()).await;
        assert_eq!(end(&mut tunnel).await, End { last: Vec::new(), reset: false });
        drop(tunnel);
        let record = scene.gate.record().await;
        assert_eq!(record["reason"], "allowed", "{cut}");
        assert_eq!(record["received"], answer.len() + server_hello(false).len(), "{cut}");
        scene.gate.stop().await;
    }
}

#[tokio::test]
async fn a_second_hello_that_never_comes_is_not_waited_for() {
    let scene = Scene::with(server_hello(true), |setup| {
        setup.settings.timeouts.head = Duration::from_millis(200);
    })
    .await;
    let mut tunnel = scene.tunnel(b"").await;
    receive(&mut tunnel, &server_hello(true)).await;
    tunnel.write_all(&hello(&["a.example"])[..60]).await.unwrap();
    assert_eq!(end(&mut tunnel).await, End { last: ACCESS_DENIED.to_vec(), reset: false });
    assert_eq!(scene.gate.record().await["reason"], "head_timeout");
    drop(tunnel);
    scene.gate.stop().await;
}

#[tokio::test]
async fn a_final_answer_frees_both_directions() {
    let answer = [server_hello(false), b"and on".to_vec()].concat();
    for answer in
        [answer, split(&server_hello(false), 1), [record(0x15, &[1, 112]), server_hello(false)].concat()]
    {
        let scene = Scene::new(answer.clone()).await;
        let mut tunnel = scene.tunnel(b"held").await;
        receive(&mut tunnel, &answer).await;
        tunnel.write_all(&hello(&["b.example"])).await.unwrap();
        let all = [&scene.first[..], b"held", &hello(&["b.example"])].concat();
        assert!(scene.upstream.hears(all.len()).await == all);
        tunnel.shutdown().await.unwrap();
        assert_eq!(end(&mut tunnel).await, End { last: Vec::new(), reset: false });
        let record = scene.gate.record().await;
        assert_eq!((&record["reason"], &record["sent"]), (&"allowed".into(), &all.len().into()));
        assert_eq!(record["received"], answer.len());
        scene.gate.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_heard() {
    for answer in [b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), record(0x15, &[2, 40])] {
        let scene = Scene::new(answer.clone()).await;
        let mut tunnel = scene.tunnel(b"").await;
        receive(&mut tunnel, &answer).await;
        tunnel.shutdown().await.unwrap();
        end(&mut tunnel).await;
        assert_eq!(scene.gate.record().await["reason"], "allowed");
        scene.gate.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_can_be_read_in_two_ways_ends_it() {
    for answer in [
        [&CHANGE_CIPHER_SPEC[..], &server_hello(true)].concat(),
        [record(0x16, &[]), server_hello(true)].concat(),
        [record(0x16, &[0, 0, 0, 0]), server_hello(true)].concat(),
        // Two alerts in one record, one of an unknown level, and one within the message.
        [record(0x15, &[1, 112, 1, 112]), server_hello(true)].concat(),
        [record(0x15, &[3, 112]), server_hello(true)].concat(),
        [record(0x16, &server_hello(true)[5..9]), record(0x15, &[1, 112])].concat(),
        b"\x16garbage".to_vec(),
    ] {
        let scene = Scene::new(answer).await;
        let mut tunnel = scene.tunnel(b"").await;
        assert_eq!(end(&mut tunnel).await, End { last: Vec::new(), reset: true });
        let record = scene.gate.record().await;
        assert_eq!(record["reason"], "upstream_reset");
        assert!(record["error"].as_str().unwrap().contains("the ServerHello "), "{record}");
        scene.gate.stop().await;
    }
}

#[tokio::test]
async fn a_server_may_end_break_or_stay_silent_instead_of_answering() {
    for (resets, reason) in [(false, "allowed"), (true, "upstream_reset")] {
        let upstream = Upstream::start(move |mut stream, _| async move {
            stream.read_u8().await.unwrap();
            if resets {
                stream.set_zero_linger().unwrap();
            }
            // What was not read makes the close a reset, so all of it is.
            let _ = stream.try_read(&mut [0; 4096]);
        })
        .await;
        let scene = Scene::before(upstream, |_| {}).await;
        let mut tunnel = scene.tunnel(b"").await;
        let ended = end(&mut tunnel).await;
        assert_eq!(ended, End { last: Vec::new(), reset: resets });
        drop(tunnel);
        assert_eq!(scene.gate.record().await["reason"], reason);
        scene.gate.stop().await;
    }
    let short = |setup: &mut Setup| setup.settings.timeouts.idle = Duration::from_millis(200);
    let scene = Scene::before(Upstream::silent().await, short).await;
    let mut tunnel = scene.tunnel(b"").await;
    assert_eq!(end(&mut tunnel).await, End { last: Vec::new(), reset: true });
    assert_eq!(scene.gate.record().await["reason"], "idle_timeout");
    drop(tunnel);
    scene.gate.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_no_more_is_waited_for_as_a_half_closed_one() {
    // More than is kept of it hides that it has gone.
    for (held, breaks) in [(4, false), (100_000, false), (100_000, true)] {
        let short = |setup: &mut Setup| setup.settings.timeouts.half_closed = Duration::from_millis(300);
        let scene = Scene::before(Upstream::silent().await, short).await;
        let mut tunnel = scene.tunnel(&vec![b'x'; held]).await;
        assert!(scene.upstream.hears(scene.first.len()).await == scene.first);
        match breaks {
            true => tunnel.set_zero_linger().unwrap(),
            false => tunnel.shutdown().await.unwrap(),
        }
        drop(tunnel);
        let record = scene.gate.record().await;
        let sent = scene.first.len().into();
        assert_eq!((&record["reason"], &record["sent"]), (&"idle_timeout".into(), &sent), "{held}");
        scene.gate.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_goes_while_a_second_hello_is_awaited_ends_it() {
    let length = hello(&["a.example"]).len();
    let upstream = Upstream::start(move |mut stream, _| async move {
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        stream.write_all(&server_hello(true)).await.unwrap();
    })
    .await;
    let scene = Scene::before(upstream, |_| {}).await;
    let mut tunnel = scene.tunnel(b"").await;
    receive(&mut tunnel, &server_hello(true)).await;
    end(&mut tunnel).await;
    assert_eq!(scene.gate.record().await["reason"], "upstream_reset");
    drop(tunnel);
    scene.gate.stop().await;
}

#[tokio::test]
async fn a_client_that_breaks_off_meanwhile_is_noticed() {
    let scene = Scene::before(Upstream::silent().await, |_| {}).await;
    let tunnel = scene.tunnel(b"held").await;
    assert!(scene.upstream.hears(scene.first.len()).await == scene.first);
    tunnel.set_zero_linger().unwrap();
    drop(tunnel);
    let record = scene.gate.record().await;
    assert_eq!((&record["reason"], &record["sent"]), (&"client_reset".into(), &scene.first.len().into()));

    // After the request for another hello, an alert or an end says that there will be none.
    let scene = Scene::new(server_hello(true)).await;
    for last in [&record_of_alert()[..], b""] {
        let mut tunnel = scene.tunnel(b"").await;
        receive(&mut tunnel, &server_hello(true)).await;
        tunnel.write_all(last).await.unwrap();
        tunnel.shutdown().await.unwrap();
        end(&mut tunnel).await;
    }
    for record in scene.gate.records(2).await {
        assert_eq!(record["reason"], "client_reset");
    }
    scene.gate.stop().await;
}

fn record_of_alert() -> Vec<u8> {
    record(0x15, &[2, 47])
}
