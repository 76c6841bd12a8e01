//! HTTP/1 on one connection: hyper reads the requests, a service answers them, and the connection
//! comes back when it ends or turns into a tunnel.

use std::convert::Infallible;
use std::future::{Future, poll_fn};

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::drain;
use crate::error::Error;
use crate::gate::http::body::ReplyBody;
use crate::gate::http::clock::{Clock, Clocked};
use crate::proxy::Bounds;
use crate::stream::Stream;

/// How serving ended.
#[derive(Debug)]
pub struct Served {
    /// The connection, with whatever was read ahead.
    pub stream: Stream,
    /// `Err` if it ended with a head that got no answer from the service.
    pub result: Result<(), Error>,
}

/// hyper refuses a buffer smaller than this.
const LEAST_BUFFER: usize = 8192;

/// Serves until the connection ends, is drained, or an answer turned it into a tunnel.
pub async fn serve<F, R>(stream: Stream, bounds: Bounds, mut drain: drain::Watch, service: F) -> Served
where
    F: Fn(Request<Incoming>, Clock) -> R,
    R: Future<Output = Response<ReplyBody>>,
{
    let (clocked, clock) = Clocked::new(stream, bounds.head);
    let answer = service_fn(|request| {
        clock.head_read();
        let answer = service(request, clock.clone());
        let clock = clock.clone();
        // hyper gives a connection back only if its future can be moved.
        Box::pin(async move {
            let response = answer.await;
            if let Either::Left(_) = response.body() {
                clock.answered();
            }
            Ok::<_, Infallible>(response)
        })
    });
    let mut connection = http1::Builder::new()
        .auto_date_header(false) // a proxy passes on the origin's Date (RFC 9110 §6.6.1)
        .half_close(true)
        .header_read_timeout(bounds.keepalive)
        .max_buf_size(bounds.head_bytes.max(LEAST_BUFFER))
        .max_header_size(bounds.head_bytes)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(clocked), answer);
    let result = tokio::select! {
        result = poll_fn(|cx| connection.poll_without_shutdown(cx)) => result,
        () = drain.started() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|cx| connection.poll_without_shutdown(cx)).await
        }
    };
    let parts = connection.into_parts();
    let result = match result {
        Ok(()) => Ok(()),
        Err(_) if clock.is_late() => Err(Error::HeadTimeout),
        Err(error) => refused_head(&error, &clock),
    };
    let stream = parts.io.into_inner().into_stream().with_head(parts.read_buf);
    Served { stream, result }
}

/// What an error of the connection says about a head that no service saw. An idle connection that
/// times out or breaks is no refusal, and what breaks during an answer is the answer's own story.
fn refused_head(error: &hyper::Error, clock: &Clock) -> Result<(), Error> {
    if error.is_parse_too_large() {
        return Err(Error::HeadTooLong);
    }
    if error.is_parse() {
        return Err(Error::BadRequest(error.to_string().into()));
    }
    if error.is_timeout() && clock.in_head() {
        return Err(Error::HeadTimeout);
    }
    if error.is_incomplete_message() && clock.in_head() {
        return Err(Error::ClientReset);
    }
    Ok(())
}
