//! The terms of two rules for the same destinations, side by side.

use std::collections::BTreeSet;
use std::fmt;

use crate::policy::terms::{Action, Ports, Private, Profile, Protocol, Terms};

/// Of what another rule names methods and paths for, that which a rule lets through with any.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Voided {
    /// `None`: every port of the other.
    ports: Option<Ports>,
    every_address: bool,
}

impl Voided {
    /// What an allow rule lets through with any method and path of what another names them for; `None`: nothing.
    pub(super) fn by(wide: &Terms, narrow: &Terms) -> Option<Self> {
        let outlasts = wide.until.is_none_or(|last| narrow.until.is_some_and(|until| until <= last));
        let shared = shared_with_http(wide, &narrow.ports);
        if !outlasts || shared.is_empty() {
            return None;
        }
        let ports = (shared != narrow.ports).then_some(shared);
        Some(Self { ports, every_address: opens_as_much(&wide.private, &narrow.private) })
    }

    /// Whether nothing is left that the other limits.
    pub(super) fn is_all(&self) -> bool {
        self.ports.is_none() && self.every_address
    }
}

/// Completes "it limits nothing…".
impl fmt::Display for Voided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, &(first, last)) in self.ports.iter().flat_map(Ports::ranges).enumerate() {
            f.write_str(if index == 0 { " on " } else { ", " })?;
            match first == last {
                true => write!(f, "{first}")?,
                false => write!(f, "{first}-{last}")?,
            }
        }
        f.write_str(if self.every_address { "" } else { " at addresses that both open" })
    }
}

/// Whether a deny rule takes in all that an allow rule would let through.
pub(super) fn denies_all(deny: &Terms, allow: &Terms) -> bool {
    let outlasts = deny.until.is_none_or(|last| allow.until.is_some_and(|until| until <= last));
    let protocol = match deny.protocol {
        None | Some(Protocol::Tcp) => true,
        own => own == protocol(allow),
    };
    let ports = allow
        .ports
        .ranges()
        .iter()
        .all(|&(first, last)| deny.ports.ranges().iter().any(|&(from, to)| from <= first && last <= to));
    let methods = is_within(&allow.methods, &deny.methods);
    outlasts && protocol && ports && methods && is_within(paths(allow), paths(deny))
}

/// Whether two rules of a profile say the same, whatever their reasons and parents are.
pub(super) fn is_same(a: &Terms, b: &Terms, profile: &Profile) -> bool {
    let ech = |terms: &Terms| terms.ech_outer || profile.ech_outer;
    std::ptr::eq(a, b)
        || (a.action == b.action
            && a.ports == b.ports
            && protocol(a) == protocol(b)
            && opens_as_much(&a.private, &b.private)
            && opens_as_much(&b.private, &a.private)
            && a.until == b.until
            && set(&a.methods) == set(&b.methods)
            && set(paths(a)) == set(paths(b))
            && ech(a) == ech(b))
}

/// What a rule wants inside, also where it says so by its ports.
fn protocol(terms: &Terms) -> Option<Protocol> {
    match (terms.action, terms.ports.ranges()) {
        (Action::Allow, &[(port, last)]) if port == last => terms.wants(port),
        _ => terms.protocol,
    }
}

fn paths(terms: &Terms) -> &[String] {
    terms.paths.as_ref().map_or(&[], |paths| &paths.patterns)
}

/// The ports of these on which a rule takes any HTTP.
fn shared_with_http(wide: &Terms, ports: &Ports) -> Ports {
    let shared = wide.ports.and(ports);
    match wide.protocol {
        Some(Protocol::Http | Protocol::Tcp) => shared,
        Some(Protocol::Tls) => Ports::new(Vec::new()),
        // By default 443 is for TLS alone.
        None => shared.without(&Ports::new(vec![(443, 443)])),
    }
}

/// Whether one opens every special address that the other does.
fn opens_as_much(wide: &Private, narrow: &Private) -> bool {
    match (wide, narrow) {
        (_, Private::No) | (Private::Any, _) => true,
        (Private::Networks(wide), Private::Networks(narrow)) => {
            narrow.iter().all(|narrow| wide.iter().any(|wide| wide.contains(narrow)))
        }
        (Private::No | Private::Networks(_), _) => false,
    }
}

/// Whether a condition asks for nothing that another does not; one that names nothing asks for nothing.
fn is_within(narrow: &[String], wide: &[String]) -> bool {
    wide.is_empty() || (!narrow.is_empty() && set(narrow).is_subset(&set(wide)))
}

fn set(texts: &[String]) -> BTreeSet<&str> {
    texts.iter().map(String::as_str).collect()
}
