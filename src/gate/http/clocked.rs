//! Bounds the time until a request's head begins, and the time that it may take then, from its first byte to its last.
//!
//! hyper has one limit for both, which starts when the connection becomes idle and so has to be as long as an idle
//! connection may live. These are two, and cost no timer where a head is there, whole, when it is looked for. A part of a
//! head that came along with the request before is hyper's already, and nobody else knows of it: until more of it comes, it
//! has the time of an idle connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::gate::http::clock::Clock;
use crate::proxy::Bounds;
use crate::stream::Stream;

/// A stream that tells its clock what happens on it, and fails once a head takes too long to begin or to end.
#[derive(Debug)]
pub(super) struct Clocked<'a, T> {
    io: T,
    bounds: &'a Bounds,
    clock: &'a Clock,
    awaited: Option<Awaited>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What of a head is waited for, and until when.
#[derive(Clone, Copy, Debug)]
enum Awaited {
    Start(Instant),
    Rest(Instant),
}

impl<'a, T> Clocked<'a, T> {
    pub(super) fn new(io: T, bounds: &'a Bounds, clock: &'a Clock) -> Self {
        Self { io, bounds, clock, awaited: None, timer: None }
    }

    pub(super) fn into_stream(self) -> T {
        self.io
    }

    /// Sees to it that the next head does not begin too late.
    fn poll_start(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let due = match self.awaited {
            Some(Awaited::Start(due)) => due,
            _ => Instant::now() + self.bounds.keepalive,
        };
        self.awaited = Some(Awaited::Start(due));
        self.poll_due(cx, due)
    }

    /// Sees to it that a head that has begun does not end too late.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(Awaited::Rest(due)) = self.awaited else { return Ok(()) };
        self.poll_due(cx, due).inspect_err(|_| self.clock.late())
    }

    /// Wakes the reader at this time; fails from then on.
    fn poll_due(&mut self, cx: &mut Context<'_>, due: Instant) -> io::Result<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the head did not arrive in time"))
    }

    /// The first byte of a head is there. Who was slow to begin it has no longer than it had left.
    fn begins(&mut self) {
        let due = Instant::now() + self.bounds.head;
        self.awaited = Some(Awaited::Rest(match self.awaited {
            Some(Awaited::Start(before)) => due.min(before),
            _ => due,
        }));
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.clock.full(result.is_pending());
        if let Poll::Ready(Ok(count)) = result {
            self.clock.moved(count);
        }
        result
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Clocked<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.clock.in_head() {
            this.poll_rest(cx)?;
        }
        let before = buf.filled().len();
        if Pin::new(&mut this.io).poll_read(cx, buf)?.is_pending() {
            if this.clock.is_idle() {
                this.poll_start(cx)?;
            }
            return Poll::Pending;
        }
        let count = buf.filled().len() - before;
        this.clock.moved(count);
        if count > 0 && this.clock.byte_read() {
            this.begins();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Clocked<'_, Stream> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper comes here whenever it looks after the connection, but reads nothing while it waits for an
    /// answer, lest it take a client that ended its half for one that is gone. So the look is taken here.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.clock.in_exchange()
            && let Poll::Ready(is_ended) = self.io.poll_ended(cx)
            && is_ended?
        {
            self.clock.ended();
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::silence::Silence;

    const BOUNDS: Bounds = Bounds {
        head_bytes: 8192,
        head: Duration::from_secs(10),
        keepalive: Duration::from_secs(75),
        silence: Silence { idle: Duration::MAX, half_closed: Duration::MAX },
    };

    #[tokio::test(start_paused = true)]
    async fn a_head_in_pieces_is_bounded_as_a_whole() {
        let (mut client, server) = tokio::io::duplex(64);
        let clock = Clock::default();
        let mut clocked = Clocked::new(server, &BOUNDS, &clock);
        let mut byte = [0];
        // Idle time before the first byte does not count.
        tokio::time::sleep(Duration::from_secs(60)).await;
        for _ in 0..3 {
            client.write_all(b"G").await.unwrap();
            clocked.read_exact(&mut byte).await.unwrap();
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let error = clocked.read_exact(&mut byte).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(clock.is_late());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_not_a_slow_head() {
        let (mut client, server) = tokio::io::duplex(64);
        let clock = Clock::default();
        let mut clocked = Clocked::new(server, &BOUNDS, &clock);
        let mut byte = [0];
        client.write_all(b"G").await.unwrap();
        clocked.read_exact(&mut byte).await.unwrap();
        clock.head_read(false);
        tokio::time::sleep(Duration::from_secs(60)).await;
        client.write_all(b"b").await.unwrap();
        clocked.read_exact(&mut byte).await.unwrap();
        assert!(!clock.is_late());
    }

    #[tokio::test(start_paused = true)]
    async fn each_head_begins_within_the_time_of_an_idle_connection() {
        let (mut client, server) = tokio::io::duplex(64);
        let clock = Clock::default();
        let mut clocked = Clocked::new(server, &BOUNDS, &clock);
        let mut byte = [0];
        for _ in 0..2 {
            let late = async {
                tokio::time::sleep(Duration::from_secs(70)).await;
                client.write_all(b"G").await.unwrap();
            };
            let (read, ()) = tokio::join!(clocked.read_exact(&mut byte), late);
            read.unwrap();
            clock.head_read(false);
            clock.answered();
        }
        let idle = Instant::now();
        let error = clocked.read_exact(&mut byte).await.unwrap_err();
        assert_eq!((error.kind(), idle.elapsed().as_secs()), (io::ErrorKind::TimedOut, 75));
        assert!(!clock.is_late());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_to_begin_a_head_has_no_longer_than_was_left() {
        let (mut client, server) = tokio::io::duplex(64);
        let clock = Clock::default();
        let mut clocked = Clocked::new(server, &BOUNDS, &clock);
        let began = Instant::now();
        let slow = async {
            tokio::time::sleep(Duration::from_secs(70)).await;
            client.write_all(b"G").await.unwrap();
        };
        let mut bytes = [0; 2];
        let (read, ()) = tokio::join!(clocked.read_exact(&mut bytes), slow);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 75);
        assert!(clock.is_late());
    }
}
