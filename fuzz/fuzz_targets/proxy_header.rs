//! A PROXY header has one reading however it arrives, its own length, and a sender that speaks for itself names nobody.

#![no_main]

use exeat::sniff::{Proxied, Sniff, proxy_header};
use libfuzzer_sys::fuzz_target;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // The same bytes behind the signature, so that mutations reach what stands there.
    check(&[SIGNATURE, bytes].concat());
});

fn check(bytes: &[u8]) {
    let Sniff::Found(Proxied { client, length }) = exeat_fuzz::read(bytes, proxy_header) else {
        return;
    };
    assert!(length <= bytes.len() && length <= 4096);
    let own = &bytes[..length];
    assert_eq!(proxy_header(own), Sniff::Found(Proxied { client, length }), "what follows must not matter");
    assert!(matches!(proxy_header(&own[..length - 1]), Sniff::Incomplete { .. }));
    match own.strip_prefix(SIGNATURE) {
        Some([0x20, ..]) => assert_eq!(client, None),
        Some([command, family, ..]) => {
            assert_eq!(*command, 0x21);
            assert_eq!(client.is_some(), matches!(family, 0x11 | 0x21));
        }
        Some(_) => panic!("it is too short"),
        None => assert!(own.starts_with(b"PROXY ") && own.ends_with(b"\r\n") && length <= 107),
    }
}
