//! Pairs of an address and a name, each until an instant of its own, never more than a bound, and of one client never
//! more than its share.
//!
//! Clients ask for the same names, and none of them is trusted, so what one client does must not cost another a pair:
//!
//! - A pair knows who asked for it, each until an end of its own. It counts for the one whose time ends last, and ends
//!   with that one's.
//! - Who has more pairs than its share gives up the one that ends first. It then counts for whoever asked for it before,
//!   until the end that this one was told, and is lost only when nobody is left. So it makes no difference who asked first.
//! - Of more who ask for a pair than fill the memory with their shares, those whose time ends first are left out. To have
//!   it lost all others would have to overrun their shares, and with them the memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use tokio::time::Instant;

use crate::host::Name;

/// When a pair ends; the number tells pairs of the same instant apart.
type End = (Instant, u64);

#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    /// Pairs that may count for one client.
    share: usize,
    /// Names that one address may have.
    an_address: usize,
    addresses: HashMap<IpAddr, Vec<Known>>,
    /// Every pair, by its end.
    ends: BTreeMap<End, Pair>,
    /// The pairs that count for each client, by their ends.
    owners: HashMap<IpAddr, BTreeSet<End>>,
    last: u64,
}

/// A name of an address.
#[derive(Debug)]
struct Known {
    name: Name,
    /// Who asked for it, in the order of their ends. Never empty; the last one is whom the pair counts for.
    askers: Vec<Asker>,
}

#[derive(Clone, Copy, Debug)]
struct Asker {
    client: IpAddr,
    end: End,
}

/// Where a pair is to be found, and whom it counts for.
#[derive(Clone, Copy, Debug)]
struct Pair {
    address: IpAddr,
    owner: IpAddr,
}

impl Known {
    /// Whom the pair counts for, and when it ends.
    fn last(&self) -> Option<Asker> {
        self.askers.last().copied()
    }

    /// Notes who asked, once each, and at most so many of those whose time holds.
    fn asked(&mut self, asker: Asker, now: Instant, most: usize) {
        self.askers.retain(|other| other.client != asker.client && other.end.0 > now);
        let place = self.askers.partition_point(|other| other.end < asker.end);
        self.askers.insert(place, asker);
        if self.askers.len() > most {
            self.askers.remove(0);
        }
    }
}

impl Memory {
    pub(super) fn new(limit: usize, share: usize, an_address: usize) -> Self {
        let (addresses, ends, owners) = (HashMap::new(), BTreeMap::new(), HashMap::new());
        Self { limit, share, an_address, addresses, ends, owners, last: 0 }
    }

    /// Keeps a pair until `end`. For want of room the pair that ends first gives way; beyond a share, one of those
    /// that count for the same client.
    pub(super) fn remember(
        &mut self,
        client: IpAddr,
        name: &Name,
        address: IpAddr,
        now: Instant,
        end: Instant,
    ) {
        self.last += 1;
        let asker = Asker { client, end: (end, self.last) };
        let mut pair = self.taken_out(address, name).unwrap_or_else(|| {
            self.make_room(address, now);
            Known { name: name.clone(), askers: Vec::with_capacity(1) }
        });
        pair.asked(asker, now, self.limit.div_ceil(self.share));
        self.put(address, pair, now);
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
        let known = known.filter(|known| known.last().is_some_and(|last| last.end.0 > now));
        known.map(|known| known.name.clone()).collect()
    }

    /// A pair, taken out of the order of ends too.
    fn taken_out(&mut self, address: IpAddr, name: &Name) -> Option<Known> {
        let known = self.addresses.get_mut(&address)?;
        let pair = known.remove(known.iter().position(|known| known.name == *name)?);
        self.unlink(pair.last()?.end);
        Some(pair)
    }

    /// Puts a pair in its place, as the one remembered last of its address.
    fn put(&mut self, address: IpAddr, pair: Known, now: Instant) {
        let Some(last) = pair.last() else { return };
        self.addresses.entry(address).or_default().push(pair);
        self.link(address, last);
        if let Some(surplus) = self.surplus(last.client) {
            self.give_up(surplus, now);
        }
    }

    /// Has place for one more name of an address.
    fn make_room(&mut self, address: IpAddr, now: Instant) {
        while let Some(known) = self.addresses.get(&address)
            && known.len() >= self.an_address
            && let Some(end) = spare(known)
        {
            self.give_up(end, now);
        }
    }

    /// Whom a pair counts for gives it up. Whoever gets it may then have one too many itself, and so on: each time a
    /// pair has one asker less, so in all this happens no more often than clients ask.
    fn give_up(&mut self, end: End, now: Instant) {
        let mut next = Some(end);
        while let Some(end) = next {
            next = self.pass_on(end, now).and_then(|heir| self.surplus(heir));
        }
    }

    /// Has a pair count for whoever asked for it before, if that one's time holds, and says for whom.
    fn pass_on(&mut self, end: End, now: Instant) -> Option<IpAddr> {
        let Pair { address, .. } = *self.ends.get(&end)?;
        let known = self.addresses.get_mut(&address)?;
        let pair = known.iter_mut().find(|known| known.last().is_some_and(|last| last.end == end))?;
        let before = pair.askers.len().checked_sub(2).map(|place| pair.askers[place]);
        let Some(heir) = before.filter(|before| before.end.0 > now) else {
            self.forget(end);
            return None;
        };
        pair.askers.pop();
        self.unlink(end);
        self.link(address, heir);
        Some(heir.client)
    }

    /// What a client has beyond its share: the pair that ends first.
    fn surplus(&self, client: IpAddr) -> Option<End> {
        self.owners.get(&client).filter(|own| own.len() > self.share)?.first().copied()
    }

    /// Puts a pair in the order of ends.
    fn link(&mut self, address: IpAddr, Asker { client, end }: Asker) {
        self.ends.insert(end, Pair { address, owner: client });
        self.owners.entry(client).or_default().insert(end);
    }

    /// Takes a pair out of the order of ends.
    fn unlink(&mut self, end: End) -> Option<Pair> {
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
        let Some(Pair { address, .. }) = self.unlink(end) else { return };
        let Some(known) = self.addresses.get_mut(&address) else { return };
        known.retain(|known| known.last().is_some_and(|last| last.end != end));
        if known.is_empty() {
            self.addresses.remove(&address);
        }
    }
}

/// Which of the names of an address gives way: the oldest of the client for whom most of them count, lest names that one
/// client makes up for it push out another's.
fn spare(known: &[Known]) -> Option<End> {
    let owners = || known.iter().filter_map(Known::last);
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    owners().for_each(|owner| *counts.entry(owner.client).or_default() += 1);
    // Backwards, as the last one of those that are equal is taken.
    owners().rev().max_by_key(|owner| counts.get(&owner.client)).map(|owner| owner.end)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    const AN_ADDRESS: usize = 32;

    fn memory(limit: usize, share: usize) -> Memory {
        Memory::new(limit, share, AN_ADDRESS)
    }

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
        let (mut memory, now) = (memory(10, 10), Instant::now());
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
        let (mut memory, now) = (memory(100, 100), Instant::now());
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
        let (mut memory, now) = (memory(100, 10), Instant::now());
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

    /// What others ask for too outlives the flood of one of them, whoever of them asked first, and last.
    #[test]
    fn who_overruns_its_share_costs_nobody_else_a_pair() {
        for asked in [&[B, A][..], &[A, B], &[A, B, A], &[B, A, B], &[B, A, A]] {
            let (mut memory, now) = (memory(100, 10), Instant::now());
            for &client in asked {
                memory.remember(client, &name("b.example"), address(1), now, now + 2 * SECOND);
            }
            for number in 2..1000 {
                memory.remember(A, &name("a.example"), address(number), now, now + 3 * SECOND);
            }
            assert_eq!(memory.names(address(1), now), [name("b.example")], "{asked:?}");
            assert_eq!((memory.ends.len(), memory.owners[&A].len(), memory.owners[&B].len()), (11, 10, 1));
            assert_eq!(memory.names(address(1), now + 2 * SECOND), []);
            // The other one's own share is what holds it too.
            for number in 2000..3000 {
                memory.remember(B, &name("b.example"), address(number), now, now + 3 * SECOND);
            }
            assert_eq!(memory.names(address(1), now), [], "{asked:?}");
            assert_eq!((memory.ends.len(), memory.addresses.len()), (20, 20));
        }
    }

    #[test]
    fn a_pair_that_is_given_up_ends_when_the_others_who_asked_were_told() {
        let (mut memory, now) = (memory(100, 1), Instant::now());
        memory.remember(B, &name("b.example"), address(1), now, now + SECOND);
        memory.remember(A, &name("b.example"), address(1), now, now + 2 * SECOND);
        assert_eq!(memory.names(address(1), now + SECOND), [name("b.example")]);
        memory.remember(A, &name("a.example"), address(2), now, now + 3 * SECOND);
        assert_eq!(memory.names(address(1), now), [name("b.example")]);
        assert_eq!(memory.names(address(1), now + SECOND), []);
        // Whose time is over gets nothing back.
        memory.remember(A, &name("b.example"), address(1), now, now + 4 * SECOND);
        let later = now + SECOND;
        memory.remember(A, &name("c.example"), address(3), later, later + 4 * SECOND);
        assert_eq!((memory.names(address(1), later).len(), memory.owners.len()), (0, 1));
    }

    #[test]
    fn what_clients_get_back_from_each_other_stays_within_their_shares() {
        let (mut memory, now) = (memory(8, 2), Instant::now());
        for round in 1..50 {
            for last in 1..=6 {
                let client = IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
                let number = round * u32::from(last) % 7;
                memory.remember(client, &name("a.example"), address(number), now, now + SECOND * round);
                let pairs = memory.addresses.values().flatten();
                assert!(pairs.clone().all(|pair| (1..=4).contains(&pair.askers.len())));
                assert_eq!(pairs.count(), memory.ends.len());
                assert_eq!(memory.owners.values().map(BTreeSet::len).sum::<usize>(), memory.ends.len());
                assert!(memory.owners.values().all(|own| (1..=2).contains(&own.len())));
            }
        }
    }

    #[test]
    fn names_made_up_for_an_address_push_out_none_that_another_asked_for_too() {
        for asked in [[A, B], [B, A]] {
            let (mut memory, now) = (memory(1000, 500), Instant::now());
            for client in asked {
                memory.remember(client, &name("b.example"), address(1), now, now + SECOND);
            }
            for number in 0..100 {
                memory.remember(A, &name(&format!("n{number}.example")), address(1), now, now + SECOND);
            }
            let names = memory.names(address(1), now);
            assert_eq!((names.len(), names.contains(&name("b.example"))), (AN_ADDRESS, true));
        }
    }

    #[test]
    fn names_that_one_client_makes_up_for_an_address_push_out_its_own() {
        let (mut memory, now) = (memory(1000, 1000), Instant::now());
        memory.remember(B, &name("b.example"), address(1), now, now + SECOND);
        for number in 0..100 {
            memory.remember(A, &name(&format!("n{number}.example")), address(1), now, now + SECOND);
        }
        let names = memory.names(address(1), now);
        assert_eq!((names.len(), &names[0]), (AN_ADDRESS, &name("n99.example")));
        assert!(names.contains(&name("b.example")));
    }

    #[test]
    fn an_address_has_the_names_remembered_last() {
        let (mut memory, now) = (memory(1000, 1000), Instant::now());
        for number in 0..100 {
            memory.remember(A, &name(&format!("n{number}.example")), address(1), now, now + SECOND);
        }
        let names = memory.names(address(1), now);
        assert_eq!((names.len(), memory.ends.len()), (AN_ADDRESS, AN_ADDRESS));
        assert_eq!((&names[0], &names[31]), (&name("n99.example"), &name("n68.example")));
    }
}
