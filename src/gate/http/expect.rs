//! `Expect: 100-continue` from end to end (RFC 9110 §10.1.1): the body waits until the upstream asks
//! for it, and an upstream that refuses by the head alone is heard before a byte of the body moves.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap};
use hyper::{Request, ext};
use tokio::time::Sleep;

/// How long an upstream that ignores the expectation is waited for; what curl waits as a client.
const PATIENCE: Duration = Duration::from_secs(1);

/// Holds a body back until the upstream wants it.
#[derive(Debug)]
pub(super) struct Hold {
    go_ahead: Arc<GoAhead>,
    patience: Pin<Box<Sleep>>,
}

/// Whether the upstream wants the body, and who waits to hear it.
#[derive(Debug, Default)]
struct GoAhead {
    said: AtomicBool,
    waker: AtomicWaker,
}

/// Whether the sender waits for a `100 Continue` before it sends the body.
pub(super) fn is_expected(headers: &HeaderMap) -> bool {
    let Some(expect) = headers.get(header::EXPECT) else { return false };
    expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

impl Hold {
    pub(super) fn new() -> Self {
        Self { go_ahead: Arc::default(), patience: Box::pin(tokio::time::sleep(PATIENCE)) }
    }

    /// Listens for the upstream's `100 Continue` to this request.
    pub(super) fn release_on_continue<B>(&self, request: &mut Request<B>) {
        let go_ahead = Arc::clone(&self.go_ahead);
        ext::on_informational(request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                go_ahead.said.store(true, Ordering::Release);
                go_ahead.waker.wake();
            }
        });
    }

    /// Ready once the body may go.
    pub(super) fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.go_ahead.waker.register(cx.waker());
        if self.go_ahead.said.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.patience.as_mut().poll(cx)
    }
}
