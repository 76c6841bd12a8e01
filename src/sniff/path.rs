//! The one reading of a request's path that a rule may match.

use std::borrow::Cow;

/// Reads a path, given without its query, as the `paths` of a rule match it: every escape decoded once.
/// What origins read in more than one way is refused, so that no reading slips past a rule. The error
/// completes "the path …".
pub fn plain_path(path: &str) -> Result<Cow<'_, str>, &'static str> {
    if !path.starts_with('/') {
        return Err("does not start with '/'");
    }
    let plain = decode_path(path)?;
    if plain.bytes().any(|byte| byte.is_ascii_control()) {
        return Err("has a control character");
    }
    // Windows origins take one for '/'; Java ones cut a segment off there, after they matched it or before.
    if plain.contains(['\\', ';']) {
        return Err("has a '\\' or ';'");
    }
    if plain.contains("//") {
        return Err("has an empty segment");
    }
    // Windows drops dots and spaces at the end of a segment.
    let is_dots =
        |segment: &str| !segment.is_empty() && segment.bytes().all(|byte| matches!(byte, b'.' | b' '));
    if plain.split('/').any(is_dots) {
        return Err("has a dot segment");
    }
    Ok(plain)
}

/// Decodes the escapes of a path or a piece of one (RFC 3986 §2.1), but none of what shapes a path.
pub fn decode_path(path: &str) -> Result<Cow<'_, str>, &'static str> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            plain.push(*byte);
            continue;
        }
        let (octet, after) = escaped(after).ok_or("has a broken escape")?;
        if matches!(octet, b'.' | b'/' | b'\\' | b';') {
            return Err("has an escaped '.', '/', '\\' or ';'");
        }
        // Whoever decodes twice would see what is not decoded here.
        if octet == b'%' && escaped(after).is_some() {
            return Err("has an escape within an escape");
        }
        plain.push(octet);
        rest = after;
    }
    // Overlong forms of '.' and '/' are what lenient decoders take for the real ones.
    String::from_utf8(plain).map(Cow::Owned).map_err(|_| "has escapes that are not UTF-8")
}

/// The octet that two hexadecimal digits spell, and what follows them.
fn escaped(digits: &[u8]) -> Option<(u8, &[u8])> {
    let ([high, low], rest) = digits.split_first_chunk()?;
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some((digit(high)? << 4 | digit(low)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_matched_decoded() {
        for (path, plain) in [
            ("/", "/"),
            ("/pub/a-b_c~d.tar.gz", "/pub/a-b_c~d.tar.gz"),
            ("/compare/v1...v2", "/compare/v1...v2"),
            ("/pub/.hidden", "/pub/.hidden"),
            ("/pub/", "/pub/"),
            ("/%61dmin", "/admin"),
            ("/%40scope/name", "/@scope/name"),
            ("/b%C3%BCcher", "/b\u{fc}cher"),
            ("/100%25", "/100%"),
            ("/100%25.txt", "/100%.txt"),
            ("/a%20b+c", "/a b+c"),
        ] {
            assert_eq!(plain_path(path).as_deref(), Ok(plain), "{path}");
        }
    }

    #[test]
    fn a_plain_path_is_not_copied() {
        assert!(matches!(plain_path("/pub/a"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn what_origins_read_in_two_ways_is_refused() {
        for path in [
            "",
            "*",
            "pub",
            "/pub/../etc",
            "/pub/..",
            "/pub/./a",
            "/pub/.. /a",
            "/pub/.../a",
            "/pub/%2e%2e/etc",
            "/pub/%2E./etc",
            "/pub/a%2ehtml",
            "/pub%2fetc",
            "/pub%2Fetc",
            "/pub%5cetc",
            "/pub\\..\\etc",
            "/pub//etc",
            "//etc",
            "/pub;/etc",
            "/pub%3b/etc",
            "/pub/%252e%252e/etc",
            "/pub/%25252e",
            "/pub/%00.html",
            "/pub/%0d%0aX:",
            "/pub/%7f",
            "/pub/%c0%ae%c0%ae/etc",
            "/pub/%e0%80%af",
            "/pub/%u002e",
            "/pub/%zz",
            "/pub/%+2",
            "/pub/%2",
            "/pub/%",
        ] {
            assert!(plain_path(path).is_err(), "{path}");
        }
    }
}
