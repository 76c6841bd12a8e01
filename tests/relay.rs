//! Moves real bytes over real sockets through a relay.
#![allow(clippy::unwrap_used, reason = "whatever fails here fails the test")]

use std::future::{pending, ready};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{RwLock, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::clock::Clock;
use exeat::counters::Counters;
use exeat::error::Error;
use exeat::relay::{self, Relay};
use exeat::silence::Silence;
use exeat::stream::Stream;

#[path = "it/support/clock.rs"]
#[allow(unreachable_pub, reason = "it is shared between binaries")]
mod clock;

const MIB: u64 = 1024 * 1024;
const HOUR: Duration = Duration::from_secs(3600);
const PATIENT: Silence = Silence { idle: HOUR, half_closed: HOUR };

/// The test that counts file descriptors must be the only one that opens any.
static ALONE: RwLock<()> = RwLock::const_new(());

/// Bytes that tell where in a stream they are: the block's length is a prime.
static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dice = Dice(1);
    (0..1_000_003).map(|_| dice.roll(256) as u8).collect()
});

/// A small generator, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }
}

/// The two far ends of a tunnel, and the tunnel itself.
struct Ends {
    client: TcpStream,
    upstream: TcpStream,
    counters: Arc<Counters>,
    tunnel: JoinHandle<Result<(), Error>>,
}

impl Ends {
    async fn open(relay: &Arc<Relay>) -> Self {
        Self::open_with(relay, [b"", b""], pending()).await
    }

    /// Opens a tunnel for which `heads` were read already, from the client and from the upstream.
    async fn open_with(
        relay: &Arc<Relay>,
        heads: [&'static [u8]; 2],
        stop: impl Future<Output = Error> + Send + 'static,
    ) -> Self {
        let (client, from_client) = pair().await;
        let (upstream, to_upstream) = pair().await;
        let counters = Arc::new(Counters::default());
        let tunnel = tokio::spawn({
            let (relay, counters) = (relay.clone(), counters.clone());
            let from_client = Stream::new(from_client).with_head(Bytes::from_static(heads[0]));
            let to_upstream = Stream::new(to_upstream).with_head(Bytes::from_static(heads[1]));
            let ends = Box::new(relay::Ends::new(from_client, to_upstream));
            async move { relay.carry(ends, &counters, stop).await }
        });
        Self { client, upstream, counters, tunnel }
    }

    fn moved(&self) -> (u64, u64) {
        (self.counters.sent.load(Ordering::Relaxed), self.counters.received.load(Ordering::Relaxed))
    }

    /// Lets both sides finish in good order.
    async fn finish(mut self) {
        self.client.shutdown().await.unwrap();
        expect_end(&mut self.upstream).await;
        self.upstream.shutdown().await.unwrap();
        expect_end(&mut self.client).await;
        self.tunnel.await.unwrap().unwrap();
    }
}

fn relay() -> Arc<Relay> {
    Arc::new(Relay::new(PATIENT, Relay::PIPES))
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (there, _) = listener.accept().await.unwrap();
    for socket in [&here, &there] {
        exeat::sys::tune(socket).unwrap();
    }
    (here, there)
}

/// Writes the bytes `from..to` of the endless stream, at most `most` at a time.
async fn write(to: &mut (impl AsyncWrite + Unpin), mut from: u64, until: u64, most: u64, dice: &mut Dice) {
    while from < until {
        let at = (from % BLOCK.len() as u64) as usize;
        let count = (1 + dice.roll(most)).min(until - from).min((BLOCK.len() - at) as u64);
        to.write_all(&BLOCK[at..at + count as usize]).await.unwrap();
        from += count;
    }
}

/// Reads and compares the bytes `from..until` of the endless stream.
async fn expect(
    source: &mut (impl AsyncRead + Unpin),
    mut from: u64,
    until: u64,
    most: u64,
    dice: &mut Dice,
) {
    let mut buffer = vec![0; most as usize];
    while from < until {
        let at = (from % BLOCK.len() as u64) as usize;
        let room = (1 + dice.roll(most)).min(until - from).min((BLOCK.len() - at) as u64) as usize;
        let count = source.read(&mut buffer[..room]).await.unwrap();
        assert_ne!(count, 0, "ended at byte {from} of {until}");
        assert!(buffer[..count] == BLOCK[at..at + count], "differs within {count} bytes from {from}");
        from += count as u64;
    }
}

async fn expect_end(source: &mut TcpStream) {
    assert_eq!(source.read(&mut [0]).await.unwrap(), 0);
}

async fn expect_reset(source: &mut TcpStream) {
    let error = source.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Sends `size` bytes both ways at once, in pieces of at most `most`, and ends both sides.
async fn both_ways(ends: Ends, size: u64, most: u64) {
    let Ends { client, upstream, counters, tunnel } = ends;
    let sides: Vec<_> = [(client, 1), (upstream, 2)]
        .into_iter()
        .map(|(socket, seed)| {
            let (mut reading, mut writing) = socket.into_split();
            let writer = tokio::spawn(async move {
                write(&mut writing, 0, size, most, &mut Dice(seed)).await;
                writing.shutdown().await.unwrap();
            });
            let reader = tokio::spawn(async move {
                expect(&mut reading, 0, size, most, &mut Dice(seed + 2)).await;
                assert_eq!(reading.read(&mut [0]).await.unwrap(), 0);
            });
            [writer, reader]
        })
        .collect();
    for side in sides.into_iter().flatten() {
        side.await.unwrap();
    }
    tunnel.await.unwrap().unwrap();
    assert_eq!(counters.sent.load(Ordering::Relaxed), size);
    assert_eq!(counters.received.load(Ordering::Relaxed), size);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_arrives_byte_for_byte() {
    let _guard = ALONE.read().await;
    both_ways(Ends::open(&relay()).await, 200 * MIB, 512 * 1024).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_of_any_size_arrive_byte_for_byte() {
    let _guard = ALONE.read().await;
    let relay = relay();
    for most in [100, 2_000, 70_000] {
        both_ways(Ends::open(&relay).await, most * 3_000 % (64 * MIB), most).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_pipes_bulk_is_copied() {
    let _guard = ALONE.read().await;
    both_ways(Ends::open(&Arc::new(Relay::new(PATIENT, 0))).await, 100 * MIB, 512 * 1024).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_compete_for_one_pipe() {
    let _guard = ALONE.read().await;
    let relay = Arc::new(Relay::new(PATIENT, 1));
    let mut tunnels = Vec::new();
    for _ in 0..8 {
        tunnels.push(tokio::spawn(both_ways(Ends::open(&relay).await, 16 * MIB, 512 * 1024)));
    }
    for tunnel in tunnels {
        tunnel.await.unwrap();
    }
}

#[tokio::test]
async fn tiny_messages_are_passed_on_at_once() {
    let _guard = ALONE.read().await;
    let mut ends = Ends::open(&relay()).await;
    let mut dice = Dice(5);
    let mut at = 0;
    for _ in 0..20_000 {
        let next = at + 1 + dice.roll(64);
        write(&mut ends.client, at, next, 64, &mut dice).await;
        expect(&mut ends.upstream, at, next, 64, &mut dice).await;
        write(&mut ends.upstream, at, next, 64, &mut dice).await;
        expect(&mut ends.client, at, next, 64, &mut dice).await;
        at = next;
    }
    assert_eq!(ends.moved(), (at, at));
    ends.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_and_bulk_take_turns() {
    let _guard = ALONE.read().await;
    let Ends { mut client, upstream, tunnel, .. } = Ends::open(&relay()).await;
    let sizes: Arc<Vec<u64>> = Arc::new((0..200).map(|n| if n % 2 == 0 { 1 + n } else { MIB + n }).collect());
    let echo = tokio::spawn(async move {
        let (mut reading, mut writing) = upstream.into_split();
        tokio::io::copy(&mut reading, &mut writing).await.unwrap();
    });
    let mut dice = Dice(6);
    let mut at = 0;
    for size in sizes.iter() {
        let next = at + size;
        let (mut reading, mut writing) = client.split();
        let mut writing_dice = Dice(at);
        tokio::join!(
            write(&mut writing, at, next, 300_000, &mut writing_dice),
            expect(&mut reading, at, next, 300_000, &mut dice),
        );
        at = next;
    }
    client.shutdown().await.unwrap();
    expect_end(&mut client).await;
    echo.await.unwrap();
    tunnel.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_stops_the_writer() {
    let _guard = ALONE.read().await;
    let held = 2 * (largest_buffer("tcp_rmem") + largest_buffer("tcp_wmem")) + 2 * MIB;
    let size = (2 * held).next_multiple_of(MIB);
    let Ends { mut client, mut upstream, tunnel, .. } = Ends::open(&relay()).await;
    let written = Arc::new(AtomicU64::new(0));
    let writer = tokio::spawn({
        let written = written.clone();
        async move {
            for at in (0..size).step_by(MIB as usize) {
                write(&mut client, at, at + MIB, MIB, &mut Dice(at)).await;
                written.store(at + MIB, Ordering::Relaxed);
            }
            client.shutdown().await.unwrap();
            client
        }
    });
    // The writer is stuck when it gets nowhere for a while. Were this time too short, less would
    // have been written, and the assertion would hold all the more.
    let mut seen = u64::MAX;
    while seen != written.load(Ordering::Relaxed) {
        seen = written.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // What the kernel may hold on the two connections, and what the relay does.
    assert!(seen <= held, "{seen} bytes were taken although nobody reads, more than {held}");

    // The end of the client waits behind the bytes that the relay and the kernel hold.
    expect(&mut upstream, 0, size, MIB, &mut Dice(7)).await;
    expect_end(&mut upstream).await;
    drop(upstream);
    let mut client = writer.await.unwrap();
    expect_end(&mut client).await;
    tunnel.await.unwrap().unwrap();
}

/// To what size the kernel may let a buffer of a connection grow: the third number of such a setting (tcp(7)).
fn largest_buffer(setting: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{setting}")).unwrap();
    text.split_whitespace().nth(2).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_behind_held_bytes_loses_none() {
    let _guard = ALONE.read().await;
    let relay = relay();
    for size in [300_000, 5 * MIB, 9 * MIB + 1] {
        let mut ends = Ends::open(&relay).await;
        let mut client = ends.client;
        let writer = tokio::spawn(async move {
            write(&mut client, 0, size, MIB, &mut Dice(size)).await;
            client.shutdown().await.unwrap();
            client
        });
        // Reading starts only when the writer is done or waits for it.
        let _ = timeout(Duration::from_millis(300), async {
            while !writer.is_finished() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        expect(&mut ends.upstream, 0, size, MIB, &mut Dice(8)).await;
        expect_end(&mut ends.upstream).await;
        ends.client = writer.await.unwrap();
        drop(ends.upstream);
        expect_end(&mut ends.client).await;
        ends.tunnel.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn heads_go_first() {
    let _guard = ALONE.read().await;
    let mut ends = Ends::open_with(&relay(), [b"hello ", b"welcome "], pending()).await;
    ends.client.write_all(b"upstream").await.unwrap();
    ends.upstream.write_all(b"client").await.unwrap();
    let (mut sent, mut received) = ([0; 14], [0; 14]);
    ends.upstream.read_exact(&mut sent).await.unwrap();
    ends.client.read_exact(&mut received).await.unwrap();
    assert_eq!((&sent, &received), (b"hello upstream", b"welcome client"));
    assert_eq!(ends.moved(), (14, 14));
    ends.finish().await;
}

#[tokio::test]
async fn a_head_is_passed_on_although_the_client_says_no_more() {
    let _guard = ALONE.read().await;
    let mut ends = Ends::open_with(&relay(), [b"hello", b""], pending()).await;
    ends.client.shutdown().await.unwrap();
    let mut sent = Vec::new();
    ends.upstream.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, b"hello");
    ends.finish().await;
}

#[tokio::test]
async fn the_end_of_one_side_leaves_the_other_open() {
    let _guard = ALONE.read().await;
    let relay = relay();
    for client_first in [true, false] {
        let Ends { client, upstream, tunnel, .. } = Ends::open(&relay).await;
        let (mut first, mut second) = if client_first { (client, upstream) } else { (upstream, client) };
        first.shutdown().await.unwrap();
        expect_end(&mut second).await;
        let mut dice = Dice(9);
        for at in (0..MIB).step_by(65_536) {
            write(&mut second, at, at + 65_536, 65_536, &mut dice).await;
            expect(&mut first, at, at + 65_536, 65_536, &mut dice).await;
        }
        second.shutdown().await.unwrap();
        expect_end(&mut first).await;
        tunnel.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_silent_tunnel_ends() {
    let _guard = ALONE.read().await;
    let relay = Arc::new(Relay::new(Silence { idle: Duration::from_millis(100), half_closed: HOUR }, 1));
    let mut ends = Ends::open(&relay).await;
    assert!(matches!(ends.tunnel.await.unwrap(), Err(Error::IdleTimeout)));
    expect_reset(&mut ends.client).await;
    expect_reset(&mut ends.upstream).await;
}

#[tokio::test]
async fn a_tunnel_with_one_side_ended_may_be_silent_for_less() {
    let _guard = ALONE.read().await;
    let relay = Arc::new(Relay::new(Silence { idle: HOUR, half_closed: Duration::from_millis(100) }, 1));
    let mut ends = Ends::open(&relay).await;
    ends.upstream.shutdown().await.unwrap();
    expect_end(&mut ends.client).await;
    assert!(matches!(ends.tunnel.await.unwrap(), Err(Error::IdleTimeout)));
    expect_reset(&mut ends.upstream).await;
}

#[tokio::test]
async fn a_byte_in_either_direction_keeps_a_tunnel() {
    let _guard = ALONE.read().await;
    let idle = Duration::from_secs(2);
    let relay = Arc::new(Relay::new(Silence { idle, half_closed: HOUR }, 1));
    let mut ends = Ends::open(&relay).await;
    let clock = Clock::stop();
    for _ in 0..10 {
        clock.advance(idle / 8).await;
        ends.client.write_all(b"?").await.unwrap();
        assert_eq!(ends.upstream.read_u8().await.unwrap(), b'?');
    }
    let last = Instant::now();
    drop(clock);
    assert!(matches!(ends.tunnel.await.unwrap(), Err(Error::IdleTimeout)));
    assert!(last.elapsed() > idle / 2);
}

#[tokio::test]
async fn a_reset_is_passed_on() {
    let _guard = ALONE.read().await;
    let relay = relay();
    for in_bulk in [false, true] {
        let mut ends = Ends::open(&relay).await;
        if in_bulk {
            write(&mut ends.client, 0, MIB / 2, MIB, &mut Dice(1)).await;
        }
        ends.client.set_zero_linger().unwrap();
        drop(ends.client);
        assert!(matches!(ends.tunnel.await.unwrap(), Err(Error::ClientReset)));
        expect_reset(&mut ends.upstream).await;

        let mut ends = Ends::open(&relay).await;
        if in_bulk {
            write(&mut ends.upstream, 0, MIB / 2, MIB, &mut Dice(1)).await;
        }
        ends.upstream.set_zero_linger().unwrap();
        drop(ends.upstream);
        assert!(matches!(ends.tunnel.await.unwrap(), Err(Error::UpstreamReset)));
        expect_reset(&mut ends.client).await;
    }
}

#[tokio::test]
async fn a_side_that_closed_and_is_sent_more_counts_as_a_reset() {
    let _guard = ALONE.read().await;
    let mut ends = Ends::open(&relay()).await;
    drop(ends.client);
    expect_end(&mut ends.upstream).await;
    // The first byte makes the client's kernel send a reset, a later one finds it out.
    while ends.upstream.write_all(b"too late").await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(ends.tunnel.await.unwrap(), Err(Error::ClientReset)));
}

#[tokio::test]
async fn what_a_side_said_before_it_ended_survives_its_reset() {
    let _guard = ALONE.read().await;
    // More than the client's first window, so some of it waits in the relay's socket.
    const SIZE: u64 = MIB;
    let mut ends = Ends::open(&relay()).await;
    write(&mut ends.upstream, 0, SIZE, MIB, &mut Dice(1)).await;
    while ends.moved().1 < SIZE {
        tokio::task::yield_now().await;
    }
    ends.upstream.shutdown().await.unwrap();
    // A byte the other way shows that the end, which came before it, has been passed on.
    ends.client.write_all(b"?").await.unwrap();
    assert_eq!(ends.upstream.read_u8().await.unwrap(), b'?');
    ends.upstream.set_zero_linger().unwrap();
    drop(ends.upstream);
    ends.client.write_all(b"too late").await.unwrap();
    expect(&mut ends.client, 0, SIZE, MIB, &mut Dice(2)).await;
    expect_end(&mut ends.client).await;
    drop(ends.client);
    assert!(matches!(ends.tunnel.await.unwrap(), Err(Error::UpstreamReset)));
}

#[tokio::test]
async fn a_stopped_tunnel_resets_both_sides() {
    let _guard = ALONE.read().await;
    let (stop, stopped) = oneshot::channel();
    let stop_future = async { stopped.await.unwrap() };
    let mut ends = Ends::open_with(&relay(), [b"", b""], stop_future).await;
    ends.client.write_all(b"?").await.unwrap();
    assert_eq!(ends.upstream.read_u8().await.unwrap(), b'?');
    stop.send(Error::Revoked).unwrap();
    assert!(matches!(ends.tunnel.await.unwrap(), Err(Error::Revoked)));
    expect_reset(&mut ends.client).await;
    expect_reset(&mut ends.upstream).await;
}

#[tokio::test]
async fn a_tunnel_that_must_not_be_moves_nothing() {
    let _guard = ALONE.read().await;
    let mut ends = Ends::open_with(&relay(), [b"secret", b""], ready(Error::Draining)).await;
    assert!(matches!(ends.tunnel.await.unwrap(), Err(Error::Draining)));
    let error = ends.upstream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_tunnels_leave_no_file_descriptor() {
    let _guard = ALONE.write().await;
    const PIPES: usize = 8;
    let relay = Arc::new(Relay::new(PATIENT, PIPES));
    let before = open_files();
    for batch in 0..100 {
        let mut tunnels = Vec::new();
        for n in 0..20 {
            let ends = Ends::open(&relay).await;
            tunnels.push(tokio::spawn(async move {
                match n % 4 {
                    0 => both_ways(ends, 1 + batch, 100).await,
                    1 => both_ways(ends, MIB, MIB).await,
                    2 => ends.tunnel.abort(),
                    _ => drop(ends),
                }
            }));
        }
        for tunnel in tunnels {
            tunnel.await.unwrap();
        }
    }
    // Tunnels whose ends were dropped end by themselves, soon.
    while Arc::strong_count(&relay) > 1 {
        tokio::task::yield_now().await;
    }
    // The pool keeps its pipes; a few more are other tests' runtimes, which wait for this one.
    let after = open_files();
    assert!(after <= before + 2 * PIPES + 16, "{before} file descriptors became {after}");
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
