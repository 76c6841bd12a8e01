//! Which name had which address: what a flow is judged by when its first bytes never say a name.
//!
//! The DNS door writes down what it answers. One bounded memory serves all clients, as what a name leads
//! to is no client's own; whether a client may go there is the policy's to say, name by name.

mod keep;
mod memory;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::host::Name;
use crate::lock::lock;
use crate::names::memory::Memory;

pub use keep::keep_listed;

/// Programs go on using an address long after its time to live; most don't look at that at all.
const KEPT_FOR: Duration = Duration::from_secs(3600);
/// Pairs of a name and an address, about 300 bytes each and 50 for each further client that asked for it: clients may
/// fill it, so it has an end.
const KEPT: usize = 65_536;
/// As many of them as may count for one client: whoever asks for more and more names gives up its own.
const SHARE: usize = KEPT / 8;
/// As many of them as may be for one address. Thousands share one of a CDN, but a flow is judged by each of them.
const AN_ADDRESS: usize = 32;
/// The same for those that rules list: a client may be allowed one of them alone. To judge by so many takes some 0.1 ms.
const LISTED_AN_ADDRESS: usize = 1024;
/// For whom the policy's own names are looked up.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The memory. Safe to share; a look-up takes a lock for as long as it copies a few names.
#[derive(Debug)]
pub struct Names {
    asked: Mutex<Memory>,
    /// What the policy itself lists: no client's questions push it out.
    listed: Mutex<Memory>,
}

impl Names {
    pub fn new() -> Self {
        let asked = Memory::new(KEPT, SHARE, AN_ADDRESS);
        let listed = Memory::new(KEPT, KEPT, LISTED_AN_ADDRESS);
        Self { asked: Mutex::new(asked), listed: Mutex::new(listed) }
    }

    /// Remembers what a client was told, for the time to live of the answer and for an hour at least.
    pub fn told(&self, client: IpAddr, name: &Name, addresses: &[IpAddr], ttl: Duration) {
        remember(&self.asked, client, name, addresses, ttl);
    }

    /// The names that have the address, the one remembered last first.
    pub fn of(&self, address: IpAddr) -> Vec<Name> {
        let (address, now) = (address.to_canonical(), Instant::now());
        let mut names = lock(&self.asked).names(address, now);
        let mut listed = lock(&self.listed).names(address, now);
        listed.retain(|name| !names.contains(name));
        names.append(&mut listed);
        names
    }

    /// Remembers what a name of the policy leads to.
    fn found(&self, name: &Name, addresses: &[IpAddr], ttl: Duration) {
        remember(&self.listed, NOBODY, name, addresses, ttl);
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

fn remember(memory: &Mutex<Memory>, owner: IpAddr, name: &Name, addresses: &[IpAddr], ttl: Duration) {
    let now = Instant::now();
    let mut memory = lock(memory);
    for address in addresses {
        memory.remember(owner, name, address.to_canonical(), now, now + ttl.max(KEPT_FOR));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn what_was_told_and_what_was_found_are_one_answer() {
        let names = Names::new();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        names.told(CLIENT, &name("a.example"), &[address], Duration::ZERO);
        names.found(&name("a.example"), &[address], Duration::ZERO);
        names.found(&name("b.example"), &["::ffff:192.0.2.1".parse().unwrap()], Duration::ZERO);
        assert_eq!(names.of("::ffff:192.0.2.1".parse().unwrap()), [name("a.example"), name("b.example")]);
        assert!(names.of("192.0.2.2".parse().unwrap()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_remembered_for_its_time_to_live_and_for_an_hour_at_least() {
        let names = Names::new();
        let minute = Duration::from_secs(60);
        for (address, ttl) in
            [("192.0.2.1", Duration::ZERO), ("192.0.2.2", 59 * minute), ("192.0.2.3", 90 * minute)]
        {
            names.told(CLIENT, &name("a.example"), &[address.parse().unwrap()], ttl);
        }
        let known = || {
            let known = |address: &&str| !names.of(address.parse().unwrap()).is_empty();
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"].iter().filter(|address| known(address)).count()
        };
        for (wait, count) in [(59, 3), (2, 1), (28, 1), (2, 0)] {
            tokio::time::advance(wait * minute).await;
            assert_eq!(known(), count);
        }
    }
}
