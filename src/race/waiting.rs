//! The addresses of a race that were not tried yet.

use std::net::IpAddr;

use crate::families::Families;

/// Addresses not yet tried: the preferred one, then family by turns (RFC 8305 §4).
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Until it is given out.
    preferred: Option<IpAddr>,
    /// Those of each family in their order.
    addresses: Vec<IpAddr>,
    /// Whether it is the turn of IPv4.
    was_v6: bool,
}

impl Waiting {
    /// None yet, and the family that is to go first.
    pub(super) fn of(families: Families) -> Self {
        Self { was_v6: families.begin_with_v4(), ..Self::default() }
    }

    /// Asks for one address to be given out first, should it be among those added.
    pub(super) fn prefer(&mut self, address: IpAddr) {
        self.preferred = Some(address.to_canonical());
    }

    pub(super) fn add(&mut self, mut addresses: Vec<IpAddr>) {
        for address in &mut addresses {
            // An IPv4 address in IPv6 dress is judged as what it is, so it is dialled as that.
            *address = address.to_canonical();
        }
        if self.addresses.is_empty() {
            self.addresses = addresses;
        } else {
            self.addresses.append(&mut addresses);
        }
    }

    pub(super) fn next(&mut self) -> Option<IpAddr> {
        let index = self.index_of_preferred().or_else(|| self.index_of_turn())?;
        let address = self.addresses.remove(index);
        if self.preferred == Some(address) {
            self.preferred = None;
        }
        self.was_v6 = address.is_ipv6();
        Some(address)
    }

    fn index_of_preferred(&self) -> Option<usize> {
        let preferred = self.preferred?;
        self.addresses.iter().position(|address| *address == preferred)
    }

    /// The first one of the family whose turn it is, or else of the other.
    fn index_of_turn(&self) -> Option<usize> {
        let of_turn = self.addresses.iter().position(|address| address.is_ipv4() == self.was_v6);
        of_turn.or_else(|| (!self.is_empty()).then_some(0))
    }

    /// Whether there is a preferred address that is not among those found.
    pub(super) fn misses_preferred(&self) -> bool {
        self.preferred.is_some() && self.index_of_preferred().is_none()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn preferring(address: &str) -> Waiting {
        let mut waiting = Waiting::default();
        waiting.prefer(address.parse().unwrap());
        waiting
    }

    #[test]
    fn families_take_turns_also_when_one_comes_late() {
        let mut waiting = Waiting::default();
        waiting.add(addresses(&["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "::ffff:192.0.2.3"]));
        let order = addresses(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"]);
        assert_eq!(std::iter::from_fn(|| waiting.next()).collect::<Vec<_>>(), order);

        waiting.add(addresses(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]));
        assert_eq!(waiting.next(), Some("192.0.2.1".parse().unwrap()));
        waiting.add(addresses(&["2001:db8::1"]));
        let order = addresses(&["2001:db8::1", "192.0.2.2", "192.0.2.3"]);
        assert_eq!(std::iter::from_fn(|| waiting.next()).collect::<Vec<_>>(), order);
        assert!(waiting.is_empty());
    }

    #[test]
    fn the_preferred_address_goes_first_if_it_is_found() {
        let mut waiting = preferring("192.0.2.2");
        waiting.add(addresses(&["2001:db8::1"]));
        assert!(waiting.misses_preferred());
        waiting.add(addresses(&["192.0.2.1", "192.0.2.2"]));
        assert!(!waiting.misses_preferred());
        let order = addresses(&["192.0.2.2", "2001:db8::1", "192.0.2.1"]);
        assert_eq!(std::iter::from_fn(|| waiting.next()).collect::<Vec<_>>(), order);

        let mut waiting = preferring("192.0.2.9");
        waiting.add(addresses(&["192.0.2.1"]));
        assert_eq!(
            waiting.next(),
            Some("192.0.2.1".parse().unwrap()),
            "an address that was not found is not dialled"
        );
        assert_eq!(waiting.next(), None);
    }
}
