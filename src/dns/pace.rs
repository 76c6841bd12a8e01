//! Bounds on what one client may ask: so many questions at once, so many a second, over so many connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::client::network;
use crate::error::Error;
use crate::lock::lock;

/// Questions of one client under way. A host whose stub asks for everyone on it has a few dozen.
const AT_ONCE: u32 = 512;
/// Questions of one client in a row, and after that: one each such interval.
const BURST: u32 = 2000;
const INTERVAL: Duration = Duration::from_millis(1);
/// Connections of one client, whether it asks or not. A stub keeps a few.
const CONNECTIONS: u32 = 128;
/// Clients that are remembered. One that has asked little is forgotten in a few milliseconds.
const CLIENTS: usize = 16_384;

/// Who asked how much of late.
#[derive(Debug)]
pub(super) struct Pace {
    clients: Mutex<HashMap<IpAddr, Share>>,
}

#[derive(Debug)]
struct Share {
    open: u32,
    connections: u32,
    /// When all that was asked so far would have been asked at the steady pace.
    settled: Instant,
}

/// Leave to ask one question, for as long as it takes.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pace: &'a Pace,
    client: IpAddr,
}

/// Leave to have a connection open.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pace: &'a Pace,
    client: IpAddr,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { clients: Mutex::default() }
    }

    /// A turn for this client, unless it asks too much.
    pub(super) fn turn(&self, client: IpAddr) -> Result<Turn<'_>, Error> {
        self.turn_at(client, Instant::now())
    }

    /// A place for a connection of this client, unless it has too many.
    pub(super) fn place(&self, client: IpAddr) -> Result<Place<'_>, Error> {
        let client = network(client);
        let mut clients = self.clients();
        let share = share(&mut clients, client, Instant::now())?;
        if share.connections >= CONNECTIONS {
            return Err(Error::LimitClientConnections);
        }
        share.connections += 1;
        Ok(Place { pace: self, client })
    }

    fn turn_at(&self, client: IpAddr, now: Instant) -> Result<Turn<'_>, Error> {
        let client = network(client);
        let mut clients = self.clients();
        let share = share(&mut clients, client, now)?;
        let settled = share.settled.max(now) + INTERVAL;
        if share.open >= AT_ONCE || settled > now + INTERVAL * BURST {
            return Err(Error::LimitClientQuestions);
        }
        share.settled = settled;
        share.open += 1;
        Ok(Turn { pace: self, client })
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, Share>> {
        lock(&self.clients)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(share) = self.pace.clients().get_mut(&self.client) {
            share.open = share.open.saturating_sub(1);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(share) = self.pace.clients().get_mut(&self.client) {
            share.connections = share.connections.saturating_sub(1);
        }
    }
}

/// What a client has asked of late; nothing yet, if there is room for one more.
fn share(clients: &mut HashMap<IpAddr, Share>, client: IpAddr, now: Instant) -> Result<&mut Share, Error> {
    if clients.len() >= CLIENTS && !clients.contains_key(&client) {
        clients.retain(|_, share| share.open > 0 || share.connections > 0 || share.settled > now);
        if clients.len() >= CLIENTS {
            return Err(Error::LimitDnsClients);
        }
    }
    Ok(clients.entry(client).or_insert(Share { open: 0, connections: 0, settled: now }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn a_client_has_so_many_questions_at_once() {
        let (pace, now) = (Pace::new(), Instant::now());
        let mut turns: Vec<_> = (0..AT_ONCE).map(|_| pace.turn_at(A, now).unwrap()).collect();
        assert!(matches!(pace.turn_at(A, now), Err(Error::LimitClientQuestions)));
        assert!(pace.turn_at(B, now).is_ok(), "another client is another matter");
        turns.pop();
        assert!(pace.turn_at(A, now).is_ok());
    }

    #[test]
    fn a_client_has_so_many_connections() {
        let pace = Pace::new();
        let mut places: Vec<_> = (0..CONNECTIONS).map(|_| pace.place(A).unwrap()).collect();
        assert!(matches!(pace.place(A), Err(Error::LimitClientConnections)));
        assert!(pace.place(B).is_ok());
        places.pop();
        assert!(pace.place(A).is_ok());
    }

    #[test]
    fn a_client_may_ask_a_burst_and_then_at_a_steady_pace() {
        let (pace, now) = (Pace::new(), Instant::now());
        (0..BURST).for_each(|_| drop(pace.turn_at(A, now).unwrap()));
        assert!(matches!(pace.turn_at(A, now), Err(Error::LimitClientQuestions)));
        let later = now + 10 * INTERVAL;
        (0..10).for_each(|_| drop(pace.turn_at(A, later).unwrap()));
        assert!(matches!(pace.turn_at(A, later), Err(Error::LimitClientQuestions)));
    }

    #[test]
    fn clients_that_asked_little_are_forgotten_for_new_ones() {
        let (pace, now) = (Pace::new(), Instant::now());
        let client = |number: usize| IpAddr::V4(std::net::Ipv4Addr::from(number as u32));
        (0..CLIENTS).for_each(|number| drop(pace.turn_at(client(number), now).unwrap()));
        assert!(matches!(pace.turn_at(client(CLIENTS), now), Err(Error::LimitDnsClients)));
        assert!(pace.turn_at(client(CLIENTS), now + 2 * INTERVAL).is_ok());
        assert_eq!(pace.clients().len(), 1);
    }

    #[test]
    fn the_addresses_of_an_ipv6_network_are_one_client() {
        let (pace, now) = (Pace::new(), Instant::now());
        let turns: Vec<_> = (0..AT_ONCE)
            .map(|n| pace.turn_at(format!("2001:db8::{n:x}").parse().unwrap(), now).unwrap())
            .collect();
        assert!(pace.turn_at("2001:db8::ffff:0:0:1".parse().unwrap(), now).is_err());
        assert!(pace.turn_at("2001:db8:0:1::1".parse().unwrap(), now).is_ok());
        drop(turns);
    }
}
