//! Hellos that no honest client sends: each is refused for what is wrong with it.

use exeat::sniff::{First, Sniff, client_hello, first_bytes, second_hello};

use crate::disagreement;
use crate::wire::{in_records, record};

/// A ClientHello, field by field; the default is a plain one of TLS 1.2 with a name.
struct Crafted {
    version: [u8; 2],
    session_id: Vec<u8>,
    cipher_suites: Vec<u8>,
    compression_methods: Vec<u8>,
    extensions: Option<Vec<u8>>,
    after: Vec<u8>,
}

impl Default for Crafted {
    fn default() -> Self {
        Self {
            version: [3, 3],
            session_id: Vec::new(),
            cipher_suites: vec![0x13, 0x01, 0xc0, 0x2b],
            compression_methods: vec![0],
            extensions: Some([named("gate.example"), signatures()].concat()),
            after: Vec::new(),
        }
    }
}

impl Crafted {
    fn message(&self) -> Vec<u8> {
        let mut body = [&self.version[..], &[7; 32]].concat();
        body.push(u8::try_from(self.session_id.len()).unwrap());
        body.extend_from_slice(&self.session_id);
        body.extend(vector(&self.cipher_suites));
        body.push(u8::try_from(self.compression_methods.len()).unwrap());
        body.extend_from_slice(&self.compression_methods);
        body.extend(self.extensions.iter().flat_map(|extensions| vector(extensions)));
        body.extend_from_slice(&self.after);
        handshake(1, &body)
    }

    fn bytes(&self) -> Vec<u8> {
        in_records(&self.message(), 1 << 14)
    }
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

fn vector(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(content)].concat()
}

/// One entry of a server_name list.
fn entry(kind: u8, name: &[u8]) -> Vec<u8> {
    [&[kind], &vector(name)[..]].concat()
}

/// A server_name extension with one host_name.
fn named(name: impl AsRef<[u8]>) -> Vec<u8> {
    extension(0, &vector(&entry(0, name.as_ref())))
}

/// signature_algorithms, without which rustls ends the connection.
fn signatures() -> Vec<u8> {
    extension(13, &vector(&[4, 3, 8, 4]))
}

/// A hello with these extensions.
fn with(extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = Some([extensions.concat(), signatures()].concat());
    Crafted { extensions, ..Crafted::default() }.bytes()
}

#[track_caller]
fn refused(bytes: &[u8], why: &str) {
    assert_eq!(client_hello(bytes), Sniff::Bad(&*why.to_owned().leak()));
    disagreement::check(bytes);
}

/// Reads the server name and ECH.
#[track_caller]
fn read(bytes: &[u8]) -> (Option<String>, bool) {
    let Sniff::Found(hello) = client_hello(bytes) else { panic!("{:?}", client_hello(bytes)) };
    assert_eq!(hello.length, bytes.len());
    disagreement::check(bytes);
    (hello.server_name.map(|name| name.to_string()), hello.ech)
}

#[test]
fn names_are_read_in_their_canonical_form() {
    for (name, canonical) in [
        ("gate.example", "gate.example"),
        ("GATE.Example", "gate.example"),
        ("gate.example.", "gate.example"),
        ("_service.gate.example", "_service.gate.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("localhost", "localhost"),
    ] {
        let bytes = with(&[named(name)]);
        assert_eq!(read(&bytes), (Some(canonical.to_owned()), false), "{name}");
        assert!(disagreement::check(&bytes), "rustls reads it too: {name}");
    }
}

#[test]
fn a_hello_may_do_without_a_name() {
    assert_eq!(read(&with(&[])), (None, false));
    assert_eq!(read(&Crafted { extensions: Some(Vec::new()), ..Crafted::default() }.bytes()), (None, false));
    assert_eq!(read(&Crafted { extensions: None, ..Crafted::default() }.bytes()), (None, false));
}

#[test]
fn the_shortest_hello_is_read_and_waited_for() {
    let shortest =
        Crafted { cipher_suites: vec![0x13, 0x01], extensions: None, ..Crafted::default() }.bytes();
    assert_eq!(read(&shortest), (None, false));
    for length in 1..shortest.len() {
        assert_eq!(client_hello(&shortest[..length]), Sniff::Incomplete { need: shortest.len() }, "{length}");
    }
}

#[test]
fn what_is_not_a_domain_name_is_refused() {
    let not_a_name = "has a server name that is not a domain name";
    for name in [
        "gate.example\0",
        "gate\0.evil.example",
        "gate example",
        "b\u{fc}cher.example",
        "*.gate.example",
        "gate..example",
        ".gate.example",
        "gate.example..",
        "-gate.example",
        "gate.example:443",
        "gate%2eexample",
        "[::1]",
        "::1",
        "2001:db8::1",
        &"a".repeat(64),
        &"abcdefg.".repeat(32),
    ] {
        refused(&with(&[named(name)]), not_a_name);
    }
    refused(&with(&[named(b"gate.\xffexample")]), not_a_name);
    for address in ["192.0.2.1", "192.0.2.1.", "127.1", "0x7f.1", "2130706433", "1.2.3.4.5"] {
        refused(&with(&[named(address)]), "has an IP address as its server name");
    }
    refused(&with(&[named("")]), "has an empty server name");
    refused(&with(&[named(".")]), "has an empty server name");
}

#[test]
fn exactly_one_name_is_taken() {
    let (gate, evil) = (entry(0, b"gate.example"), entry(0, b"evil.example"));
    for entries in [
        [gate.clone(), evil.clone()].concat(),
        [gate.clone(), gate.clone()].concat(),
        [gate.clone(), entry(1, b"evil.example")].concat(),
        [entry(1, b"evil.example"), gate.clone()].concat(),
        entry(1, b"gate.example"),
        [&gate[..], b"\0"].concat(),
    ] {
        refused(&with(&[extension(0, &vector(&entries))]), "has other than one server name");
    }
    let broken = "has a broken server_name extension";
    for content in [
        vec![],
        vec![0],
        vector(&[]),
        vector(&[0]),
        vector(&[0, 0]),
        vector(&[0, 0, 9, b'a']),
        [vector(&gate), vec![0]].concat(),
        [vector(&gate), vector(&evil)].concat(),
        [&u16::try_from(gate.len() + 1).unwrap().to_be_bytes()[..], &gate].concat(),
        [&u16::try_from(gate.len() - 1).unwrap().to_be_bytes()[..], &gate].concat(),
    ] {
        refused(&with(&[extension(0, &content)]), broken);
    }
}

#[test]
fn extensions_come_once() {
    let twice = "has the same extension twice";
    refused(&with(&[named("gate.example"), named("evil.example")]), twice);
    refused(&with(&[named("gate.example"), extension(21, &[]), named("gate.example")]), twice);
    refused(&with(&[extension(0xabcd, &[1]), named("gate.example"), extension(0xabcd, &[2])]), twice);

    let many = |count| (0..count).map(|kind| extension(0x8000 + kind, &[])).collect::<Vec<_>>();
    assert_eq!(read(&with(&many(127))), (None, false));
    refused(&with(&many(128)), "has too many extensions");
    refused(&with(&many(16_000)), "has too many extensions");
}

#[test]
fn a_broken_extension_does_not_hide_the_name() {
    // tls-parser stops without a word at the first extension whose content it can't read.
    for kind in [1, 5, 10, 11, 13, 16, 21, 22, 23, 28, 35, 41, 42, 43, 44, 45, 49, 51, 13172, 0xff01] {
        let extensions = Some([extension(kind, &[0xff; 3]), named("gate.example")].concat());
        let bytes = Crafted { extensions, ..Crafted::default() }.bytes();
        assert_eq!(read(&bytes), (Some("gate.example".to_owned()), false), "{kind}");
    }
}

#[test]
fn lengths_are_used_up_exactly() {
    let crafted =
        |extensions: Vec<u8>| Crafted { extensions: Some(extensions), ..Crafted::default() }.bytes();
    let name = named("gate.example");
    for extra in 1..4 {
        refused(&crafted([&name[..], &vec![0; extra]].concat()), "has a broken extension");
        refused(&crafted(name[..name.len() - extra].to_vec()), "has a broken extension");
    }
    refused(&crafted([&name[..], &[0, 21, 0, 1]].concat()), "has a broken extension");

    let after = Crafted { after: vec![0], ..Crafted::default() };
    refused(&after.bytes(), "has bytes after its extensions");
    let half_a_length = Crafted { extensions: None, after: vec![0], ..Crafted::default() };
    refused(&half_a_length.bytes(), "ends too early");
    let no_extensions = Crafted { extensions: None, after: vec![0, 9, 1], ..Crafted::default() };
    refused(&no_extensions.bytes(), "ends too early");

    // Cut short anywhere, with a length that says so, it never becomes another hello.
    let message = Crafted::default().message();
    let without_extensions = Crafted { extensions: None, ..Crafted::default() }.message().len();
    for length in (4..message.len()).filter(|length| *length != without_extensions) {
        let bytes = in_records(&handshake(1, &message[4..length]), 1 << 14);
        assert!(matches!(client_hello(&bytes), Sniff::Bad(_)), "{length}");
    }
}

#[test]
fn the_fixed_fields_are_as_the_rfc_has_them() {
    for version in [[2, 0], [4, 0], [0xfe, 0xff]] {
        refused(&Crafted { version, ..Crafted::default() }.bytes(), "is of an unknown version");
    }
    let session_id = vec![0; 33];
    refused(&Crafted { session_id, ..Crafted::default() }.bytes(), "has a session id longer than 32 bytes");
    for cipher_suites in [vec![], vec![0x13], vec![0x13, 0x01, 0x13]] {
        refused(
            &Crafted { cipher_suites, ..Crafted::default() }.bytes(),
            "has a broken list of cipher suites",
        );
    }
    for compression_methods in [vec![], vec![1]] {
        refused(
            &Crafted { compression_methods, ..Crafted::default() }.bytes(),
            "does without the null compression method",
        );
    }
    let deflate = Crafted { compression_methods: vec![1, 0], session_id: vec![9; 32], ..Crafted::default() };
    assert_eq!(read(&deflate.bytes()), (Some("gate.example".to_owned()), false));
}

#[test]
fn encrypted_hellos_and_their_drafts_are_seen() {
    for kind in [0xfe0d, 0xfe0c, 0xfe0b, 0xfe0a, 0xfe09, 0xfe08, 0xff02, 0xff03, 0xff08, 0xffce] {
        for extensions in [
            [named("gate.example"), extension(kind, &[])],
            [extension(kind, &[0; 99]), named("gate.example")],
        ] {
            assert_eq!(read(&with(&extensions)), (Some("gate.example".to_owned()), true), "{kind:#x}");
        }
        assert_eq!(read(&with(&[extension(kind, &[])])), (None, true), "{kind:#x} without an outer name");
    }
    for kind in [0x0a0a, 0x1a1a, 0xfafa, 0xff01, 0x4469] {
        assert_eq!(read(&with(&[extension(kind, &[])])), (None, false), "{kind:#x}");
    }
}

#[test]
fn nothing_comes_before_the_hello_or_within_it() {
    let message = Crafted::default().message();
    let hello = in_records(&message, 1 << 14);
    let alien = "has a record of another type before or within it";
    for before in
        [record(0x15, &[1, 0]), record(0x14, &[1]), record(0x17, &[0; 20]), record(0x18, &[1, 0, 0])]
    {
        refused(&[&before[..], &hello].concat(), alien);
        assert_eq!(first_bytes(&before), Sniff::Bad(alien), "not another protocol");
        let split = [&record(0x16, &message[..20])[..], &before, &record(0x16, &message[20..])].concat();
        refused(&split, alien);
    }
    for kind in [0, 2, 11, 16, 20] {
        refused(&in_records(&handshake(kind, &message[4..]), 1 << 14), "does not come first");
    }
    refused(&[record(0x16, &[0, 0, 0, 0]), hello].concat(), "does not come first");
}

#[test]
fn records_are_plain_and_full() {
    let message = Crafted::default().message();
    let hello = in_records(&message, 1 << 14);
    for major in [0, 1, 2, 4, 0xfe] {
        let mut bytes = hello.clone();
        bytes[1] = major;
        refused(&bytes, "has a record of an unknown version");
    }
    for minor in [0, 1, 2, 3, 4, 0xff] {
        let mut bytes = hello.clone();
        bytes[2] = minor;
        assert!(matches!(client_hello(&bytes), Sniff::Found(_)), "{minor}");
    }
    refused(&record(0x16, &[]), "has an empty record");
    let split = [&record(0x16, &message[..9])[..], &record(0x16, &[]), &record(0x16, &message[9..])].concat();
    refused(&split, "has an empty record");
    let mut long = hello.clone();
    long[3..5].copy_from_slice(&0x4001_u16.to_be_bytes());
    refused(&long, "has a record that is too long");
}

#[test]
fn no_other_message_shares_the_last_record() {
    let message = Crafted::default().message();
    let evil = with(&[named("evil.example")])[5..].to_vec();
    for after in [&evil[..], &[0], &message] {
        for size in [1 << 14, 30] {
            // Cut so that the last record of the hello goes on with what follows.
            let joined = [&message[..], after].concat();
            let bytes =
                [record(0x16, &joined[..size.min(60)]), record(0x16, &joined[size.min(60)..])].concat();
            refused(&bytes, "is followed by another message in its record");
        }
    }
}

#[test]
fn a_hello_has_64_kib() {
    let too_long = "is longer than 64 KiB";
    for length in [65_527, 100_000, 0x00ff_ffff] {
        let [_, high, middle, low] = u32::to_be_bytes(length);
        refused(&record(0x16, &[1, high, middle, low]), too_long);
    }
    let crafted = Crafted {
        extensions: Some([extension(21, &vec![0; 12_000]), named("gate.example")].concat()),
        ..Crafted::default()
    };
    refused(&in_records(&crafted.message(), 1), too_long);
    assert!(matches!(client_hello(&in_records(&crafted.message(), 2)), Sniff::Found(_)));
}

#[test]
fn the_form_of_sslv2_is_refused() {
    let bytes = [0x80, 0x2e, 1, 3, 1, 0, 21, 0, 0, 0, 16, 1, 0, 128];
    assert_eq!(client_hello(&bytes), Sniff::Bad("is in the form of SSLv2"));
    assert_eq!(first_bytes(&bytes), Sniff::<First>::Bad("is in the form of SSLv2"));
    assert_eq!(client_hello(&bytes[..1]), Sniff::Incomplete { need: 3 });
    assert_eq!(client_hello(&bytes[..2]), Sniff::Incomplete { need: 3 });
    assert_eq!(client_hello(&[0x80, 0x2e, 4]), Sniff::NotThis);
}

#[test]
fn before_the_second_hello_only_what_the_server_skips_may_come() {
    let hello = Crafted::default().bytes();
    let change = record(0x14, &[1]);
    assert!(matches!(second_hello(&[&change[..], &change, &hello].concat()), Sniff::Found(_)));
    for before in [record(0x15, &[2, 40]), record(0x18, &[1, 0, 0]), b"GET / HTTP/1.1\r\n".to_vec()] {
        assert_eq!(second_hello(&before), Sniff::NotThis);
        assert_eq!(second_hello(&[&change[..], &before, &hello].concat()), Sniff::NotThis);
    }
    for (before, why) in [
        (record(0x14, &[2]), "comes after a change_cipher_spec of an unknown kind"),
        (record(0x14, &[1, 1]), "comes after a change_cipher_spec of an unknown kind"),
        (record(0x14, &[]), "has an empty record"),
        (record(0x17, &[]), "has an empty record"),
        (record(0x17, &vec![0; 0x4101]), "has a record that is too long"),
        (record(0x17, &[7; 0x4000]).repeat(5), "comes after too much early data"),
        (record(0x17, &[7]).repeat(257), "comes after too much early data"),
    ] {
        assert_eq!(second_hello(&[&before[..], &hello].concat()), Sniff::Bad(why));
    }
    // Once the hello has begun, its records follow each other.
    let message = Crafted::default().message();
    for within in [record(0x14, &[1]), record(0x17, &[0; 20])] {
        let split = [&record(0x16, &message[..20])[..], &within, &record(0x16, &message[20..])].concat();
        assert_eq!(second_hello(&split), Sniff::Bad("has a record of another type before or within it"));
    }
    for before in [record(0x17, &vec![7; 0x4100]), record(0x17, &[7]).repeat(256)] {
        assert!(matches!(second_hello(&[&before[..], &hello].concat()), Sniff::Found(_)));
    }
}
