//! What a client can prove of itself beyond its address.

use crate::yaml::is_hidden;

/// Longest name of a user, a group or a certificate, in bytes: a SPIFFE ID has at most 2048, and those in use
/// a tenth of that.
pub const NAME_MAX: usize = 512;

/// Someone whose credentials are right.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    pub name: Box<str>,
    pub groups: Box<[Box<str>]>,
    pub means: Means,
}

/// What a user has proved to be one with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Means {
    /// A password, of the account that is in force.
    Password,
    /// A token of an issuer.
    Token,
    /// Nothing: a person asks about it.
    Supposed,
}

impl User {
    /// A user that a person asks about.
    pub fn supposed(name: &str, groups: &[String]) -> Self {
        let groups = groups.iter().map(|group| group.as_str().into()).collect();
        Self { name: name.into(), groups, means: Means::Supposed }
    }
}

/// A certificate that a client has the key of, by the one name that counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Certificate {
    pub name: Box<str>,
}

/// Why a text names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {NAME_MAX} bytes")]
    TooLong,
    #[error("it has a control character, or one that turns or ends a line")]
    Hidden,
    #[error("it begins or ends with a space")]
    Space,
}

/// Whether a text can name a user, a group or a certificate. Names are compared as they are, byte for byte.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_MAX {
        return Err(NameError::TooLong);
    }
    if name.chars().any(is_hidden) {
        return Err(NameError::Hidden);
    }
    if name.trim() != name {
        return Err(NameError::Space);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_text() {
        for (name, expected) in [
            ("alice", Ok(())),
            ("repo:org/name:ref:refs/heads/main", Ok(())),
            ("Zoë Ångström", Ok(())),
            ("", Err(NameError::Empty)),
            (" alice", Err(NameError::Space)),
            ("al\nice", Err(NameError::Hidden)),
            ("al\u{202e}ice", Err(NameError::Hidden)),
            ("al\u{2028}ice", Err(NameError::Hidden)),
            (&"x".repeat(NAME_MAX + 1), Err(NameError::TooLong)),
        ] {
            assert_eq!(check_name(name), expected, "{name:?}");
        }
    }
}
