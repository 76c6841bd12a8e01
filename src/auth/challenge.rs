//! What a client is told that has to say who it is: `Proxy-Authenticate` (RFC 9110 §11.7.1).

use hyper::header::HeaderValue;

use crate::error::{AuthFailure, Error};

/// One header for each scheme that is taken: more than one in a header confuses clients (RFC 9110 §11.6.1). None for
/// what has nothing to do with credentials.
pub fn challenges(realm: &str, basic: bool, bearer: bool, error: &Error) -> Vec<HeaderValue> {
    let failure = match error {
        Error::AuthRequired => None,
        Error::AuthFailed(failure) => Some(failure),
        _ => return Vec::new(),
    };
    let mut challenges = Vec::new();
    if basic {
        // RFC 7617 §2.1: what the user's name and password are encoded in.
        challenges.push(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
    }
    if bearer {
        // RFC 6750 §3.1: no error for a client that has not tried a token.
        let why = match failure {
            Some(AuthFailure::Token(error)) => {
                format!(", error=\"invalid_token\", error_description=\"{error}\"")
            }
            _ => String::new(),
        };
        challenges.push(format!("Bearer realm=\"{realm}\"{why}"));
    }
    challenges.iter().filter_map(|challenge| HeaderValue::from_str(challenge).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    #[test]
    fn each_scheme_has_a_challenge_of_its_own() {
        let basic = "Basic realm=\"exeat\", charset=\"UTF-8\"";
        let bearer = "Bearer realm=\"exeat\"";
        let expired =
            "Bearer realm=\"exeat\", error=\"invalid_token\", error_description=\"the token has expired\"";
        for (error, expected) in [
            (Error::AuthRequired, vec![basic, bearer]),
            (Error::AuthFailed(AuthFailure::Password), vec![basic, bearer]),
            (Error::AuthFailed(AuthFailure::Token("the token has expired".into())), vec![basic, expired]),
            (Error::Denied(Reason::NoRule), vec![]),
        ] {
            assert_eq!(challenges("exeat", true, true, &error), expected, "{error:?}");
        }
        assert_eq!(challenges("exeat", false, true, &Error::AuthRequired), [bearer]);
        assert_eq!(challenges("exeat", true, false, &Error::AuthRequired), [basic]);
    }
}
