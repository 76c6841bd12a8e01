//! A second hello is found behind skipped records only, and is the hello that stands there.

#![no_main]

use exeat::sniff::{Sniff, client_hello, second_hello};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Sniff::Found(hello) = exeat_fuzz::read(bytes, second_hello) else {
        return;
    };
    let mut skipped = 0;
    while bytes[skipped] != 0x16 {
        assert!(matches!(bytes[skipped], 0x14 | 0x17));
        skipped += 5 + usize::from(u16::from_be_bytes([bytes[skipped + 3], bytes[skipped + 4]]));
    }
    let alone = client_hello(&bytes[skipped..]).map(|mut alone| {
        alone.length += skipped;
        alone
    });
    assert_eq!(alone, Sniff::Found(hello));
});
