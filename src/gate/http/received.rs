//! A response's body on its way through: counted, and never held in memory. It ends the flow.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::error::Error;
use crate::flow::Flow;
use crate::gate::http::clock::Clock;
use crate::gate::http::headers;
use crate::gate::http::home::Home;
use crate::gate::http::pool::Lease;
use crate::gate::http::progress::Progress;

/// What goes back to a client: words of ours, or what the upstream answers. That comes in a box, since answers are moved
/// a dozen times on their way.
pub type ReplyBody = Either<Full<Bytes>, Box<Received>>;

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
    /// Of the request's body.
    pub progress: Arc<Progress>,
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
    pub(super) fn new(body: Incoming, mut open: Open) -> Self {
        open.clock.answers();
        if !open.progress.is_complete() {
            // A client may send all of it before it takes any of the answer.
            open.lease.let_go();
        }
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
        if result.is_ok() && open.progress.is_complete() {
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
        let Self { body, open } = &mut *self;
        let frame = match open {
            Some(open) => ready!(open.lease.poll_frame(body, cx)),
            None => ready!(Pin::new(body).poll_frame(cx)),
        };
        match frame {
            None => {
                self.finish(Ok(()));
                Poll::Ready(None)
            }
            Some(Err(_)) => {
                // Where the request breaks off, the connection ends with the answer on it.
                let fault = self.open.as_ref().and_then(|open| open.progress.fault());
                self.finish(Err(fault.map_or(Error::UpstreamReset, Error::from)));
                Poll::Ready(Some(Err(CutShort)))
            }
            Some(Ok(frame)) => {
                if let (Some(bytes), Some(open)) = (frame.data_ref(), &self.open) {
                    open.flow.counters().add_received(bytes.len());
                }
                if frame.is_trailers() || self.body.is_end_stream() {
                    self.finish(Ok(()));
                }
                Poll::Ready(Some(Ok(headers::passable(frame))))
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
