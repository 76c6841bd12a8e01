//! Reads what the first bytes of a connection say, without answering them.
//!
//! Every parser here is a pure function over the bytes that have arrived so far. It gives the same answer
//! however the bytes were cut into segments and TLS records, and it never guesses: what could be read in
//! two ways is [`Sniff::Bad`].

mod client;
mod hello;
mod http;
mod outcome;
mod path;
mod proxied;
mod records;
mod server;

pub use client::{client_hello, second_hello};
pub use hello::ClientHello;
pub use http::looks_like_http;
pub use outcome::Sniff;
pub use path::{decode_path, plain_path};
pub use proxied::{Proxied, proxy_header};
pub use server::{ServerHello, second_server_hello, server_hello};

/// What a client speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    Tls(ClientHello),
    /// The beginning of an HTTP/1 request.
    Http,
}

/// Reads a client's first bytes for whoever has not been told what to expect; [`Sniff::NotThis`] is
/// neither TLS nor HTTP.
pub fn first_bytes(bytes: &[u8]) -> Sniff<First> {
    match client_hello(bytes) {
        Sniff::NotThis => looks_like_http(bytes).map(|()| First::Http),
        tls => tls.map(First::Tls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_choose() {
        for (bytes, sniff) in [
            (&b""[..], Sniff::Incomplete { need: 1 }),
            (b"\x16", Sniff::Incomplete { need: 50 }),
            (b"\x80", Sniff::Incomplete { need: 3 }),
            (b"\x80\x2e\x01", Sniff::Bad("is in the form of SSLv2")),
            (b"\xff\xff\xff", Sniff::NotThis),
            (b"GE", Sniff::Incomplete { need: 3 }),
            (b"GET ", Sniff::Found(First::Http)),
            (b"SSH-2.0-OpenSSH_9.6\r\n", Sniff::NotThis),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Sniff::NotThis), // PostgreSQL asking for TLS
        ] {
            assert_eq!(first_bytes(bytes), sniff, "{bytes:?}");
        }
    }
}
