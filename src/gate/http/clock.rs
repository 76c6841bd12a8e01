//! Bounds the time that a request's head may take, from its first byte to its last, and the time that
//! an answer may stand still.
//!
//! hyper's own limit starts when the connection becomes idle, so it has to be as long as an idle
//! connection may live. This one starts with the first byte of a head, and costs no timer while
//! heads arrive in one piece.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::flow::Meter;

/// What the connection is doing; the stream, the service and the answer's body tell each other.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: AtomicU8,
    answer: Mutex<Option<Answer>>,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const REQUEST: u8 = 2;
/// A head took too long.
const LATE: u8 = 3;
/// No byte of an answer moved for too long.
const STUCK: u8 = 4;

/// An answer that is being passed on.
#[derive(Debug)]
struct Answer {
    meter: Meter,
    /// The bytes that had moved when the timer was set.
    moved: u64,
    /// Set once the answer first waits; it fires at most once in a time-out.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    /// The head is complete; what follows is the body or nothing.
    pub(super) fn head_read(&self) {
        self.set(REQUEST);
    }

    /// An answer with a body begins.
    pub(super) fn answers(&self, meter: Meter) {
        *self.answer() = Some(Answer { meter, moved: 0, timer: None });
    }

    /// The answer is out; the next byte begins a new head.
    pub(super) fn answered(&self) {
        *self.answer() = None;
        self.set(IDLE);
    }

    /// Whether the connection ended because a head took too long.
    pub(super) fn is_late(&self) -> bool {
        self.state() == LATE
    }

    /// Whether the connection ended because no byte of an answer moved.
    pub(super) fn is_stuck(&self) -> bool {
        self.state() == STUCK
    }

    /// Whether part of a head has been read.
    pub(super) fn in_head(&self) -> bool {
        self.state() == HEAD
    }

    /// Ready once the answer has to end before it is whole: its flow is stopped, or nothing of it has
    /// moved for `idle`. Watched from outside, since hyper asks a body for nothing while the client does
    /// not take what came before.
    pub(super) fn poll_over(&self, cx: &mut Context<'_>, idle: Duration) -> Poll<()> {
        let mut answer = self.answer();
        let Some(Answer { meter, moved, timer }) = &mut *answer else { return Poll::Pending };
        if Pin::new(&mut meter.stopped()).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        while timer.as_mut().poll(cx).is_ready() {
            let now = meter.counters().moved();
            if now == std::mem::replace(moved, now) {
                self.set(STUCK);
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + idle);
        }
        Poll::Pending
    }

    fn state(&self) -> u8 {
        self.0.state.load(Ordering::Acquire)
    }

    fn set(&self, state: u8) {
        self.0.state.store(state, Ordering::Release);
    }

    fn answer(&self) -> MutexGuard<'_, Option<Answer>> {
        self.0.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that fails once a head takes too long.
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
        self.clock.set(LATE);
        Err(io::Error::new(io::ErrorKind::TimedOut, "the head did not arrive in time"))
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
        let state = &this.clock.0.state;
        let begins = buf.filled().len() > before
            && state.compare_exchange(IDLE, HEAD, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if begins {
            this.began = Instant::now();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Clocked<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
