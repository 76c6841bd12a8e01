//! What a client sends in `Proxy-Authorization` (RFC 9110 §11.7.2): Basic (RFC 7617) or Bearer (RFC 6750).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The user name with which Basic carries a token in place of a password, for clients that know no Bearer.
pub const TOKEN_USER: &str = "bearer";
/// Longest value that is looked at, in bytes. A token with many groups has a few thousand.
const LONGEST: usize = 16 * 1024;

/// Credentials as they came. What is secret in them is wiped when they are dropped, and never shown.
pub enum Credentials {
    Basic { user: Box<str>, password: Zeroizing<Vec<u8>> },
    Bearer(Zeroizing<String>),
}

/// Why a value holds no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    #[error("the credentials are longer than {LONGEST} bytes")]
    TooLong,
    #[error("the scheme of the credentials is neither Basic nor Bearer")]
    Scheme,
    #[error("the credentials are not base64 of user:password")]
    Basic,
    #[error("the credentials are no token")]
    Bearer,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic",
            Self::Bearer(_) => "Bearer",
        })
    }
}

impl Credentials {
    pub fn parse(value: &[u8]) -> Result<Self, CredentialsError> {
        if value.len() > LONGEST {
            return Err(CredentialsError::TooLong);
        }
        let text = std::str::from_utf8(value).map_err(|_| CredentialsError::Scheme)?;
        let (scheme, rest) = text.trim().split_once(' ').ok_or(CredentialsError::Scheme)?;
        let rest = rest.trim_start();
        if scheme.eq_ignore_ascii_case("basic") {
            return basic(rest);
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            return bearer(rest);
        }
        Err(CredentialsError::Scheme)
    }
}

fn basic(text: &str) -> Result<Credentials, CredentialsError> {
    let pair = STANDARD.decode(text).map(Zeroizing::new).map_err(|_| CredentialsError::Basic)?;
    let colon = pair.iter().position(|byte| *byte == b':').ok_or(CredentialsError::Basic)?;
    let (user, password) = (&pair[..colon], &pair[colon + 1..]);
    let user = std::str::from_utf8(user).map_err(|_| CredentialsError::Basic)?;
    if user == TOKEN_USER {
        return bearer(std::str::from_utf8(password).map_err(|_| CredentialsError::Bearer)?);
    }
    Ok(Credentials::Basic { user: user.into(), password: Zeroizing::new(password.to_vec()) })
}

fn bearer(text: &str) -> Result<Credentials, CredentialsError> {
    match is_token(text) {
        true => Ok(Credentials::Bearer(Zeroizing::new(text.to_owned()))),
        false => Err(CredentialsError::Bearer),
    }
}

/// Whether a text has the shape of a signed JWT: three parts of base64url (RFC 7515 §3.1).
pub fn is_token(text: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    text.split('.').count() == 3
        && text.split('.').all(|part| !part.is_empty() && part.bytes().all(is_base64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> Result<String, CredentialsError> {
        Credentials::parse(value.as_bytes()).map(|credentials| match credentials {
            Credentials::Basic { user, password } => format!("{user}/{}", String::from_utf8_lossy(&password)),
            Credentials::Bearer(token) => format!("token {}", *token),
        })
    }

    #[test]
    fn both_schemes_are_read() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (value, expected) in [
            (basic("alice:secret"), "alice/secret"),
            (basic("alice:se:cret"), "alice/se:cret"),
            (basic("alice:"), "alice/"),
            (basic("zoë:ü"), "zoë/ü"),
            (basic("bearer:a.b.c"), "token a.b.c"),
            (basic("alice:x").replace("Basic", "bAsIc"), "alice/x"),
            ("Bearer a.b-_.c".to_owned(), "token a.b-_.c"),
            ("bearer  a.b.c ".to_owned(), "token a.b.c"),
        ] {
            assert_eq!(shown(&value).as_deref(), Ok(expected), "{value}");
        }
    }

    #[test]
    fn what_holds_no_credentials_is_refused() {
        use CredentialsError::{Basic, Bearer, Scheme, TooLong};
        for (value, error) in [
            ("", Scheme),
            ("Basic", Scheme),
            ("Digest username=\"x\"", Scheme),
            ("Negotiate YII=", Scheme),
            ("Basic !!!", Basic),
            ("Basic YWxpY2U", Basic),
            ("Basic YWxpY2U=", Basic),
            ("Basic YTpi YTpi", Basic),
            ("Bearer", Scheme),
            ("Bearer a.b", Bearer),
            ("Bearer a.b.c.d.e", Bearer),
            ("Bearer a.b.", Bearer),
            ("Bearer a.b.c=", Bearer),
            ("Basic YmVhcmVyOng=", Bearer),
            (&format!("Bearer {}", "x".repeat(LONGEST)), TooLong),
        ] {
            assert_eq!(shown(value), Err(error), "{value}");
        }
    }
}
