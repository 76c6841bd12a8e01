//! The loads. Each prints one line: what was done, at what rate, and how long single steps took.

use std::cell::Cell;
use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinSet, LocalSet};

use crate::Load;
use crate::wire::{self, Order};

/// What all the workers of a load have seen.
#[derive(Default)]
struct Tally {
    steps: Vec<Duration>,
    bytes: u64,
    failed: usize,
}

type Shared = Rc<RefCell<Tally>>;

pub(crate) async fn tunnels(load: Load) -> io::Result<()> {
    let hello = Rc::new(wire::client_hello(&load.to));
    run("tunnels", load, move |load, tally, deadline| {
        let hello = Rc::clone(&hello);
        async move {
            while Instant::now() < deadline {
                let began = Instant::now();
                match open(&load, &hello).await {
                    Ok(_) => tally.borrow_mut().steps.push(began.elapsed()),
                    Err(_) => tally.borrow_mut().failed += 1,
                }
            }
        }
    })
    .await
}

pub(crate) async fn bulk(load: Load, upload: bool) -> io::Result<()> {
    let hello = Rc::new(wire::client_hello(&load.to));
    run("bulk", load, move |load, tally, deadline| {
        let hello = Rc::clone(&hello);
        async move {
            let order = if upload { Order::Upload } else { Order::Download };
            let Ok(mut stream) = ordered(&load, &hello, order).await else {
                tally.borrow_mut().failed += 1;
                return;
            };
            let mut buffer = vec![0; 256 * 1024];
            while Instant::now() < deadline {
                let moved = match upload {
                    true => stream.write(&buffer).await,
                    false => stream.read(&mut buffer).await,
                };
                match moved {
                    Ok(count @ 1..) => tally.borrow_mut().bytes += count as u64,
                    _ => {
                        tally.borrow_mut().failed += 1;
                        return;
                    }
                }
            }
        }
    })
    .await
}

pub(crate) async fn echo(load: Load, size: usize) -> io::Result<()> {
    let hello = Rc::new(wire::client_hello(&load.to));
    run("round trips", load, move |load, tally, deadline| {
        let hello = Rc::clone(&hello);
        async move {
            let Ok(mut stream) = ordered(&load, &hello, Order::Echo).await else {
                tally.borrow_mut().failed += 1;
                return;
            };
            let (message, mut answer) = (vec![1; size], vec![0; size]);
            while Instant::now() < deadline {
                let began = Instant::now();
                let trip = async {
                    stream.write_all(&message).await?;
                    stream.read_exact(&mut answer).await
                };
                if trip.await.is_err() {
                    tally.borrow_mut().failed += 1;
                    return;
                }
                tally.borrow_mut().steps.push(began.elapsed());
            }
        }
    })
    .await
}

pub(crate) async fn http(load: Load, hosts: usize) -> io::Result<()> {
    run("requests", load, move |load, tally, deadline| async move {
        let port = load.next_port();
        let Ok(mut stream) = connect(&load, port).await else {
            tally.borrow_mut().failed += 1;
            return;
        };
        let mut answer = vec![0; 4096];
        for turn in 0.. {
            if Instant::now() >= deadline {
                return;
            }
            let to = match hosts {
                1 => format!("{}:{port}", load.to),
                _ => format!("{}-{}:{port}", turn % hosts, load.to),
            };
            let target = if load.proxy.is_some() { format!("http://{to}/") } else { "/".to_owned() };
            let request = format!("GET {target} HTTP/1.1\r\nHost: {to}\r\nAccept: */*\r\n\r\n");
            let began = Instant::now();
            if exchange(&mut stream, request.as_bytes(), &mut answer).await.is_err() {
                tally.borrow_mut().failed += 1;
                return;
            }
            tally.borrow_mut().steps.push(began.elapsed());
        }
    })
    .await
}

pub(crate) async fn idle(load: Load, touch: bool) -> io::Result<()> {
    let hello = wire::client_hello(&load.to);
    let mut held = Vec::with_capacity(load.concurrency);
    for _ in 0..load.concurrency {
        let mut stream = ordered(&load, &hello, Order::Echo).await?;
        if touch {
            let mut bytes = vec![0; 64 * 1024];
            let (mut reader, mut writer) = stream.split();
            let message = bytes.clone();
            tokio::try_join!(writer.write_all(&message), reader.read_exact(&mut bytes))?;
        }
        held.push(stream);
    }
    println!("{} tunnels are open", held.len());
    tokio::time::sleep(load.seconds).await;
    Ok(())
}

/// Runs as many workers as the load says, and prints what they did.
async fn run<F, R>(what: &str, load: Load, worker: F) -> io::Result<()>
where
    F: Fn(Load, Shared, Instant) -> R,
    R: Future<Output = ()> + 'static,
{
    let tally = Shared::default();
    let began = Instant::now();
    let deadline = began + load.seconds;
    let workers = LocalSet::new();
    workers
        .run_until(async {
            let mut set = JoinSet::new();
            for _ in 0..load.concurrency {
                set.spawn_local(worker(load.clone(), Rc::clone(&tally), deadline));
            }
            while set.join_next().await.is_some() {}
        })
        .await;
    tally.borrow_mut().print(what, began.elapsed());
    Ok(())
}

impl Load {
    /// The ports of the origin in turn.
    fn next_port(&self) -> u16 {
        thread_local!(static TURN: Cell<u16> = const { Cell::new(0) });
        let turn = TURN.get();
        TURN.set((turn + 1) % self.ports);
        self.origin.port() + turn
    }
}

impl Tally {
    fn print(&mut self, what: &str, took: Duration) {
        self.steps.sort_unstable();
        let at = |part: f64| {
            let index = (self.steps.len() as f64 * part) as usize;
            self.steps.get(index).map_or(0.0, |step| step.as_secs_f64() * 1e6)
        };
        let seconds = took.as_secs_f64();
        println!(
            "{what}={} rate={:.0} p50_us={:.0} p99_us={:.0} gb={:.3} gb_s={:.3} failed={}",
            self.steps.len(),
            self.steps.len() as f64 / seconds,
            at(0.5),
            at(0.99),
            self.bytes as f64 / 1e9,
            self.bytes as f64 / 1e9 / seconds,
            self.failed,
        );
    }
}

/// A tunnel whose origin has answered the hello.
async fn open(load: &Load, hello: &[u8]) -> io::Result<TcpStream> {
    let port = load.next_port();
    let mut stream = connect(load, port).await?;
    let mut answer = vec![0; 4096];
    if load.proxy.is_some() {
        let to = format!("{}:{}", load.to, port);
        let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
        exchange(&mut stream, request.as_bytes(), &mut answer).await?;
    }
    stream.write_all(hello).await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    let mut rest = vec![0; usize::from(u16::from_be_bytes([answer[3], answer[4]]))];
    stream.read_exact(&mut rest).await?;
    Ok(stream)
}

async fn ordered(load: &Load, hello: &[u8], order: Order) -> io::Result<TcpStream> {
    let mut stream = open(load, hello).await?;
    stream.write_all(&[order as u8]).await?;
    Ok(stream)
}

async fn connect(load: &Load, port: u16) -> io::Result<TcpStream> {
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

/// Sends a request and reads its answer, which has a body of known length or none.
async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    stream.write_all(request).await?;
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        filled += count;
        let text = std::str::from_utf8(&buffer[..filled]).map_err(io::Error::other)?;
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            if !head.starts_with("HTTP/1.1 200") {
                return Err(io::Error::other("refused"));
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap_or(0)) {
                return Ok(());
            }
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
