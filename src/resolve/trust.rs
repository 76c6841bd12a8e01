//! Which authorities may certify a server that exeat itself asks: of DNS over TLS, or of an issuer's keys.

use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::files::FileError;

/// Where distributions keep the authorities that a host trusts: Debian and Alpine, Fedora and RHEL, SUSE, BSDs.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The file that is read: that of the settings, or this host's.
pub fn path(chosen: Option<&Path>) -> PathBuf {
    let own = || BUNDLES.iter().map(Path::new).find(|path| path.exists());
    chosen.or_else(own).unwrap_or(Path::new(BUNDLES[0])).to_owned()
}

/// Reads the authorities. A file of the settings must be good from its beginning to its end; of this host's, as
/// other programs do, what can't be read is passed over.
pub fn read(chosen: Option<&Path>) -> Result<RootCertStore, FileError> {
    let path = path(chosen);
    let wrong = |what: String| FileError::new(&path, io::Error::new(io::ErrorKind::InvalidData, what));
    let text = std::fs::read(&path).map_err(|error| match chosen {
        Some(_) => FileError::new(&path, error),
        None => FileError::new(&path, io::Error::new(error.kind(), format!("{error}; set dns.ca"))),
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
        if let Err(error) = added
            && chosen.is_some()
        {
            return Err(wrong(format!("it has a certificate that can't be used: {error}")));
        }
    }
    if roots.is_empty() {
        return Err(wrong("it has no certificate in PEM".to_owned()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

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
}
