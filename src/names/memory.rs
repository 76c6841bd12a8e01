//! Pairs of an address and a name, each until an instant of its own, and never more than a bound.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use crate::host::Name;

/// Names kept for one address. Thousands share an address of a CDN, but a flow is judged by each of them.
const NAMES_AN_ADDRESS: usize = 32;

#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    addresses: HashMap<IpAddr, Vec<Known>>,
    /// Every pair, by the end of its time; the number tells pairs of the same instant apart.
    ends: BTreeMap<(Instant, u64), IpAddr>,
    last: u64,
}

/// A name of an address, and its place among the ends.
#[derive(Debug)]
struct Known {
    name: Name,
    end: (Instant, u64),
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, addresses: HashMap::new(), ends: BTreeMap::new(), last: 0 }
    }

    /// Keeps a pair until `end`; for want of room the pair that ends first gives way.
    pub(super) fn remember(&mut self, name: &Name, address: IpAddr, now: Instant, end: Instant) {
        self.last += 1;
        let end = (end, self.last);
        let known = self.addresses.entry(address).or_default();
        let old = known.iter().position(|known| known.name == *name);
        let old = old.or_else(|| (known.len() >= NAMES_AN_ADDRESS).then_some(0));
        if let Some(old) = old {
            let Known { end, .. } = known.remove(old);
            self.ends.remove(&end);
        }
        // The one remembered last stands last.
        known.push(Known { name: name.clone(), end });
        self.ends.insert(end, address);
        while self.ends.first_key_value().is_some_and(|(&(first, _), _)| first <= now)
            || self.ends.len() > self.limit
        {
            self.forget_first();
        }
    }

    /// The names of an address, the one remembered last first.
    pub(super) fn names(&self, address: IpAddr, now: Instant) -> Vec<Name> {
        let known = self.addresses.get(&address).into_iter().flatten().rev();
        known.filter(|known| known.end.0 > now).map(|known| known.name.clone()).collect()
    }

    fn forget_first(&mut self) {
        let Some((end, address)) = self.ends.pop_first() else { return };
        let Some(known) = self.addresses.get_mut(&address) else { return };
        known.retain(|known| known.end != end);
        if known.is_empty() {
            self.addresses.remove(&address);
        }
    }
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

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pair_is_known_until_its_end_and_again_when_it_is_renewed() {
        let (mut memory, now) = (Memory::new(10), Instant::now());
        memory.remember(&name("a.example"), address(1), now, now + SECOND);
        memory.remember(&name("b.example"), address(1), now, now + 3 * SECOND);
        assert_eq!(memory.names(address(1), now), [name("b.example"), name("a.example")]);
        assert_eq!(memory.names(address(1), now + SECOND), [name("b.example")]);
        memory.remember(&name("a.example"), address(1), now, now + 4 * SECOND);
        assert_eq!(memory.names(address(1), now + SECOND), [name("a.example"), name("b.example")]);
        assert_eq!(memory.names(address(1), now + 3 * SECOND), [name("a.example")]);
    }

    #[test]
    fn nothing_is_kept_beyond_its_end_or_the_bound() {
        let (mut memory, now) = (Memory::new(100), Instant::now());
        for number in 0..1000 {
            memory.remember(&name("a.example"), address(number), now, now + SECOND * (number + 1));
        }
        assert_eq!((memory.ends.len(), memory.addresses.len()), (100, 100));
        assert_eq!(memory.names(address(899), now), []);
        assert_eq!(memory.names(address(900), now), [name("a.example")]);
        let later = now + 2000 * SECOND;
        memory.remember(&name("a.example"), address(1), later, later + SECOND);
        assert_eq!((memory.ends.len(), memory.addresses.len()), (1, 1));
    }

    #[test]
    fn an_address_has_the_names_remembered_last() {
        let (mut memory, now) = (Memory::new(1000), Instant::now());
        for number in 0..100 {
            memory.remember(&name(&format!("n{number}.example")), address(1), now, now + SECOND);
        }
        let names = memory.names(address(1), now);
        assert_eq!((names.len(), memory.ends.len()), (NAMES_AN_ADDRESS, NAMES_AN_ADDRESS));
        assert_eq!((&names[0], &names[31]), (&name("n99.example"), &name("n68.example")));
    }
}
