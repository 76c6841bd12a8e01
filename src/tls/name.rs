//! The one name that a client's certificate is known by.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::asn1_rs::Tag;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::client::{Certificate, check_name};

/// What a URI and a DNS name are tagged by among alternative names (RFC 5280 §4.2.1.6).
const URI: Tag = Tag(6);
const DNS: Tag = Tag(2);

/// Which of the names in a certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFrom {
    /// A URI among the subject's alternative names, as SPIFFE has it.
    Uri,
    /// A DNS name there.
    Dns,
    /// The common name of the subject.
    CommonName,
}

impl NameFrom {
    /// The name of a certificate. One that has none of the kind, or several, has no name that is certain.
    pub(super) fn read(self, certificate: &[u8]) -> Option<Certificate> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let name = match self {
            Self::Uri => only(alternatives(&certificate, |name| match name {
                GeneralName::URI(uri) => Some(Some(*uri)),
                GeneralName::Invalid(URI, _) => Some(None),
                _ => None,
            }))??
            .to_owned(),
            Self::Dns => only(alternatives(&certificate, |name| match name {
                GeneralName::DNSName(name) => Some(Some(*name)),
                GeneralName::Invalid(DNS, _) => Some(None),
                _ => None,
            }))??
            .to_ascii_lowercase(),
            Self::CommonName => only(certificate.subject().iter_common_name())?.as_str().ok()?.to_owned(),
        };
        check_name(&name).ok()?;
        Some(Certificate { name: name.into() })
    }
}

/// Refuses certificates without a name, besides what another verifier refuses.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) from: NameFrom,
}

impl ClientCertVerifier for Named {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify_client_cert(certificate, between, now)?;
        match self.from.read(certificate) {
            Some(_) => Ok(verified),
            None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// The names of one kind; nothing for one that is no text.
fn alternatives<'a>(
    certificate: &'a X509Certificate<'_>,
    kind: impl Fn(&'a GeneralName<'a>) -> Option<Option<&'a str>>,
) -> impl Iterator<Item = Option<&'a str>> {
    let names = certificate.subject_alternative_name().ok().flatten();
    names.into_iter().flat_map(|names| &names.value.general_names).filter_map(kind)
}

/// The only one that there is.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    all.next().filter(|_| all.next().is_none())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn one_name_of_the_kind_is_certain_and_no_other() {
        let uri = |name: &str| SanType::URI(name.try_into().unwrap());
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let id = "spiffe://corp/ci/7";
        for (names, common, from, expected) in [
            (vec![uri(id), dns("A.example")], &["c"][..], NameFrom::Uri, Some(id)),
            (vec![uri(id), dns("A.example")], &["c"], NameFrom::Dns, Some("a.example")),
            (vec![uri(id), dns("A.example")], &["c"], NameFrom::CommonName, Some("c")),
            (vec![uri(id), uri("spiffe://corp/ci/8")], &["c"], NameFrom::Uri, None),
            (vec![dns("a.example"), dns("b.example")], &["c"], NameFrom::Dns, None),
            (vec![uri(id)], &[], NameFrom::Dns, None),
            (vec![], &["c"], NameFrom::Uri, None),
            (vec![uri(id)], &[], NameFrom::CommonName, None),
            (vec![], &[" c"], NameFrom::CommonName, None),
            (vec![], &["c\nd"], NameFrom::CommonName, None),
        ] {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            common.iter().for_each(|name| params.distinguished_name.push(DnType::CommonName, *name));
            params.subject_alt_names = names;
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let name = from.read(certificate.der()).map(|certificate| certificate.name);
            assert_eq!(name.as_deref(), expected, "{from:?} {:?} {common:?}", params.subject_alt_names);
        }
        assert_eq!(NameFrom::Uri.read(b"nothing"), None);
    }

    #[test]
    fn a_second_name_that_is_no_text_is_a_second_name() {
        // SEQUENCE of a good name and one with a byte that no IA5String has.
        for (tag, good, from) in [(0x86, "x:a", NameFrom::Uri), (0x82, "a.b", NameFrom::Dns)] {
            for (second, expected) in [(&[][..], Some(good)), (&[tag, 2, b'a', 0xff], None)] {
                let names = [&[tag, 3], good.as_bytes(), second].concat();
                let content = [&[0x30, names.len() as u8], &names[..]].concat();
                let mut params = CertificateParams::default();
                let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
                params.custom_extensions.push(extension);
                let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
                let name = from.read(certificate.der()).map(|certificate| certificate.name);
                assert_eq!(name.as_deref(), expected, "{from:?}");
            }
        }
    }
}
