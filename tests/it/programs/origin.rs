//! A web server of the tests' own: files, uploads, a large download and git, in plain HTTP or over TLS.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fs, io};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;

/// How much `/big` sends: 1 GB.
pub const BIG: u64 = 1_000_000_000;
/// Pieces of `/big`; each begins with its number, so that none can be lost, doubled or moved.
const PIECE: usize = 65_536;

/// The server; what it serves lies in its directory.
pub struct Origin {
    pub port: u16,
    directory: TempDir,
}

impl Origin {
    pub async fn plain() -> Self {
        Self::start(None).await
    }

    /// Serves TLS with the authority's certificate for every name below `example`.
    pub async fn tls(authority: &Authority) -> Self {
        Self::start(Some(authority.acceptor())).await
    }

    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let directory = tempfile::tempdir().unwrap();
        let files: Arc<Path> = directory.path().into();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, files) = (tls.clone(), Arc::clone(&files));
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, Arc::clone(&files)));
                    let http = hyper::server::conn::http1::Builder::new();
                    // A client that breaks off is its own test's matter.
                    let _ = match tls {
                        None => http.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        Self { port, directory }
    }

    /// The URL of a file under a name.
    pub fn url(&self, scheme: &str, name: &str, path: &str) -> String {
        format!("{scheme}://{name}:{}/{path}", self.port)
    }

    /// Where a file of the server lies; its directory exists then.
    pub fn file(&self, path: &str) -> PathBuf {
        let file = self.directory.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        file
    }
}

/// A certificate authority that lives as long as its test.
pub struct Authority {
    directory: TempDir,
    acceptor: TlsAcceptor,
}

impl Authority {
    pub fn new() -> Self {
        let mut own = CertificateParams::new(Vec::new()).unwrap();
        // Its name must not be the leaf's, which would then seem to have signed itself.
        own.distinguished_name.push(DnType::CommonName, "an authority of exeat's tests");
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = own.self_signed(&key).unwrap();
        let issuer = Issuer::new(own, key);

        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["a.example".to_owned(), "b.example".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();

        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        fs::write(directory.path().join("leaf.pem"), leaf.pem()).unwrap();
        fs::write(directory.path().join("leaf.key"), leaf_key.serialize_pem()).unwrap();
        let key = PrivatePkcs8KeyDer::from(leaf_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.into())
            .unwrap();
        Self { directory, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    /// Where one of its files lies: `ca.pem`, `leaf.pem`, `leaf.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}

/// The bytes of `/big`.
pub struct Big {
    left: u64,
    number: u64,
}

impl Big {
    pub fn new() -> Self {
        Self { left: BIG, number: 0 }
    }
}

impl Iterator for Big {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let size = PIECE.min(usize::try_from(self.left).unwrap());
        let mut piece = vec![0xA5; size];
        piece.get_mut(..8)?.copy_from_slice(&self.number.to_be_bytes());
        self.left -= size as u64;
        self.number += 1;
        Some(piece.into())
    }
}

impl Body for Big {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>, files: Arc<Path>) -> Result<Answer, hyper::Error> {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    if path == "big" {
        return Ok(Response::new(Big::new().boxed()));
    }
    if path.starts_with("git/") {
        return git(request, files).await;
    }
    let file = files.join(&path);
    if request.method() == Method::PUT {
        let body = request.into_body().collect().await?.to_bytes();
        fs::write(file, body).unwrap();
        return Ok(whole(StatusCode::CREATED, Bytes::new()));
    }
    let file = if file.is_dir() { file.join("index.html") } else { file };
    let mut answer = match fs::read(&file) {
        Ok(bytes) => whole(StatusCode::OK, bytes.into()),
        Err(_) => whole(StatusCode::NOT_FOUND, Bytes::new()),
    };
    if file.extension().is_some_and(|extension| extension == "html") {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    }
    Ok(answer)
}

fn whole(status: StatusCode, bytes: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(bytes).boxed());
    *answer.status_mut() = status;
    answer
}

/// git's own server side, asked as a web server asks it (RFC 3875).
async fn git(request: Request<Incoming>, files: Arc<Path>) -> Result<Answer, hyper::Error> {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &*files)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("CONTENT_TYPE", header("content-type"))
        .env("REQUEST_METHOD", request.method().as_str())
        .env("PATH_INFO", request.uri().path())
        .env("QUERY_STRING", request.uri().query().unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let body = request.into_body().collect().await?.to_bytes();
    command.env("CONTENT_LENGTH", body.len().to_string());
    let output = spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feed = std::thread::spawn(move || io::copy(&mut &body[..], &mut stdin));
        let output = child.wait_with_output().unwrap();
        feed.join().unwrap().unwrap();
        output.stdout
    });
    let output = output.await.unwrap();
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let mut answer = whole(StatusCode::OK, Bytes::copy_from_slice(&output[end + 4..]));
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        match name {
            "Status" => *answer.status_mut() = StatusCode::from_bytes(&value.as_bytes()[..3]).unwrap(),
            _ => {
                let name: HeaderName = name.parse().unwrap();
                answer.headers_mut().insert(name, value.parse().unwrap());
            }
        }
    }
    Ok(answer)
}
