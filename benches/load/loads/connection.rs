//! How a load reaches the origin: straight, through a proxy by CONNECT, or wherever a firewall takes it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::Load;
use super::wire::{self, Order};

/// Why there is no tunnel.
#[derive(Debug)]
pub(crate) enum Refusal {
    Status(u16),
    Broken(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Status(status) => Self::other(format!("refused with {status}")),
            Refusal::Broken(error) => error,
        }
    }
}

/// A tunnel whose origin has answered the hello.
pub(crate) async fn open(load: &Load, hello: &[u8]) -> Result<TcpStream, Refusal> {
    let port = load.next_port();
    let mut stream = connect(load, port).await?;
    if load.proxy.is_some() {
        let to = format!("{}:{}", load.to, port);
        let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{}\r\n", load.authorization());
        let status = exchange(&mut stream, request.as_bytes(), &mut [0; 2048]).await?;
        if status != 200 {
            return Err(Refusal::Status(status));
        }
    }
    stream.write_all(hello).await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    if answer[0] != wire::HANDSHAKE {
        return Err(io::Error::other("an alert instead of a ServerHello").into());
    }
    let mut rest = vec![0; usize::from(u16::from_be_bytes([answer[3], answer[4]]))];
    stream.read_exact(&mut rest).await?;
    Ok(stream)
}

/// The same, and the origin knows what to do next.
pub(crate) async fn ordered(load: &Load, hello: &[u8], order: Order) -> io::Result<TcpStream> {
    let mut stream = open(load, hello).await?;
    stream.write_all(&[order as u8]).await?;
    Ok(stream)
}

pub(crate) async fn connect(load: &Load, port: u16) -> io::Result<TcpStream> {
    let to = load.proxy.unwrap_or(SocketAddr::new(load.origin.ip(), port));
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // One address for each port of the origin, and for the same reason.
    let from = Ipv4Addr::new(127, 0, 1, (port - load.origin.port()) as u8);
    socket.bind(SocketAddr::from((from, 0)))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request, reads its answer, which has a body of known length or none, and returns its status.
pub(crate) async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> io::Result<u16> {
    stream.write_all(request).await?;
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        filled += count;
        let text = std::str::from_utf8(&buffer[..filled]).map_err(io::Error::other)?;
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let status = head.get(9..12).and_then(|digits| digits.parse().ok());
            let status = status.ok_or_else(|| io::Error::other("no status"))?;
            if body.len() >= length(head) {
                return Ok(status);
            }
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn length(head: &str) -> usize {
    let named = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse().unwrap_or(0))
    };
    head.lines().find_map(named).unwrap_or(0)
}
