//! A signed JWT (RFC 7519) as the proof of who a client is, along RFC 8725.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::Value;

use crate::client::{Means, User, check_name};
use crate::identity::keys::{Algorithm, Key, Keys};

/// More groups than anyone is in.
const GROUPS_MAX: usize = 1000;

/// What is asked of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    pub issuer: String,
    /// One of these has to be among the token's own; never empty.
    pub audience: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    /// The claim with the user's name: a name, or a pointer (RFC 6901) that starts with `/`.
    pub user_claim: String,
    pub groups_claim: Option<String>,
    /// Seconds by which clocks may differ.
    pub leeway: u64,
}

/// What a token proves.
#[derive(Debug)]
pub struct Proven {
    pub user: User,
    /// Up to when, in seconds since 1970.
    pub until: u64,
    /// What it rests on.
    pub key: Arc<Key>,
}

/// Why a token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token can't be read")]
    Malformed,
    #[error("the token is signed by an algorithm that is not taken")]
    Algorithm,
    #[error("the token asks for an extension that is not known")]
    Critical,
    #[error("the token is signed with a key that the issuer does not publish")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token is from another issuer")]
    Issuer,
    #[error("the token is meant for someone else")]
    Audience,
    #[error("the token lacks {0}, or has it in another shape")]
    Claim(&'static str),
}

/// Checks a token: its signature first, for nothing else in it means anything before. Takes up to 200 µs.
pub fn check(token: &str, keys: &Keys, rules: &TokenRules) -> Result<Proven, TokenError> {
    let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
    // RFC 7515 §4.1.11: who does not know an extension must refuse. `zip` and `enc` are for encrypted ones.
    if header.crit.is_some()
        || header.zip.is_some()
        || header.enc.is_some()
        || header.extras.inner().contains_key("b64")
    {
        return Err(TokenError::Critical);
    }
    let taken = rules.algorithms.iter().any(|algorithm| algorithm.as_jwt() == header.alg);
    if !taken {
        return Err(TokenError::Algorithm);
    }
    let key = keys.find(header.kid.as_deref(), header.alg).ok_or(TokenError::UnknownKey)?;
    // The key says by which algorithm it signs: a token can't make an RSA key the secret of an HMAC.
    if key.algorithm().as_jwt() != header.alg {
        return Err(TokenError::Algorithm);
    }
    let claims = decode::<Value>(token, &key.decoding, &validation(rules, key.algorithm()));
    let claims = claims.map_err(|error| TokenError::from(error.kind()))?.claims;
    // One text (RFC 7519 §4.1.1), which is the issuer's: of a list jsonwebtoken takes any.
    if !claims.get("iss").is_some_and(Value::is_string) {
        return Err(TokenError::Claim("iss"));
    }
    let expires = claims.get("exp").and_then(Value::as_f64).ok_or(TokenError::Claim("exp"))?;
    let user = User {
        name: user(&claims, &rules.user_claim)?,
        groups: rules.groups_claim.as_deref().map_or(Ok(Box::default()), |claim| groups(&claims, claim))?,
        means: Means::Token,
    };
    // A number that is too large becomes the largest.
    Ok(Proven { user, until: (expires as u64).saturating_add(rules.leeway), key: Arc::clone(key) })
}

fn validation(rules: &TokenRules, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm.as_jwt());
    validation.leeway = rules.leeway;
    validation.validate_nbf = true;
    validation.set_issuer(&[&rules.issuer]);
    validation.set_audience(&rules.audience);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation
}

fn user(claims: &Value, claim: &str) -> Result<Box<str>, TokenError> {
    let name = find(claims, claim).and_then(Value::as_str);
    name.filter(|name| check_name(name).is_ok())
        .map(Into::into)
        .ok_or(TokenError::Claim("the claim of the user's name"))
}

/// No claim is no group; a claim in another shape than a text or a list of texts is no token of ours.
fn groups(claims: &Value, claim: &str) -> Result<Box<[Box<str>]>, TokenError> {
    let wrong = TokenError::Claim("the claim of the groups");
    let names: Vec<&Value> = match find(claims, claim) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(groups)) => groups.iter().collect(),
        Some(group) => vec![group],
    };
    if names.len() > GROUPS_MAX {
        return Err(wrong);
    }
    let mut groups = Vec::with_capacity(names.len());
    for name in names {
        let name = name.as_str().filter(|name| check_name(name).is_ok()).ok_or_else(|| wrong.clone())?;
        groups.push(Box::from(name));
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(groups.into())
}

fn find<'c>(claims: &'c Value, claim: &str) -> Option<&'c Value> {
    if claim.starts_with('/') { claims.pointer(claim) } else { claims.get(claim) }
}

impl From<&ErrorKind> for TokenError {
    fn from(kind: &ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::NotYet,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Self::Algorithm,
            ErrorKind::MissingRequiredClaim(claim) => Self::Claim(match claim.as_str() {
                "exp" => "exp",
                "iss" => "iss",
                _ => "aud",
            }),
            ErrorKind::InvalidClaimFormat(_) => Self::Claim("exp or nbf"),
            _ => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests;
