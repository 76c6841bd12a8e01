//! A tunnel inside a stream (RFC 9113 §8.5).

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::gate::http::http2::room::Outlet;
use crate::stream::Layer;

/// Both directions of a stream, as bytes.
#[derive(Debug)]
pub(super) struct Carried {
    receive: RecvStream,
    send: Outlet,
    /// What came and was not yet read. The client may send as much again once it is.
    chunk: Bytes,
    has_ended: bool,
}

impl Carried {
    pub(super) fn new(receive: RecvStream, send: Outlet) -> Self {
        Self { receive, send, chunk: Bytes::new(), has_ended: false }
    }

    /// Fails once the client has reset the stream.
    fn check_reset(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.send.poll_reset(cx) {
            Poll::Ready(_) if !self.has_ended => Err(ErrorKind::ConnectionReset.into()),
            _ => Ok(()),
        }
    }
}

impl AsyncRead for Carried {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(bytes)) => self.chunk = bytes,
                Some(Err(error)) => {
                    return Poll::Ready(Err(io::Error::new(ErrorKind::ConnectionReset, error)));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.chunk.len().min(buffer.remaining());
        buffer.put_slice(&self.chunk[..count]);
        self.chunk.advance(count);
        // It fails only for more than came.
        let _ = self.receive.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carried {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_reset(cx)?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let reset = || io::Error::from(ErrorKind::ConnectionReset);
        let room = ready!(self.send.poll_room(cx, bytes.len())).ok_or_else(reset)?;
        let part = Bytes::copy_from_slice(&bytes[..room.min(bytes.len())]);
        let count = part.len();
        self.send.send(part, false).map_err(|_| reset())?;
        Poll::Ready(Ok(count))
    }

    /// The connection's own task sends what was written. Here is where a reset is seen while nothing is to be sent.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.check_reset(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_ended {
            self.has_ended = true;
            self.send.send(Bytes::new(), true).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Layer for Carried {
    fn reset(mut self: Box<Self>) {
        self.send.reset(Reason::CONNECT_ERROR);
    }
}
