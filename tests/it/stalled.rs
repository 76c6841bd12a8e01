//! Bodies that one side sends and the other does not take: what of them waits in the memory of exeat.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::binary::{Binary, Files};
use crate::support::until;
use crate::support::upstream::{Heard, Upstream, read_request};

const EXCHANGES: usize = 100;
/// So many times in a row all of them are found where they were.
const LOOKS: usize = 4;
/// Of each of them. hyper by itself would let more than that wait.
const MOST: usize = 448 * 1024;

/// Sends until the other side takes no more.
async fn pour(stream: &mut TcpStream) {
    let chunk = vec![7; 64 * 1024];
    while let Ok(Ok(())) = timeout(Duration::from_secs(1), stream.write_all(&chunk)).await {}
}

/// Answers with more than a client will take.
async fn pouring(mut stream: TcpStream, heard: Heard) {
    if read_request(&mut stream, &heard).await.is_some() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
        let _ = stream.write_all(head).await;
        pour(&mut stream).await;
        std::future::pending::<()>().await;
    }
}

/// Takes nothing of what it is sent.
async fn deaf(stream: TcpStream, _: Heard) {
    std::future::pending::<()>().await;
    drop(stream);
}

/// So many exchanges whose bodies move no more.
async fn stalled(exeat: &Binary, head: &str, pours: bool, count: usize) -> Vec<TcpStream> {
    let begun: Vec<_> = (0..count)
        .map(|_| {
            let (head, address) = (head.to_owned(), exeat.address);
            tokio::spawn(async move {
                let mut client = TcpStream::connect(address).await.unwrap();
                client.write_all(head.as_bytes()).await.unwrap();
                match pours {
                    true => pour(&mut client).await,
                    // The answer has begun, and comes as far as there is room for it.
                    false => drop(client.read_exact(&mut [0; 1024]).await.unwrap()),
                }
                client
            })
        })
        .collect();
    let mut stalled = Vec::new();
    for client in begun {
        stalled.push(client.await.unwrap());
    }
    let moved = async || {
        let flows: Value = serde_json::from_str(&exeat.ask_admin("/flows").await).unwrap();
        let of = |flow: &Value| flow["sent"].as_u64().unwrap() + flow["received"].as_u64().unwrap();
        flows["flows"].as_array().unwrap().iter().map(of).sum::<u64>()
    };
    until("it does not come to a standstill", async || {
        // On a busy machine one look may find nothing moved that is still to move.
        let before = moved().await;
        for _ in 0..LOOKS {
            sleep(Duration::from_millis(300)).await;
            if moved().await != before {
                return false;
            }
        }
        true
    })
    .await;
    stalled
}

#[tokio::test]
async fn what_nobody_takes_of_a_body_takes_little_memory() {
    let get = "GET http://TO/ HTTP/1.1\r\nHost: TO\r\n\r\n";
    let put = "PUT http://TO/ HTTP/1.1\r\nHost: TO\r\nContent-Length: 1000000000\r\n\r\n";
    for (upstream, head, pours) in
        [(Upstream::start(pouring).await, get, false), (Upstream::start(deaf).await, put, true)]
    {
        let port = upstream.port();
        let rule = format!("{{ host: a.example, ports: [{port}], protocol: http, private: true }}");
        let policy = format!("version: 1\nprofiles:\n  - name: p\n    allow:\n      - {rule}\n");
        let exeat = Binary::start(Files::new("", &policy), None).await;
        let head = head.replace("TO", &format!("a.example:{port}"));
        // What the first ones take is for all that follow.
        let _first = stalled(&exeat, &head, pours, 20).await;
        let before = exeat.memory();
        let _others = stalled(&exeat, &head, pours, EXCHANGES).await;
        let each = exeat.memory().saturating_sub(before) / EXCHANGES;
        assert!(each < MOST, "{each} bytes: {head}");
    }
}
