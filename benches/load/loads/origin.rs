//! The origin: answers a ClientHello and then does as it is told, or answers plain requests.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::buffer::{self, FILLING};
use super::wire::{self, Order};

const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\n\r\nHello, world!";

/// Listeners on this many ports, from that of the address on.
pub(crate) fn bind(listen: SocketAddr, ports: u16) -> io::Result<Vec<TcpListener>> {
    let at =
        |turn| TcpListener::from_std(exeat::sys::listen(SocketAddr::new(listen.ip(), listen.port() + turn))?);
    (0..ports).map(at).collect()
}

pub(crate) async fn serve(listeners: Vec<TcpListener>) {
    let tasks: JoinSet<()> = listeners.into_iter().map(accept).collect();
    tasks.join_all().await;
}

async fn accept(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream))),
            // File descriptors come back when a load ends.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; 2048];
    let count = stream.read(&mut first).await?;
    match first.first() {
        Some(0x16) if count > 5 => {
            let length = 5 + usize::from(u16::from_be_bytes([first[3], first[4]]));
            if count < length {
                stream.read_exact(&mut first[count..length]).await?;
            }
            stream.write_all(&wire::server_hello()).await?;
            obey(stream).await
        }
        _ => pages(stream, &first[..count]).await,
    }
}

async fn obey(mut stream: TcpStream) -> io::Result<()> {
    let Ok(order) = stream.read_u8().await else { return Ok(()) };
    if order == Order::Download as u8 {
        while stream.write_all(&FILLING).await.is_ok() {}
        return Ok(());
    }
    if order == Order::Echo as u8 {
        return echo(stream).await;
    }
    while buffer::discard(&stream).await? > 0 {}
    Ok(())
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let heard = buffer::read(&mut stream, <[u8]>::to_vec).await?;
        if heard.is_empty() {
            return Ok(());
        }
        stream.write_all(&heard).await?;
    }
}

/// Answers as many requests as there are empty lines: none of them has a body.
async fn pages(mut stream: TcpStream, first: &[u8]) -> io::Result<()> {
    let mut waiting = first.to_vec();
    let mut buffer = [0; 8192];
    loop {
        while let Some(end) = waiting.windows(4).position(|four| four == b"\r\n\r\n") {
            waiting.drain(..end + 4);
            stream.write_all(PAGE).await?;
        }
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        waiting.extend_from_slice(&buffer[..count]);
    }
}
