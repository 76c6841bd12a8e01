//! Bounds the time that a request's head may take, from its first byte to its last.
//!
//! hyper's own limit starts when the connection becomes idle, so it has to be as long as an idle
//! connection may live. This one starts with the first byte of a head, and costs no timer while
//! heads arrive in one piece.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::gate::http::clock::Clock;
use crate::stream::Stream;

/// A stream that tells its clock what happens on it, and fails once a head takes too long.
#[derive(Debug)]
pub(super) struct Clocked<T> {
    io: T,
    limit: Duration,
    clock: Clock,
    began: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> Clocked<T> {
    pub(super) fn new(io: T, limit: Duration) -> (Self, Clock) {
        let clock = Clock::default();
        (Self { io, limit, clock: clock.clone(), began: Instant::now(), timer: None }, clock)
    }

    pub(super) fn into_stream(self) -> T {
        self.io
    }

    /// Wakes the reader when the head is due; fails when it is overdue.
    fn poll_limit(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let due = self.began + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        self.clock.late();
        Err(io::Error::new(io::ErrorKind::TimedOut, "the head did not arrive in time"))
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.clock.full(result.is_pending());
        if let Poll::Ready(Ok(count)) = result {
            self.clock.moved(count);
        }
        result
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Clocked<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.clock.in_head() {
            this.poll_limit(cx)?;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let count = buf.filled().len() - before;
        this.clock.moved(count);
        if count > 0 && this.clock.byte_read() {
            this.began = Instant::now();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Clocked<Stream> {
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_head_in_pieces_is_bounded_as_a_whole() {
        let (mut client, server) = tokio::io::duplex(64);
        let (mut clocked, clock) = Clocked::new(server, Duration::from_secs(10));
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
        let (mut clocked, clock) = Clocked::new(server, Duration::from_secs(10));
        let mut byte = [0];
        client.write_all(b"G").await.unwrap();
        clocked.read_exact(&mut byte).await.unwrap();
        clock.head_read();
        tokio::time::sleep(Duration::from_secs(60)).await;
        client.write_all(b"b").await.unwrap();
        clocked.read_exact(&mut byte).await.unwrap();
        assert!(!clock.is_late());
    }
}
