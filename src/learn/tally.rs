//! Counts what was seen, within bounds: an audit may be larger than the memory, and names are chosen by its clients.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::client::{Client, User};
use crate::destination::Destination;
use crate::guard::{self, Special};
use crate::host::Host;
use crate::ingress::Ingress;
use crate::learn::count::Count;
use crate::learn::group::{Case, Group};
use crate::learn::observation::{Observation, Sight};
use crate::learn::options::{Baseline, By, Options};
use crate::learn::unusual::{Refused, Why};
use crate::policy::Question;
use crate::reason::Reason;

/// The most clients that are told apart.
const CLIENTS_MAX: usize = 50_000;

/// What was seen so far.
#[derive(Debug)]
pub struct Tally {
    pub(super) options: Options,
    pub(super) baseline: Option<Baseline>,
    pub(super) groups: BTreeMap<Key, Group>,
    pub(super) all: Count,
    pub(super) first: Option<Timestamp>,
    /// Allowed by the baseline.
    pub(super) covered: Count,
    /// Of clients that proved to be somebody.
    pub(super) named: Count,
    /// What says nothing about destinations.
    pub(super) left: HashMap<Reason, Count>,
    /// What found no room.
    pub(super) lost: Count,
    destinations: usize,
    clients: usize,
}

/// What the clients of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Profiles(Vec<Box<str>>),
    Client(IpNet),
    All,
}

impl Tally {
    pub fn new(options: Options, baseline: Option<Baseline>) -> Self {
        Self {
            options,
            baseline,
            groups: BTreeMap::new(),
            all: Count::default(),
            first: None,
            covered: Count::default(),
            named: Count::default(),
            left: HashMap::new(),
            lost: Count::default(),
            destinations: 0,
            clients: 0,
        }
    }

    /// Counts a flow.
    pub fn add(&mut self, seen: &Observation) {
        self.all.add(seen.time);
        self.first = Some(self.first.map_or(seen.time, |first| first.min(seen.time)));
        let case = seen.to.as_ref().map_or(Case::Nothing, |to| self.case(seen, to));
        match (case, &seen.to) {
            (Case::Nothing, _) | (_, None) => self.left.entry(seen.reason).or_default().add(seen.time),
            (Case::Covered, _) => self.covered.add(seen.time),
            (case, Some(to)) => {
                if seen.name.is_some() {
                    self.named.add(seen.time);
                }
                if self.keep(seen, to, &case).is_none() {
                    self.lost.add(seen.time);
                }
            }
        }
    }

    fn case(&self, seen: &Observation, to: &Destination) -> Case {
        match seen.reason {
            reason if seen.ingress == Ingress::Dns => {
                return if reason.allows() { Case::Question } else { Case::Nothing };
            }
            Reason::NoRule | Reason::NoProfile if self.options.denied => {}
            reason if reason.allows() => {}
            // Report mode does not relax the guard: a special address that was asked for itself always comes so.
            Reason::AddressProhibited if matches!(to.host, Host::Ip(_)) => {}
            reason @ (Reason::DeniedByRule
            | Reason::AddressProhibited
            | Reason::ServerNameMissing
            | Reason::ServerNameMismatch
            | Reason::EchDenied
            | Reason::HostMismatch
            | Reason::NotTls
            | Reason::NotHttp
            | Reason::SelfConnect
            | Reason::Revoked) => return Case::Apart(Why::Refused(Refused(reason))),
            _ => return Case::Nothing,
        }
        match self.verdict(seen, to) {
            Some(Reason::Allowed) => return Case::Covered,
            Some(Reason::DeniedByRule) => return Case::Apart(Why::Refused(Refused(Reason::DeniedByRule))),
            _ => {}
        }
        let name = match &to.host {
            Host::Ip(address) => return Case::Apart(Why::by_address(guard::special(*address))),
            Host::Name(name) => name,
        };
        match (&seen.sight, seen.address.and_then(guard::special)) {
            (Sight::Tls { server_name, .. }, _) if server_name != name => {
                Case::Apart(Why::Refused(Refused(Reason::ServerNameMismatch)))
            }
            (Sight::Tls { ech: true, .. }, _) => Case::Apart(Why::Refused(Refused(Reason::EchDenied))),
            (_, Some(Special::Metadata)) => Case::Apart(Why::Metadata),
            (_, Some(Special::Embedded | Special::Block(_))) => Case::Apart(Why::LedToSpecial),
            _ => match seen.reason {
                Reason::DnsFailed
                | Reason::DialRefused
                | Reason::DialTimeout
                | Reason::DialFailed
                | Reason::ParentFailed => Case::Unreached,
                _ => Case::Wanted,
            },
        }
    }

    /// What the baseline says: the same decision as anywhere.
    fn verdict(&self, seen: &Observation, to: &Destination) -> Option<Reason> {
        let Baseline { policy, today } = self.baseline.as_ref()?;
        // Records don't tell users from certificates, nor what groups a user is in.
        let name = seen.name.as_deref();
        let client = Client::supposed(seen.client).named(name.map(|name| User::supposed(name, &[])), name);
        let subject = policy.subject(&client);
        let question = Question { to, seen: seen.sight.seen(), address: seen.address };
        Some(policy.decide(&subject, &question, *today).reason)
    }

    /// Counts a flow where its like are counted; `None` if there is no room.
    fn keep(&mut self, seen: &Observation, to: &Destination, case: &Case) -> Option<()> {
        let client = self.client(seen.client);
        let key = match self.options.by {
            By::Profile => Key::Profiles(seen.profiles.clone()),
            By::Client => Key::Client(client),
            By::All => Key::All,
        };
        let full = self.clients >= CLIENTS_MAX;
        if full && !self.groups.contains_key(&key) {
            return None;
        }
        let group = self.groups.entry(key).or_default();
        if !group.clients.contains(&client) {
            if full {
                return None;
            }
            self.clients += usize::from(self.options.by != By::All);
            if self.options.by != By::All {
                group.clients.insert(client);
            }
        }
        if !group.has(case, to) && !group.room(to, seen.time, &mut self.destinations)? {
            return Some(());
        }
        group.count(seen, to, case);
        Some(())
    }

    fn client(&self, address: IpAddr) -> IpNet {
        let length = match (address, self.options.network) {
            (IpAddr::V4(_), Some(length)) => length.min(32),
            (IpAddr::V6(_), Some(_)) => 64,
            (IpAddr::V4(_), None) => 32,
            (IpAddr::V6(_), None) => 128,
        };
        IpNet::new_assert(address, length).trunc()
    }
}
