//! Which profiles take part for a client.

mod membership;
mod named;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use crate::client::{Client, Leave};
use crate::network;
use crate::policy::clients::membership::Membership;
use crate::policy::clients::named::ByName;
use crate::policy::index::number;
use crate::policy::terms::Profile;
use crate::policy::who::Who;

/// From a client's address and names to the profiles that are for it.
#[derive(Debug)]
pub(super) struct Clients {
    /// Of clients that no network holds.
    everyone: Arc<Membership>,
    /// Of clients that no narrower network holds, those of wider networks and of everyone included: most clients
    /// are known by their addresses alone, and are told with one look-up and no copy.
    networks: JointPrefixMap<IpNet, Arc<Membership>>,
    named: ByName,
    leaves: HashMap<Leave, u32>,
}

/// The profiles that take part for one client, found once a connection and revision of the policy.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The revision of the only policy that may be asked about it.
    pub(super) revision: u64,
    membership: Arc<Membership>,
    pub(super) on_this_host: bool,
}

impl Subject {
    pub(super) fn nobody(revision: u64) -> Self {
        Self { revision, membership: Arc::default(), on_this_host: false }
    }

    /// Whether what no rule decides is let through and reported.
    pub fn reports(&self) -> bool {
        self.membership.reports
    }

    /// The names of the profiles that take part, in file order.
    pub fn profile_names(&self) -> &Arc<[Box<str>]> {
        &self.membership.names
    }

    /// The profiles that take part, ascending as the rules of a place are.
    pub(super) fn profiles(&self) -> &[u32] {
        &self.membership.profiles
    }
}

impl Clients {
    pub(super) fn new(profiles: &[Profile]) -> Self {
        let (mut everyone, mut networks) = (Vec::new(), JointPrefixMap::<IpNet, Vec<u32>>::new());
        let (mut named, mut leaves) = (ByName::default(), HashMap::new());
        for (index, profile) in profiles.iter().enumerate() {
            let index = number(index);
            let Some(entries) = &profile.clients else {
                everyone.push(index);
                continue;
            };
            for (which, entry) in entries.iter().enumerate() {
                match entry {
                    Who::Network(network) => {
                        networks.entry(network::canonical(*network)).or_default().push(index);
                    }
                    Who::Named(entry) => named.insert(entry, index, number(which)),
                    Who::Leave(leave) => drop(leaves.insert(*leave, index)),
                }
            }
        }
        // A profile may be for thousands of networks, which then have the same.
        let mut known = HashMap::new();
        let mut shared = |own: Vec<u32>| {
            let membership =
                known.entry(own).or_insert_with_key(|own| Arc::new(Membership::new(own.clone(), profiles)));
            Arc::clone(membership)
        };
        let around =
            |network: &IpNet| everyone.iter().chain(networks.cover_values(network).flatten()).copied();
        let networks = networks.keys().map(|network| (network, shared(around(&network).collect()))).collect();
        Self { everyone: shared(everyone), networks, named, leaves }
    }

    pub(super) fn subject(&self, client: &Client, profiles: &[Profile], revision: u64) -> Subject {
        let known = self.networks.get_lpm(&network_of(client)).map_or(&self.everyone, |(_, known)| known);
        let mut further = Vec::new();
        // Whoever has proved nothing costs nothing here.
        if client.user.is_some() || client.certificate.is_some() {
            self.named.each(client, profiles, |profile| further.push(profile));
        }
        if let Some(leave) = client.leave {
            further.extend(self.leaves.get(&leave));
        }
        let membership = if further.is_empty() {
            Arc::clone(known)
        } else {
            further.extend_from_slice(&known.profiles);
            Arc::new(Membership::new(further, profiles))
        };
        Subject { revision, membership, on_this_host: client.on_this_host }
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
