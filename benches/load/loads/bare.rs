//! Relays without a policy: what a proxy could reach at best on this kernel and this runtime.
//!
//! By default the bytes move as exeat moves them. With `--splice` they move by an own loop that knows nothing but
//! splice(2), as a second opinion on the relay.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use clap::Args;
use exeat::counters::Counters;
use exeat::relay::{Ends, Relay};
use exeat::silence::Silence;
use exeat::stream::Stream;
use exeat::sys::send_at_once;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};

use super::PORTS;

const PIPE: usize = 256 * 1024;
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Bare {
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    #[arg(long, default_value = "127.0.0.1:9443")]
    pub(crate) origin: SocketAddr,
    /// Go round this many ports of the origin
    #[arg(long, default_value_t = PORTS)]
    pub(crate) ports: u16,
    /// Answer a CONNECT first, whatever it says
    #[arg(long)]
    pub(crate) connect: bool,
    /// Relay by splice(2) alone
    #[arg(long)]
    pub(crate) splice: bool,
}

impl Bare {
    pub(crate) async fn serve(self) -> io::Result<()> {
        self.run(TcpListener::from_std(exeat::sys::listen(self.listen)?)?).await
    }

    pub(crate) async fn run(self, listener: TcpListener) -> io::Result<()> {
        let relay: &'static Relay =
            Box::leak(Box::new(Relay::new(Silence { idle: HOUR, half_closed: HOUR }, Relay::PIPES)));
        for turn in (0..self.ports).cycle() {
            let (client, _) = listener.accept().await?;
            let origin = SocketAddr::new(self.origin.ip(), self.origin.port() + turn);
            tokio::spawn(self.carry(client, origin, relay));
        }
        Ok(())
    }

    async fn carry(self, mut client: TcpStream, origin: SocketAddr, relay: &Relay) -> io::Result<()> {
        if self.connect {
            head(&mut client).await?;
        }
        let upstream = TcpStream::connect(origin).await?;
        send_at_once(&upstream)?;
        if self.connect {
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        }
        if self.splice {
            tokio::try_join!(pour(&client, &upstream), pour(&upstream, &client))?;
            return Ok(());
        }
        let ends = Box::new(Ends::new(Stream::new(client), Stream::new(upstream)));
        relay.carry(ends, &Counters::default(), pending()).await.map_err(io::Error::other)
    }
}

/// Reads up to the empty line that ends the head; clients wait for its answer.
async fn head(client: &mut TcpStream) -> io::Result<()> {
    let (mut buffer, mut filled) = ([0; 2048], 0);
    while !buffer[..filled].ends_with(b"\r\n\r\n") {
        match client.read(&mut buffer[filled..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    Ok(())
}

/// Moves all that comes from one side to the other, and its end.
async fn pour(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&writer, PIPE)?;
    loop {
        let mut held = from.async_io(Interest::READABLE, || shift(from, &writer)).await?;
        if held == 0 {
            return rustix::net::shutdown(to, rustix::net::Shutdown::Write).map_err(Into::into);
        }
        while held > 0 {
            held -= to.async_io(Interest::WRITABLE, || shift_out(&reader, to, held)).await?;
        }
    }
}

fn shift(from: &TcpStream, pipe: &OwnedFd) -> io::Result<usize> {
    Ok(splice(from, None, pipe, None, PIPE, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)?)
}

fn shift_out(pipe: &OwnedFd, to: &TcpStream, count: usize) -> io::Result<usize> {
    Ok(splice(pipe, None, to, None, count, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)?)
}
