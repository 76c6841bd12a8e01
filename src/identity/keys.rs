//! The public keys of an issuer: a JWK Set (RFC 7517).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::Value;

use crate::identity::signature;

/// More keys than an issuer has.
const KEYS_MAX: usize = 64;
/// RSA keys shorter than this are not taken, nor are longer ones (bits, RFC 7518 §3.3).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// How a token may be signed. The key alone says which it is, never the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

/// One public key.
pub struct Key {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    /// The key's own bytes, to know it again.
    bytes: Vec<u8>,
    pub(super) decoding: DecodingKey,
}

/// The keys that an issuer signs with.
#[derive(Debug, Default)]
pub struct Keys {
    usable: Vec<Arc<Key>>,
    broken: Vec<BrokenKey>,
}

/// A key for signatures of ours that can't be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key {id}: {what}")]
pub struct BrokenKey {
    id: String,
    what: &'static str,
}

/// Why a text is no set of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    #[error("it is no JWK Set: {0}")]
    Shape(String),
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
    #[error("none of its {0} keys is for signatures by RS256, ES256 or EdDSA")]
    None(usize),
    #[error("none of its {keys} keys can be used: {first}")]
    Broken { keys: usize, first: BrokenKey },
}

impl Algorithm {
    pub const ALL: [(&'static str, Self); 3] =
        [("RS256", Self::Rs256), ("ES256", Self::Es256), ("EdDSA", Self::EdDsa)];

    pub(super) fn as_jwt(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl Keys {
    /// Reads a set; keys that are for something else are left out, and those that can't be used (RFC 7517 §5): an issuer
    /// may have keys for others than us.
    pub fn parse(text: &[u8]) -> Result<Self, KeysError> {
        signature::install();
        let set: Value = serde_json::from_slice(text).map_err(|error| KeysError::Shape(error.to_string()))?;
        let Some(Value::Array(written)) = set.get("keys") else {
            return Err(KeysError::Shape("it has no list `keys`".to_owned()));
        };
        if written.len() > KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        let mut keys = Self::default();
        for key in written {
            match Key::read(key) {
                Ok(Some(key)) => keys.usable.push(Arc::new(key)),
                Ok(None) => {}
                Err(broken) => keys.broken.push(broken),
            }
        }
        match (keys.is_empty(), keys.broken.first()) {
            (false, _) => Ok(keys),
            (true, None) => Err(KeysError::None(written.len())),
            (true, Some(first)) => Err(KeysError::Broken { keys: written.len(), first: first.clone() }),
        }
    }

    /// Keeps the keys of `older` that are still there, so that what rests on them goes on. Returns whether any
    /// came or went, be it one that can't be used.
    pub fn keep(&mut self, older: &Self) -> bool {
        let mut kept = 0;
        for key in &mut self.usable {
            if let Some(old) = older.usable.iter().find(|old| old.is_same(key)) {
                key.clone_from(old);
                kept += 1;
            }
        }
        kept < self.usable.len() || kept < older.usable.len() || self.broken != older.broken
    }

    /// Whether this very key is among them.
    pub fn holds(&self, key: &Arc<Key>) -> bool {
        self.usable.iter().any(|own| Arc::ptr_eq(own, key))
    }

    /// The only key of that id for the algorithm, as keys of several algorithms may share one (RFC 7517 §4.5); where none of
    /// that id is for it, one that is not. Without an id, the only key for the algorithm.
    pub(super) fn find(&self, id: Option<&str>, algorithm: jsonwebtoken::Algorithm) -> Option<&Arc<Key>> {
        let is_meant = |key: &&Arc<Key>| id.is_none_or(|id| key.id.as_deref() == Some(id));
        let mut fitting =
            self.usable.iter().filter(is_meant).filter(|key| key.algorithm.as_jwt() == algorithm);
        match fitting.next() {
            Some(first) => fitting.next().is_none().then_some(first),
            None => id.and_then(|_| self.usable.iter().find(is_meant)),
        }
    }

    pub fn len(&self) -> usize {
        self.usable.len()
    }

    pub fn is_empty(&self) -> bool {
        self.usable.is_empty()
    }

    /// The keys that are left out although they are for signatures of ours.
    pub fn broken(&self) -> &[BrokenKey] {
        &self.broken
    }
}

impl Key {
    /// `None` for a key that is for something else.
    fn read(key: &Value) -> Result<Option<Self>, BrokenKey> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let id = text("kid");
        let broken = |what| BrokenKey { id: id.unwrap_or("without an id").to_owned(), what };
        let (algorithm, curve, members): (_, _, &[&str]) = match text("kty") {
            Some("RSA") => (Algorithm::Rs256, None, &["n", "e"]),
            Some("EC") => (Algorithm::Es256, Some("P-256"), &["x", "y"]),
            Some("OKP") => (Algorithm::EdDsa, Some("Ed25519"), &["x"]),
            _ => return Ok(None),
        };
        let is_written =
            |wanted: &str| Algorithm::ALL.iter().any(|(name, own)| *own == algorithm && *name == wanted);
        let operations = key.get("key_ops").and_then(Value::as_array);
        let verifies = operations.is_none_or(|all| all.iter().any(|operation| operation == "verify"));
        let is_for_us = text("use").is_none_or(|purpose| purpose == "sig")
            && text("alg").is_none_or(is_written)
            && curve.is_none_or(|curve| text("crv") == Some(curve))
            && verifies;
        if !is_for_us {
            return Ok(None);
        }
        let mut parts = Vec::new();
        for member in members {
            let part = text(member).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
            parts.push(part.ok_or_else(|| broken("a part of it is missing, or not base64url"))?);
        }
        let (decoding, bytes) = match (algorithm, parts.as_slice()) {
            (Algorithm::Rs256, [n, e]) => {
                let n = without_zeros(n);
                let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
                if !RSA_BITS.contains(&bits) {
                    return Err(broken("an RSA key has 2048 to 8192 bits"));
                }
                (DecodingKey::from_rsa_raw_components(n, without_zeros(e)), [n, e].concat())
            }
            (Algorithm::Es256, [x, y]) if x.len() == 32 && y.len() == 32 => {
                let point = [&[4], x.as_slice(), y].concat();
                (DecodingKey::from_ec_der(&point), point)
            }
            (Algorithm::EdDsa, [x]) if x.len() == 32 => (DecodingKey::from_ed_der(x), x.clone()),
            _ => return Err(broken("its point has another size than that of its curve")),
        };
        Ok(Some(Self { id: id.map(Into::into), algorithm, bytes, decoding }))
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.algorithm == other.algorithm && self.bytes == other.bytes
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?}, {:?})", self.id, self.algorithm)
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
