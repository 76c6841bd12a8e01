//! One stored password: which hashes are taken, and whether a password is the one.

use std::ops::RangeInclusive;

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params};

/// What bcrypt may cost: 2^cost rounds. 4 is the least there is, 15 takes seconds.
const BCRYPT_COST: RangeInclusive<u32> = 4..=15;
/// `$2y$`, the cost, `$`, 22 characters of salt and 31 of hash.
const BCRYPT_LENGTH: usize = 60;
/// Most memory of an argon2id hash, in KiB; RFC 9106 §4 recommends 2 GiB or 64 MiB.
const MEMORY_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 32;
const LANES_MAX: u32 = 16;

/// A password as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hash {
    Bcrypt(Box<str>),
    /// argon2id, in PHC's form.
    Argon2id(Box<str>),
}

impl Hash {
    /// Reads a hash; the error says what it is instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            return bcrypt(text);
        }
        if text.starts_with("$argon2id$") {
            return argon2id(text);
        }
        Err(foreign(text))
    }

    /// Whether this is the password. Takes as long for a wrong one as for the right one: not for an I/O thread.
    pub fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Argon2id(hash) => PasswordHash::new(hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
        }
    }
}

fn bcrypt(text: &str) -> Result<Hash, String> {
    let cost = text.get(4..6).and_then(|cost| cost.parse::<u32>().ok());
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"./".contains(&byte);
    let is_whole =
        text.len() == BCRYPT_LENGTH && text.as_bytes()[6] == b'$' && text.bytes().skip(7).all(is_base64);
    // Of the last characters of salt and hash some bits have no meaning; where they are set, no password would fit.
    let is_readable = is_whole && text.parse::<bcrypt::HashParts>().is_ok();
    match cost {
        Some(_) if is_whole && !is_readable => Err("is a bcrypt hash that can't be read".to_owned()),
        Some(cost) if is_whole && BCRYPT_COST.contains(&cost) => Ok(Hash::Bcrypt(text.into())),
        Some(cost) if is_whole => {
            let (least, most) = (BCRYPT_COST.start(), BCRYPT_COST.end());
            Err(format!("is bcrypt of cost {cost}, and not of {least} to {most}"))
        }
        _ => Err("is a bcrypt hash that is not whole".to_owned()),
    }
}

fn argon2id(text: &str) -> Result<Hash, String> {
    let broken = |error: &dyn std::fmt::Display| format!("is an argon2id hash that can't be read: {error}");
    let hash = PasswordHash::new(text).map_err(|error| broken(&error))?;
    let params = Params::try_from(&hash).map_err(|error| broken(&error))?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err("is an argon2id hash that is not whole".to_owned());
    }
    if params.m_cost() > MEMORY_MAX || params.t_cost() > PASSES_MAX || params.p_cost() > LANES_MAX {
        return Err(format!(
            "is argon2id with more than {} MiB, {PASSES_MAX} passes or {LANES_MAX} lanes",
            MEMORY_MAX / 1024
        ));
    }
    Ok(Hash::Argon2id(text.into()))
}

/// What a hash of another kind is. It is never repeated: it may be the password itself.
fn foreign(text: &str) -> String {
    let kind = match text {
        _ if text.starts_with("$apr1$") => "an MD5 hash of Apache (apr1)",
        _ if text.starts_with("{SHA}") => "a SHA-1 hash without a salt",
        _ if text.starts_with("$1$") => "an MD5 hash of crypt",
        _ if text.starts_with("$5$") => "a SHA-256 hash of crypt",
        _ if text.starts_with("$6$") => "a SHA-512 hash of crypt",
        _ if text.starts_with("$2x$") => "a bcrypt hash of the kind with a defect ($2x$)",
        _ if text.starts_with("$argon2") => "an argon2 hash other than argon2id",
        _ if text.starts_with("$y$") => "a yescrypt hash",
        _ => "a hash of crypt, or the password in plain text",
    };
    format!("is {kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `htpasswd -nbB -C 4 x secret`, and what argon2's own tool says.
    const BCRYPT: &str = "$2y$04$XfoTlTqg08BwbO0fuZpKLODG4mT4QwoKq9zPPg.XqJCBMlJq0v3iq";

    #[test]
    fn a_hash_that_no_password_could_fit_is_not_taken() {
        for (at, letter) in [(28, "P"), (59, "f")] {
            let mut text = BCRYPT.to_owned();
            text.replace_range(at..=at, letter);
            assert!(bcrypt::verify("secret", &text).is_err(), "{text}");
            assert_eq!(Hash::parse(&text), Err("is a bcrypt hash that can't be read".to_owned()), "{text}");
        }
    }

    #[test]
    fn a_password_is_known_by_its_hash() {
        let bcrypt = bcrypt::hash("secret", 4).unwrap();
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let hash = Hash::parse(&bcrypt.replacen("$2b$", prefix, 1)).unwrap();
            assert!(hash.verify(b"secret") && !hash.verify(b"Secret") && !hash.verify(b""), "{prefix}");
        }
        // RFC 9106's algorithm with little memory, made by the reference implementation:
        // printf secret | argon2 saltsalt -id -t 2 -k 64 -p 1 -l 24 -e
        let argon2 = super::super::accounts::tests::argon2id("secret");
        let hash = Hash::parse(&argon2).unwrap();
        assert!(hash.verify(b"secret") && !hash.verify(b"secreT"));
    }

    #[test]
    fn other_hashes_are_told_by_name_and_never_repeated() {
        let broken = &BCRYPT[..59];
        for (text, expected) in [
            ("$apr1$salt$tC2wYb1sKQpMyQ4QZJnLX0", "is an MD5 hash of Apache (apr1)"),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "is a SHA-1 hash without a salt"),
            ("$5$salt$x", "is a SHA-256 hash of crypt"),
            ("$6$salt$x", "is a SHA-512 hash of crypt"),
            ("$2x$05$x", "is a bcrypt hash of the kind with a defect ($2x$)"),
            ("$argon2i$v=19$m=16,t=2,p=1$c2FsdHNhbHQ$x", "is an argon2 hash other than argon2id"),
            ("hunter2", "is a hash of crypt, or the password in plain text"),
            ("", "is a hash of crypt, or the password in plain text"),
            (broken, "is a bcrypt hash that is not whole"),
            (&BCRYPT.replacen("04", "31", 1), "is bcrypt of cost 31, and not of 4 to 15"),
            ("$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHQ", "is an argon2id hash that is not whole"),
            (
                "$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHQ$ASNFZ4mrze8BI0VniavN7w",
                "is argon2id with more than 256 MiB, 32 passes or 16 lanes",
            ),
        ] {
            assert_eq!(Hash::parse(text).unwrap_err(), expected, "{text}");
        }
        assert!(Hash::parse(BCRYPT).is_ok());
    }
}
