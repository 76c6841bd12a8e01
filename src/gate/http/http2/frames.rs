//! The body of a request on a stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use hyper::body::{Frame, SizeHint};

use crate::gate::http::clock::Clock;
use crate::gate::http::fault::BodyError;
use crate::gate::http::http2::way::Way;

/// What comes on a stream behind the head.
#[derive(Debug)]
pub struct Frames {
    receive: RecvStream,
    /// What is still to come, where the head has said how much; the h2 crate holds the client to it.
    left: Option<u64>,
    clock: Clock,
    /// The way to a client that waits to be bidden, until somebody first wants what it has.
    invitation: Option<Way>,
    is_data_over: bool,
}

impl Frames {
    pub(super) fn new(
        receive: RecvStream,
        length: Option<u64>,
        clock: Clock,
        invitation: Option<Way>,
    ) -> Self {
        Self { receive, left: length, clock, invitation, is_data_over: false }
    }

    pub(in crate::gate::http) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(invitation) = self.invitation.take() {
            invitation.bid();
        }
        while !self.is_data_over {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    self.clock.moved(bytes.len());
                    self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
                    // Whoever asked takes it; nothing more is asked for until the upstream has room.
                    self.receive.flow_control().release_capacity(bytes.len())?;
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => self.is_data_over = true,
            }
        }
        let trailers = ready!(Pin::new(&mut self.receive).poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    pub(in crate::gate::http) fn is_end(&self) -> bool {
        self.receive.is_end_stream()
    }

    pub(in crate::gate::http) fn size_hint(&self) -> SizeHint {
        match self.left {
            _ if self.is_end() => SizeHint::with_exact(0),
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }
}
