//! A request's body on its way through: counted, and never held in memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::flow::Meter;
use crate::gate::http::expect::Hold;
use crate::gate::http::fault::{BodyError, BodyFault};
use crate::gate::http::headers;
use crate::gate::http::progress::Progress;
use crate::gate::http::request_body::RequestBody;

/// A request's body on its way to the upstream.
#[derive(Debug)]
pub(super) struct Sent {
    body: Option<RequestBody>,
    meter: Meter,
    hold: Option<Hold>,
    progress: Arc<Progress>,
}

impl Sent {
    pub(super) fn new(body: RequestBody, meter: Meter) -> Self {
        let progress = Arc::new(Progress::new(body.is_end_stream()));
        Self { body: Some(body), meter, hold: None, progress }
    }

    /// No body at all.
    pub(super) fn nothing(meter: Meter) -> Self {
        Self { body: None, meter, hold: None, progress: Arc::new(Progress::new(true)) }
    }

    /// Keeps it back until the upstream asks for it.
    pub(super) fn hold(&mut self, hold: Hold) {
        self.hold = Some(hold);
    }

    /// How far it has come.
    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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
            self.progress.completed();
        }
        if let Some(Err(error)) = &frame {
            self.progress.failed(BodyFault::of(error.as_ref()));
        }
        Poll::Ready(frame.map(|frame| frame.map(headers::passable)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
