//! Moves bytes through one buffer that the thread owns and every tunnel on it uses in turn.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::relay::fault::Fault;

/// The size of the buffer: what one read takes at most.
pub(super) const SCRATCH: usize = 64 * 1024;

thread_local! {
    /// Borrowed within one poll and never across an await, so an idle tunnel holds no buffer.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into());
}

/// One read, offered to the sink once.
pub(super) struct Copied {
    /// How much was read; 0 is the source's end.
    pub(super) count: usize,
    /// What the sink has not taken of it.
    pub(super) rest: Bytes,
}

/// Reads once and writes once. Only what the sink does not take at once gets memory of its own.
pub(super) fn poll_copy(
    cx: &mut Context<'_>,
    source: &mut (impl AsyncRead + Unpin),
    sink: &mut (impl AsyncWrite + Unpin),
) -> Poll<Result<Copied, Fault>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut buffer = ReadBuf::new(buffer);
        let Poll::Ready(read) = Pin::new(source).poll_read(cx, &mut buffer) else {
            // Nothing more comes for now: what a sink has gathered must not wait for it.
            ready!(Pin::new(sink).poll_flush(cx)).map_err(|_| Fault::Sink)?;
            return Poll::Pending;
        };
        read.map_err(|_| Fault::Source)?;
        let bytes = buffer.filled();
        if bytes.is_empty() {
            return Poll::Ready(Ok(Copied { count: 0, rest: Bytes::new() }));
        }
        let taken = match Pin::new(sink).poll_write(cx, bytes) {
            Poll::Ready(taken) => taken.map_err(|_| Fault::Sink)?,
            Poll::Pending => 0,
        };
        Poll::Ready(Ok(Copied { count: bytes.len(), rest: Bytes::copy_from_slice(&bytes[taken..]) }))
    })
}

/// Writes what was left over, and returns how much the sink took of it.
pub(super) fn poll_drain(
    cx: &mut Context<'_>,
    rest: &mut Bytes,
    sink: &mut (impl AsyncWrite + Unpin),
) -> Poll<io::Result<usize>> {
    let taken = ready!(Pin::new(sink).poll_write(cx, rest))?;
    if taken == 0 {
        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
    }
    rest.advance(taken);
    Poll::Ready(Ok(taken))
}
