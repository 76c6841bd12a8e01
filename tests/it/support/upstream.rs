//! Servers on loopback, each on a port of its own, that live as long as the test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use crate::support::PATIENCE;

/// A server, and all that it was sent.
pub struct Upstream {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    ended: Arc<Mutex<usize>>,
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
        let ended: Arc<Mutex<usize>> = Arc::default();
        let (all, ends) = (Arc::clone(&heard), Arc::clone(&ended));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let index = {
                    let mut all = all.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                let served = serve(stream, Heard { all: Arc::clone(&all), index });
                let ends = Arc::clone(&ends);
                tokio::spawn(async move {
                    served.await;
                    *ends.lock().unwrap() += 1;
                });
            }
        });
        Self { address, heard, ended }
    }

    /// Sends everything back.
    pub async fn echo() -> Self {
        Self::start(send_back).await
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

    /// Answers each request, once its body has been read, with the same bytes, and keeps the connection.
    pub async fn answering(answer: impl Into<String>) -> Self {
        let answer: Arc<str> = answer.into().into();
        Self::start(move |mut stream, heard| {
            let answer = Arc::clone(&answer);
            async move {
                while read_request(&mut stream, &heard).await.is_some() {
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Answers one request on each connection, and closes it.
    pub async fn closing(answer: impl Into<String>) -> Self {
        let answer: Arc<str> = answer.into().into();
        Self::start(move |mut stream, heard| {
            let answer = Arc::clone(&answer);
            async move {
                if read_request(&mut stream, &heard).await.is_some() {
                    let _ = stream.write_all(answer.as_bytes()).await;
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

    /// What all connections have sent so far, as text.
    pub fn heard_text(&self) -> String {
        String::from_utf8_lossy(&self.heard().concat()).into_owned()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    /// Waits until this many connections have ended.
    pub async fn ended(&self, count: usize) {
        self.until(|| *self.ended.lock().unwrap() >= count, "the connections did not end").await;
    }

    /// Waits until its first connection has sent so many bytes, and returns all that it sent.
    pub async fn hears(&self, count: usize) -> Vec<u8> {
        let first = || self.heard().into_iter().next().unwrap_or_default();
        self.until(|| first().len() >= count, "so many bytes").await;
        first()
    }

    /// Waits until it has heard this.
    pub async fn has_heard(&self, text: &str) {
        self.until(|| self.heard_text().contains(text), text).await;
    }

    async fn until(&self, is_so: impl Fn() -> bool, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what:?}, but {:?}", self.heard_text());
            sleep(std::time::Duration::from_millis(2)).await;
        }
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

/// Sends everything back until the client ends.
pub async fn send_back(mut stream: TcpStream, heard: Heard) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        heard.add(&buffer[..count]);
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Reads one request, head and body; `None` if the client ends before it is whole.
pub async fn read_request(stream: &mut TcpStream, heard: &Heard) -> Option<String> {
    let mut request = read_until(stream, heard, b"\r\n\r\n").await?;
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    if let Some((_, length)) = head.split_once("\r\ncontent-length: ") {
        let length: usize = length.split("\r\n").next()?.parse().ok()?;
        let mut body = vec![0; length];
        for byte in &mut body {
            *byte = stream.read_u8().await.ok()?;
            heard.add(&[*byte]);
        }
        request.extend(body);
    } else if head.contains("\r\ntransfer-encoding: chunked\r\n") {
        loop {
            let line = read_until(stream, heard, b"\r\n").await?;
            let size = usize::from_str_radix(std::str::from_utf8(&line).ok()?.trim(), 16).ok()?;
            request.extend(line);
            if size == 0 {
                break;
            }
            for _ in 0..size + 2 {
                let byte = stream.read_u8().await.ok()?;
                heard.add(&[byte]);
                request.push(byte);
            }
        }
        // Trailers, to the empty line.
        loop {
            let line = read_until(stream, heard, b"\r\n").await?;
            request.extend(&line);
            if line == b"\r\n" {
                break;
            }
        }
    }
    Some(String::from_utf8_lossy(&request).into_owned())
}

async fn read_until(stream: &mut TcpStream, heard: &Heard, end: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        let byte = stream.read_u8().await.ok()?;
        heard.add(&[byte]);
        bytes.push(byte);
    }
    Some(bytes)
}
