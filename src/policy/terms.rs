//! What a profile and a rule say besides the name: the terms on which a destination is allowed or denied.

use std::sync::Arc;

use globset::GlobSet;
use ipnet::IpNet;
use jiff::civil::Date;

use crate::mistake::Place;
use crate::policy::outgoing::Outgoing;
use crate::policy::who::Who;

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Allow,
    Deny,
}

/// Whether a profile's silence denies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Enforce,
    /// Let through what no rule decides, and record `would_deny`.
    Report,
}

/// Which way flows go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// To the upstream itself.
    Direct,
    /// Through the parent of this name.
    Parent(Arc<str>),
}

/// What must be inside a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// A ClientHello whose server name is the destination.
    Tls,
    /// HTTP requests to the destination.
    Http,
    /// Anything: exeat does not look inside.
    Tcp,
}

/// Which special addresses (see [`crate::guard`]) a rule lets its name resolve to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Private {
    /// Public addresses only.
    #[default]
    No,
    /// Any but metadata addresses.
    Any,
    /// Those in these networks, metadata addresses never.
    Networks(Vec<IpNet>),
}

/// Inclusive ranges of ports, sorted and without overlaps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ports(Vec<(u16, u16)>);

impl Ports {
    /// Every port.
    pub fn all() -> Self {
        Self(vec![(0, u16::MAX)])
    }

    /// The union of the ranges, each given by its first and last port.
    pub fn new(mut ranges: Vec<(u16, u16)>) -> Self {
        ranges.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if u32::from(first) <= u32::from(*end) + 1 => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    pub fn contains(&self, port: u16) -> bool {
        // The ranges stand in order, and there may be many of them.
        let next = self.0.partition_point(|&(_, last)| last < port);
        self.0.get(next).is_some_and(|&(first, _)| first <= port)
    }

    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ports of both.
    pub fn and(&self, other: &Self) -> Self {
        let pairs = self.0.iter().flat_map(|a| other.0.iter().map(move |b| (a.0.max(b.0), a.1.min(b.1))));
        Self::new(pairs.filter(|(first, last)| first <= last).collect())
    }

    /// The ports that the other does not have.
    pub fn without(&self, other: &Self) -> Self {
        let left = other.0.iter().fold(self.0.clone(), |left, &(from, to)| {
            let pieces = left.into_iter().flat_map(|(first, last)| {
                let before = (from > first).then(|| (first, last.min(from - 1)));
                let after = (to < last).then(|| (first.max(to + 1), last));
                match first > to || last < from {
                    true => [Some((first, last)), None],
                    false => [before, after],
                }
            });
            pieces.flatten().collect()
        });
        Self::new(left)
    }
}

/// The path patterns of a rule, as written and compiled.
#[derive(Clone, Debug)]
pub struct Paths {
    pub patterns: Vec<String>,
    pub globs: GlobSet,
}

/// The terms of a rule. Rules with the same terms share them, so a list of a million names has one.
#[derive(Clone, Debug)]
pub struct Terms {
    pub action: Action,
    pub ports: Ports,
    /// `None`: TLS on 443, HTTP on 80, either of the two elsewhere; for a deny rule, everything.
    pub protocol: Option<Protocol>,
    pub private: Private,
    /// The last day, ending at 24:00 UTC, on which the rule holds.
    pub until: Option<Date>,
    /// Upper-case; empty: any.
    pub methods: Vec<String>,
    pub paths: Option<Paths>,
    /// Whether a hello with Encrypted Client Hello passes by its outer name.
    pub ech_outer: bool,
    /// `None`: as the profile says.
    pub way: Option<Way>,
    /// Why the rule is there, in its author's words.
    pub reason: Option<Box<str>>,
}

/// What a profile says of itself.
#[derive(Clone, Debug)]
pub struct Profile {
    pub name: String,
    /// Where it stands: further rules for its clients belong there.
    pub place: Place,
    /// `None`: every client.
    pub clients: Option<Vec<Who>>,
    pub mode: Mode,
    pub ech_outer: bool,
    /// `None`: as the settings say.
    pub outgoing: Option<Arc<Outgoing>>,
    /// `None`: to the upstream itself.
    pub way: Option<Way>,
}

impl Terms {
    /// Whether the rule still holds on a day.
    pub fn hold(&self, today: Date) -> bool {
        self.until.is_none_or(|last| today <= last)
    }

    /// What an allow rule wants inside on a port; `None`: TLS or HTTP.
    pub fn wants(&self, port: u16) -> Option<Protocol> {
        self.protocol.or(match port {
            443 => Some(Protocol::Tls),
            80 => Some(Protocol::Http),
            _ => None,
        })
    }

    /// Whether it is about some requests alone, which can be seen in HTTP alone.
    pub fn is_narrowed(&self) -> bool {
        !self.methods.is_empty() || self.paths.is_some()
    }
}

impl Way {
    /// The parent's name, if it is through one.
    pub fn parent(&self) -> Option<&Arc<str>> {
        match self {
            Self::Direct => None,
            Self::Parent(name) => Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges_join() {
        let ports = Ports::new(vec![(8000, 8100), (443, 443), (80, 80), (8050, 9000), (444, 450)]);
        assert_eq!(ports.ranges(), [(80, 80), (443, 450), (8000, 9000)]);
        assert!(ports.contains(447) && !ports.contains(79));
        assert!(Ports::new(vec![(0, u16::MAX), (5, 6)]).contains(u16::MAX));
    }
}
