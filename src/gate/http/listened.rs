//! A connection to an upstream that listens: it knows whether the upstream has said anything to the last request, which
//! then arrived and is not to be sent again, and it hears out an upstream that takes nothing any more. hyper does neither.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Stream;

/// Set by the connection, and cleared before each request.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<AtomicBool>);

#[derive(Debug)]
pub(super) struct Listened {
    stream: Stream,
    heard: Heard,
    /// Nothing can be written any more.
    is_broken: bool,
}

impl Heard {
    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Release);
    }

    pub(super) fn anything(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Listened {
    pub(super) fn new(stream: Stream) -> (Self, Heard) {
        let heard = Heard::default();
        (Self { stream, heard: heard.clone(), is_broken: false }, heard)
    }

    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Holds back what comes of a write that fails: an upstream which refuses an upload answers, closes, and so resets. What
    /// is read tells it, behind the answer; hyper would forget that at once. Whoever writes waits for it meanwhile.
    fn unless_broken<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.is_broken |= matches!(written, Poll::Ready(Err(_)));
        if self.is_broken { Poll::Pending } else { written }
    }
}

impl AsyncRead for Listened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.0.store(true, Ordering::Release);
        } else if self.is_broken && matches!(result, Poll::Ready(Ok(()))) {
            // The kernel tells of a reset once, which the write has heard, and then shows an orderly end.
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        result
    }
}

impl AsyncWrite for Listened {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.unless_broken(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.unless_broken(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.unless_broken(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
