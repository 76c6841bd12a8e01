//! Nothing is proved but by the issuer's own signature, and what that signs says who, by whom, for whom and until when.

#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeat::identity::{Algorithm, Credentials, Keys, TokenRules, check};
use libfuzzer_sys::fuzz_target;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::Value;

static SIGNER: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let x = URL_SAFE_NO_PAD.encode(SIGNER.public_key().as_ref());
    let set = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k","x":"{x}"}}]}}"#);
    Keys::parse(set.as_bytes()).unwrap()
});

static RULES: LazyLock<TokenRules> = LazyLock::new(|| TokenRules {
    issuer: "i".to_owned(),
    audience: vec!["a".to_owned()],
    algorithms: Algorithm::ALL.iter().map(|(_, algorithm)| *algorithm).collect(),
    user_claim: "sub".to_owned(),
    groups_claim: Some("/g/h".to_owned()),
    leeway: 60,
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = str::from_utf8(bytes) {
        assert!(check(text, &KEYS, &RULES).is_err(), "nobody has signed it");
    }
    if let Ok(Credentials::Bearer(token)) = Credentials::parse(bytes) {
        assert!(check(&token, &KEYS, &RULES).is_err(), "nobody has signed it");
    }
    // As claims, and as a header: signed, so that what is behind the signature is reached.
    let header = br#"{"alg":"EdDSA","kid":"k"}"#;
    if let Ok(proven) = check(&signed(header, bytes), &KEYS, &RULES) {
        let claims: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(claims["sub"].as_str(), Some(&*proven.user.name));
        let is = |claim: &Value, wanted: &str| match claim {
            Value::Array(all) => all.iter().any(|one| one == wanted),
            one => one == wanted,
        };
        assert!(is(&claims["iss"], "i") && is(&claims["aud"], "a") && claims["exp"].is_number());
    }
    let claims = br#"{"sub":"u","iss":"i","aud":"a","exp":99999999999}"#;
    if check(&signed(bytes, claims), &KEYS, &RULES).is_ok() {
        let header: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(header["alg"], "EdDSA");
        assert!(header.get("crit").is_none());
    }
});

fn signed(header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(SIGNER.sign(message.as_bytes()));
    format!("{message}.{signature}")
}
