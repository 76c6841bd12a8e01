//! How many of something each client has; clients that have none are not remembered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Mutex;

use crate::client::network;
use crate::lock::lock;

#[derive(Debug, Default)]
pub struct Counts(Mutex<HashMap<IpAddr, usize>>);

impl Counts {
    /// Counts one more for a client, unless it has `most` already. Tells how many it has then.
    pub fn add(&self, client: IpAddr, most: NonZeroUsize) -> Option<usize> {
        let mut counts = lock(&self.0);
        let count = counts.entry(network(client)).or_default();
        if *count >= most.get() {
            return None;
        }
        *count += 1;
        Some(*count)
    }

    /// Counts one less for a client that has some.
    pub fn remove(&self, client: IpAddr) {
        let (mut counts, client) = (lock(&self.0), network(client));
        if let Some(count) = counts.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(counts: &Counts, client: IpAddr, most: usize) -> Option<usize> {
        counts.add(client, NonZeroUsize::new(most).unwrap())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_is_counted_up_to_its_most_and_forgotten_once_it_has_none() {
        let (counts, client) = (Counts::default(), address("10.0.0.1"));
        assert_eq!([2, 2, 2].map(|most| add(&counts, client, most)), [Some(1), Some(2), None]);
        assert_eq!(add(&counts, client, 3), Some(3));
        assert_eq!(add(&counts, address("10.0.0.2"), 1), Some(1));
        (0..3).for_each(|_| counts.remove(client));
        assert_eq!(lock(&counts.0).len(), 1);
        assert_eq!(add(&counts, client, 1), Some(1));
    }

    #[test]
    fn the_addresses_of_an_ipv6_network_are_one_client() {
        let counts = Counts::default();
        assert!(["2001:db8::1", "2001:db8::2"].iter().all(|text| add(&counts, address(text), 2).is_some()));
        assert_eq!(add(&counts, address("2001:db8::3"), 2), None);
        assert_eq!(add(&counts, address("2001:db8:0:1::1"), 2), Some(1));
        counts.remove(address("2001:db8::1"));
        assert_eq!(add(&counts, address("2001:db8::3"), 2), Some(2));
    }
}
