//! Compares the relay with tokio's `copy_bidirectional`, all through the same sockets: bulk over 1
//! and 8 streams, and round trips of 1 KB. The relay has a core to itself, and the time it takes there
//! counts; clients and origin share the others.
//!
//! `cargo bench --bench relay`
#![allow(clippy::unwrap_used, reason = "whatever fails here ends the measurement")]
#![allow(clippy::print_stdout, reason = "the table is what this is for")]

use std::fs;
use std::future::pending;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use socket2::SockRef;

use exeat::counters::Counters;
use exeat::relay::{Ends, Relay};
use exeat::silence::Silence;
use exeat::stream::Stream;
use exeat::sys::tune;

const ROUNDS: usize = 5;
const BULK: usize = 2 << 30;
const TRIPS: usize = 20_000;
const MESSAGE: usize = 1024;
/// What a host has chosen instead may be BBR, which paces each connection with a timer: see `benches/peers/place.py`.
const CONGESTION_CONTROL: &[u8] = b"reno";
const SILENCE: Silence = Silence { idle: Duration::from_secs(3600), half_closed: Duration::from_secs(300) };

/// A way to move bytes between two connections.
#[derive(Clone, Copy)]
enum Design {
    Tokio { buffer: usize },
    Relay { pipes: usize },
}

const DESIGNS: [(&str, Design); 4] = [
    ("copy_bidirectional, 8 KiB", Design::Tokio { buffer: 8 * 1024 }),
    ("copy_bidirectional, 64 KiB", Design::Tokio { buffer: 64 * 1024 }),
    ("relay without pipes", Design::Relay { pipes: 0 }),
    ("relay", Design::Relay { pipes: Relay::PIPES }),
];

fn main() {
    // `cargo test --benches` runs this too, and wants to know only that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    // Threads inherit this, but for the proxies, which move.
    stay_on(1..thread::available_parallelism().unwrap().get());
    let origin = start_origin();
    let proxies: Vec<_> = DESIGNS.iter().map(|(_, design)| Proxy::start(*design, origin)).collect();
    let mut figures = vec![[const { Vec::new() }; 3]; DESIGNS.len()];
    // The designs take turns, so that a change in the machine's mood meets them all.
    for _ in 0..ROUNDS {
        for (proxy, figures) in proxies.iter().zip(&mut figures) {
            figures[0].push(proxy.measure(|to| bulk(to, 1)));
            figures[1].push(proxy.measure(|to| bulk(to, 8)));
            figures[2].push(proxy.measure(round_trips));
        }
    }
    println!("medians of {ROUNDS} rounds");
    println!("| design | GB/s 1 / 8 streams | CPU s/GB 1 / 8 | round trip us | CPU us |");
    println!("|---|---|---|---|---|");
    for ((name, _), figures) in DESIGNS.iter().zip(figures) {
        let [(one, one_cpu), (eight, eight_cpu), (trip, trip_cpu)] = figures.map(median);
        let gigabytes = BULK as f64 / 1e9;
        let micros = |seconds: f64| seconds * 1e6 / TRIPS as f64;
        println!(
            "| {name} | {:.2} / {:.2} | {:.3} / {:.3} | {:.1} | {:.1} |",
            gigabytes / one,
            gigabytes / eight,
            one_cpu / gigabytes,
            eight_cpu / gigabytes,
            micros(trip),
            micros(trip_cpu),
        );
    }
}

/// A proxy on a thread of its own, and where the kernel accounts for that thread.
struct Proxy {
    address: SocketAddr,
    account: PathBuf,
}

impl Proxy {
    fn start(design: Design, origin: SocketAddr) -> Self {
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            stay_on(0..1);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                prepare(&listener);
                let account = fs::canonicalize("/proc/thread-self").unwrap().join("schedstat");
                tell.send(Self { address: listener.local_addr().unwrap(), account }).unwrap();
                design.serve(listener, origin).await;
            });
        });
        told.recv().unwrap()
    }

    /// Wall time and the proxy's CPU time, in seconds.
    fn measure(&self, load: impl FnOnce(SocketAddr)) -> (f64, f64) {
        let (start, cpu) = (Instant::now(), self.cpu());
        load(self.address);
        (start.elapsed().as_secs_f64(), self.cpu() - cpu)
    }

    /// The first number of a thread's schedstat is its nanoseconds on a CPU.
    fn cpu(&self) -> f64 {
        let text = fs::read_to_string(&self.account).unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
    }
}

impl Design {
    async fn serve(self, listener: tokio::net::TcpListener, origin: SocketAddr) {
        let pipes = if let Self::Relay { pipes } = self { pipes } else { 0 };
        let relay: &'static Relay = Box::leak(Box::new(Relay::new(SILENCE, pipes)));
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut upstream = tokio::net::TcpStream::connect(origin).await.unwrap();
            prepare(&upstream);
            tokio::spawn(async move {
                if let Self::Tokio { buffer } = self {
                    let copy = tokio::io::copy_bidirectional_with_sizes;
                    copy(&mut client, &mut upstream, buffer, buffer).await.unwrap();
                } else {
                    let ends = Box::new(Ends::new(Stream::new(client), Stream::new(upstream)));
                    relay.carry(ends, &Counters::default(), pending()).await.unwrap();
                }
            });
        }
    }
}

/// What each side sets; connections have it from the listener that accepted them.
fn prepare(socket: &impl AsFd) {
    tune(socket).unwrap();
    SockRef::from(socket).set_tcp_congestion(CONGESTION_CONTROL).unwrap();
}

/// Keeps this thread on these cores; where there are none such, it goes anywhere.
fn stay_on(cores: std::ops::Range<usize>) {
    let mut set = CpuSet::new();
    cores.for_each(|core| set.set(core));
    let _ = sched_setaffinity(None, &set);
}

/// Swallows a connection whose first byte is `b`, and echoes any other.
fn start_origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    prepare(&listener);
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            thread::spawn(move || {
                let mut socket = socket.unwrap();
                let mut buffer = vec![0; 256 * 1024];
                let mut swallow = None;
                loop {
                    let count = socket.read(&mut buffer).unwrap();
                    if count == 0 {
                        return;
                    }
                    if !*swallow.get_or_insert(buffer[0] == b'b') {
                        socket.write_all(&buffer[..count]).unwrap();
                    }
                }
            });
        }
    });
    address
}

fn bulk(to: SocketAddr, streams: usize) {
    let writers = (0..streams).map(|_| {
        thread::spawn(move || {
            let mut socket = TcpStream::connect(to).unwrap();
            prepare(&socket);
            let bytes = vec![b'b'; 256 * 1024];
            for _ in 0..BULK / streams / bytes.len() {
                socket.write_all(&bytes).unwrap();
            }
            socket.shutdown(std::net::Shutdown::Write).unwrap();
            // The origin's end says that it has read everything.
            assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.join().unwrap();
    }
}

fn round_trips(to: SocketAddr) {
    let mut socket = TcpStream::connect(to).unwrap();
    prepare(&socket);
    let mut message = [b'r'; MESSAGE];
    for _ in 0..TRIPS {
        socket.write_all(&message).unwrap();
        socket.read_exact(&mut message).unwrap();
    }
}

fn median(mut figures: Vec<(f64, f64)>) -> (f64, f64) {
    figures.sort_by(|one, other| one.0.total_cmp(&other.0));
    let wall = figures[figures.len() / 2].0;
    figures.sort_by(|one, other| one.1.total_cmp(&other.1));
    (wall, figures[figures.len() / 2].1)
}
