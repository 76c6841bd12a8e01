//! Bodies of requests: chunks, trailers, expectations, and what an upload leaves behind.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::upstream::{Upstream, read_request};
use crate::support::{Gate, Setup, anonymous, ask, read_head, read_reply, read_to_end};

async fn gate_to(page: &Upstream) -> Gate {
    Gate::allowing(&[&rule(page)]).await
}

fn rule(page: &Upstream) -> String {
    format!("{{ host: a.example, ports: [{}], private: true }}", page.port())
}

fn post(page: &Upstream, headers: &str) -> String {
    let port = page.port();
    format!("POST http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\n{headers}\r\n")
}

#[tokio::test]
async fn malformed_chunks_never_become_a_whole_body() {
    let page = Upstream::page().await;
    let gate = gate_to(&page).await;
    let port = page.port();
    let behind = format!("GET http://a.example:{port}/behind HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
    let bodies = [
        "x\r\n",
        "\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5;x\ny\r\nhello\r\n0\r\n\r\n",
        "10000000000000000\r\n",
        "fffffffffffffffff\r\n",
        "5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : a\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\nY: b\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n00\rX\r\n",
    ];
    for (index, body) in bodies.iter().enumerate() {
        let answer = gate.say(post(&page, "Transfer-Encoding: chunked\r\n") + body + &behind).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{body:?}: {answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{body:?}: {answer}");
        let record = gate.records(index + 1).await.remove(index);
        assert_eq!((&record["reason"], &record["status"]), (&"bad_request".into(), &400.into()), "{body:?}");
        page.ended(index + 1).await;
    }
    for heard in page.heard() {
        let heard = String::from_utf8(heard).unwrap();
        assert!(!heard.ends_with("\r\n0\r\n\r\n") && !heard.contains("behind"), "{heard:?}");
    }
    gate.stop().await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_no_whole_one() {
    let page = Upstream::page().await;
    let gate = gate_to(&page).await;
    for (index, (headers, part)) in
        [("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"), ("Content-Length: 10\r\n", "hello")]
            .into_iter()
            .enumerate()
    {
        let mut stream = gate.connect().await;
        stream.write_all((post(&page, headers) + part).as_bytes()).await.unwrap();
        page.has_heard("hello").await;
        stream.shutdown().await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let record = gate.records(index + 1).await.remove(index);
        assert_eq!((&record["reason"], &record["sent"]), (&"client_reset".into(), &5.into()));
        page.ended(index + 1).await;
    }
    assert!(!page.heard_text().contains("\r\n0\r\n\r\n"), "{}", page.heard_text());
    gate.stop().await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_behind_the_head_of_its_answer_is_the_clients_doing() {
    for (rest, reason) in [("", "client_reset"), ("zzz\r\n", "bad_request")] {
        let page = Upstream::start(|mut stream, heard| async move {
            heard.add(read_head(&mut stream).await.as_bytes());
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe").await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let gate = gate_to(&page).await;
        let mut stream = gate.connect().await;
        let upload = post(&page, "Transfer-Encoding: chunked\r\n") + "3\r\none\r\n";
        stream.write_all(upload.as_bytes()).await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        stream.write_all(rest.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let record = gate.record().await;
        assert_eq!((&record["reason"], &record["status"]), (&reason.into(), &200.into()), "{record}");
        page.ended(1).await;
        gate.stop().await;
    }
}

#[tokio::test]
async fn announced_trailers_pass_and_dangerous_ones_do_not() {
    let page = Upstream::start(|mut stream, heard| async move {
        while read_request(&mut stream, &heard).await.is_some() {
            let answer = "HTTP/1.1 200 OK\r\nTrailer: x-sum, connection, proxy-status, content-length\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\nX-Unannounced: 1\r\nConnection: close\r\nProxy-Status: exeat\r\nContent-Length: 9\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let gate = gate_to(&page).await;
    let names = "x-sum, host, content-length, transfer-encoding, proxy-authorization, connection, authorization, via, cookie, upgrade";
    let mut trailers = "X-Sum: 1\r\nX-Unannounced: 1\r\n".to_owned();
    for name in names.split(", ").skip(1) {
        trailers += &format!("{name}: evil\r\n");
    }
    let headers = format!("TE: trailers\r\nTrailer: {names}\r\nTransfer-Encoding: chunked\r\n");
    let mut stream = gate.connect().await;
    let reply = ask(&mut stream, post(&page, &headers) + "1\r\nx\r\n0\r\n" + &trailers + "\r\n").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "okx-sum: 2\r\n"), "{reply:?}");
    let heard = anonymous(&page.heard_text());
    assert!(heard.ends_with("\r\n\r\n1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n"), "{heard:?}");
    // The connection serves on: what stood in the trailers said nothing about it.
    let reply = ask(&mut stream, post(&page, "Content-Length: 0\r\n")).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok"), "no trailers to who takes none: {reply:?}");
    assert_eq!(page.connections(), 1);
    drop(stream);
    assert_eq!(gate.records(2).await[0]["reason"], "allowed");
    gate.stop().await;
}

#[tokio::test]
async fn bytes_stream_through_both_ways_as_they_come() {
    let echo = Upstream::start(|mut stream, heard| async move {
        // Answers with a head once it has one, then each chunk as it comes.
        let mut buffer = [0; 1024];
        let mut all = Vec::new();
        while !all.ends_with(b"\r\n\r\n") {
            all.push(stream.read_u8().await.unwrap());
        }
        heard.add(&all);
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        while !all.ends_with(b"\r\n0\r\n\r\n") {
            let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
            heard.add(&buffer[..count]);
            all.extend_from_slice(&buffer[..count]);
            for word in ["one", "two"] {
                if buffer[..count].windows(3).any(|three| three == word.as_bytes()) {
                    stream.write_all(format!("3\r\n{word}\r\n").as_bytes()).await.unwrap();
                }
            }
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    })
    .await;
    let gate = gate_to(&echo).await;
    let mut stream = gate.connect().await;
    stream.write_all(post(&echo, "Transfer-Encoding: chunked\r\n").as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for word in ["one", "two"] {
        stream.write_all(format!("3\r\n{word}\r\n").as_bytes()).await.unwrap();
        // The echo of one comes before the other is sent.
        let chunk = crate::support::read_exactly(&mut stream, 8).await;
        assert_eq!(chunk, format!("3\r\n{word}\r\n"));
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(crate::support::read_exactly(&mut stream, 5).await, "0\r\n\r\n");
    let record = gate.record().await;
    assert_eq!(
        (&record["sent"], &record["received"], &record["reason"]),
        (&6.into(), &6.into(), &"allowed".into())
    );
    drop(stream);
    gate.stop().await;
}

#[tokio::test]
async fn an_expectation_goes_from_end_to_end() {
    // What the upstream does at the head, and what the client is told first.
    for (at_head, first, body) in [
        ("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", true),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            true,
        ),
        // Silence: the client is told to go on after a second.
        ("", "HTTP/1.1 100 Continue\r\n\r\n", true),
        ("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 417 ", false),
    ] {
        let page = Upstream::start(move |mut stream, heard| async move {
            let mut all = Vec::new();
            while !all.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                heard.add(&[byte]);
                all.push(byte);
            }
            stream.write_all(at_head.as_bytes()).await.unwrap();
            for _ in 0..5 {
                let Ok(byte) = stream.read_u8().await else { return };
                heard.add(&[byte]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        })
        .await;
        let gate = gate_to(&page).await;
        let mut stream = gate.connect().await;
        let head = post(&page, "Expect: 100-continue\r\nContent-Length: 5\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let told = read_head(&mut stream).await;
        assert!(told.starts_with(first), "{at_head:?}: {told}");
        let heard = page.heard_text();
        assert!(heard.contains("\r\nexpect: 100-continue\r\n") && heard.ends_with("\r\n\r\n"), "{heard}");
        if body {
            stream.write_all(b"hello").await.unwrap();
            assert_eq!(read_reply(&mut stream).await.status, 200);
            assert!(page.heard_text().ends_with("hello"));
        } else {
            // A client that was told no may go on with another request: it must not be taken for the body.
            let _ = stream.write_all(head.as_bytes()).await;
            assert_eq!(read_to_end(&mut stream).await, "");
            page.ended(1).await;
            assert_eq!(page.heard_text().matches("POST").count(), 1, "{}", page.heard_text());
        }
        let record = gate.record().await;
        assert_eq!(record["reason"], "allowed");
        assert_eq!(record["status"], if body { 200 } else { 417 });
        gate.stop().await;
    }
}

#[tokio::test]
async fn no_byte_flows_on_behind_a_complete_answer() {
    let page = Upstream::start(|mut stream, heard| async move {
        let mut buffer = [0; 1024];
        let mut answered = false;
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            heard.add(&buffer[..count]);
            if !answered {
                answered = true;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
        }
    })
    .await;
    let gate = gate_to(&page).await;
    let mut stream = gate.connect().await;
    stream
        .write_all((post(&page, "Transfer-Encoding: chunked\r\n") + "3\r\none\r\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(read_reply(&mut stream).await.body, "ok");
    assert_eq!(gate.record().await["reason"], "allowed");
    // The flow has ended; whatever comes now belongs to no flow.
    page.ended(1).await;
    let _ = stream.write_all(b"3\r\ntwo\r\n").await;
    assert_eq!(read_to_end(&mut stream).await, "");
    assert!(!page.heard_text().contains("two"), "{}", page.heard_text());
    assert_eq!(gate.records(1).await.len(), 1);
    gate.stop().await;
}

#[tokio::test]
async fn an_upload_goes_on_while_the_client_takes_nothing_of_the_answer() {
    // More than all buffers on the way have room for.
    const LENGTH: usize = 16 << 20;
    let page = Upstream::start(|stream, heard| async move {
        let (mut reading, mut writing) = stream.into_split();
        let answer = tokio::spawn(async move {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
            writing.write_all(head.as_bytes()).await.unwrap();
            writing.write_all(&vec![b'a'; LENGTH]).await.unwrap();
            writing
        });
        let (mut buffer, mut count) = (vec![0; 65_536], 0);
        while count < LENGTH {
            match reading.read(&mut buffer).await {
                Ok(more @ 1..) => count += more,
                _ => return,
            }
        }
        heard.add(b"all of it");
        drop(answer.await.unwrap());
    })
    .await;
    let gate = gate_to(&page).await;
    let mut stream = gate.connect().await;
    stream.write_all(post(&page, &format!("Content-Length: {LENGTH}\r\n")).as_bytes()).await.unwrap();
    // A client that first sends, then reads.
    stream.write_all(&vec![b'q'; LENGTH]).await.unwrap();
    page.has_heard("all of it").await;
    let reply = read_reply(&mut stream).await;
    assert_eq!((reply.status, reply.body.len()), (200, LENGTH));
    assert_eq!(gate.record().await["sent"], LENGTH);
    drop(stream);
    gate.stop().await;
}

#[tokio::test]
async fn an_upload_may_take_longer_than_a_head() {
    let page = Upstream::page().await;
    let mut setup = Setup::allow(&[&rule(&page)]);
    setup.settings.timeouts.head = std::time::Duration::from_millis(100);
    let gate = setup.start().await;
    let mut stream = gate.connect().await;
    stream.write_all((post(&page, "Content-Length: 2\r\n") + "x").as_bytes()).await.unwrap();
    page.has_heard("\r\n\r\nx").await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let reply = ask(&mut stream, "y").await;
    assert_eq!(reply.status, 200);
    assert_eq!(gate.record().await["sent"], 2);
    drop(stream);
    gate.stop().await;
}

#[tokio::test]
async fn what_an_upstream_answers_to_an_upload_that_it_does_not_read_arrives() {
    const LENGTH: usize = 8 << 20;
    for (answer, arrives) in [
        ("HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge", true),
        // The end of the connection is no end of an answer if it is a reset.
        ("HTTP/1.1 413 Too Large\r\n\r\nlarge", false),
    ] {
        // It closes with bytes unread, which resets the connection behind the answer (RFC 9112 §9.6).
        let page = Upstream::start(move |mut stream, heard| async move {
            if read_head(&mut stream).await.starts_with("POST ") {
                heard.add(b"a head");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        })
        .await;
        let gate = gate_to(&page).await;
        // Whether a write fails before the answer is read is a matter of chance.
        for _ in 0..20 {
            let mut stream = gate.connect().await;
            let upload = post(&page, &format!("Content-Length: {LENGTH}\r\n")) + &"q".repeat(LENGTH);
            let (mut reading, mut writing) = stream.split();
            let (_, told) = tokio::join!(writing.write_all(upload.as_bytes()), async {
                let mut told = Vec::new();
                let _ = reading.read_to_end(&mut told).await;
                String::from_utf8_lossy(&told).into_owned()
            });
            assert_eq!(
                told.starts_with("HTTP/1.1 413 ") && told.ends_with("\r\n\r\nlarge"),
                arrives,
                "{told}"
            );
        }
        for record in gate.records(20).await {
            let reason = if arrives { "allowed" } else { "upstream_reset" };
            assert_eq!(record["reason"], reason, "{record}");
        }
        gate.stop().await;
    }
}
