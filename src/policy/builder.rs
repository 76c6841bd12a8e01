//! Collects what the policy files say into the shape that is looked up.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use ipnet::IpNet;

use crate::policy::clients::Clients;
use crate::policy::index::{Span, number};
use crate::policy::pattern::{Lead, Pattern};
use crate::policy::rules::{Kind, Row, Rules};
use crate::policy::terms::{Action, Mode, Ports, Profile, Terms};

/// What a rule is about.
#[derive(Clone, Debug)]
pub enum Target {
    Name(Pattern),
    Cidr(IpNet),
}

/// Collects profiles and rules, in file order, into a policy.
#[derive(Clone, Default)]
pub struct Builder {
    rows: Vec<Row>,
    /// All but its rows.
    rules: Rules,
    /// Its sources by their paths: a file has many profiles, and profiles may share a list.
    sources: HashMap<Box<Path>, SourceId>,
}

/// A file or list that rules stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceId(u32);

/// A profile that rules belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileId(u32);

/// Terms that rules share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermsId(u32);

impl Builder {
    pub fn new() -> Self {
        Self::default()
    }

    /// A file that rules stand in, as it is shown to people.
    pub fn source(&mut self, path: &Path) -> SourceId {
        if let Some(known) = self.sources.get(path) {
            return *known;
        }
        let id = SourceId(number(self.rules.sources.len()));
        self.rules.sources.push(path.into());
        self.sources.insert(path.into(), id);
        id
    }

    pub fn profile(&mut self, profile: Profile) -> ProfileId {
        self.rules.profiles.push(profile);
        ProfileId(number(self.rules.profiles.len() - 1))
    }

    /// Terms for any number of rules; give equal terms once.
    pub fn terms(&mut self, terms: Terms) -> TermsId {
        self.rules.terms.push(terms);
        TermsId(number(self.rules.terms.len() - 1))
    }

    /// The next rule in file order.
    pub fn rule(&mut self, profile: ProfileId, target: &Target, terms: TermsId, source: SourceId, line: u32) {
        let (kind, at, depth) = match target {
            Target::Name(pattern) => self.place_pattern(pattern),
            Target::Cidr(network) => {
                let networks = &mut self.rules.networks;
                let at = networks.insert(*network);
                (Kind::Network, at, networks.network(at).prefix_len())
            }
        };
        let order = number(self.rows.len());
        self.rows.push(Row {
            at,
            profile: profile.0,
            order,
            terms: terms.0,
            source: source.0,
            line,
            kind,
            depth,
        });
    }

    /// The profiles so far, in file order.
    pub fn profiles(&self) -> &[Profile] {
        &self.rules.profiles
    }

    /// The ports that the allow rules of every client list; in report mode also those that a name alone opens, as any
    /// may come.
    pub fn ports(&self) -> Ports {
        let rules = &self.rules;
        let terms: HashSet<u32> = self
            .rows
            .iter()
            .filter(|row| rules.profiles[row.profile as usize].clients.is_none())
            .map(|row| row.terms)
            .collect();
        let allowing = terms.iter().map(|&index| &rules.terms[index as usize]);
        let allowing = allowing.filter(|terms| terms.action == Action::Allow);
        let listed = allowing.flat_map(|terms| terms.ports.ranges()).copied();
        let mut everyones = rules.profiles.iter().filter(|profile| profile.clients.is_none());
        let usual: &[_] = match everyones.all(|profile| profile.mode == Mode::Report) {
            true => &[(80, 80), (443, 443)],
            false => &[],
        };
        Ports::new(listed.chain(usual.iter().copied()).collect())
    }

    /// Leaves to every client what is for a jail, and nothing else: the profiles that are for every client already,
    /// and the one of that name.
    pub fn jail(&mut self, profile: Option<&str>) {
        for known in self.rules.profiles.iter_mut().filter(|known| known.clients.is_some()) {
            known.clients = if Some(known.name.as_str()) == profile { None } else { Some(Vec::new()) };
        }
    }

    /// Lets no profile's silence deny.
    pub fn report(&mut self) {
        self.rules.profiles.iter_mut().for_each(|profile| profile.mode = Mode::Report);
    }

    pub(super) fn into_parts(self) -> (Rules, Clients) {
        let Self { mut rows, mut rules, .. } = self;
        rows.sort_unstable_by_key(|row| (place(&rules, row), row.profile, row.order));
        let mut start = 0;
        while start < rows.len() {
            let here = place(&rules, &rows[start]);
            let end = start + rows[start..].iter().take_while(|row| place(&rules, row) == here).count();
            let span = Span::new(start..end);
            match here {
                (Index::Names, suffix) => rules.names.fill(suffix, span),
                (Index::Networks, network) => rules.networks.fill(network, span),
            }
            start = end;
        }
        rules.names.shrink();
        rules.networks.link();
        rules.rows = rows.into_boxed_slice();
        let clients = Clients::new(&rules.profiles);
        (rules, clients)
    }

    fn place_pattern(&mut self, pattern: &Pattern) -> (Kind, u32, u8) {
        let names = &mut self.rules.names;
        // A name has 127 labels at most, so the number fits.
        let depth = pattern.depth() as u8;
        let lead: Lead = pattern.lead();
        if pattern.globs().is_empty() {
            return (Kind::Name(lead), names.insert(pattern.literal_suffix()), depth);
        }
        (Kind::Glob(lead), names.insert_globs(pattern), depth)
    }
}

/// Which index a rule is found through.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Index {
    Names,
    Networks,
}

fn place(rules: &Rules, row: &Row) -> (Index, u32) {
    match row.kind {
        Kind::Name(_) => (Index::Names, row.at),
        Kind::Glob(_) => (Index::Names, rules.names.suffix_of(row.at)),
        Kind::Network => (Index::Networks, row.at),
    }
}
