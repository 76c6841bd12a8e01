//! An issuer of tokens: its keys, and what it signs.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeat::auth::{KeySource, Required, Settings, TokenSettings};
use exeat::identity::{Algorithm, TokenRules};
use exeat::mistake::Place;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

/// One key of an issuer.
pub struct Signer {
    id: String,
    pair: Ed25519KeyPair,
}

impl Signer {
    pub fn new(id: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { id: id.to_owned(), pair: Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap() }
    }

    pub fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({ "kid": self.id, "kty": "OKP", "crv": "Ed25519", "x": x, "use": "sig", "alg": "EdDSA" })
    }

    /// A token of `issuer.example` for `exeat`, for so many seconds from now.
    pub fn token(&self, user: &str, groups: &[&str], seconds: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": "https://issuer.example", "aud": "exeat", "sub": user, "groups": groups,
            "exp": i64::try_from(now).unwrap() + seconds,
        });
        let header = json!({ "alg": "EdDSA", "kid": self.id });
        let base64 = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", base64(&header), base64(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

/// What an issuer publishes.
pub fn jwks(signers: &[&Signer]) -> String {
    json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }).to_string()
}

/// Settings of a door that asks everyone for a token with one of these keys.
pub fn settings(keys: KeySource) -> Settings {
    Settings {
        place: Place::start(Path::new("exeat.yaml")),
        realm: "exeat".to_owned(),
        required: Required::Everyone,
        allow_plaintext: false,
        passwords: None,
        tokens: Some(TokenSettings {
            rules: TokenRules {
                issuer: "https://issuer.example".into(),
                audience: vec!["exeat".into()],
                algorithms: vec![Algorithm::EdDsa],
                user_claim: "sub".into(),
                groups_claim: Some("groups".into()),
                leeway: 0,
            },
            keys,
        }),
    }
}
