//! An upstream's answer on its way to the client: what can't be passed on with certainty is refused.

use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode, Version};

use crate::error::Error;
use crate::gate::http::headers;

/// Whether an answer can be passed on at all.
pub(super) fn check(response: &Response<Incoming>) -> Result<(), Error> {
    if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        // Only a proxy may ask a client for what it keeps for its proxy.
        return Err(bad("it asks for proxy credentials"));
    }
    let mut codings = headers::values(response.headers(), header::TRANSFER_ENCODING);
    let Some(coding) = codings.next() else { return Ok(()) };
    // We asked for no other, and the client would not learn of it.
    if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
        return Err(bad("its Transfer-Encoding is not \"chunked\""));
    }
    Ok(())
}

/// Leaves in the head what concerns the client. `ends` says that the client's connection can't outlive
/// the upstream's: a tunnel leads to one connection.
pub(super) fn readdress(response: &mut Response<Incoming>, ends: bool) {
    let last = response.version() == Version::HTTP_10 || headers::closes(response.headers());
    let length = response.body().size_hint().exact().filter(|_| !response.body().is_end_stream());
    let headers = response.headers_mut();
    if headers::has(headers, header::TRANSFER_ENCODING) {
        // The transfer coding says where the body ends, and it is written anew (RFC 9112 §6.3).
        headers.remove(header::CONTENT_LENGTH);
    }
    headers::strip_hop_by_hop(headers);
    headers::set_length(headers, length);
    if length.is_none() && !headers::has_plain_length(headers) {
        // That of a body which does not come (HEAD, 304) is news at most.
        headers.remove(header::CONTENT_LENGTH);
    }
    if last && ends {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    *response.version_mut() = Version::HTTP_11;
}

pub(super) fn bad(what: &str) -> Error {
    Error::BadResponse(what.to_owned())
}
