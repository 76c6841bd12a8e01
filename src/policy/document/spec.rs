//! The terms of a rule as read: comparable, so that equal ones are kept once.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use jiff::civil::Date;

use crate::policy::terms::{Action, Paths, Ports, Private, Protocol, Terms, Way};
use crate::sniff::decode_path;

/// Terms before their path patterns are compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Spec {
    pub(super) action: Action,
    pub(super) ports: Ports,
    pub(super) protocol: Option<Protocol>,
    pub(super) private: Private,
    pub(super) until: Option<Date>,
    pub(super) methods: Vec<String>,
    pub(super) paths: Vec<String>,
    pub(super) ech_outer: bool,
    pub(super) way: Option<Way>,
    pub(super) reason: Option<Box<str>>,
}

impl Spec {
    /// The terms of a pattern that stands alone: 443 and 80 in `allow`, everything in `deny`.
    pub(super) fn plain(action: Action) -> Self {
        Self {
            action,
            ports: default_ports(action, None),
            protocol: None,
            private: Private::No,
            until: None,
            methods: Vec::new(),
            paths: Vec::new(),
            ech_outer: false,
            way: None,
            reason: None,
        }
    }

    /// The error completes "the paths can't be compiled: …".
    pub(super) fn compile(&self) -> Result<Terms, String> {
        Ok(Terms {
            action: self.action,
            ports: self.ports.clone(),
            protocol: self.protocol,
            private: self.private.clone(),
            until: self.until,
            methods: self.methods.clone(),
            paths: match self.paths.is_empty() {
                true => None,
                false => Some(Paths { patterns: self.paths.clone(), globs: globs(&self.paths)? }),
            },
            ech_outer: self.ech_outer,
            way: self.way.clone(),
            reason: self.reason.clone(),
        })
    }
}

/// The ports where none are named. A `tcp` rule in `allow` has no default.
pub(super) fn default_ports(action: Action, protocol: Option<Protocol>) -> Ports {
    match (action, protocol) {
        (Action::Deny, _) => Ports::all(),
        (Action::Allow, Some(Protocol::Tls)) => Ports::new(vec![(443, 443)]),
        (Action::Allow, Some(Protocol::Http)) => Ports::new(vec![(80, 80)]),
        (Action::Allow, _) => Ports::new(vec![(80, 80), (443, 443)]),
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let decoded = decoded(pattern)?;
        let glob = GlobBuilder::new(&decoded).literal_separator(true).backslash_escape(false).build();
        set.add(glob.map_err(|error| error.to_string())?);
    }
    set.build().map_err(|error| error.to_string())
}

/// The pattern over paths as they are matched, decoded: an escape there stands for its character, and never for a wildcard.
fn decoded(pattern: &str) -> Result<String, &'static str> {
    let pieces: Result<Vec<_>, _> =
        pattern.split('*').map(|piece| decode_path(piece).map(|piece| globset::escape(&piece))).collect();
    pieces.map(|pieces| pieces.join("*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_in_paths_stay_within_a_segment_unless_they_are_one() {
        for (pattern, matching, others) in [
            ("/", &["/"][..], &["/a", ""][..]),
            ("/a/*", &["/a/b", "/a/"], &["/a", "/a/b/c", "/A/b"]),
            ("/a*b", &["/ab", "/axb"], &["/a/b", "/axbc"]),
            ("/pub/**", &["/pub/a", "/pub/a/b", "/pub/"], &["/pub", "/public", "/x/pub/a"]),
            ("/**", &["/", "/a", "/a/b"], &[]),
            ("/**/x", &["/x", "/a/x", "/a/b/x"], &["/ax", "/x/a"]),
            ("/a/**/z", &["/a/z", "/a/b/z", "/a/b/c/z"], &["/a", "/az"]),
            ("/a%20b", &["/a b"], &["/a%20b", "/ab"]),
            ("/%C3%A9*", &["/\u{e9}", "/\u{e9}a"], &["/%C3%A9", "/e"]),
            ("/%2A%3F%5B%7D/*", &["/*?[}/a"], &["/ax[}/a", "/%2A%3F%5B%7D/a"]),
        ] {
            let globs = globs(&[pattern.to_owned()]).unwrap();
            matching.iter().for_each(|path| assert!(globs.is_match(path), "{pattern} and {path}"));
            others.iter().for_each(|path| assert!(!globs.is_match(path), "{pattern} and {path}"));
        }
    }
}
