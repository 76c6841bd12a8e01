//! From what was counted to a policy that allows it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::learn::count::Count;
use crate::learn::draft::{self, Draft, Profile, unused};
use crate::learn::group::Group;
use crate::learn::options::By;
use crate::learn::settle::Settled;
use crate::learn::tally::{Key, Tally};
use crate::plural::plural;
use crate::policy::terms;
use crate::policy::who::Who;
use crate::reason::Reason;

/// A policy that would have been enough; prints as the file.
#[derive(Debug)]
pub struct Suggestion {
    pub draft: Draft,
    /// How many rules it has.
    pub rules: usize,
    /// Flows that found no room among what is kept, so that the policy may miss something.
    pub lost: u64,
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draft.fmt(f)
    }
}

/// A group under its name.
struct Named {
    name: String,
    clients: Option<Vec<Who>>,
    group: Group,
}

impl Tally {
    /// The policy, the same for the same flows in whatever order they came.
    pub fn suggest(mut self) -> Suggestion {
        let groups = std::mem::take(&mut self.groups).into_iter();
        let groups: Vec<Named> = match self.options.by {
            By::Client => alike(groups.collect()),
            _ => groups.map(|(key, group)| self.named(key, group)).collect(),
        };
        let mut taken: BTreeSet<String> =
            self.existing().iter().map(|profile| profile.name.clone()).collect();
        let mut only_asked = (0, Count::default());
        let mut profiles = Vec::new();
        for Named { name, clients, group } in groups {
            let settled = group.settle();
            only_asked.0 += settled.only_asked.0;
            only_asked.1.merge(settled.only_asked.1);
            let allow = settled.entries(self.options.siblings);
            if allow.is_empty() {
                continue;
            }
            let name = unused(&name, &mut taken);
            profiles.push(Profile { name, clients, allow, ..Profile::default() });
        }
        if profiles.is_empty() && self.baseline.is_none() {
            // A policy needs a profile. This one allows nothing.
            profiles.push(Profile { name: unused(&self.options.name, &mut taken), ..Profile::default() });
        }
        let rules = profiles.iter().flat_map(|profile| &profile.allow);
        let rules = rules.filter(|entry| matches!(entry, draft::Entry::Rule { .. })).count();
        Suggestion {
            rules,
            lost: self.lost.flows,
            draft: Draft { head: self.head(), profiles, foot: self.foot(only_asked) },
        }
    }

    fn named(&self, key: Key, group: Group) -> Named {
        let Key::Profiles(profiles) = key else {
            return Named { name: self.options.name.clone(), clients: None, group };
        };
        let own = match &profiles[..] {
            [one] => self.existing().iter().find(|profile| *profile.name == **one),
            _ => None,
        };
        let clients = match own {
            Some(own) => own.clients.clone(),
            None => Some(networks(aggregated(&group))),
        };
        let name = match &profiles[..] {
            [] => "no-profile".to_owned(),
            names => names.join("-and-"),
        };
        Named { name, clients, group }
    }

    /// The profiles that the baseline has.
    fn existing(&self) -> &[terms::Profile] {
        self.baseline.as_ref().map(|baseline| baseline.policy.profiles()).unwrap_or_default()
    }

    fn head(&self) -> Vec<String> {
        let mut head = vec!["A policy that would have been enough, suggested by exeat.".to_owned()];
        let from = |first: Timestamp| format!(", first {}", first.to_zoned(TimeZone::UTC).date());
        head.push(format!("From {}{}.", self.all, self.first.map(from).unwrap_or_default()));
        if !self.lost.is_zero() {
            head.push(format!(
                "INCOMPLETE: {} are left out, since there are more destinations or clients than are kept.",
                plural(self.lost.flows, "flow")
            ));
        }
        head
    }

    fn foot(&self, only_asked: (u64, Count)) -> Vec<String> {
        let mut foot = Vec::new();
        if !self.named.is_zero() {
            foot.push(format!(
                "By users or certificates, for whom `clients` has the addresses alone: {}. Name them before you use it.",
                self.named
            ));
        }
        if !self.covered.is_zero() {
            foot.push(format!("Allowed by the baseline already: {}.", self.covered));
        }
        if only_asked.0 > 0 {
            let names = plural(only_asked.0, "name");
            foot.push(format!("Only asked for over DNS, never connected to: {names}, {}.", only_asked.1));
        }
        let mut left: Vec<(&Reason, &Count)> = self.left.iter().collect();
        left.sort_by_key(|(reason, _)| **reason as usize);
        for (reason, count) in left {
            let hint = match reason {
                Reason::NoRule | Reason::NoProfile if !self.options.denied => "; --denied takes them in",
                _ => "",
            };
            foot.push(format!("Not taken into account, {reason}: {count}{hint}."));
        }
        foot
    }
}

/// Clients that did the same share a profile.
fn alike(groups: Vec<(Key, Group)>) -> Vec<Named> {
    let mut shared: Vec<Group> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (_, group) in groups {
        match places.entry(signature(&group.settle())) {
            Entry::Occupied(place) => shared[*place.get()].merge(group),
            Entry::Vacant(place) => {
                place.insert(shared.len());
                shared.push(group);
            }
        }
    }
    let named = shared.into_iter().zip(1..).map(|(group, number)| {
        let clients = aggregated(&group);
        let name = match &clients[..] {
            [one] => format!("client-{}", draft::bare(one)),
            _ => format!("clients-{number}"),
        };
        Named { name, clients: Some(networks(clients)), group }
    });
    named.collect()
}

/// What a group may do, whatever else was seen of it.
fn signature(settled: &Settled<'_>) -> String {
    let mut signature = String::new();
    for (name, terms) in &settled.wanted {
        let terms: Vec<_> = terms.iter().map(|(terms, _)| terms).collect();
        signature += &format!("{name} {terms:?}\n");
    }
    signature
}

/// The clients of a group in the fewest networks that hold nobody else.
fn aggregated(group: &Group) -> Vec<IpNet> {
    let mut networks = IpNet::aggregate(&group.clients.iter().copied().collect());
    networks.sort();
    networks
}

fn networks(networks: Vec<IpNet>) -> Vec<Who> {
    networks.into_iter().map(Who::Network).collect()
}
