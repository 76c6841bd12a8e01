//! Servers on loopback, each on a port of its own, that live as long as the test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use super::PATIENCE;

/// A server, and all that it was sent.
pub struct Upstream {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Upstream {
    /// Serves each connection with `serve`, which is given the connection and a place for what it hears.
    pub async fn start<F, R>(serve: F) -> Self
    where
        F: Fn(TcpStream, Heard) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let all = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let index = {
                    let mut all = all.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                tokio::spawn(serve(stream, Heard { all: Arc::clone(&all), index }));
            }
        });
        Self { address, heard }
    }

    /// Sends everything back.
    pub async fn echo() -> Self {
        Self::start(|mut stream, heard| async move {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                heard.add(&buffer[..count]);
                if stream.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    /// Says nothing, and hears what it is sent until the client ends.
    pub async fn silent() -> Self {
        Self::saying(|_| Vec::new()).await
    }

    /// Says what `answer` makes of all that it has heard on a connection, each time it hears more.
    pub async fn saying(answer: impl Fn(&[u8]) -> Vec<u8> + Clone + Send + 'static) -> Self {
        Self::start(move |mut stream, heard| {
            let answer = answer.clone();
            async move {
                let (mut all, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    heard.add(&buffer[..count]);
                    all.extend_from_slice(&buffer[..count]);
                    if stream.write_all(&answer(&all)).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Answers each request head with the same bytes; a request's body is not read as such.
    pub async fn answering(answer: &'static str) -> Self {
        Self::start(move |mut stream, heard| async move {
            let mut last = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                heard.add(&buffer[..count]);
                last.extend_from_slice(&buffer[..count]);
                while let Some(end) = last.windows(4).position(|four| four == b"\r\n\r\n") {
                    last.drain(..end + 4);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// A plain page.
    pub async fn page() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What each connection has sent so far.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until its first connection has sent so many bytes, and returns all that it sent.
    pub async fn hears(&self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let first = self.heard().into_iter().next().unwrap_or_default();
            if first.len() >= count {
                return first;
            }
            assert!(Instant::now() < deadline, "{} of {count} bytes", first.len());
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.heard.lock().unwrap().len()
    }
}

/// Where one connection of an upstream writes down what it hears.
#[derive(Clone)]
pub struct Heard {
    all: Arc<Mutex<Vec<Vec<u8>>>>,
    index: usize,
}

impl Heard {
    pub fn add(&self, bytes: &[u8]) {
        self.all.lock().unwrap()[self.index].extend_from_slice(bytes);
    }
}
