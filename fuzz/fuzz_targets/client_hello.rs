//! A hello that is found has one reading, its own length, and the name that rustls reads.

#![no_main]

#[path = "../../tests/hello/acceptor.rs"]
mod acceptor;

use acceptor::{Opinion, opinion};
use exeat::sniff::{Sniff, client_hello, second_hello};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // The same bytes as the body of a hello whose outer lengths are right, so that mutations of its fields
    // reach the parser of the fields.
    if let Some(framed) = frame(bytes) {
        check(&framed);
    }
});

fn check(bytes: &[u8]) {
    let Sniff::Found(hello) = exeat_fuzz::read(bytes, client_hello) else {
        return;
    };
    let own = &bytes[..hello.length];
    assert_eq!(client_hello(own), Sniff::Found(hello.clone()), "what follows must not matter");
    assert!(matches!(client_hello(&own[..own.len() - 1]), Sniff::Incomplete { .. }));
    if bytes[0] == 0x16 {
        assert_eq!(second_hello(bytes), Sniff::Found(hello.clone()));
    }
    match opinion(own) {
        Opinion::Accept(theirs) => assert_eq!(hello.server_name.map(|name| name.to_string()), theirs),
        Opinion::Refuse => {}
        Opinion::Wait => panic!("rustls waits for more"),
    }
}

fn frame(body: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(body.len()).ok()?.to_be_bytes();
    let payload = [&[1, 0], &length[..], body].concat();
    let record =
        |fragment: &[u8]| [&[0x16, 3, 1], &(fragment.len() as u16).to_be_bytes()[..], fragment].concat();
    Some(payload.chunks(1 << 14).flat_map(record).collect())
}
