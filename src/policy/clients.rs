//! Which profiles take part for a client.

mod named;

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use crate::client::{Client, Leave};
use crate::policy::clients::named::ByName;
use crate::policy::index::{canonical_network, number};
use crate::policy::terms::{Mode, Profile};
use crate::policy::who::Who;

/// From a client's address and names to the profiles that are for it.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// The profiles of every client.
    everyone: Vec<u32>,
    networks: JointPrefixMap<IpNet, Vec<u32>>,
    named: ByName,
    leaves: HashMap<Leave, u32>,
}

/// The profiles that take part for one client, found once a connection and revision of the policy.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The revision of the only policy that may be asked about it.
    pub(super) revision: u64,
    /// Ascending, as the rules of a place are.
    pub(super) profiles: Box<[u32]>,
    pub(super) on_this_host: bool,
    /// Whether every one of its profiles is in report mode.
    pub(super) reports: bool,
}

impl Subject {
    pub(super) fn nobody(revision: u64) -> Self {
        Self { revision, profiles: Box::default(), on_this_host: false, reports: false }
    }

    /// Whether what no rule decides is let through and reported.
    pub fn reports(&self) -> bool {
        self.reports
    }
}

impl Clients {
    pub(super) fn new(profiles: &[Profile]) -> Self {
        let mut clients = Self::default();
        for (index, profile) in profiles.iter().enumerate() {
            let index = number(index);
            let Some(entries) = &profile.clients else {
                clients.everyone.push(index);
                continue;
            };
            for (which, entry) in entries.iter().enumerate() {
                match entry {
                    Who::Network(network) => {
                        clients.networks.entry(canonical_network(*network)).or_default().push(index);
                    }
                    Who::Named(named) => clients.named.insert(named, index, number(which)),
                    Who::Leave(leave) => drop(clients.leaves.insert(*leave, index)),
                }
            }
        }
        clients
    }

    pub(super) fn subject(&self, client: &Client, profiles: &[Profile], revision: u64) -> Subject {
        let own = self.profiles_of(client, profiles);
        let reports =
            !own.is_empty() && own.iter().all(|&index| profiles[index as usize].mode == Mode::Report);
        Subject { revision, profiles: own.into_boxed_slice(), on_this_host: client.on_this_host, reports }
    }

    fn profiles_of(&self, client: &Client, profiles: &[Profile]) -> Vec<u32> {
        let mut own = self.everyone.clone();
        own.extend(self.networks.cover_values(&network_of(client)).flatten());
        // Whoever has proved nothing costs nothing here.
        if client.user.is_some() || client.certificate.is_some() {
            self.named.each(client, profiles, |profile| own.push(profile));
        }
        if let Some(leave) = client.leave {
            own.extend(self.leaves.get(&leave));
        }
        own.sort_unstable();
        // A profile may name both a network and a part of it.
        own.dedup();
        own
    }
}

#[cfg(test)]
impl Clients {
    /// The most entries that one look-up goes through.
    pub(super) fn most_met_at_once(&self) -> usize {
        self.named.longest()
    }
}

/// The client's address as a network of its own.
fn network_of(client: &Client) -> IpNet {
    IpNet::from(IpAddr::to_canonical(&client.ip()))
}
