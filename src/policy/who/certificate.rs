//! Patterns over the names of certificates: SPIFFE IDs and other URIs, DNS names, common names.

use std::fmt;

use crate::client::{NameError, check_name};
use crate::policy::pattern::label_matches;

/// A pattern over the name of a certificate.
///
/// In a URI a `*` stays within a segment, and `**` as the last segment is one or more of them. In any other name
/// a `*` stays within a label, and a leading `*.` is any depth, as in patterns over hosts. `*` alone is any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificatePattern(Box<str>);

/// What is literal in a pattern, and so what it is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead<'a> {
    /// All of it.
    Whole(&'a str),
    /// The beginning of a URI with its last `/`, or the end of another name with its first dot; or nothing.
    Part(&'a str),
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("{0}")]
    Name(#[from] NameError),
    #[error("`**` is the last segment of a URI or nothing")]
    DoubleStar,
}

/// What parts a URI from other names.
const SCHEME: &str = "://";
const ANY: &str = "*";
const REST: &str = "**";

impl CertificatePattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check_name(text)?;
        let body = if is_uri(text) { text.strip_suffix("/**").unwrap_or(text) } else { text };
        if body.contains(REST) {
            return Err(PatternError::DoubleStar);
        }
        Ok(Self(text.into()))
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let pattern = &*self.0;
        if pattern == ANY || pattern == name {
            return true;
        }
        if is_uri(pattern) {
            return segments_match(pattern, name);
        }
        match pattern.strip_prefix("*.") {
            Some(below) => labels_end(name, below),
            None => labels_match(pattern, name),
        }
    }

    /// What it is filed under.
    pub(crate) fn lead(&self) -> Lead<'_> {
        let text = &*self.0;
        let Some(first) = text.find('*') else { return Lead::Whole(text) };
        if is_uri(text) {
            return Lead::Part(text[..first].rfind('/').map_or("", |end| &text[..=end]));
        }
        let last = text.rfind('*').unwrap_or(first);
        Lead::Part(text[last..].find('.').map_or("", |start| &text[last + start..]))
    }

    /// Each text that a pattern which matches this name can be filed under, besides the whole name.
    pub(crate) fn leads(name: &str) -> impl Iterator<Item = &str> {
        let uri = is_uri(name);
        let mark = if uri { '/' } else { '.' };
        let parts = name.match_indices(mark).map(move |(at, _)| if uri { &name[..=at] } else { &name[at..] });
        parts.chain([""])
    }
}

impl fmt::Display for CertificatePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_uri(text: &str) -> bool {
    text.contains(SCHEME)
}

fn segments_match(pattern: &str, name: &str) -> bool {
    let mut segments = name.split('/');
    for wanted in pattern.split('/') {
        let Some(segment) = segments.next() else { return false };
        if wanted == REST {
            return !segment.is_empty();
        }
        if !part_matches(wanted, segment) {
            return false;
        }
    }
    segments.next().is_none()
}

/// Whether a name is at any depth below the labels of `below`.
fn labels_end(name: &str, below: &str) -> bool {
    let depth = below.split('.').count();
    let labels = name.split('.').count();
    if labels <= depth {
        return false;
    }
    let end = name.splitn(labels - depth + 1, '.').last().unwrap_or_default();
    labels_match(below, end) && name.split('.').all(|label| !label.is_empty())
}

fn labels_match(pattern: &str, name: &str) -> bool {
    let (mut wanted, mut labels) = (pattern.split('.'), name.split('.'));
    loop {
        match (wanted.next(), labels.next()) {
            (Some(wanted), Some(label)) if part_matches(wanted, label) => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether a segment or label is what its part of a pattern says; a `*` that is all of it wants something there.
fn part_matches(pattern: &str, text: &str) -> bool {
    pattern.is_empty() == text.is_empty() && label_matches(pattern, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, names, others) in [
            (
                "build.corp.example",
                &["build.corp.example"][..],
                &["a.build.corp.example", "Build.corp.example"][..],
            ),
            (
                "*.corp.example",
                &["a.corp.example", "a.b.corp.example"],
                &["corp.example", ".corp.example", "acorp.example"],
            ),
            (
                "ci-*.corp.example",
                &["ci-1.corp.example", "ci-.corp.example"],
                &["ci-1.evil.corp.example", "xci-1.corp.example"],
            ),
            (
                "*.ci-*.corp.example",
                &["a.ci-1.corp.example", "a.b.ci-1.corp.example"],
                &["ci-1.corp.example", "a.ci-1.x.corp.example"],
            ),
            ("a*b*c", &["abc", "aXbYc", "abbc"], &["ac", "ab", "acb"]),
            (
                "spiffe://corp/ci/*",
                &["spiffe://corp/ci/build", "spiffe://corp/ci/v1.2"],
                &[
                    "spiffe://corp/ci/",
                    "spiffe://corp/ci",
                    "spiffe://corp/ci/a/b",
                    "spiffe://corp.evil/ci/a",
                    "spiffe://evil/spiffe://corp/ci/a",
                ],
            ),
            (
                "spiffe://corp/ci/**",
                &["spiffe://corp/ci/a", "spiffe://corp/ci/a/b"],
                &["spiffe://corp/ci", "spiffe://corp/ci/", "spiffe://corp/cia"],
            ),
            (
                "spiffe://corp/ns/*/sa/build-*",
                &["spiffe://corp/ns/x/sa/build-1"],
                &["spiffe://corp/ns/x/y/sa/build-1", "spiffe://corp/ns//sa/build-1"],
            ),
            ("Alice Smith", &["Alice Smith"], &["alice smith", "Alice"]),
            ("*", &["anyone", "spiffe://corp/x"], &[]),
        ] {
            let parsed = CertificatePattern::parse(pattern).unwrap();
            for name in names {
                assert!(parsed.matches(name), "{pattern} {name}");
            }
            for name in others {
                assert!(!parsed.matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn a_pattern_is_found_by_what_is_literal_in_it() {
        for (pattern, lead, name) in [
            ("build.corp.example", Lead::Whole("build.corp.example"), "build.corp.example"),
            ("*.corp.example", Lead::Part(".corp.example"), "a.b.corp.example"),
            ("ci-*.corp.example", Lead::Part(".corp.example"), "ci-1.corp.example"),
            ("*.ci-*.corp.example", Lead::Part(".corp.example"), "a.ci-1.corp.example"),
            ("spiffe://corp/ci/*", Lead::Part("spiffe://corp/ci/"), "spiffe://corp/ci/a"),
            ("spiffe://corp/ci/**", Lead::Part("spiffe://corp/ci/"), "spiffe://corp/ci/a/b"),
            ("spiffe://corp/*/x/*", Lead::Part("spiffe://corp/"), "spiffe://corp/ns/x/y"),
            ("a*c", Lead::Part(""), "abc"),
            ("*", Lead::Part(""), "x"),
        ] {
            let parsed = CertificatePattern::parse(pattern).unwrap();
            assert_eq!(parsed.lead(), lead, "{pattern}");
            assert!(parsed.matches(name), "{pattern} {name}");
            if let Lead::Part(part) = lead {
                assert!(CertificatePattern::leads(name).any(|lead| lead == part), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, error) in [
            ("", PatternError::Name(NameError::Empty)),
            (" a", PatternError::Name(NameError::Space)),
            ("**", PatternError::DoubleStar),
            ("spiffe://**/a", PatternError::DoubleStar),
            ("spiffe://corp/a**", PatternError::DoubleStar),
        ] {
            assert_eq!(CertificatePattern::parse(text), Err(error), "{text:?}");
        }
    }
}
