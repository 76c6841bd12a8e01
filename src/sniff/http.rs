//! Tells an HTTP/1 request from other first bytes.

use crate::sniff::outcome::Sniff;

/// Longest method that is taken for one; the longest that IANA lists, UPDATEREDIRECTREF, has 17 letters.
const METHOD_MAX: usize = 32;

/// Whether the bytes begin an HTTP/1 request line (RFC 9112 §3): a method in capital letters, perhaps with
/// hyphens within, and a space. No more is needed to choose who reads on: the HTTP gate judges the rest.
///
/// HTTP/2 without TLS is not HTTP here: its preface begins with `PRI`, a method that RFC 9113 §3.4 made up
/// so that HTTP/1 servers refuse it.
pub fn looks_like_http(bytes: &[u8]) -> Sniff<()> {
    let is_method = |&(at, &byte): &(usize, &u8)| byte.is_ascii_uppercase() || (byte == b'-' && at > 0);
    let length = bytes.iter().enumerate().take(METHOD_MAX + 1).take_while(is_method).count();
    match bytes.get(length) {
        _ if length > METHOD_MAX => Sniff::NotThis,
        None => Sniff::Incomplete { need: length + 1 },
        Some(b' ') if length > 0 && &bytes[..length] != b"PRI" => Sniff::Found(()),
        Some(_) => Sniff::NotThis,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_and_a_space_begin_a_request() {
        for text in
            ["GET / HTTP/1.1\r\n", "CONNECT example.com:443 HTTP/1.1", "M-SEARCH *", "UPDATEREDIRECTREF /"]
        {
            assert_eq!(looks_like_http(text.as_bytes()), Sniff::Found(()), "{text}");
        }
    }

    #[test]
    fn other_text_is_not_http() {
        for text in [
            " GET /",
            "\r\nGET /",
            "get / HTTP/1.1",
            "GET\t/",
            "GET\r\n",
            "-GET /",
            "SSH-2.0-OpenSSH_9.6 Debian\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\x16\x03\x01",
            "\0",
            &format!("{} /", "A".repeat(METHOD_MAX + 1)),
        ] {
            assert_eq!(looks_like_http(text.as_bytes()), Sniff::NotThis, "{text:?}");
        }
        assert_eq!(looks_like_http(&[b'A'; METHOD_MAX + 1]), Sniff::NotThis, "without waiting for the space");
    }

    #[test]
    fn every_prefix_waits_for_one_more_byte() {
        for text in ["PROPFIND", "PRI", "M-", ""] {
            assert_eq!(
                looks_like_http(text.as_bytes()),
                Sniff::Incomplete { need: text.len() + 1 },
                "{text}"
            );
        }
        assert_eq!(looks_like_http(&[b'A'; METHOD_MAX]), Sniff::Incomplete { need: METHOD_MAX + 1 });
    }
}
