//! Where the constant of a HelloRetryRequest does not occur, no retry is seen; where it stands, it is, once.

#![no_main]

use exeat::sniff::{ServerHello, Sniff, second_server_hello, server_hello};
use libfuzzer_sys::fuzz_target;

const RETRY: &[u8] =
    b"\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c";

fuzz_target!(|bytes: &[u8]| {
    let answer = exeat_fuzz::read(bytes, server_hello);
    // In one record the random stands 11 bytes in.
    let first_record = bytes.first_chunk().map(|&[_, _, _, high, low]| u16::from_be_bytes([high, low]));
    if answer == Sniff::Found(ServerHello::Final) && bytes[0] == 0x16 && first_record >= Some(38) {
        assert_ne!(bytes.get(11..43), Some(RETRY));
    }
    // The same bytes as what stands before and after the constant.
    let asks = [b"\x16\x03\x03\x00\x2e\x02\x00\x00\x2a\x03\x03", RETRY, &[0; 8], bytes].concat();
    assert_eq!(exeat_fuzz::read(&asks, server_hello), Sniff::Found(ServerHello::Retry { length: 51 }));
    assert!(matches!(exeat_fuzz::read(&asks, second_server_hello), Sniff::Bad(_)));
});
