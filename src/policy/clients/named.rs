//! The entries that ask for more than an address, each filed under the rarest thing it asks for.

use std::collections::HashMap;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use crate::client::Client;
use crate::network;
use crate::policy::clients::network_of;
use crate::policy::terms::Profile;
use crate::policy::who::{CertificatePattern, Lead, Named, UserPattern, Who};

/// A client meets the entries that name it, whatever the number of other users, groups and certificates.
#[derive(Debug, Default)]
pub(super) struct ByName {
    users: HashMap<Box<str>, Vec<Entry>>,
    /// By their whole names.
    certificates: HashMap<Box<str>, Vec<Entry>>,
    groups: HashMap<Box<str>, Vec<Entry>>,
    /// By what is literal in them; those that have nothing of the kind stand under nothing.
    patterns: HashMap<Box<str>, Vec<Entry>>,
    /// Anyone who has proved something, from these networks.
    networks: JointPrefixMap<IpNet, Vec<Entry>>,
    /// Anyone who has proved something, from anywhere.
    anyone: Vec<Entry>,
}

/// Where an entry stands: the profile, and its place among the profile's `clients`.
#[derive(Clone, Copy, Debug)]
struct Entry {
    profile: u32,
    which: u32,
}

impl ByName {
    pub(super) fn insert(&mut self, named: &Named, profile: u32, which: u32) {
        let entry = Entry { profile, which };
        let certificate = named.certificate.as_ref().map(CertificatePattern::lead);
        let place = match (&named.user, &named.group, certificate) {
            (Some(UserPattern::Name(user)), ..) => self.users.entry(user.clone()),
            (.., Some(Lead::Whole(name))) => self.certificates.entry(name.into()),
            (_, Some(group), _) => self.groups.entry(group.clone()),
            (.., Some(Lead::Part(part))) if !part.is_empty() || named.from.is_empty() => {
                self.patterns.entry(part.into())
            }
            _ if named.from.is_empty() => return self.anyone.push(entry),
            _ => {
                for network in &named.from {
                    self.networks.entry(network::canonical(*network)).or_default().push(entry);
                }
                return;
            }
        };
        place.or_default().push(entry);
    }

    /// The profile of each entry that is for a client; one may come more than once.
    pub(super) fn each(&self, client: &Client, profiles: &[Profile], mut found: impl FnMut(u32)) {
        let mut weigh = |entries: &Vec<Entry>| {
            entries
                .iter()
                .filter(|entry| entry.holds(client, profiles))
                .for_each(|entry| found(entry.profile));
        };
        weigh(&self.anyone);
        self.networks.cover_values(&network_of(client)).for_each(&mut weigh);
        if let Some(user) = &client.user {
            self.users.get(&user.name).into_iter().for_each(&mut weigh);
            user.groups.iter().filter_map(|group| self.groups.get(group)).for_each(&mut weigh);
        }
        if let Some(certificate) = &client.certificate {
            let name = &*certificate.name;
            self.certificates.get(name).into_iter().for_each(&mut weigh);
            CertificatePattern::leads(name).filter_map(|lead| self.patterns.get(lead)).for_each(&mut weigh);
        }
    }
}

impl Entry {
    fn holds(self, client: &Client, profiles: &[Profile]) -> bool {
        let entries = profiles[self.profile as usize].clients.as_deref().unwrap_or_default();
        matches!(&entries[self.which as usize], Who::Named(named) if named.holds(client))
    }
}

#[cfg(test)]
impl ByName {
    pub(super) fn longest(&self) -> usize {
        let maps = [&self.users, &self.certificates, &self.groups, &self.patterns];
        let named = maps.into_iter().flat_map(HashMap::values).chain(self.networks.values());
        named.chain([&self.anyone]).map(Vec::len).max().unwrap_or(0)
    }
}
