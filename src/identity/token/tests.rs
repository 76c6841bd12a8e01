mod jwks;
mod signer;

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use self::signer::Signer;
use super::*;

fn keys(jwks: &[Value]) -> Keys {
    Keys::parse(json!({ "keys": jwks }).to_string().as_bytes()).unwrap()
}

fn rules() -> TokenRules {
    TokenRules {
        issuer: "https://issuer.example".into(),
        audience: vec!["exeat".into(), "exeat.corp.example".into()],
        algorithms: vec![Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa],
        user_claim: "sub".into(),
        groups_claim: Some("groups".into()),
        leeway: 30,
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "exeat", "sub": "repo:org/name:ref:refs/heads/main",
        "exp": now() + 600, "nbf": now() - 5, "groups": ["dev", "ci", "dev"],
    })
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

fn without(key: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(key);
    claims
}

fn error(token: &str, keys: &Keys) -> TokenError {
    check(token, keys, &rules()).unwrap_err()
}

#[test]
fn a_token_of_each_algorithm_proves_its_user() {
    for signer in [Signer::ed(), Signer::ec(), Signer::rsa(2048)] {
        let keys = keys(&[signer.jwk("k1"), Signer::ed().jwk("k2"), Signer::ec().jwk("k3")]);
        let proven = check(&signer.token(&claims()), &keys, &rules()).unwrap();
        assert_eq!(&*proven.user.name, "repo:org/name:ref:refs/heads/main");
        assert_eq!(*proven.user.groups, ["ci".into(), "dev".into()]);
        assert!((now() + 625..=now() + 630).contains(&proven.until));
        let other = match signer {
            Signer::Rsa(_) => Signer::rsa(2048),
            Signer::Ec(_) => Signer::ec(),
            Signer::Ed(_) => Signer::ed(),
        };
        assert_eq!(error(&other.token(&claims()), &keys), TokenError::Signature, "{}", signer.algorithm());
    }
}

#[test]
fn claims_that_do_not_fit_prove_nothing() {
    let signer = Signer::ed();
    let keys = keys(&[signer.jwk("k1")]);
    for (claims, expected) in [
        (with("aud", json!("someone")), TokenError::Audience),
        (with("aud", json!(["someone", "else"])), TokenError::Audience),
        (with("aud", json!(7)), TokenError::Claim("aud")),
        (without("aud"), TokenError::Claim("aud")),
        (with("iss", json!("https://evil.example")), TokenError::Issuer),
        (with("iss", json!(["https://issuer.example", "https://evil.example"])), TokenError::Claim("iss")),
        (with("iss", json!(["https://issuer.example"])), TokenError::Claim("iss")),
        (without("iss"), TokenError::Claim("iss")),
        (with("exp", json!(now() - 31)), TokenError::Expired),
        (with("exp", json!("tomorrow")), TokenError::Claim("exp")),
        (with("exp", json!(-1)), TokenError::Claim("exp")),
        (without("exp"), TokenError::Claim("exp")),
        (with("nbf", json!(now() + 60)), TokenError::NotYet),
        (with("nbf", json!([])), TokenError::Claim("exp or nbf")),
        (without("sub"), TokenError::Claim("the claim of the user's name")),
        (with("sub", json!("")), TokenError::Claim("the claim of the user's name")),
        // `sub` has to be a text (RFC 7519 §4.1.2), whichever claim is asked for.
        (with("sub", json!(["alice"])), TokenError::Malformed),
        (with("sub", json!("al\nice")), TokenError::Claim("the claim of the user's name")),
        (with("groups", json!([["ci"]])), TokenError::Claim("the claim of the groups")),
        (with("groups", json!({ "ci": true })), TokenError::Claim("the claim of the groups")),
        (with("groups", json!([1])), TokenError::Claim("the claim of the groups")),
        (with("groups", json!(vec!["x"; GROUPS_MAX + 1])), TokenError::Claim("the claim of the groups")),
        (json!([]), TokenError::Malformed),
        (json!("claims"), TokenError::Malformed),
    ] {
        assert_eq!(error(&signer.token(&claims), &keys), expected, "{claims}");
    }
    for claims in [
        with("aud", json!(["someone", "exeat.corp.example"])),
        with("exp", json!(now() - 20)),
        with("exp", json!(now() as f64 + 0.5)),
        with("nbf", json!(now() + 20)),
        without("nbf"),
        without("groups"),
        with("groups", json!("ci")),
        with("groups", Value::Null),
    ] {
        assert!(check(&signer.token(&claims), &keys, &rules()).is_ok(), "{claims}");
    }
}

#[test]
fn a_claim_may_stand_deeper() {
    let signer = Signer::ed();
    let mut deeper = claims();
    deeper["realm"] = json!({ "roles": ["admin"], "user": "alice" });
    let rules =
        TokenRules { user_claim: "/realm/user".into(), groups_claim: Some("/realm/roles".into()), ..rules() };
    let proven = check(&signer.token(&deeper), &keys(&[signer.jwk("k1")]), &rules).unwrap();
    assert_eq!((&*proven.user.name, &*proven.user.groups), ("alice", &["admin".into()][..]));
}

#[test]
fn a_token_does_not_choose_its_algorithm() {
    let (rsa, ec, ed) = (Signer::rsa(2048), Signer::ec(), Signer::ed());
    let keys = keys(&[rsa.jwk("rsa"), ec.jwk("ec"), ed.jwk("ed")]);
    let header = |algorithm: &str, id: &str| json!({ "alg": algorithm, "kid": id });
    // No signature at all.
    for algorithm in ["none", "None", "NONE", "nOnE"] {
        let token = ed.sign(&header(algorithm, "ed"), &claims());
        assert_eq!(error(&token, &keys), TokenError::Malformed, "{algorithm}");
    }
    // The public key as the secret of an HMAC: each form in which an attacker may have it.
    let public = URL_SAFE_NO_PAD.decode(rsa.jwk("rsa")["n"].as_str().unwrap()).unwrap();
    for secret in [public, rsa.jwk("rsa").to_string().into_bytes()] {
        let message = ed.sign(&header("HS256", "rsa"), &claims());
        let message = message.rsplit_once('.').unwrap().0;
        let tag =
            ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret), message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
        assert_eq!(error(&token, &keys), TokenError::Algorithm);
    }
    // Another algorithm than that of the key, and some that nobody takes.
    assert_eq!(error(&ec.sign(&header("ES256", "rsa"), &claims()), &keys), TokenError::Algorithm);
    assert_eq!(error(&ed.sign(&header("EdDSA", "ec"), &claims()), &keys), TokenError::Algorithm);
    for algorithm in ["RS384", "RS512", "PS256", "ES384", "HS512"] {
        assert_eq!(
            error(&ed.sign(&header(algorithm, "ed"), &claims()), &keys),
            TokenError::Algorithm,
            "{algorithm}"
        );
    }
    let narrow = TokenRules { algorithms: vec![Algorithm::Es256], ..rules() };
    let token = ed.sign(&header("EdDSA", "ed"), &claims());
    assert_eq!(check(&token, &keys, &narrow).unwrap_err(), TokenError::Algorithm);
    assert!(check(&token, &keys, &rules()).is_ok());
}

#[test]
fn keys_of_one_id_are_told_apart_by_their_algorithms() {
    let (rsa, ec, other) = (Signer::rsa(2048), Signer::ec(), Signer::ec());
    let both = keys(&[rsa.jwk("k"), ec.jwk("k")]);
    for (signer, algorithm) in [(&rsa, "RS256"), (&ec, "ES256")] {
        let token = signer.sign(&json!({ "alg": algorithm, "kid": "k" }), &claims());
        assert!(check(&token, &both, &rules()).is_ok(), "{algorithm}");
    }
    let token = |algorithm: &str| ec.sign(&json!({ "alg": algorithm, "kid": "k" }), &claims());
    assert_eq!(error(&token("EdDSA"), &both), TokenError::Algorithm);
    assert_eq!(error(&token("ES256"), &keys(&[other.jwk("k"), ec.jwk("k")])), TokenError::UnknownKey);
}

#[test]
fn extensions_that_are_not_known_are_refused() {
    let signer = Signer::ed();
    let keys = keys(&[signer.jwk("k1")]);
    for extra in [
        json!({ "crit": ["exp"] }),
        json!({ "crit": [] }),
        json!({ "crit": ["b64"], "b64": false }),
        json!({ "b64": false }),
        json!({ "zip": "DEF" }),
        json!({ "enc": "A256GCM" }),
    ] {
        let mut header = json!({ "alg": "EdDSA", "kid": "k1" });
        header.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        assert_eq!(error(&signer.sign(&header, &claims()), &keys), TokenError::Critical, "{header}");
    }
}

#[test]
fn what_is_cut_changed_or_no_token_is_refused() {
    let signer = Signer::ed();
    let keys = keys(&[signer.jwk("k1")]);
    let token = signer.token(&claims());
    for end in 0..token.len() {
        assert!(check(&token[..end], &keys, &rules()).is_err(), "{end}");
    }
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(check(&changed, &keys, &rules()).is_err(), "{at}");
    }
    for text in
        ["", ".", "..", "a.b.c", "!.!.!", &format!("{token}."), &token.replace('.', ""), "e30.e30.e30"]
    {
        assert!(check(text, &keys, &rules()).is_err(), "{text}");
    }
}
