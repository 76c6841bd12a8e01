//! Any bytes are a set of keys or are refused; what is taken verifies nothing that it did not sign.

#![no_main]

use exeat::identity::{Algorithm, Keys, TokenRules, check};
use libfuzzer_sys::fuzz_target;

const TOKENS: [&str; 3] = [
    // {"alg":"RS256"}, {"alg":"ES256"} and {"alg":"EdDSA"}, of {}.
    "eyJhbGciOiJSUzI1NiJ9.e30.AAAA",
    "eyJhbGciOiJFUzI1NiJ9.e30.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "eyJhbGciOiJFZERTQSJ9.e30.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
];

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut keys) = Keys::parse(bytes) else { return };
    assert!((1..=64).contains(&keys.len()));
    let again = Keys::parse(bytes).unwrap();
    assert!(!keys.keep(&again), "the same set has changed");
    let rules = TokenRules {
        issuer: "i".to_owned(),
        audience: vec!["a".to_owned()],
        algorithms: Algorithm::ALL.iter().map(|(_, algorithm)| *algorithm).collect(),
        user_claim: "sub".to_owned(),
        groups_claim: None,
        leeway: 0,
    };
    for token in TOKENS {
        assert!(check(token, &keys, &rules).is_err());
    }
});
