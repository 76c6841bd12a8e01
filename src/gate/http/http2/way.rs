//! The way back on a stream, which the answer and the request's body share.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use h2::SendStream;
use h2::server::SendResponse;
use hyper::{Response, StatusCode};

use crate::gate::http::http2::piece::Piece;
use crate::lock::lock;

#[derive(Clone, Debug)]
pub(super) struct Way(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    send: SendResponse<Piece>,
    is_answered: bool,
}

impl Way {
    pub(super) fn new(send: SendResponse<Piece>) -> Self {
        Self(Arc::new(Mutex::new(Shared { send, is_answered: false })))
    }

    /// Sends the head of the answer; with `is_over` nothing follows it.
    pub(super) fn answer(&self, head: Response<()>, is_over: bool) -> Result<SendStream<Piece>, h2::Error> {
        let mut shared = lock(&self.0);
        shared.is_answered = true;
        shared.send.send_response(head, is_over)
    }

    /// Bids the client send its body by `100 Continue`. Behind the head of the answer it would be no message of HTTP/2
    /// (RFC 9113 §8.1), which the h2 crate does not see to; and the client knows then whether to send.
    pub(super) fn bid(self) {
        let mut shared = lock(&self.0);
        if shared.is_answered {
            return;
        }
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::CONTINUE;
        // A client that is gone needs none.
        let _ = shared.send.send_informational(head);
    }

    /// Ready once the client has taken its request back, or is gone.
    pub(super) fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        lock(&self.0).send.poll_reset(cx).map(drop)
    }
}
