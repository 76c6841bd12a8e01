//! The room that a client leaves on a stream.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use hyper::header::HeaderMap;

use crate::gate::http::http2::piece::{Piece, Waiting};

/// What goes to a client on a stream, as far as there is room for it.
#[derive(Debug)]
pub(super) struct Outlet {
    send: SendStream<Piece>,
    waiting: Arc<Waiting>,
}

impl Outlet {
    pub(super) fn new(send: SendStream<Piece>) -> Self {
        Self { send, waiting: Arc::default() }
    }

    /// Waits until a client takes some of so many bytes, and says how many; `None`: it takes no more. Nothing is asked for
    /// but what there is to send: what one stream has been promised is lost to the others.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Option<usize>> {
        ready!(self.waiting.poll_place(cx));
        self.send.reserve_capacity(wanted);
        loop {
            match self.send.capacity() {
                0 => match ready!(self.send.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(None),
                },
                room => return Poll::Ready(Some(room)),
            }
        }
    }

    /// Sends what there is room for; with `is_last` nothing follows it.
    pub(super) fn send(&mut self, bytes: Bytes, is_last: bool) -> Result<(), h2::Error> {
        self.send.send_data(self.waiting.piece(bytes), is_last)
    }

    pub(super) fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), h2::Error> {
        self.send.send_trailers(trailers)
    }

    pub(super) fn reset(&mut self, reason: Reason) {
        self.send.send_reset(reason);
    }

    /// Ready once the client has reset the stream, or is gone.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.poll_reset(cx).map(drop)
    }
}
