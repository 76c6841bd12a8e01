//! The headers that belong to one connection and not to the message (RFC 9110 §7.6.1).

use bytes::Bytes;
use hyper::Method;
use hyper::body::Frame;
use hyper::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};

use crate::error::Error;

/// Removes what must not be passed on: the headers that `Connection` names, and those that are
/// hop-by-hop by definition. `Trailer` stays: hyper sends only the trailers that it announces.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let gone: Vec<HeaderName> = headers.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
    if gone.contains(&header::CONNECTION)
        && let Entry::Occupied(connection) = headers.entry(header::CONNECTION)
    {
        let values: Vec<HeaderValue> = connection.remove_entry_mult().1.collect();
        // A head has room for thousands: each is looked for as it is written, and nothing is kept of it.
        for name in values.iter().flat_map(elements).filter(|name| !is_vital(name)) {
            headers.remove(name);
        }
    }
    for name in gone {
        headers.remove(name);
    }
}

/// Whether a header frames or routes the message: to name it in `Connection` would let a client take it away.
fn is_vital(name: &str) -> bool {
    [header::HOST, header::CONTENT_LENGTH, header::VIA]
        .iter()
        .any(|vital| name.eq_ignore_ascii_case(vital.as_str()))
}

/// Most messages have few headers and none of these: to look at each is less than to ask for each of these.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "connection" | "keep-alive" | "te" | "transfer-encoding" | "upgrade" | "http2-settings")
        || name.starts_with("proxy-")
}

/// Removes from trailers what would mean something on the next hop, or of the message as a whole (RFC 9110 §6.5.1). hyper
/// leaves most of it out by itself, but HTTP/2 passes on whatever it is given.
fn strip_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    for name in [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::FORWARDED,
        header::HOST,
        header::MAX_FORWARDS,
        header::SET_COOKIE,
        header::TRAILER,
        header::VIA,
    ] {
        trailers.remove(name);
    }
}

/// Counts a TRACE or OPTIONS down (RFC 9110 §7.6.2). What may go no further is refused: this final
/// recipient has nothing to say to it, and would not repeat a client's credentials to it.
pub(super) fn count_forward(method: &Method, headers: &mut HeaderMap) -> Result<(), Error> {
    if !matches!(*method, Method::TRACE | Method::OPTIONS) {
        return Ok(());
    }
    let mut values = headers.get_all(header::MAX_FORWARDS).iter();
    let Some(value) = values.next() else { return Ok(()) };
    let left: Option<u32> = value
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok());
    let Some(left) = left.filter(|_| values.next().is_none()) else {
        return Err(Error::BadRequest("Max-Forwards must be one number".into()));
    };
    let Some(left) = left.checked_sub(1) else {
        return Err(Error::BadRequest("Max-Forwards lets it go no further".into()));
    };
    headers.insert(header::MAX_FORWARDS, left.into());
    Ok(())
}

/// Makes one header of the pieces in which a cookie comes over HTTP/2, as HTTP/1 has no room for more than one
/// (RFC 9113 §8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let pieces: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if pieces.len() < 2 {
        return;
    }
    // What was made of values is one.
    if let Ok(whole) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        headers.insert(header::COOKIE, whole);
    }
}

/// Writes the length of a message as a plain number, and once: `005` and `5, 5` are numbers to some.
pub(super) fn set_length(headers: &mut HeaderMap, length: Option<u64>) {
    if let (Some(length), true) = (length, has(headers, header::CONTENT_LENGTH)) {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
}

/// Whether there is one length, in digits.
pub(super) fn has_plain_length(headers: &HeaderMap) -> bool {
    let mut lengths = values(headers, header::CONTENT_LENGTH);
    let is_plain = lengths.next().is_some_and(|length| length.as_bytes().iter().all(u8::is_ascii_digit));
    is_plain && lengths.next().is_none()
}

/// Says that the body is chunked; hyper would drop that of a GET otherwise.
pub(super) fn set_chunked(headers: &mut HeaderMap) {
    headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
}

/// The protocol that a request or a 101 response switches to, if that can be passed on. HTTP/2 by upgrade (h2c) and TLS
/// within HTTP (RFC 2817) can't: what follows would be requests that nobody judges.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut protocols = values(headers, header::UPGRADE);
    let protocol = protocols.next()?;
    let named_by_connection = has_token(headers, header::CONNECTION, "upgrade");
    let hides_requests = elements(protocol)
        .map(str::to_ascii_lowercase)
        .any(|token| token.starts_with("h2") || token.starts_with("tls") || token.contains("http"));
    (named_by_connection && protocols.next().is_none() && !hides_requests).then(|| protocol.clone())
}

/// Whether a protocol is one of those that were offered.
pub(super) fn is_offered(offered: &HeaderValue, protocol: &HeaderValue) -> bool {
    let Ok(protocol) = protocol.to_str() else { return false };
    elements(offered).any(|one| one.eq_ignore_ascii_case(protocol.trim()))
}

/// Makes the message switch protocols on the next hop too.
pub(super) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Whether the sender ends the connection after this message.
pub(super) fn closes(headers: &HeaderMap) -> bool {
    has_token(headers, header::CONNECTION, "close")
}

/// Whether the sender takes trailers; the word is about one hop, so it is said anew on the next.
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    has_token(headers, header::TE, "trailers")
}

pub(super) fn set_takes_trailers(headers: &mut HeaderMap) {
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if let Entry::Vacant(connection) = headers.entry(header::CONNECTION) {
        connection.insert(HeaderValue::from_static("te"));
    }
}

/// Whether a header that is a list has this word in it, in whatever case.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    values(headers, name).flat_map(elements).any(|element| element.eq_ignore_ascii_case(token))
}

/// The elements of a header that is a list (RFC 9110 §5.6.1). One that is no text hides none of the others.
fn elements(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let elements = value.as_bytes().split(|byte| *byte == b',');
    elements.filter_map(|element| str::from_utf8(element).ok()).map(str::trim)
}

/// The values of a header. Most messages have few headers, and none of those that are asked for: to look at each is less
/// than to find one by its hash.
pub(super) fn values(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &HeaderValue> {
    headers.iter().filter(move |(key, _)| **key == name).map(|(_, value)| value)
}

/// Whether there is a header.
pub(super) fn has(headers: &HeaderMap, name: HeaderName) -> bool {
    values(headers, name).next().is_some()
}

/// A frame without the trailers that would mean something on the next hop.
pub(super) fn passable(frame: Frame<Bytes>) -> Frame<Bytes> {
    frame.into_trailers().map_or_else(
        |frame| frame,
        |mut trailers| {
            strip_trailers(&mut trailers);
            Frame::trailers(trailers)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn hop_by_hop_headers_go_and_the_rest_stays() {
        let mut map = headers(&[
            ("host", "a.example"),
            ("connection", "keep-alive, X-Private, host"),
            ("connection", "te"),
            ("x-private", "1"),
            ("x-public", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic c2VjcmV0"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("trailer", "x-sum"),
        ]);
        strip_hop_by_hop(&mut map);
        let mut left: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "trailer", "x-public"]);
    }

    #[test]
    fn every_name_counts_however_many_there_are() {
        let many =
            [&b"x-absent,".repeat(4000)[..], b"\xff, ,X-Private,".as_slice(), &b"x-absent,".repeat(4000)]
                .concat();
        let mut map = headers(&[("x-private", "1"), ("x-public", "1")]);
        map.insert("connection", HeaderValue::from_bytes(&many).unwrap());
        strip_hop_by_hop(&mut map);
        assert_eq!(map.keys().collect::<Vec<_>>(), ["x-public"]);
    }

    #[test]
    fn a_cookie_in_pieces_is_one_header() {
        for (lines, expected) in [
            (&[][..], &[][..]),
            (&[("cookie", "a=1; b=2")], &["a=1; b=2"]),
            (
                &[("cookie", "a=1"), ("x-other", "0"), ("cookie", "b=2"), ("cookie", "c=3")],
                &["a=1; b=2; c=3"],
            ),
        ] {
            let mut map = headers(lines);
            join_cookies(&mut map);
            assert_eq!(map.get_all("cookie").iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn only_a_named_upgrade_to_what_carries_no_requests_is_passed_on() {
        assert!(upgrade(&headers(&[("connection", "Upgrade"), ("upgrade", "websocket")])).is_some());
        for lines in [
            &[("upgrade", "websocket")][..],
            &[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")],
            &[("connection", "upgrade"), ("upgrade", "HTTP/2.0")],
            &[("connection", "upgrade"), ("upgrade", "TLS/1.0")],
            &[("connection", "upgrade"), ("upgrade", "websocket, TLS/1.2")],
            &[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")],
            &[("connection", "upgrade"), ("upgrade", "websocket, h2c")],
        ] {
            assert!(upgrade(&headers(lines)).is_none(), "{lines:?}");
        }
        let mut map = headers(&[("connection", "upgrade")]);
        map.insert("upgrade", HeaderValue::from_bytes(b"\xff, h2c").unwrap());
        assert!(upgrade(&map).is_none(), "{map:?}");
    }
}
