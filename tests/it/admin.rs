//! The admin door under those who would keep others out of it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Gate, end, read_head};

/// As many as it serves at a time.
const PLACES: usize = 64;
const PROBE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Connections on which this is sent, and no answer read.
async fn hold(gate: &Gate, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(gate.admin).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        held.push(stream);
    }
    held
}

/// Asks for health on a connection that is kept.
async fn probe(stream: &mut TcpStream) {
    stream.write_all(PROBE).await.unwrap();
    assert!(read_head(stream).await.starts_with("HTTP/1.1 200 "));
    stream.read_exact(&mut [0; 3]).await.unwrap();
}

#[tokio::test]
async fn probes_and_scrapes_are_answered_whoever_holds_connections() {
    let gate = Gate::allowing(&["a.example"]).await;
    let mut held = Vec::new();
    for bytes in [&b""[..], b"GET /metrics HTT", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        held.extend(hold(&gate, 2 * PLACES, bytes).await);
        for _ in 0..3 {
            assert_eq!(
                gate.admin_answer("/healthz").await,
                ("HTTP/1.0 200 OK".to_owned(), "ok\n".to_owned())
            );
        }
        assert!(gate.ask_admin("/metrics").await.contains("exeat_build_info"));
    }
    drop(held);
}

#[tokio::test]
async fn a_connection_that_is_used_outlives_those_that_are_not() {
    let gate = Gate::allowing(&["a.example"]).await;
    let mut scraper = TcpStream::connect(gate.admin).await.unwrap();
    probe(&mut scraper).await;
    let mut first = hold(&gate, 1, b"").await.remove(0);
    for _ in 0..PLACES {
        let _held = hold(&gate, 1, b"").await;
        probe(&mut scraper).await;
    }
    let held = hold(&gate, PLACES - 1, b"").await;
    probe(&mut scraper).await;
    // The oldest is gone by then.
    end(&mut first).await;
    drop(held);
}
