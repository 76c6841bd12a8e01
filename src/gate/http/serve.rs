//! HTTP/1 on one connection: hyper reads the requests, a service answers them, and the connection
//! comes back when it ends or turns into a tunnel.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Poll, ready};

use futures_util::FutureExt;
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::TokioIo;

use crate::error::Error;
use crate::gate::http::clock::Clock;
use crate::gate::http::clocked::Clocked;
use crate::gate::http::received::ReplyBody;
use crate::gate::http::request::offered_upgrade;
use crate::gate::http::request_body::RequestBody;
use crate::proxy::Bounds;
use crate::stream::Stream;

/// How serving ended.
#[derive(Debug)]
pub struct Served {
    /// The connection, with whatever was read ahead.
    pub stream: Stream,
    pub ended: Ended,
}

/// Where serving ended.
#[derive(Debug)]
pub enum Ended {
    /// Between two exchanges, or where nobody listens any more.
    Between,
    /// In the middle of an answer.
    Cut,
    /// At a head that no service saw; hyper may have told the client so.
    Head { error: Error, told: bool },
}

/// hyper refuses a buffer smaller than this.
const LEAST_BUFFER: usize = 8192;

/// Serves until the connection ends, it is `over` and no request is under way, or an answer turned it into a tunnel.
/// hyper gives a connection back only if the futures of its answers can be moved: they come in boxes, of the size that
/// each needs.
pub async fn serve<F, R>(
    stream: Stream,
    bounds: &Bounds,
    mut over: Pin<&mut impl Future<Output = ()>>,
    service: F,
) -> Served
where
    F: Fn(Request<RequestBody>, &Clock) -> R,
    R: Future<Output = Response<ReplyBody>> + Unpin,
{
    let clock = &Clock::default();
    let clocked = Clocked::new(stream, bounds, clock);
    let answer = service_fn(|request: Request<Incoming>| {
        let version = request.version();
        clock.head_read(*request.method() == Method::CONNECT || offered_upgrade(&request).is_some());
        let mut answer = service(request.map(RequestBody::Http1), clock);
        // By hand: each adapter of a future would copy the answer once more.
        poll_fn(move |cx| {
            let mut response = ready!(answer.poll_unpin(cx));
            if version == Version::HTTP_10 {
                // Said so, it ends the connection: a proxy keeps none with such a client, which may ask for it (RFC 9112 §9.3).
                *response.version_mut() = version;
            }
            if let Either::Left(_) = response.body() {
                clock.answered();
            }
            Poll::Ready(Ok::<_, Infallible>(response))
        })
    });
    let mut connection = http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None) // the stream has limits of its own
        .max_buf_size(bounds.head_bytes.max(LEAST_BUFFER))
        .max_header_size(bounds.head_bytes)
        .serve_connection(TokioIo::new(clocked), answer);
    let mut is_over = false;
    let ended = poll_fn(|cx| {
        loop {
            match connection.poll_without_shutdown(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ended::Between),
                Poll::Ready(Err(error)) => return Poll::Ready(Ended::at(&error, clock)),
                // Tunnels are left alone, and what is to be one.
                Poll::Pending if is_over || clock.may_become_tunnel() => break,
                Poll::Pending if over.as_mut().poll(cx).is_pending() => break,
                Poll::Pending => {
                    is_over = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
        clock.poll_over(cx, bounds.silence).map(|()| Ended::Cut)
    })
    .await;
    let parts = connection.into_parts();
    let stream = parts.io.into_inner().into_stream().with_head(parts.read_buf);
    Served { stream, ended }
}

impl Ended {
    /// What an error of the connection says.
    fn at(error: &hyper::Error, clock: &Clock) -> Self {
        let refused = if clock.is_late() {
            Error::HeadTimeout
        } else if error.is_parse_too_large() {
            Error::HeadTooLong
        } else if error.is_parse() {
            Error::BadRequest(error.to_string().into())
        } else if error.is_incomplete_message() && clock.in_head() {
            Error::ClientReset
        } else if error.is_user() {
            return Self::Cut;
        } else {
            return Self::Between;
        };
        // hyper has no words for HTTP/2.
        Self::Head { error: refused, told: error.is_parse() && !error.is_parse_version_h2() }
    }
}
