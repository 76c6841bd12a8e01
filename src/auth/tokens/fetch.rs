//! Asking an issuer for its keys over HTTPS: exeat's own traffic, which no policy is for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{self, HeaderMap};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::boxed::boxed;
use crate::destination::Destination;
use crate::error::Error;
use crate::families::Families;
use crate::host::{Host, HostError};
use crate::identity::KeysError;
use crate::mistake::{Mistake, Place};
use crate::race::{ATTEMPT_DELAY, Begun, Race, Setback};
use crate::resolve::{Answers, Asker, Resolver};
use crate::tls::trust;

/// The whole of a look-up, a connection and an answer.
const PATIENCE: Duration = Duration::from_secs(10);
const SIZE_MAX: usize = 1 << 20;
const HTTPS_PORT: u16 = 443;

/// An `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUrl {
    text: String,
    to: Destination,
    path: String,
}

/// Why a text is no URL of keys.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    #[error("it is no URL")]
    Shape,
    #[error("keys come over https or from a file")]
    Scheme,
    #[error("{0}")]
    Host(#[from] HostError),
}

/// How keys are asked for.
pub(super) struct Fetch {
    url: KeyUrl,
    resolver: Arc<Resolver>,
    ca: Option<PathBuf>,
    trust: ArcSwap<Trust>,
}

/// Who may certify the issuer's server.
struct Trust {
    roots: RootCertStore,
    connector: TlsConnector,
}

pub(super) struct Answer {
    pub(super) body: Bytes,
    /// How long it is fresh (RFC 9111 §5.2.2.1).
    pub(super) max_age: Option<Duration>,
}

/// Why the keys did not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("its name can't be in a certificate")]
    Name,
    #[error("{0}")]
    Connect(Error),
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("it does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("its answer broke off, or is larger than {} MiB", SIZE_MAX >> 20)]
    Body,
    #[error("it did not answer in time")]
    Late,
    #[error("{0}")]
    Keys(KeysError),
}

impl KeyUrl {
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Shape)?;
        if uri.scheme_str() != Some("https") {
            return Err(UrlError::Scheme);
        }
        let authority = uri.authority().ok_or(UrlError::Shape)?;
        let to = Destination::parse_or_default(authority.as_str(), HTTPS_PORT)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { text: text.to_owned(), to, path })
    }
}

impl Fetch {
    pub(super) fn new(url: KeyUrl, ca: Option<PathBuf>, resolver: Arc<Resolver>) -> Result<Self, Mistake> {
        let trust = ArcSwap::from_pointee(Trust::read(ca.as_deref(), &url)?);
        Ok(Self { url, resolver, ca, trust })
    }

    /// The file of the authorities.
    pub(super) fn file(&self) -> PathBuf {
        trust::path(self.ca.as_deref())
    }

    /// Reads the authorities again.
    pub(super) fn reload(&self) -> Result<(), Mistake> {
        let trust = Trust::read(self.ca.as_deref(), &self.url)?;
        if trust.roots.roots != self.trust.load().roots.roots {
            self.trust.store(Arc::new(trust));
        }
        Ok(())
    }

    pub(super) fn url(&self) -> &str {
        &self.url.text
    }

    pub(super) async fn get(&self) -> Result<Answer, FetchError> {
        timeout(PATIENCE, self.ask()).await.unwrap_or(Err(FetchError::Late))
    }

    async fn ask(&self) -> Result<Answer, FetchError> {
        let name = trust::server_name(&self.url.to.host).map_err(|_| FetchError::Name)?;
        let socket = self.connect().await?;
        let connector = self.trust.load().connector.clone();
        let stream = connector.connect(name, socket).await.map_err(FetchError::Tls)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(&self.url.path)
            .header(header::HOST, self.url.to.to_string())
            .header(header::ACCEPT, "application/json")
            .body(Empty::<Bytes>::new());
        let request = request.map_err(|_| FetchError::Name)?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            // Keys come from where they are said to come from: a redirection is not followed.
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            let max_age = max_age(response.headers());
            let body = Limited::new(response.into_body(), SIZE_MAX).collect().await;
            Ok(Answer { body: body.map_err(|_| FetchError::Body)?.to_bytes(), max_age })
        };
        tokio::select! {
            answer = exchange => answer,
            Err(error) = connection => Err(error.into()),
        }
    }

    /// Connects to the first address that answers.
    async fn connect(&self) -> Result<TcpStream, FetchError> {
        let (port, families) = (self.url.to.port, Families::default());
        let answers = match &self.url.to.host {
            Host::Ip(ip) => Answers::known(vec![*ip]),
            Host::Name(name) => self.resolver.resolve(Asker::Exeat, name, families),
        };
        let attempt = |address| -> Begun<'_, TcpStream, Error> {
            Ok(boxed(|| async move {
                TcpStream::connect(address).await.map_err(|error| Setback::connecting(address, error))
            }))
        };
        let mut race = Race::new(answers, (port, families), (Instant::now(), ATTEMPT_DELAY), attempt);
        race.run().await.map_err(FetchError::Connect)
    }
}

impl Trust {
    fn read(ca: Option<&Path>, url: &KeyUrl) -> Result<Self, Mistake> {
        let mistake = |what: String| Mistake::error(Place::start(ca.unwrap_or(Path::new(&url.text))), what);
        let roots = trust::read(ca).map_err(|error| {
            mistake(error.to_string()).hint("name a file of certificates in PEM by `auth.jwt.ca`")
        })?;
        let config = trust::client_config(roots.clone()).map_err(|error| mistake(error.to_string()))?;
        Ok(Self { roots, connector: TlsConnector::from(Arc::new(config)) })
    }
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut directives = values.flat_map(|value| value.split(','));
    let seconds = directives.find_map(|directive| directive.trim().strip_prefix("max-age=")?.parse().ok())?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_https() {
        let url = KeyUrl::parse("https://issuer.example/.well-known/jwks?x=1").unwrap();
        assert_eq!(
            (url.to.to_string().as_str(), url.path.as_str()),
            ("issuer.example:443", "/.well-known/jwks?x=1")
        );
        assert_eq!(KeyUrl::parse("https://192.0.2.1:8443").unwrap().path, "/");
        for text in [
            "http://issuer.example/",
            "issuer.example",
            "https://",
            "https://a b/",
            "https://u@issuer.example/",
        ] {
            assert!(KeyUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_says_how_long_it_is_fresh() {
        let mut headers = HeaderMap::new();
        assert_eq!(max_age(&headers), None);
        headers.insert(header::CACHE_CONTROL, "public, max-age=300, must-revalidate".parse().unwrap());
        assert_eq!(max_age(&headers), Some(Duration::from_secs(300)));
    }
}
