//! TLS peers that shake hands for real, and hellos made by hand.

use std::fs;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::fixture;
use super::upstream::Upstream;

pub use rustls::crypto::ring::kx_group::{SECP384R1, X25519};

/// What a refused client gets: a fatal alert `access_denied`.
pub const ACCESS_DENIED: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 49];
/// A change_cipher_spec, as TLS 1.3 clients send it for middleboxes.
pub const CHANGE_CIPHER_SPEC: [u8; 6] = [0x14, 3, 3, 0, 1, 1];

type Group = &'static dyn SupportedKxGroup;

/// A certificate for the names of the tests, and who trusts it.
pub struct Tls {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Tls {
    pub fn new() -> Self {
        let made =
            rcgen::generate_simple_self_signed(["a", "b", "gate"].map(|name| format!("{name}.example")))
                .unwrap();
        Self { certificate: made.cert.into(), key: made.signing_key.serialize_der().into() }
    }

    /// A server that sends everything back, encrypted.
    pub async fn echo(&self, group: Group) -> Upstream {
        let config = ServerConfig::builder_with_provider(provider(vec![group]))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key().into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Upstream::start(move |stream, heard| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    heard.add(&buffer[..count]);
                    if stream.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    /// Shakes hands as a client that guesses X25519 and can do P-384 too.
    pub async fn connect(&self, stream: TcpStream, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider(vec![X25519, SECP384R1]))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

fn provider(kx_groups: Vec<Group>) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups, ..ring::default_provider() })
}

/// The hello of a recorded client, which asks for `gate.example`.
pub fn recorded(client: &str) -> Vec<u8> {
    fs::read(fixture(&format!("hello/{client}.bin"))).unwrap()
}

/// A hello in one record, with these server names.
pub fn hello(names: &[&str]) -> Vec<u8> {
    let entries: Vec<u8> =
        names.iter().flat_map(|name| [&[0], &vector(name.as_bytes())[..]].concat()).collect();
    let server_name = if names.is_empty() { Vec::new() } else { extension(0, &vector(&entries)) };
    hello_with(&server_name)
}

/// A hello in one record or more, with these extensions.
pub fn hello_with(extensions: &[u8]) -> Vec<u8> {
    // Version, random, no session id, one cipher suite, the null compression.
    let mut body = [&[3, 3][..], &[7; 32], &[0], &vector(&[0x13, 0x01]), &[1, 0]].concat();
    body.extend(vector(extensions));
    in_records(&handshake(1, &body), 1 << 14)
}

/// An extension of a hello.
pub fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(content)].concat()
}

/// A server_name extension.
pub fn server_name(name: &str) -> Vec<u8> {
    extension(0, &vector(&[&[0], &vector(name.as_bytes())[..]].concat()))
}

/// A ServerHello in one record; with `retry` it asks for another hello.
pub fn server_hello(retry: bool) -> Vec<u8> {
    const RETRY: [u8; 32] = [
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
        0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
    ];
    let random = if retry { RETRY } else { [7; 32] };
    // Version, random, no session id, the cipher suite, no compression, no extensions.
    record(0x16, &handshake(2, &[&[3, 3][..], &random, &[0, 0x13, 0x01, 0, 0, 0]].concat()))
}

/// The same message in records of so many bytes each.
pub fn split(hello: &[u8], size: usize) -> Vec<u8> {
    let mut message = Vec::new();
    let mut rest = hello;
    while let [_, _, _, high, low, after @ ..] = rest {
        let (fragment, next) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        message.extend_from_slice(fragment);
        rest = next;
    }
    in_records(&message, size)
}

/// One record.
pub fn record(kind: u8, fragment: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1], &vector(fragment)[..]].concat()
}

fn in_records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|fragment| record(0x16, fragment)).collect()
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

fn vector(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&length[..], content].concat()
}
