//! The public suffix list against wildcards: `*.github.io` is not one organisation but everyone's sites.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::policy::pattern::Pattern;

/// How far a wildcard of an allow rule reaches beyond one organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// `*`: every name there is.
    Everything,
    /// Names under this public suffix, which anyone may register.
    PublicSuffix,
    /// Some public suffixes lie below the pattern's own suffix, like `s3.amazonaws.com` below `amazonaws.com`.
    AbovePublicSuffix,
    /// A whole top-level domain that the list does not know: a private one, or a slip.
    UnknownTopLevel,
}

/// Says whether a pattern's wildcard reaches beyond one organisation; `None` if it does not.
pub(super) fn reach(pattern: &Pattern) -> Option<Reach> {
    if !pattern.is_wildcard() {
        return None;
    }
    let suffix = pattern.literal_suffix();
    if suffix.is_empty() {
        // A shape like `cdn.*` is no way to say "everything": it names a label below every suffix.
        let is_everything = pattern.to_string() == "*";
        return Some(if is_everything { Reach::Everything } else { Reach::PublicSuffix });
    }
    if is_public(suffix) || has_wildcard_below(suffix) {
        return Some(Reach::PublicSuffix);
    }
    if !suffix.contains('.') {
        return Some(Reach::UnknownTopLevel);
    }
    ABOVE.contains(suffix).then_some(Reach::AbovePublicSuffix)
}

/// Whether every name that a pattern matches is sure to belong to one owner: no public suffix lies within its reach.
pub fn has_one_owner(pattern: &Pattern) -> bool {
    reach(pattern).is_none()
}

/// Names that are no public suffix themselves but have some below: the psl crate can look up, not list.
static ABOVE: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    include_str!("above_suffixes.txt").lines().filter(|line| !line.starts_with('#')).collect()
});

/// Whether the list has the name itself. Its default rule, by which every top-level domain is a suffix, is left out.
fn is_public(name: &str) -> bool {
    psl::suffix(name.as_bytes())
        .is_some_and(|suffix| suffix.is_known() && suffix.as_bytes() == name.as_bytes())
}

/// Whether the list has a rule like `*.kawasaki.jp`: each name right below is a suffix.
fn has_wildcard_below(name: &str) -> bool {
    // A label that no exception of the list has.
    is_public(&format!("x--x.{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_reaches_as_far_as_its_suffix_is_shared() {
        for (text, expected) in [
            ("com", None),
            ("github.io", None),
            ("example.com", None),
            ("*.example.com", None),
            (".example.co.uk", None),
            ("api-*.eu.example.com", None),
            ("*.project.github.io", None),
            ("*.corp.example", None),
            ("*.internal.corp", None),
            ("*", Some(Reach::Everything)),
            ("cdn.*", Some(Reach::PublicSuffix)),
            ("*.com", Some(Reach::PublicSuffix)),
            (".com", Some(Reach::PublicSuffix)),
            ("api-*.com", Some(Reach::PublicSuffix)),
            ("a.*.com", Some(Reach::PublicSuffix)),
            ("*.co.uk", Some(Reach::PublicSuffix)),
            ("*.github.io", Some(Reach::PublicSuffix)),
            (".github.io", Some(Reach::PublicSuffix)),
            ("team-*.github.io", Some(Reach::PublicSuffix)),
            ("*.s3.amazonaws.com", Some(Reach::PublicSuffix)),
            ("*.kawasaki.jp", Some(Reach::PublicSuffix)),
            ("*.city.kawasaki.jp", None),
            ("*.xn--55qx5d.cn", Some(Reach::PublicSuffix)),
            ("*.amazonaws.com", Some(Reach::AbovePublicSuffix)),
            (".windows.net", Some(Reach::AbovePublicSuffix)),
            ("*.internal", Some(Reach::UnknownTopLevel)),
            (".corp", Some(Reach::UnknownTopLevel)),
            ("*.example", Some(Reach::UnknownTopLevel)),
        ] {
            assert_eq!(reach(&Pattern::parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn the_table_holds_no_suffix_itself() {
        for name in ABOVE.iter() {
            assert!(!is_public(name) && name.contains('.'), "{name}");
        }
    }
}
