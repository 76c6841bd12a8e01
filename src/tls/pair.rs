//! A certificate and its key.

use std::path::Path;

use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::tls::reading::Reading;

/// The keys that ring signs with.
const KINDS: &str = "RSA of 2048 to 4096 bits, ECDSA over P-256 or P-384, or Ed25519";

pub(super) struct Pair {
    pub(super) certified: CertifiedKey,
    pub(super) expires: Timestamp,
}

/// Reads both, and notes whatever would make every client refuse them.
pub(super) fn read(
    reading: &mut Reading,
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Option<Pair> {
    let chain: Option<Vec<CertificateDer<'static>>> = reading.all(certificate, "certificates");
    let expires = chain.as_ref().and_then(|chain| expiry(reading, certificate, chain.first()?));
    let private: Option<PrivateKeyDer<'static>> = reading.first(key, "private key without a passphrase");
    // Its error tells no more than that.
    let Ok(signing) = provider.key_provider.load_private_key(private?) else {
        reading.hinted(key, "its key is of no kind that can be used", KINDS);
        return None;
    };
    let (chain, expires) = (chain?, expires?);
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        // A key may be unable to tell its public part; the first handshake will.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Some(Pair { certified, expires }),
        Err(_) => {
            reading.wrong(key, format!("it is not the key of the certificate in {}", certificate.display()));
            None
        }
    }
}

/// When a certificate expires, if it is good today.
fn expiry(reading: &mut Reading, path: &Path, certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        reading.wrong(path, "its first certificate can't be read");
        return None;
    };
    let validity = parsed.validity();
    let (from, until) = (timestamp(validity.not_before)?, timestamp(validity.not_after)?);
    let now = Timestamp::now();
    if now > until {
        reading.wrong(path, format!("its certificate expired at {until}"));
    } else if now < from {
        reading.wrong(path, format!("its certificate is not valid before {from}"));
    }
    Some(until)
}

pub(super) fn timestamp(time: ASN1Time) -> Option<Timestamp> {
    Timestamp::from_second(time.timestamp()).ok()
}
