use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::json;

use super::*;

/// Who signs tokens in these tests.
enum Signer {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Signer {
    fn ed() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn ec() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random);
        Self::Ec(pair.unwrap())
    }

    /// ring makes no RSA keys.
    fn rsa(bits: u32) -> Self {
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "RSA", "-outform", "DER", "-pkeyopt"])
            .arg(format!("rsa_keygen_bits:{bits}"))
            .output()
            .expect("the tests need openssl");
        assert!(made.status.success(), "{made:?}");
        Self::Rsa(RsaKeyPair::from_der(&made.stdout).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed(_) => "EdDSA",
            Self::Ec(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    fn jwk(&self, id: &str) -> Value {
        let base64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ed(pair) => {
                json!({ "kid": id, "kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key().as_ref()) })
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kid": id, "kty": "EC", "crv": "P-256", "x": base64(&point[1..33]), "y": base64(&point[33..]) })
            }
            Self::Rsa(pair) => {
                let parts: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({ "kid": id, "kty": "RSA", "n": base64(&parts.n), "e": base64(&parts.e) })
            }
        }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let base64 = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", base64(header), base64(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Self::Ec(pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&json!({ "alg": self.algorithm(), "kid": "k1", "typ": "JWT" }), claims)
    }
}

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
