//! Whom exeat believes as a client of TLS: which authorities may certify a DNS server, a parent proxy or an issuer of keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, Error, RootCertStore};

use crate::file::{self, ReadError};
use crate::host::Host;
use crate::tls::reading::SIZE_MAX;

/// Where distributions keep the authorities that a host trusts: Debian and Alpine, Fedora and RHEL, SUSE, BSDs.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why there is nobody to believe. Which key of the settings would change that, whoever needs it has to say.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, ReadError),
    #[error("{}: it has a certificate that can't be used: {}", .0.display(), .1)]
    Certificate(PathBuf, String),
    #[error("{}: it has no certificate in PEM", .0.display())]
    Empty(PathBuf),
}

/// The file that is read: that of the settings, or this host's.
pub fn path(chosen: Option<&Path>) -> PathBuf {
    let own = || BUNDLES.iter().map(Path::new).find(|path| path.exists());
    chosen.or_else(own).unwrap_or(Path::new(BUNDLES[0])).to_owned()
}

/// Reads the authorities. A file of the settings must be good from its beginning to its end; of this host's, as
/// other programs do, what can't be read is passed over.
pub fn read(chosen: Option<&Path>) -> Result<RootCertStore, TrustError> {
    let path = path(chosen);
    let text = match file::read_bytes(&path, SIZE_MAX) {
        Ok(text) => text,
        Err(error) => return Err(TrustError::File(path, error)),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
        if let Err(error) = added
            && chosen.is_some()
        {
            return Err(TrustError::Certificate(path, error));
        }
    }
    if roots.is_empty() { Err(TrustError::Empty(path)) } else { Ok(roots) }
}

/// TLS as a client that believes these authorities alone.
pub fn client_config(roots: RootCertStore) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Whose certificate a server has to show.
pub fn server_name(host: &Host) -> Result<ServerName<'static>, InvalidDnsNameError> {
    match host {
        Host::Ip(ip) => Ok(ServerName::from(*ip)),
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::host::Name;

    #[test]
    fn a_file_of_the_settings_is_good_as_a_whole_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let made = rcgen::generate_simple_self_signed(["dns.example".to_owned()]).unwrap().cert.pem();
        for (text, roots) in [
            (made.clone(), Ok(1)),
            (format!("comment\n{made}{made}"), Ok(2)),
            (String::new(), Err("it has no certificate in PEM")),
            ("nonsense".to_owned(), Err("it has no certificate in PEM")),
            (
                format!("{made}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                Err("it has a certificate that can't be used"),
            ),
            (
                format!("{made}-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"),
                Err("it has a certificate that can't be used"),
            ),
        ] {
            fs::write(&path, &text).unwrap();
            match (read(Some(&path)), roots) {
                (Ok(store), Ok(roots)) => assert_eq!(store.len(), roots, "{text}"),
                (Err(error), Err(what)) => assert!(error.to_string().contains(what), "{error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn nothing_is_read_without_an_end() {
        let error = read(Some(Path::new("/dev/zero"))).unwrap_err().to_string();
        assert_eq!(error, "/dev/zero: it is larger than 16 MiB");
    }

    #[test]
    fn a_server_is_certified_by_its_name_or_its_address() {
        for host in ["a.example", "a_b.example", "192.0.2.1", "2001:db8::1"] {
            let host = match host.parse() {
                Ok(ip) => Host::Ip(ip),
                Err(_) => Host::Name(Name::parse(host).unwrap()),
            };
            assert_eq!(server_name(&host).unwrap().to_str(), host.to_string().trim_matches(['[', ']']));
        }
    }
}
