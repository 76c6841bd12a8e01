//! The answer on a stream.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use hyper::body::{Body, Frame};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::task::yield_now;

use crate::gate::http::clock::Clock;
use crate::gate::http::expect;
use crate::gate::http::headers;
use crate::gate::http::http2::TakenBack;
use crate::gate::http::http2::carried::Carried;
use crate::gate::http::http2::frames::Frames;
use crate::gate::http::http2::piece::Piece;
use crate::gate::http::http2::room::Outlet;
use crate::gate::http::http2::way::Way;
use crate::gate::http::received::ReplyBody;
use crate::gate::http::request_body::RequestBody;
use crate::proxy::Bounds;
use crate::silence::Silence;
use crate::stream::Stream;

/// The way back on a stream.
#[derive(Debug)]
pub struct Reply {
    way: Way,
    taken_back: TakenBack,
}

/// An answer's body on its way to the client.
struct Sending<'a> {
    send: Outlet,
    body: Pin<&'a mut ReplyBody>,
    /// What the client has no room for yet.
    rest: Bytes,
    clock: &'a Clock,
    silence: Silence,
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
    pub(super) fn new(send: SendResponse<Piece>, taken_back: TakenBack) -> Self {
        Self { way: Way::new(send), taken_back }
    }

    /// The same request with a body that can be sent on.
    pub fn with_body(&self, mut request: Request<RecvStream>, clock: &Clock) -> Request<RequestBody> {
        headers::join_cookies(request.headers_mut());
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let waits = expect::is_expected(request.headers());
        let invitation = waits.then(|| self.way.clone());
        request.map(|receive| RequestBody::Http2(Frames::new(receive, length, clock.clone(), invitation)))
    }

    /// Awaits an answer, unless the client takes its request back first.
    pub async fn unless_taken_back<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = pin!(answer);
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            ready!(self.way.poll_reset(cx));
            self.taken_back.add();
            Poll::Ready(None)
        })
        .await
    }

    /// Answers a CONNECT with 200, and makes a stream of what follows. `None`: the client is gone.
    pub fn open(self, receive: RecvStream) -> Option<Stream> {
        let send = self.way.answer(Response::new(()), false).ok()?;
        self.taken_back.answered();
        Some(Stream::layered(Box::new(Carried::new(receive, Outlet::new(send)))))
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
        let sent = self.way.answer(Response::from_parts(parts, ()), is_over);
        self.taken_back.answered();
        let Ok(send) = sent else { return };
        if is_over {
            return;
        }
        let mut sending =
            Sending { send: Outlet::new(send), body, rest: Bytes::new(), clock, silence: bounds.silence };
        if let End::Cut = poll_fn(|cx| sending.poll(cx)).await {
            // A reset makes the h2 crate forget what it has not written yet: its turn comes first.
            yield_now().await;
            sending.send.reset(Reason::INTERNAL_ERROR);
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
                Poll::Pending => return self.clock.poll_over(cx, self.silence).map(|()| End::Cut),
            }
        }
    }

    /// Takes the next frame of the body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        let frame = match ready!(self.body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Poll::Ready(Some(End::Cut)),
            None => return Poll::Ready(Some(ended(self.send.send(Bytes::new(), true)))),
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
        let Some(room) = ready!(self.send.poll_room(cx, self.rest.len())) else {
            return Poll::Ready(Some(End::Refused));
        };
        let part = self.rest.split_to(room.min(self.rest.len()));
        self.clock.moved(part.len());
        let is_last = self.rest.is_empty() && self.body.is_end_stream();
        match self.send.send(part, is_last) {
            Ok(()) if is_last => Poll::Ready(Some(End::Whole)),
            Ok(()) => Poll::Ready(None),
            Err(_) => Poll::Ready(Some(End::Refused)),
        }
    }
}

fn ended(sent: Result<(), h2::Error>) -> End {
    if sent.is_ok() { End::Whole } else { End::Refused }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::{BodyExt, Either, Full};
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn nobody_is_bidden_to_send_once_the_answer_has_begun() {
        for answers_first in [false, true] {
            let (ours, theirs) = duplex(65_536);
            let client = tokio::spawn(async move {
                let (mut requests, connection) = h2::client::handshake(theirs).await.unwrap();
                let connection = tokio::spawn(connection);
                let request = Request::post("http://a.example/").header(header::EXPECT, "100-continue");
                let (mut response, _send) = requests.send_request(request.body(()).unwrap(), false).unwrap();
                let asked =
                    poll_fn(|cx| response.poll_informational(cx)).await.map(|asked| asked.unwrap().status());
                let mut body = response.await.unwrap().into_body();
                let data = body.data().await.unwrap().unwrap();
                // What does not belong to the answer would show here, or end the connection.
                let rest = body.data().await.map(|rest| rest.unwrap());
                drop((requests, body, _send));
                connection.await.unwrap().unwrap();
                (asked, data, rest)
            });
            let mut connection = h2::server::Builder::new().handshake(ours).await.unwrap();
            let (request, respond) = connection.accept().await.unwrap().unwrap();
            let connection = tokio::spawn(async move { while connection.accept().await.is_some() {} });
            let reply = Reply::new(respond, TakenBack::default());
            let (clock, bounds) = (Clock::default(), bounds());
            let mut body = pin!(reply.with_body(request, &clock).into_body());
            let response = Response::new(Either::Left(Full::from("hello")));
            if answers_first {
                reply.send(response, &Method::POST, &clock, &bounds).await;
                assert!(futures_util::poll!(body.frame()).is_pending());
            } else {
                assert!(futures_util::poll!(body.frame()).is_pending());
                reply.send(response, &Method::POST, &clock, &bounds).await;
            }
            let asked = (!answers_first).then_some(StatusCode::CONTINUE);
            assert_eq!(client.await.unwrap(), (asked, Bytes::from("hello"), None), "{answers_first}");
            connection.await.unwrap();
        }
    }

    fn bounds() -> Bounds {
        let long = Duration::from_secs(60);
        let silence = Silence { idle: long, half_closed: long };
        Bounds { head_bytes: 8192, head: long, keepalive: long, silence }
    }
}
