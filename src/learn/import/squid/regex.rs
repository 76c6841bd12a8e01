//! The few regular expressions over domains that mean names: what people write for "this domain".

use crate::learn::import::places::{Place, name};

/// The places that an expression means, if it is one of these: `^example\.com$`, `\.example\.com$`,
/// `(^|\.)example\.com$`. Squid searches, so without `^` and `$` an expression means more than names.
pub(super) fn places(expression: &str) -> Option<Vec<Place>> {
    let body = expression.strip_suffix('$')?;
    for (start, place) in [
        ("(^|\\.)", Place::Within as fn(_) -> Place),
        ("(\\.|^)", Place::Within),
        ("^(.*\\.)?", Place::Within),
        ("^(.+\\.)?", Place::Within),
        ("^.*\\.", Place::Below),
        ("^.+\\.", Place::Below),
        ("^", Place::Exact),
        ("\\.", Place::Below),
    ] {
        if let Some(domain) = body.strip_prefix(start) {
            return literal(domain).and_then(|text| name(&text)).map(|name| vec![place(name)]);
        }
    }
    None
}

/// The text that an expression without wildcards means; a bare `.` would be any character.
fn literal(expression: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = expression.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => text.push(characters.next().filter(|c| matches!(c, '.' | '-'))?),
            _ if c.is_ascii_alphanumeric() || c == '-' || c == '_' => text.push(c),
            _ => return None,
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_for_domains_are_read_and_no_others() {
        let name = |text: &str| name(text).unwrap();
        for (expression, expected) in [
            (r"^example\.com$", Some(Place::Exact(name("example.com")))),
            (r"\.example\.com$", Some(Place::Below(name("example.com")))),
            (r"(^|\.)example\.com$", Some(Place::Within(name("example.com")))),
            (r"^(.*\.)?example\.com$", Some(Place::Within(name("example.com")))),
            (r"^.+\.my-site\.example$", Some(Place::Below(name("my-site.example")))),
            // Also notexample.com, exampleXcom, example.com.evil.example.
            (r"example\.com$", None),
            (r"^example.com$", None),
            (r"^example\.com", None),
            (r"example", None),
            (r"^(a|b)\.example\.com$", None),
            (r"^$", None),
        ] {
            assert_eq!(places(expression), expected.map(|place| vec![place]), "{expression}");
        }
    }
}
