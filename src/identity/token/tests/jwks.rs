//! Which keys of a set are taken, and which of them a token is held against.

use super::*;

#[test]
fn a_key_is_found_by_its_id_and_without_one_only_where_there_is_no_choice() {
    let (first, second, ec) = (Signer::ed(), Signer::ed(), Signer::ec());
    let without_id = |signer: &Signer| signer.sign(&json!({ "alg": signer.algorithm() }), &claims());
    let both = keys(&[first.jwk("k1"), second.jwk("k2"), ec.jwk("k3")]);
    assert_eq!(
        error(&first.sign(&json!({ "alg": "EdDSA", "kid": "k9" }), &claims()), &both),
        TokenError::UnknownKey
    );
    assert_eq!(
        error(&first.sign(&json!({ "alg": "EdDSA", "kid": "k2" }), &claims()), &both),
        TokenError::Signature
    );
    assert_eq!(error(&without_id(&first), &both), TokenError::UnknownKey);
    assert!(check(&without_id(&ec), &both, &rules()).is_ok());
    assert!(check(&without_id(&first), &keys(&[first.jwk("k1"), ec.jwk("k3")]), &rules()).is_ok());
    // Two keys of one id are no choice for a token to make.
    assert_eq!(
        error(&first.token(&claims()), &keys(&[first.jwk("k1"), second.jwk("k1")])),
        TokenError::UnknownKey
    );
}

#[test]
fn a_key_that_a_token_brings_along_is_not_asked() {
    let (own, foreign) = (Signer::ed(), Signer::ed());
    let keys = keys(&[own.jwk("k1")]);
    let header =
        json!({ "alg": "EdDSA", "kid": "k1", "jwk": foreign.jwk("k1"), "jku": "https://evil.example/jwks" });
    assert_eq!(error(&foreign.sign(&header, &claims()), &keys), TokenError::Signature);
}

#[test]
fn keys_for_something_else_are_left_out_and_broken_ones_told() {
    use crate::identity::keys::KeysError;
    let parse = |keys: Value| Keys::parse(json!({ "keys": keys }).to_string().as_bytes());
    let good = Signer::ed().jwk("k1");
    let changed = |key: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[key] = value;
        jwk
    };
    let others = [
        changed("use", json!("enc")),
        changed("alg", json!("ES256")),
        changed("crv", json!("Ed448")),
        changed("key_ops", json!(["sign"])),
        json!({ "kty": "oct", "k": "c2VjcmV0" }),
        json!({ "kty": "EC", "crv": "P-384", "x": "", "y": "" }),
    ];
    assert_eq!(parse(json!(others)).unwrap_err(), KeysError::None(6));
    let mut all = others.to_vec();
    all.push(good.clone());
    assert_eq!(parse(json!(all)).unwrap().len(), 1);
    assert!(matches!(parse(json!([changed("x", json!("AAAA"))])), Err(KeysError::Key { .. })));
    assert!(matches!(parse(json!([changed("x", json!("!"))])), Err(KeysError::Key { .. })));
    assert!(matches!(
        parse(json!([Signer::rsa(2048).jwk("a"), { "kty": "RSA", "n": "AQAB", "e": "AQAB" }])),
        Err(KeysError::Key { .. })
    ));
    assert!(matches!(parse(json!(vec![good.clone(); 65])), Err(KeysError::TooMany)));
    assert!(matches!(Keys::parse(b"{}"), Err(KeysError::Shape(_))));
    assert!(matches!(Keys::parse(b"<html>"), Err(KeysError::Shape(_))));
}

#[test]
fn keys_that_stay_are_the_same_after_a_rotation() {
    let (old, new) = (Signer::ed(), Signer::ed());
    let older = keys(&[old.jwk("k1")]);
    let proven = check(&old.token(&claims()), &older, &rules()).unwrap();
    let mut both = keys(&[new.jwk("k2"), old.jwk("k1")]);
    assert!(both.keep(&older) && both.holds(&proven.key));
    let mut after = keys(&[new.jwk("k2")]);
    assert!(after.keep(&both) && !after.holds(&proven.key));
    let mut same = keys(&[new.jwk("k2")]);
    assert!(!same.keep(&after));
}
