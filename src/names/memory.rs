//! Pairs of an address and a name, each until an instant of its own, never more than a bound, and of one owner never
//! more than its share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use tokio::time::Instant;

use crate::host::Name;

/// Names kept for one address. Thousands share an address of a CDN, but a flow is judged by each of them.
const NAMES_AN_ADDRESS: usize = 32;

/// When a pair ends; the number tells pairs of the same instant apart.
type End = (Instant, u64);

#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    /// Pairs that one owner may have.
    share: usize,
    addresses: HashMap<IpAddr, Vec<Known>>,
    /// Every pair, by its end.
    ends: BTreeMap<End, Pair>,
    /// The pairs of each owner, by their ends.
    owners: HashMap<IpAddr, BTreeSet<End>>,
    last: u64,
}

/// A name of an address, and its place among the ends.
#[derive(Debug)]
struct Known {
    name: Name,
    end: End,
}

/// Where a pair is to be found, and who was the last to ask for it.
#[derive(Clone, Copy, Debug)]
struct Pair {
    address: IpAddr,
    owner: IpAddr,
}

impl Memory {
    pub(super) fn new(limit: usize, share: usize) -> Self {
        let (addresses, ends, owners) = (HashMap::new(), BTreeMap::new(), HashMap::new());
        Self { limit, share, addresses, ends, owners, last: 0 }
    }

    /// Keeps a pair until `end`. For want of room the pair that ends first gives way; beyond its share, the owner's.
    pub(super) fn remember(
        &mut self,
        owner: IpAddr,
        name: &Name,
        address: IpAddr,
        now: Instant,
        end: Instant,
    ) {
        self.last += 1;
        let end = (end, self.last);
        let known = self.addresses.entry(address).or_default();
        let old = known.iter().position(|known| known.name == *name);
        let is_full = known.len() >= NAMES_AN_ADDRESS;
        let old = old.or_else(|| if is_full { spare(known, &self.ends) } else { None });
        let old = old.map(|old| known.remove(old).end);
        // The one remembered last stands last.
        known.push(Known { name: name.clone(), end });
        if let Some(old) = old {
            self.take(old);
        }
        self.ends.insert(end, Pair { address, owner });
        let own = self.owners.entry(owner).or_default();
        own.insert(end);
        if own.len() > self.share
            && let Some(&first) = own.first()
        {
            self.forget(first);
        }
        while let Some((&first, _)) = self.ends.first_key_value() {
            if first.0 > now && self.ends.len() <= self.limit {
                break;
            }
            self.forget(first);
        }
    }

    /// The names of an address, the one remembered last first.
    pub(super) fn names(&self, address: IpAddr, now: Instant) -> Vec<Name> {
        let known = self.addresses.get(&address).into_iter().flatten().rev();
        known.filter(|known| known.end.0 > now).map(|known| known.name.clone()).collect()
    }

    /// Takes a pair out of the order of ends.
    fn take(&mut self, end: End) -> Option<Pair> {
        let pair = self.ends.remove(&end)?;
        if let Some(own) = self.owners.get_mut(&pair.owner) {
            own.remove(&end);
            if own.is_empty() {
                self.owners.remove(&pair.owner);
            }
        }
        Some(pair)
    }

    fn forget(&mut self, end: End) {
        let Some(Pair { address, .. }) = self.take(end) else { return };
        let Some(known) = self.addresses.get_mut(&address) else { return };
        known.retain(|known| known.end != end);
        if known.is_empty() {
            self.addresses.remove(&address);
        }
    }
}

/// Which of the names of an address gives way: the oldest of the owner who has most of them, lest names that one client
/// makes up for it push out another's.
fn spare(known: &[Known], ends: &BTreeMap<End, Pair>) -> Option<usize> {
    let owners: Vec<Option<IpAddr>> =
        known.iter().map(|known| ends.get(&known.end).map(|pair| pair.owner)).collect();
    let count = |own: Option<IpAddr>| owners.iter().filter(|&&owner| owner == own).count();
    // Backwards, as the last one of those that are equal is taken.
    (0..owners.len()).rev().max_by_key(|&place| count(owners[place]))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(number))
    }

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pair_is_known_until_its_end_and_again_when_it_is_renewed() {
        let (mut memory, now) = (Memory::new(10, 10), Instant::now());
        memory.remember(A, &name("a.example"), address(1), now, now + SECOND);
        memory.remember(A, &name("b.example"), address(1), now, now + 3 * SECOND);
        assert_eq!(memory.names(address(1), now), [name("b.example"), name("a.example")]);
        assert_eq!(memory.names(address(1), now + SECOND), [name("b.example")]);
        memory.remember(A, &name("a.example"), address(1), now, now + 4 * SECOND);
        assert_eq!(memory.names(address(1), now + SECOND), [name("a.example"), name("b.example")]);
        assert_eq!(memory.names(address(1), now + 3 * SECOND), [name("a.example")]);
    }

    #[test]
    fn nothing_is_kept_beyond_its_end_or_the_bound() {
        let (mut memory, now) = (Memory::new(100, 100), Instant::now());
        for number in 0..1000 {
            memory.remember(A, &name("a.example"), address(number), now, now + SECOND * (number + 1));
        }
        assert_eq!((memory.ends.len(), memory.addresses.len()), (100, 100));
        assert_eq!(memory.names(address(899), now), []);
        assert_eq!(memory.names(address(900), now), [name("a.example")]);
        let later = now + 2000 * SECOND;
        memory.remember(A, &name("a.example"), address(1), later, later + SECOND);
        assert_eq!((memory.ends.len(), memory.addresses.len(), memory.owners.len()), (1, 1, 1));
    }

    #[test]
    fn who_asks_for_more_than_its_share_pushes_out_its_own() {
        let (mut memory, now) = (Memory::new(100, 10), Instant::now());
        memory.remember(B, &name("b.example"), address(1), now, now + SECOND);
        for number in 2..1000 {
            memory.remember(A, &name(&format!("n{number}.example")), address(number), now, now + 2 * SECOND);
        }
        assert_eq!((memory.ends.len(), memory.addresses.len(), memory.owners.len()), (11, 11, 2));
        assert_eq!(memory.names(address(1), now), [name("b.example")]);
        assert_eq!(memory.names(address(989), now), []);
        assert_eq!(memory.names(address(999), now), [name("n999.example")]);
        // What another one asks for too is that one's.
        memory.remember(B, &name("n999.example"), address(999), now, now + 2 * SECOND);
        assert_eq!((memory.owners[&A].len(), memory.owners[&B].len()), (9, 2));
    }

    #[test]
    fn names_that_one_client_makes_up_for_an_address_push_out_its_own() {
        let (mut memory, now) = (Memory::new(1000, 1000), Instant::now());
        memory.remember(B, &name("b.example"), address(1), now, now + SECOND);
        for number in 0..100 {
            memory.remember(A, &name(&format!("n{number}.example")), address(1), now, now + SECOND);
        }
        let names = memory.names(address(1), now);
        assert_eq!((names.len(), &names[0]), (NAMES_AN_ADDRESS, &name("n99.example")));
        assert!(names.contains(&name("b.example")));
    }

    #[test]
    fn an_address_has_the_names_remembered_last() {
        let (mut memory, now) = (Memory::new(1000, 1000), Instant::now());
        for number in 0..100 {
            memory.remember(A, &name(&format!("n{number}.example")), address(1), now, now + SECOND);
        }
        let names = memory.names(address(1), now);
        assert_eq!((names.len(), memory.ends.len()), (NAMES_AN_ADDRESS, NAMES_AN_ADDRESS));
        assert_eq!((&names[0], &names[31]), (&name("n99.example"), &name("n68.example")));
    }
}
