//! Bodies on their way through: counted, and never held in memory.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::error::Error;
use crate::flow::{Flow, Meter};
use crate::gate::http::clock::Clock;
use crate::gate::http::expect::Hold;
use crate::gate::http::headers;
use crate::gate::http::home::Home;
use crate::gate::http::pool::Lease;

/// What goes back to a client: a refusal of ours, or what the upstream answers.
pub type ReplyBody = Either<Full<Bytes>, Received>;

/// A request's body on its way to the upstream.
#[derive(Debug)]
pub(super) struct Sent {
    body: Option<Incoming>,
    meter: Meter,
    hold: Option<Hold>,
    complete: Arc<AtomicBool>,
}

impl Sent {
    pub(super) fn new(body: Incoming, meter: Meter) -> Self {
        let complete = Arc::new(AtomicBool::new(body.is_end_stream()));
        Self { body: Some(body), meter, hold: None, complete }
    }

    /// No body at all.
    pub(super) fn nothing(meter: Meter) -> Self {
        Self { body: None, meter, hold: None, complete: Arc::new(AtomicBool::new(true)) }
    }

    /// Keeps it back until the upstream asks for it.
    pub(super) fn hold(&mut self, hold: Hold) {
        self.hold = Some(hold);
    }

    /// Tells when all of it has been sent: only then may the connection serve another request.
    pub(super) fn complete(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.complete)
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(hold) = &mut self.hold {
            ready!(hold.poll_release(cx));
            self.hold = None;
        }
        let frame = match &mut self.body {
            Some(body) => ready!(Pin::new(body).poll_frame(cx)),
            None => None,
        };
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            self.meter.counters().add_sent(bytes.len());
        }
        // hyper asks for nothing behind the trailers.
        let is_last = match &frame {
            Some(frame) => frame.as_ref().is_ok_and(Frame::is_trailers),
            None => true,
        };
        if is_last || self.is_end_stream() {
            self.complete.store(true, Ordering::Release);
        }
        Poll::Ready(frame.map(|frame| frame.map(passable)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A response's body on its way to the client. It carries the flow, which ends with it.
#[derive(Debug)]
pub struct Received {
    body: Incoming,
    open: Option<Open>,
}

/// What is still open while the body moves.
#[derive(Debug)]
pub(super) struct Open {
    pub flow: Flow,
    pub lease: Lease,
    /// Where the connection goes when it may serve another request.
    pub home: Home,
    /// Set when the request's body has been sent.
    pub request_complete: Arc<AtomicBool>,
    pub clock: Clock,
}

/// Why a response's body stops short: the connection to the client is cut, so that it can't take
/// a part for the whole.
#[derive(Debug)]
pub struct CutShort;

impl fmt::Display for CutShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response was cut short")
    }
}

impl std::error::Error for CutShort {}

impl From<Infallible> for CutShort {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Received {
    pub(super) fn new(body: Incoming, open: Open) -> Self {
        open.clock.answers();
        let mut received = Self { body, open: Some(open) };
        // hyper does not poll a body that is known to be empty.
        if received.body.is_end_stream() {
            received.finish(Ok(()));
        }
        received
    }

    /// Ends the flow; a connection that is fit for it goes back to the pool.
    fn finish(&mut self, result: Result<(), Error>) {
        let Some(open) = self.open.take() else { return };
        open.clock.answered();
        if result.is_ok() && open.request_complete.load(Ordering::Acquire) {
            open.home.put(open.lease);
        }
        open.flow.end(result);
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => {
                self.finish(Ok(()));
                Poll::Ready(None)
            }
            Some(Err(_)) => {
                self.finish(Err(Error::UpstreamReset));
                Poll::Ready(Some(Err(CutShort)))
            }
            Some(Ok(frame)) => {
                if let (Some(bytes), Some(open)) = (frame.data_ref(), &self.open) {
                    open.flow.counters().add_received(bytes.len());
                }
                if frame.is_trailers() || self.body.is_end_stream() {
                    self.finish(Ok(()));
                }
                Poll::Ready(Some(Ok(passable(frame))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Received {
    /// The answer stops short: the client went away, or it was to end.
    fn drop(&mut self) {
        let Some(Open { flow, clock, .. }) = self.open.take() else { return };
        if clock.is_still() {
            flow.end(Err(Error::IdleTimeout));
        }
        // A flow that is dropped knows whether it was stopped or lost its client.
    }
}

/// A frame without the trailers that would mean something on the next hop.
fn passable(frame: Frame<Bytes>) -> Frame<Bytes> {
    frame.into_trailers().map_or_else(
        |frame| frame,
        |mut trailers| {
            headers::strip_trailers(&mut trailers);
            Frame::trailers(trailers)
        },
    )
}
