//! Servers of the test's internet, each of which says who it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A server, and how many connections it took.
pub struct Server(Arc<AtomicUsize>);

impl Server {
    async fn start<F, R>(address: &str, serve: F) -> Self
    where
        F: Fn(TcpStream) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        Self(count)
    }

    /// Speaks first.
    pub async fn banner(address: &str, banner: &'static str) -> Self {
        Self::start(address, move |mut stream| async move {
            let _ = stream.write_all(banner.as_bytes()).await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        })
        .await
    }

    pub async fn echo(address: &str) -> Self {
        Self::start(address, |mut stream| async move {
            let (mut reader, mut writer) = stream.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        })
        .await
    }

    /// Says this whenever it has heard more: to what it had heard before, and to what is new.
    pub async fn saying(
        address: &str,
        answer: impl Fn(&[u8], &[u8]) -> Vec<u8> + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::start(address, move |mut stream| {
            let answer = answer.clone();
            async move {
                let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    let said = answer(&heard, &buffer[..count]);
                    heard.extend_from_slice(&buffer[..count]);
                    if stream.write_all(&said).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Answers requests with its own name and the Host that it was sent.
    pub async fn page(address: &str, name: &'static str) -> Self {
        Self::start(address, move |mut stream| async move {
            let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                heard.extend_from_slice(&buffer[..count]);
                while let Some(end) = heard.windows(4).position(|four| four == b"\r\n\r\n") {
                    let head = String::from_utf8_lossy(&heard[..end]).to_ascii_lowercase();
                    let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or("none");
                    let body = format!("{name} for {host}");
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    heard.drain(..end + 4);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    pub fn connections(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Certificates for the servers, which its clients trust.
pub struct Tls {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Tls {
    pub fn new(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        Self { chain: vec![cert.der().clone()], key }
    }

    /// A server that says its name once the handshake is done. It takes one group alone, of which no
    /// client sends a share unasked, so each handshake has a HelloRetryRequest.
    pub async fn serve(&self, address: &str, name: &'static str) -> Server {
        let mut provider = ring::default_provider();
        provider.kx_groups = vec![ring::kx_group::SECP384R1];
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Server::start(address, move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let _ = stream.write_all(name.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    /// Speaks TLS on a connection, and returns what the server says.
    pub async fn speak(&self, stream: TcpStream, server_name: Option<&str>) -> std::io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.chain[0].clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.enable_sni = server_name.is_some();
        let name = ServerName::try_from(server_name.unwrap_or("a.example").to_owned()).unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let mut said = String::new();
        stream.read_to_string(&mut said).await?;
        Ok(said)
    }
}
