//! TLS of a listener: its certificate, whose clients it trusts, and how both change while it serves. And whom exeat
//! itself trusts where it is the client.

mod clients;
mod handshake;
mod layer;
mod name;
mod pair;
mod reading;
pub mod trust;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};

use crate::mistake::Mistake;
use crate::tls::pair::Pair;
use crate::tls::reading::Reading;

pub use self::handshake::{Accepted, Refused};
pub use self::name::NameFrom;

/// What clients may choose to speak inside (RFC 7301); without a choice it is HTTP/1.
const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// The files of a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    /// Its own certificate, and those between it and a root that clients know.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// `None`: clients are not asked for a certificate.
    pub clients: Option<Clients>,
}

/// The certificates of clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Clients {
    /// Those that may sign them.
    pub ca: PathBuf,
    /// A client without one is refused.
    pub required: bool,
    /// What was revoked. Empty: nobody looks.
    pub crl: Vec<PathBuf>,
    /// What they are known by, and have to have. `None`: they are let in, and known by nothing.
    pub name_from: Option<NameFrom>,
}

/// TLS as the files of one listener want it.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    in_force: ArcSwap<InForce>,
}

/// What the files said when they were last read and good.
#[derive(Debug)]
struct InForce {
    config: Arc<ServerConfig>,
    content: u64,
    expires: Timestamp,
}

impl Tls {
    /// Reads the files, and with them every mistake in them.
    pub fn load(files: Files) -> Result<Self, Vec<Mistake>> {
        let in_force = InForce::read(&files)?;
        Ok(Self { files, in_force: ArcSwap::from_pointee(in_force) })
    }

    /// Reads the files again; with a mistake nothing changes. Tells whether anything has changed: where nothing
    /// has, the tickets of clients stay good.
    pub fn reload(&self) -> Result<bool, Vec<Mistake>> {
        let new = InForce::read(&self.files)?;
        let is_new = new.content != self.in_force.load().content;
        if is_new {
            self.in_force.store(Arc::new(new));
        }
        Ok(is_new)
    }

    /// The files to be watched.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let Files { certificate, key, clients } = &self.files;
        let clients = clients.iter().flat_map(|clients| clients.crl.iter().chain([&clients.ca]));
        [certificate, key].into_iter().chain(clients).map(PathBuf::as_path)
    }

    /// When the certificate expires.
    pub fn expires(&self) -> Timestamp {
        self.in_force.load().expires
    }
}

impl InForce {
    fn read(files: &Files) -> Result<Self, Vec<Mistake>> {
        let provider = Arc::new(ring::default_provider());
        let mut reading = Reading::default();
        let pair = pair::read(&mut reading, &files.certificate, &files.key, &provider);
        let clients = match &files.clients {
            Some(clients) => clients::read(&mut reading, clients, &provider),
            None => Some(WebPkiClientVerifier::no_client_auth()),
        };
        let (Some(Pair { certified, expires }), Some(clients)) = (pair, clients) else {
            return Err(reading.mistakes);
        };
        if !reading.mistakes.is_empty() {
            return Err(reading.mistakes);
        }
        let failed = |error: rustls::Error| {
            let mut reading = Reading::default();
            reading.wrong(&files.certificate, format!("TLS can't be set up: {error}"));
            reading.mistakes
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(failed)?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        // Nothing is kept for a client that may return: either it brings a ticket, or it starts anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match files.clients {
            // A ticket would spare a client the proof that its certificate is still good.
            Some(_) => config.send_tls13_tickets = 0,
            // Its key is random, changes every six hours, and is gone with this configuration.
            None => config.ticketer = ring::Ticketer::new().map_err(failed)?,
        }
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
        Ok(Self { config: Arc::new(config), content: reading.content(), expires })
    }
}
