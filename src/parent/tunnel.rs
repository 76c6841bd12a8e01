//! A tunnel through a proxy (RFC 9110 §9.3.6): hyper writes the CONNECT and reads the answer.

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;

use crate::destination::Destination;
use crate::error::ParentFault;
use crate::stream::Stream;
use crate::via::Via;

/// The longest head of an answer, in bytes. Those of Squid are below 1 KiB.
const HEAD_MAX: usize = 32 * 1024;

/// What a connection to a proxy is for.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// A tunnel to there.
    Tunnel(&'a Destination),
    /// Requests in the clear, which name their destinations themselves.
    Requests,
}

/// Asks for a tunnel. What the destination has said already is kept: it comes first out of the stream.
pub(super) async fn open(
    stream: Stream,
    to: &Destination,
    authorization: Option<HeaderValue>,
    via: &Via,
) -> Result<Stream, ParentFault> {
    let request = request(to, authorization, via)?;
    let mut builder = http1::Builder::new();
    let (mut sender, mut connection) = builder
        .max_header_size(HEAD_MAX)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(fault)?;
    let mut answer = pin!(sender.send_request(request));
    let mut ended = false;
    let response = poll_fn(|cx| {
        loop {
            if let Poll::Ready(response) = answer.as_mut().poll(cx) {
                return Poll::Ready(response);
            }
            // Once it has ended it has told the answer why.
            if ended || connection.poll_without_shutdown(cx).is_pending() {
                return Poll::Pending;
            }
            ended = true;
        }
    })
    .await
    .map_err(fault)?;
    let status = response.status();
    // After a 204 hyper still speaks HTTP; nobody answers a CONNECT with that.
    if !status.is_success() || status == StatusCode::NO_CONTENT {
        return Err(ParentFault::Answer(status.as_u16()));
    }
    let parts = connection.into_parts();
    Ok(parts.io.into_inner().with_head(parts.read_buf))
}

fn request(
    to: &Destination,
    authorization: Option<HeaderValue>,
    via: &Via,
) -> Result<Request<Empty<Bytes>>, ParentFault> {
    let authority = to.to_string();
    let unwritable = |error: hyper::http::Error| ParentFault::NotHttp(error.to_string());
    let uri = Uri::builder().authority(authority.as_str()).build().map_err(unwritable)?;
    let request = Request::builder().method(Method::CONNECT).uri(uri).header(header::HOST, authority);
    let mut request = request.body(Empty::new()).map_err(unwritable)?;
    // So that a circle of proxies is found out, where it leads back here.
    via.stamp(Version::HTTP_11, request.headers_mut());
    if let Some(authorization) = authorization {
        request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization);
    }
    Ok(request)
}

fn fault(error: hyper::Error) -> ParentFault {
    if error.is_parse() {
        return ParentFault::NotHttp(error.to_string());
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return ParentFault::Closed;
    }
    match error.source() {
        Some(_) => ParentFault::Closed,
        None => ParentFault::NotHttp(error.to_string()),
    }
}
