//! HelloRetryRequests of a real server, and what a real client sends after them.

use std::io::Write;
use std::sync::Arc;

use exeat::host::Name;
use exeat::sniff::{ServerHello, Sniff, client_hello, second_hello, second_server_hello, server_hello};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, version};

use crate::wire::{in_records, record};

const NAME: &str = "gate.example";

/// A client, and servers that it trusts. It guesses X25519 at first, so that a server of P-384 alone has to
/// ask for a second hello.
struct Peers {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    tickets: Arc<dyn StoresServerSessions>,
    client: Arc<ClientConfig>,
}

impl Peers {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = made.cert.into();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let groups = vec![ring::kx_group::X25519, ring::kx_group::SECP384R1];
        let mut client = ClientConfig::builder_with_provider(provider(groups))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.enable_early_data = true;
        Self {
            certificate,
            key: made.signing_key.serialize_der().into(),
            tickets: ServerSessionMemoryCache::new(8),
            client: Arc::new(client),
        }
    }

    fn client(&self) -> ClientConnection {
        ClientConnection::new(Arc::clone(&self.client), NAME.try_into().unwrap()).unwrap()
    }

    fn server(&self, group: &'static dyn SupportedKxGroup, version: Version) -> ServerConnection {
        let mut config = ServerConfig::builder_with_provider(provider(vec![group]))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key().into())
            .unwrap();
        config.session_storage = Arc::clone(&self.tickets);
        config.max_early_data_size = 16 << 10;
        ServerConnection::new(Arc::new(config)).unwrap()
    }
}

type Version = &'static rustls::SupportedProtocolVersion;

fn provider(kx_groups: Vec<&'static dyn SupportedKxGroup>) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups, ..ring::default_provider() })
}

/// Gives one side's bytes to the other, and returns them.
macro_rules! pass {
    ($from:expr => $to:expr) => {{
        let mut bytes = Vec::new();
        while $from.wants_write() {
            $from.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            $to.read_tls(&mut rest).unwrap();
            $to.process_new_packets().unwrap();
        }
        bytes
    }};
}

/// A hello's length, once its name is as expected.
fn length_of(hello: Sniff<exeat::sniff::ClientHello>) -> usize {
    let Sniff::Found(hello) = hello else { panic!("{hello:?}") };
    assert_eq!(hello.server_name, Some(Name::parse(NAME).unwrap()));
    hello.length
}

/// What comes behind a HelloRetryRequest.
fn behind_request(answer: &[u8]) -> &[u8] {
    let Sniff::Found(ServerHello::Retry { length }) = server_hello(answer) else { panic!("{answer:x?}") };
    &answer[length..]
}

/// Every prefix is incomplete up to some length, and says from then on what the whole says.
fn check_answer(bytes: &[u8], expected: ServerHello) {
    let mut known = false;
    for length in 0..=bytes.len() {
        match server_hello(&bytes[..length]) {
            Sniff::Found(answer) => {
                known = true;
                assert_eq!(answer, expected, "{length} of {}", bytes.len());
            }
            Sniff::Incomplete { need } => {
                assert!(!known && (length + 1..=bytes.len()).contains(&need), "{length}: {need}");
            }
            other => panic!("{length} of {}: {other:?}", bytes.len()),
        }
    }
    assert!(known);
}

#[test]
fn a_request_for_another_hello_is_told_from_the_final_answer() {
    let peers = Peers::new();
    for (group, version, asks) in [
        (ring::kx_group::X25519, &version::TLS13, false),
        (ring::kx_group::X25519, &version::TLS12, false),
        (ring::kx_group::SECP384R1, &version::TLS12, false),
        (ring::kx_group::SECP384R1, &version::TLS13, true),
    ] {
        let (mut client, mut server) = (peers.client(), peers.server(group, version));
        pass!(client => server);
        let answer = pass!(server => client);
        let first = 5 + usize::from(u16::from_be_bytes([answer[3], answer[4]]));
        let expected = |length| if asks { ServerHello::Retry { length } } else { ServerHello::Final };
        check_answer(&answer, expected(first));

        for size in [1, 2, 7, 37, 38, 39] {
            let cut = in_records(&answer[5..first], size);
            check_answer(&cut, expected(cut.len()));
        }
        // A TLS 1.2 server that warns of the name (unrecognized_name) goes on.
        let warning = record(0x15, &[1, 112]);
        let length = warning.len() + first;
        check_answer(&[warning, answer].concat(), expected(length));
    }
}

#[test]
fn the_second_hello_is_read_as_the_client_sends_it() {
    let peers = Peers::new();
    let (mut client, mut server) = (peers.client(), peers.server(ring::kx_group::SECP384R1, &version::TLS13));
    let first = pass!(client => server);
    assert_eq!(length_of(client_hello(&first)), first.len());
    let answer = pass!(server => client);
    let behind = behind_request(&answer);
    assert_eq!(behind, [0x14, 3, 3, 0, 1, 1], "a change_cipher_spec for middleboxes comes behind it");

    let second = pass!(client => server);
    assert_eq!(second[0], 0x14, "and one before it");
    assert_eq!(length_of(second_hello(&second)), second.len());
    let last = [behind, &pass!(server => client)].concat();
    assert_eq!(second_server_hello(&last), Sniff::Found(ServerHello::Final));
    assert!(matches!(second_server_hello(&answer), Sniff::Bad(_)), "it may not ask once more");
}

#[test]
fn early_data_before_the_second_hello_is_skipped() {
    let peers = Peers::new();
    let (mut client, mut server) = (peers.client(), peers.server(ring::kx_group::X25519, &version::TLS13));
    for _ in 0..3 {
        pass!(client => server);
        pass!(server => client);
    }

    let (mut client, mut server) = (peers.client(), peers.server(ring::kx_group::SECP384R1, &version::TLS13));
    client.early_data().expect("a ticket that allows it").write_all(&[b'x'; 5000]).unwrap();
    let flight = pass!(client => server);
    let first = length_of(client_hello(&flight));
    assert!(flight.len() > first + 5000, "early data follows the first hello");
    behind_request(&pass!(server => client));

    let second = pass!(client => server);
    let held = [&flight[first..], &second].concat();
    assert_eq!(length_of(second_hello(&held)), held.len());
}
