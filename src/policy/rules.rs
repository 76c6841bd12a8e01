//! The rules in memory: one small row each, found through the indices, printed for people.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use crate::guard;
use crate::host::Name;
use crate::policy::index::{Names, Networks, Span};
use crate::policy::pattern::Lead;
use crate::policy::terms::{Action, Profile, Terms, Way};

/// Every rule of a policy and what it refers to.
#[derive(Clone, Default)]
pub(super) struct Rules {
    pub(super) revision: u64,
    /// Sorted by place, then by profile, then in file order: the rules of one place are one range,
    /// and those of one profile there are found by bisection.
    pub(super) rows: Box<[Row]>,
    pub(super) names: Names,
    pub(super) networks: Networks,
    pub(super) profiles: Vec<Profile>,
    pub(super) terms: Vec<Terms>,
    pub(super) sources: Vec<Box<Path>>,
}

/// A rule. There may be a million: 28 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The number of a suffix, of globs or of a network, by the kind.
    pub(super) at: u32,
    pub(super) profile: u32,
    /// Its place among all rules as they were read.
    pub(super) order: u32,
    pub(super) terms: u32,
    pub(super) source: u32,
    pub(super) line: u32,
    pub(super) kind: Kind,
    /// How closely it describes what it matches: the labels of a pattern, or the length of a prefix.
    pub(super) depth: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Name(Lead),
    Glob(Lead),
    Network,
}

/// A rule of a policy, for people: prints as `policies/build.yaml:8 "*.crates.io"`.
#[derive(Clone, Copy)]
pub struct Rule<'p> {
    rules: &'p Rules,
    row: &'p Row,
}

/// Which rule it is, of all that this process ever had: to be kept where a rule would keep its policy alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleId {
    revision: u64,
    order: u32,
}

impl RuleId {
    /// That of its policy.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

impl Rules {
    /// Visits the rules of these profiles that match the name.
    pub(super) fn each_for_name<'r>(&'r self, name: &Name, profiles: &[u32], mut visit: impl FnMut(&'r Row)) {
        self.names.each(name.as_str(), |span, left| {
            self.each_of(span, profiles, |row| {
                let matches = match row.kind {
                    Kind::Name(lead) => lead.reaches(left),
                    Kind::Glob(lead) => self.names.globs_match(row.at, lead, left),
                    Kind::Network => false,
                };
                if matches {
                    visit(row);
                }
            });
        });
    }

    /// Visits the rules of these profiles whose network holds the address.
    pub(super) fn each_for_address<'r>(
        &'r self,
        address: IpAddr,
        profiles: &[u32],
        mut visit: impl FnMut(&'r Row),
    ) {
        self.networks.each(address, |span| self.each_of(span, profiles, &mut visit));
    }

    /// Visits the rules of these profiles that deny the address, or the IPv4 address that it carries inside: it is the way
    /// there where something translates (NAT64).
    pub(super) fn each_denying<'r>(
        &'r self,
        address: IpAddr,
        profiles: &[u32],
        mut visit: impl FnMut(&'r Row),
    ) {
        for address in std::iter::once(address).chain(guard::carried(address)) {
            self.each_for_address(address, profiles, |row| {
                if self.terms_of(row).action == Action::Deny {
                    visit(row);
                }
            });
        }
    }

    pub(super) fn terms_of(&self, row: &Row) -> &Terms {
        &self.terms[row.terms as usize]
    }

    pub(super) fn profile_of(&self, row: &Row) -> &Profile {
        &self.profiles[row.profile as usize]
    }

    /// Which way a rule sends what it allows: its own word goes before its profile's.
    pub(super) fn way_of(&self, row: &Row) -> Option<&Way> {
        self.terms_of(row).way.as_ref().or(self.profile_of(row).way.as_ref())
    }

    /// The network of a rule about addresses.
    pub(super) fn network_of(&self, row: &Row) -> Option<IpNet> {
        (row.kind == Kind::Network).then(|| self.networks.network(row.at))
    }

    /// Visits the rules of these profiles in a range that is sorted by profile, bisecting by the shorter side.
    fn each_of<'r>(&'r self, span: Span, profiles: &[u32], mut visit: impl FnMut(&'r Row)) {
        let mut rows = &self.rows[span.range()];
        if rows.len() <= profiles.len() {
            rows.iter().filter(|row| profiles.binary_search(&row.profile).is_ok()).for_each(visit);
            return;
        }
        for &profile in profiles {
            rows = &rows[rows.partition_point(|row| row.profile < profile)..];
            rows.iter().take_while(|row| row.profile == profile).for_each(&mut visit);
        }
    }
}

impl Row {
    /// Whether this rule describes a destination more closely than the other, or as closely and stands earlier.
    fn is_closer_than(&self, other: &Self) -> bool {
        (self.depth, other.order) > (other.depth, self.order)
    }

    /// Takes the place of one that is not as close.
    pub(super) fn keep_closest<'r>(&'r self, closest: &mut Option<&'r Self>) {
        if closest.is_none_or(|closest| self.is_closer_than(closest)) {
            *closest = Some(self);
        }
    }
}

impl<'p> Rule<'p> {
    pub(super) fn new(rules: &'p Rules, row: &'p Row) -> Self {
        Self { rules, row }
    }

    pub fn id(&self) -> RuleId {
        RuleId { revision: self.rules.revision, order: self.row.order }
    }

    /// The file it stands in.
    pub fn source(&self) -> &'p Path {
        &self.rules.sources[self.row.source as usize]
    }

    pub fn line(&self) -> u32 {
        self.row.line
    }

    /// The pattern or the network, in canonical form.
    pub fn pattern(&self) -> impl fmt::Display + use<'p> {
        let Self { rules, row } = *self;
        fmt::from_fn(move |f| write_target(f, rules, row))
    }

    /// The profile it belongs to.
    pub fn profile(&self) -> &'p str {
        &self.rules.profile_of(self.row).name
    }

    pub fn action(&self) -> Action {
        self.terms().action
    }

    pub fn terms(&self) -> &'p Terms {
        self.rules.terms_of(self.row)
    }
}

impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} \"{}\"", self.source().display(), self.line(), self.pattern())
    }
}

impl fmt::Debug for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_target(f: &mut fmt::Formatter<'_>, rules: &Rules, row: &Row) -> fmt::Result {
    let names = &rules.names;
    match row.kind {
        Kind::Name(lead) => {
            let suffix = names.suffix_text(row.at);
            write!(f, "{}{suffix}", lead.written(suffix.is_empty()))
        }
        Kind::Glob(lead) => {
            let suffix = names.suffix_text(names.suffix_of(row.at));
            let dot = if suffix.is_empty() { "" } else { "." };
            write!(f, "{}{}{dot}{suffix}", lead.written(false), names.globs_text(row.at))
        }
        Kind::Network => write!(f, "{}", rules.networks.network(row.at)),
    }
}
