//! What was seen of clients that share a profile, each destination counted once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::destination::Destination;
use crate::host::{Host, Name};
use crate::learn::count::Count;
use crate::learn::observation::Observation;
use crate::learn::rules::Inside;
use crate::learn::unusual::{Why, domain};

/// The most destinations that are kept, some 200 bytes each.
const DESTINATIONS_MAX: usize = 250_000;
/// The most of them below one domain, and the most addresses: what has more is no list of servers.
const DOMAIN_MAX: usize = 1_000;
/// How many addresses are kept that a name led to.
const ADDRESSES_MAX: usize = 8;

/// What was seen of some clients.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) clients: BTreeSet<IpNet>,
    pub(super) names: HashMap<Name, Named>,
    pub(super) apart: HashMap<(Why, Destination), Apart>,
    /// How much there is below each domain; addresses are below the empty one.
    pub(super) domains: HashMap<Box<str>, Domain>,
}

/// What was seen of a name.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) ports: BTreeMap<u16, Inside>,
    /// Flows that never had a connection.
    pub(super) unreached: BTreeMap<u16, Inside>,
    pub(super) questions: Count,
}

#[derive(Debug, Default)]
pub(super) struct Apart {
    pub(super) inside: Inside,
    pub(super) addresses: BTreeSet<IpAddr>,
}

#[derive(Debug, Default)]
pub(super) struct Domain {
    kept: usize,
    /// Flows to destinations that found no room here.
    pub(super) more: Count,
}

/// What a flow says about destinations.
pub(super) enum Case {
    Wanted,
    Unreached,
    Apart(Why),
    Question,
    Covered,
    Nothing,
}

impl Group {
    /// Whether it is counted already, so that it needs no further room.
    pub(super) fn has(&self, case: &Case, to: &Destination) -> bool {
        match (case, &to.host) {
            (Case::Apart(why), _) => self.apart.contains_key(&(*why, to.clone())),
            (_, Host::Ip(_)) => false,
            (case, Host::Name(name)) => self.names.get(name).is_some_and(|named| match case {
                Case::Unreached => named.unreached.contains_key(&to.port),
                Case::Question => true,
                _ => named.ports.contains_key(&to.port),
            }),
        }
    }

    /// Takes the room of one destination. `None` where there is none at all, false where its domain has too much.
    pub(super) fn room(
        &mut self,
        to: &Destination,
        time: Timestamp,
        destinations: &mut usize,
    ) -> Option<bool> {
        if *destinations >= DESTINATIONS_MAX {
            return None;
        }
        let below = to.host.name().map_or("", domain);
        if !self.domains.contains_key(below) {
            self.domains.insert(below.into(), Domain::default());
        }
        let domain = self.domains.get_mut(below)?;
        if domain.kept >= DOMAIN_MAX {
            domain.more.add(time);
            return Some(false);
        }
        domain.kept += 1;
        *destinations += 1;
        Some(true)
    }

    pub(super) fn count(&mut self, seen: &Observation, to: &Destination, case: &Case) {
        if let Case::Apart(why) = case {
            let apart = self.apart.entry((*why, to.clone())).or_default();
            apart.inside.add(&seen.sight, seen.time);
            if let Some(address) = seen.address
                && apart.addresses.len() < ADDRESSES_MAX
            {
                apart.addresses.insert(address);
            }
            return;
        }
        let Some(name) = to.host.name() else { return };
        let named = self.names.entry(name.clone()).or_default();
        match case {
            Case::Question => named.questions.add(seen.time),
            Case::Unreached => named.unreached.entry(to.port).or_default().add(&seen.sight, seen.time),
            _ => named.ports.entry(to.port).or_default().add(&seen.sight, seen.time),
        }
    }
}
