//! Who may sign the certificates of clients, and which of those were revoked.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Version};

use crate::tls::Clients;
use crate::tls::name::Named;
use crate::tls::pair::timestamp;
use crate::tls::reading::Reading;

/// Reads the files that say which certificates of clients are good.
pub(super) fn read(
    reading: &mut Reading,
    clients: &Clients,
    provider: &Arc<CryptoProvider>,
) -> Option<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    let signers: Option<Vec<CertificateDer<'static>>> = reading.all(&clients.ca, "certificates");
    for (index, signer) in signers.into_iter().flatten().enumerate() {
        if let Err(error) = roots.add(signer) {
            reading.wrong(&clients.ca, format!("certificate {} in it can't be used: {error}", index + 1));
        }
    }
    let mut lists = Vec::new();
    for path in &clients.crl {
        let found: Option<Vec<CertificateRevocationListDer<'static>>> = reading.all(path, "revocation lists");
        lists.extend(found.into_iter().flatten().filter(|list| is_good(reading, path, list)));
    }
    if roots.is_empty() {
        return None;
    }
    let roots = Arc::new(roots);
    // A list that is out of date, or that is missing for one of the signers, says nothing, and so nobody comes in.
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
        .with_crls(lists)
        .enforce_revocation_expiration();
    let builder = if clients.required { builder } else { builder.allow_unauthenticated() };
    let path = clients.crl.first().unwrap_or(&clients.ca);
    let verifier: Arc<dyn ClientCertVerifier> =
        builder.build().map_err(|error| reading.wrong(path, format!("it can't be used: {error}"))).ok()?;
    match clients.name_from {
        Some(from) => Some(Arc::new(Named { verifier, from })),
        None => Some(verifier),
    }
}

/// Whether a list is one that can be used today; what is wrong is noted.
fn is_good(reading: &mut Reading, path: &Path, list: &[u8]) -> bool {
    let Ok((_, list)) = CertificateRevocationList::from_der(list) else {
        reading.wrong(path, "a revocation list in it can't be read");
        return false;
    };
    if list.version() != Some(X509Version::V2) {
        let hint = "RFC 5280 wants version 2: `openssl ca` writes it where its settings have `crlnumber`";
        reading.hinted(path, "its revocation list is of version 1", hint);
        return false;
    }
    let next = list.next_update().and_then(timestamp);
    let old = next.filter(|next| *next < Timestamp::now());
    if let Some(next) = old {
        reading.wrong(path, format!("its revocation list is out of date since {next}"));
    }
    old.is_none()
}
