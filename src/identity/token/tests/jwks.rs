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
fn keys_for_something_else_are_left_out_and_broken_ones_too_but_told() {
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
    let nameless = || {
        let mut jwk = changed("x", json!("!"));
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    };
    let mut pointless = good.clone();
    pointless.as_object_mut().unwrap().remove("x");
    for (key, what) in [
        (changed("x", json!("AAAA")), "the key k1: its point has another size than that of its curve"),
        (nameless(), "the key without an id: a part of it is missing, or not base64url"),
        (pointless, "the key k1: a part of it is missing, or not base64url"),
        (
            json!({ "kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB" }),
            "the key short: an RSA key has 2048 to 8192 bits",
        ),
    ] {
        let told = |keys: &Keys| keys.broken().iter().map(ToString::to_string).collect::<Vec<_>>();
        let mixed = parse(json!([Signer::ed().jwk("k2"), key, others[0]])).unwrap();
        assert_eq!((mixed.len(), told(&mixed)), (1, vec![what.to_owned()]));
        let error = parse(json!([key, others[0]])).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
    assert!(matches!(parse(json!(vec![good.clone(); 65])), Err(KeysError::TooMany)));
    assert!(matches!(Keys::parse(b"{}"), Err(KeysError::Shape(_))));
    assert!(matches!(Keys::parse(b"<html>"), Err(KeysError::Shape(_))));
}

#[test]
fn a_token_by_a_key_that_is_left_out_is_refused() {
    let (sound, other) = (Signer::ed(), Signer::ed());
    let mut broken = other.jwk("k2");
    broken["x"] = json!("AAAA");
    let mixed = keys(&[sound.jwk("k1"), broken]);
    assert!(check(&sound.token(&claims()), &mixed, &rules()).is_ok());
    let by_other = |header| error(&other.sign(&header, &claims()), &mixed);
    assert_eq!(by_other(json!({ "alg": "EdDSA", "kid": "k2" })), TokenError::UnknownKey);
    assert_eq!(by_other(json!({ "alg": "EdDSA", "kid": "k1" })), TokenError::Signature);
    assert_eq!(by_other(json!({ "alg": "EdDSA" })), TokenError::Signature);
}

#[test]
fn a_key_that_breaks_is_a_change() {
    let (sound, mut broken) = (Signer::ed().jwk("k1"), Signer::ed().jwk("k2"));
    broken["x"] = json!("AAAA");
    let before = keys(std::slice::from_ref(&sound));
    let mut after = keys(&[sound.clone(), broken.clone()]);
    assert!(after.keep(&before));
    assert!(!keys(&[sound, broken]).keep(&after));
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
