//! The answer on a stream.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use hyper::body::{Body, Frame};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::gate::http::asked::Asked;
use crate::gate::http::clock::{Clock, Stillness};
use crate::gate::http::expect;
use crate::gate::http::http2::TakenBack;
use crate::gate::http::http2::carried::Carried;
use crate::gate::http::http2::frames::{Frames, Invitation};
use crate::gate::http::http2::room::poll_room;
use crate::gate::http::received::ReplyBody;
use crate::lock::lock;
use crate::proxy::Bounds;
use crate::stream::Stream;

type Respond = Arc<Mutex<SendResponse<Bytes>>>;

/// The way back on a stream.
#[derive(Debug)]
pub struct Reply {
    respond: Respond,
    taken_back: TakenBack,
}

/// An answer's body on its way to the client.
struct Sending<'a> {
    send: SendStream<Bytes>,
    body: Pin<&'a mut ReplyBody>,
    /// What the client has no room for yet.
    rest: Bytes,
    clock: &'a Clock,
    stillness: Stillness,
}

/// How sending ended.
enum End {
    Whole,
    /// The client takes no more.
    Refused,
    /// It stops short, and the client must not take it for the whole.
    Cut,
}

impl Reply {
    pub(super) fn new(respond: SendResponse<Bytes>, taken_back: TakenBack) -> Self {
        Self { respond: Arc::new(Mutex::new(respond)), taken_back }
    }

    /// The same request with a body that can be sent on.
    pub fn with_body(&self, request: Request<RecvStream>, clock: &Clock) -> Request<Asked> {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let waits = expect::is_expected(request.headers());
        let invitation = waits.then(|| Invitation(Arc::clone(&self.respond)));
        request.map(|receive| Asked::Http2(Frames::new(receive, length, clock.clone(), invitation)))
    }

    /// Awaits an answer, unless the client takes its request back first.
    pub async fn unless_taken_back<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = pin!(answer);
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            ready!(lock(&self.respond).poll_reset(cx)).ok();
            self.taken_back.add();
            Poll::Ready(None)
        })
        .await
    }

    /// Answers a CONNECT with 200, and makes a stream of what follows. `None`: the client is gone.
    pub fn open(self, receive: RecvStream) -> Option<Stream> {
        let send = lock(&self.respond).send_response(Response::new(()), false).ok()?;
        self.taken_back.answered();
        Some(Stream::layered(Box::new(Carried::new(receive, send))))
    }

    /// Sends an answer to a request of this method, to its end.
    pub async fn send(self, response: Response<ReplyBody>, method: &Method, clock: &Clock, bounds: &Bounds) {
        // From here on somebody waits for the client: a refusal too must be taken within the time.
        clock.answers();
        let (mut parts, body) = response.into_parts();
        let body = pin!(body);
        // It would concern the connection, which goes on whatever becomes of one stream (RFC 9113 §8.2.2).
        parts.headers.remove(header::CONNECTION);
        if let (Some(length), false) =
            (body.size_hint().exact(), parts.headers.contains_key(header::CONTENT_LENGTH))
        {
            let may_have_one =
                parts.status != StatusCode::NO_CONTENT && parts.status != StatusCode::NOT_MODIFIED;
            if may_have_one && !body.is_end_stream() {
                parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
        }
        let is_over = body.is_end_stream() || *method == Method::HEAD;
        let sent = lock(&self.respond).send_response(Response::from_parts(parts, ()), is_over);
        self.taken_back.answered();
        let Ok(send) = sent else { return };
        if is_over {
            return;
        }
        let stillness = Stillness { idle: bounds.idle, half_closed: bounds.half_closed };
        let mut sending = Sending { send, body, rest: Bytes::new(), clock, stillness };
        if let End::Cut = poll_fn(|cx| sending.poll(cx)).await {
            sending.send.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

impl Sending<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.send.poll_reset(cx).is_ready() {
            return Poll::Ready(End::Refused);
        }
        loop {
            let step = match self.rest.is_empty() {
                true => self.poll_body(cx),
                false => self.poll_rest(cx),
            };
            match step {
                Poll::Ready(None) => {}
                Poll::Ready(Some(end)) => return Poll::Ready(end),
                Poll::Pending => return self.clock.poll_over(cx, self.stillness).map(|()| End::Cut),
            }
        }
    }

    /// Takes the next frame of the body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        let frame = match ready!(self.body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Poll::Ready(Some(End::Cut)),
            None => return Poll::Ready(Some(ended(self.send.send_data(Bytes::new(), true)))),
        };
        match frame.into_data().map_err(Frame::into_trailers) {
            Ok(bytes) => self.rest = bytes,
            Err(Ok(trailers)) => return Poll::Ready(Some(ended(self.send.send_trailers(trailers)))),
            Err(Err(_)) => {}
        }
        Poll::Ready(None)
    }

    /// Sends as much as the client has room for.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        let Some(room) = ready!(poll_room(&mut self.send, cx, self.rest.len())) else {
            return Poll::Ready(Some(End::Refused));
        };
        let part = self.rest.split_to(room.min(self.rest.len()));
        self.clock.moved(part.len());
        let is_last = self.rest.is_empty() && self.body.is_end_stream();
        match self.send.send_data(part, is_last) {
            Ok(()) if is_last => Poll::Ready(Some(End::Whole)),
            Ok(()) => Poll::Ready(None),
            Err(_) => Poll::Ready(Some(End::Refused)),
        }
    }
}

fn ended(sent: Result<(), h2::Error>) -> End {
    if sent.is_ok() { End::Whole } else { End::Refused }
}
