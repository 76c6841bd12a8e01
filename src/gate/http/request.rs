//! What a request asks for, once every doubt about it is out of the way.
//!
//! hyper takes more than a gate may: what could be read differently by the upstream is refused here.

use std::net::SocketAddr;

use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::Scheme;
use hyper::{Method, Request, Uri, Version};

use crate::destination::Destination;
use crate::error::Error;
use crate::gate::http::headers;
use crate::gate::redirected;
use crate::policy::Seen;

/// The port of `http` URIs and of Host headers without one.
pub const HTTP_PORT: u16 = 80;

/// What of a request is judged, besides where it goes.
pub fn seen<'a>(method: &'a Method, uri: &'a Uri) -> Seen<'a> {
    Seen::Http { method: method.as_str(), path: uri.path() }
}

/// Reads the target of a CONNECT (RFC 9110 §9.3.6).
pub fn connect_target<B>(request: &Request<B>) -> Result<Destination, Error> {
    let uri = request.uri();
    let authority = match uri.authority() {
        Some(authority) if uri.scheme().is_none() && uri.path_and_query().is_none() => authority,
        _ => return Err(bad("CONNECT needs host:port and nothing else as its target")),
    };
    let to = Destination::parse(authority.as_str())?;
    check_host(request, &to, to.port)?;
    if check_framing(request.headers())? {
        return Err(bad("CONNECT can't have a body"));
    }
    Ok(to)
}

/// Reads the target of a request to a proxy: a whole `http` URI (RFC 9112 §3.2.2).
pub fn forward_target<B: Body>(request: &Request<B>) -> Result<Destination, Error> {
    check_method(request)?;
    let uri = request.uri();
    let authority = match (uri.scheme(), uri.authority()) {
        (Some(scheme), Some(authority)) if *scheme == Scheme::HTTP => authority,
        (Some(scheme), _) if *scheme == Scheme::HTTPS => {
            return Err(bad("https:// goes through CONNECT: exeat does not speak TLS for its clients"));
        }
        (Some(_), _) => return Err(bad("only http:// can be forwarded")),
        (None, _) => {
            return Err(bad("this is a proxy: the target must be a whole http:// URI, or use CONNECT"));
        }
    };
    // HTTP/2 has room for it beside a host (RFC 9113 §8.3.1); written for HTTP/1 it would be read in who knows what way.
    if !uri.path().starts_with('/') && *request.method() != Method::OPTIONS {
        return Err(bad("only OPTIONS can be for the server as a whole"));
    }
    let to = Destination::parse_or_default(authority.as_str(), HTTP_PORT)?;
    check_host(request, &to, HTTP_PORT)?;
    check_framing(request.headers())?;
    Ok(to)
}

/// The protocol that a request offers to switch to. HTTP/1.0 can't offer one (RFC 9110 §7.8), and a
/// request with a body would leave open where it ends and the other protocol begins.
pub(super) fn offered_upgrade<B: Body>(request: &Request<B>) -> Option<HeaderValue> {
    let may_offer = request.version() == Version::HTTP_11 && request.body().is_end_stream();
    headers::upgrade(request.headers()).filter(|_| may_offer)
}

/// Checks a request inside a tunnel to `tunnel`: it looks as if sent to the origin itself
/// (RFC 9112 §3.2.1), and its Host must be where the tunnel leads.
pub fn check_inside<B: Body>(request: &Request<B>, tunnel: &Destination) -> Result<(), Error> {
    check_method(request)?;
    let uri = request.uri();
    match (uri.scheme(), uri.authority()) {
        (None, None) if uri.path().starts_with('/') || *request.method() == Method::OPTIONS => {}
        (Some(scheme), Some(authority)) if *scheme == Scheme::HTTP => {
            if Destination::parse_or_default(authority.as_str(), HTTP_PORT)? != *tunnel {
                return Err(Error::HostMismatch("and the URI differ from the tunnel's destination"));
            }
        }
        _ => return Err(bad("inside a tunnel the target must be a path")),
    }
    check_host(request, tunnel, HTTP_PORT)?;
    check_framing(request.headers())?;
    Ok(())
}

/// Reads the target of a request on a connection that was redirected from `original`: it looks as if sent to the
/// origin itself, whose name is in the Host header. HTTP/1.0 may do without one, and is taken at the address.
pub(super) fn redirected_target<B: Body>(
    request: &Request<B>,
    original: SocketAddr,
) -> Result<Destination, Error> {
    let to = match request.headers().get(header::HOST) {
        Some(host) => {
            let host = text(host).ok_or_else(|| bad("the Host header is not ASCII"))?;
            Destination::parse_or_default(host, HTTP_PORT)?
        }
        None => redirected::original(original),
    };
    check_inside(request, &to)?;
    if to.port != original.port() {
        return Err(Error::HostMismatch("has another port than the connection"));
    }
    Ok(to)
}

/// One Host header, the same as the target's (RFC 9112 §3.2), which was read as `to`. HTTP/1.0 and HTTP/2 may do without.
fn check_host<B>(request: &Request<B>, to: &Destination, default_port: u16) -> Result<(), Error> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        // In HTTP/2 the target alone says it (RFC 9113 §8.3.1).
        if matches!(request.version(), Version::HTTP_10 | Version::HTTP_2) {
            return Ok(());
        }
        return Err(bad("the Host header is missing"));
    };
    if hosts.next().is_some() {
        return Err(Error::HostMismatch("is doubled"));
    }
    // Mostly the text that was read as the target, which needs not be read again.
    if request.uri().authority().is_some_and(|target| host == target.as_str()) {
        return Ok(());
    }
    let host = text(host).ok_or_else(|| bad("the Host header is not ASCII"))?;
    if !to.is_written(host, default_port) && Destination::parse_or_default(host, default_port)? != *to {
        return Err(Error::HostMismatch("differs from the destination"));
    }
    Ok(())
}

/// One way to find the end of the body (RFC 9112 §6.3). hyper drops a Content-Length beside
/// Transfer-Encoding and refuses differing ones; what it leaves is judged here. Tells whether there is a body.
fn check_framing(headers: &HeaderMap) -> Result<bool, Error> {
    // Nothing else says that there is a body, and most requests have none.
    if !headers::has(headers, header::CONTENT_LENGTH) && !headers::has(headers, header::TRANSFER_ENCODING) {
        return Ok(false);
    }
    let length = headers.get(header::CONTENT_LENGTH);
    if length.is_some() && !headers::has_plain_length(headers) {
        return Err(bad("Content-Length must be one number"));
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(length.is_some_and(|length| length != "0")) };
    let chunked = text(coding).is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    if !chunked || codings.next().is_some() {
        return Err(bad("Transfer-Encoding must be exactly \"chunked\""));
    }
    if length.is_some() {
        return Err(bad("Transfer-Encoding and Content-Length exclude each other"));
    }
    Ok(true)
}

/// Methods are case-sensitive and every registered one is upper-case (RFC 9110 §9.1); a lower-case
/// one is either a mistake or an attempt to slip past a `methods` rule.
fn check_method<B: Body>(request: &Request<B>) -> Result<(), Error> {
    let method = request.method();
    if *method == Method::CONNECT || method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(bad("this method can't be forwarded"));
    }
    // RFC 9110 §9.3.8; over HTTP/2 no header has to say that there is one.
    if *method == Method::TRACE && !request.body().is_end_stream() {
        return Err(bad("TRACE can't have a body"));
    }
    Ok(())
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

fn bad(what: &'static str) -> Error {
    Error::BadRequest(what.into())
}
