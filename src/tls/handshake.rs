//! One handshake, from the first byte of a connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::CertificateError;
use rustls::server::Acceptor;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::LazyConfigAcceptor;

use crate::client::Certificate;
use crate::error::Error;
use crate::stream::Stream;
use crate::tls::{HTTP_2, Tls};

/// The first byte of a TLS connection: a record of the handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 0x16;
/// What one read takes at most; more than a ClientHello mostly has.
const FIRST: usize = 4096;
/// For clients that take a `https://` proxy for a `http://` one.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\
    proxy-status: exeat; error=http_request_error; details=\"bad_request\"\r\n\
    content-length: 50\r\n\r\nexeat: this port speaks TLS: use https://HOST:PORT";

/// A connection after its handshake.
#[derive(Debug)]
pub struct Accepted {
    pub stream: Stream,
    /// The client has chosen HTTP/2.
    pub is_http2: bool,
    /// The certificate of the client, which is good, if it has one and the settings say what it is known by.
    pub certificate: Option<Arc<Certificate>>,
}

/// A connection that comes to nothing.
#[derive(Debug)]
pub struct Refused {
    /// `None`: it said nothing at all, like one of a load balancer that looks whether somebody listens.
    pub error: Option<Error>,
    /// The connection, which has been told why as far as TLS has words for it, and what else is to be said on it.
    pub last: Option<(Stream, &'static [u8])>,
}

impl Tls {
    /// Shakes hands; all of it may take so long.
    pub async fn accept(&self, mut stream: Stream, limit: Duration) -> Result<Accepted, Refused> {
        let deadline = Instant::now() + limit;
        let silent = Refused { error: None, last: None };
        if stream.head().is_empty() && !matches!(timeout_at(deadline, stream.fill(FIRST)).await, Ok(Ok(1..)))
        {
            return Err(silent);
        }
        if stream.head().first() != Some(&HANDSHAKE) {
            let error = Error::BadRequest("it is not TLS, which this port speaks".into());
            return Err(Refused { error: Some(error), last: Some((stream, SPEAK_TLS)) });
        }
        let late = |_| Refused { error: Some(Error::HeadTimeout), last: None };
        timeout_at(deadline, self.shake(stream)).await.map_err(late)?
    }

    async fn shake(&self, stream: Stream) -> Result<Accepted, Refused> {
        let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let start = match Pin::new(&mut acceptor).await {
            Ok(start) => start,
            Err(error) => return Err(refused(&error, acceptor.take_io())),
        };
        let accept = start.into_stream(Arc::clone(&self.in_force.load().config));
        let layer = match accept.into_fallible().await {
            Ok(layer) => layer,
            Err((error, stream)) => return Err(refused(&error, Some(stream))),
        };
        let (_, connection) = layer.get_ref();
        let name_from = self.files.clients.as_ref().and_then(|clients| clients.name_from);
        let shown = connection.peer_certificates().and_then(|chain| chain.first());
        let certificate = name_from.zip(shown).and_then(|(from, shown)| from.read(shown)).map(Arc::new);
        let is_http2 = connection.alpn_protocol() == Some(HTTP_2);
        Ok(Accepted { stream: Stream::layered(Box::new(layer)), is_http2, certificate })
    }
}

fn refused(error: &io::Error, stream: Option<Stream>) -> Refused {
    let error = match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(error) => meaning(error),
        // The connection broke off.
        None => Error::ClientReset,
    };
    Refused { error: Some(error), last: stream.map(|stream| (stream, &[][..])) }
}

/// What an error of the handshake says of the client.
fn meaning(error: &rustls::Error) -> Error {
    match error {
        rustls::Error::NoCertificatesPresented => Error::CertificateMissing,
        rustls::Error::InvalidCertificate(error) => Error::BadCertificate(flaw(error)),
        rustls::Error::AlertReceived(alert) => Error::HandshakeRefused(*alert),
        error => Error::BadHandshake(error.to_string()),
    }
}

/// What is wrong with a client's certificate.
fn flaw(error: &CertificateError) -> &'static str {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => "has expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "is not valid yet",
        E::Revoked => "was revoked",
        E::UnknownIssuer => "is signed by nobody in `client_ca`",
        E::UnknownRevocationStatus => "has a signer without a list in `crl`",
        E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
            "can't be looked up: the list in `crl` is out of date"
        }
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => "is not for clients",
        E::BadSignature => "has a bad signature",
        E::ApplicationVerificationFailure => "has not one name of the kind that `name_from` asks for",
        _ => "can't be read",
    }
}
