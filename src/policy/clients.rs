//! Which profiles take part for a client.

use std::net::IpAddr;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use crate::client::Client;
use crate::policy::index::{canonical_network, number};
use crate::policy::terms::{Mode, Profile};

/// From a client's address to the profiles that name it.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// The profiles of every client.
    everyone: Vec<u32>,
    networks: JointPrefixMap<IpNet, Vec<u32>>,
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
            let Some(networks) = &profile.clients else {
                clients.everyone.push(index);
                continue;
            };
            for network in networks {
                clients.networks.entry(canonical_network(*network)).or_default().push(index);
            }
        }
        clients
    }

    pub(super) fn subject(&self, client: &Client, profiles: &[Profile], revision: u64) -> Subject {
        let own = self.profiles_of(client.ip().to_canonical());
        let reports =
            !own.is_empty() && own.iter().all(|&index| profiles[index as usize].mode == Mode::Report);
        Subject { revision, profiles: own.into_boxed_slice(), on_this_host: client.on_this_host, reports }
    }

    fn profiles_of(&self, address: IpAddr) -> Vec<u32> {
        let mut own = self.everyone.clone();
        own.extend(self.networks.cover_values(&IpNet::from(address)).flatten());
        own.sort_unstable();
        // A profile may name both a network and a part of it.
        own.dedup();
        own
    }
}
