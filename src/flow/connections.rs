//! The limits on connections, whatever comes on them: in all, and of each client.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::client::Counts;
use crate::error::Error;
use crate::metrics::Metrics;

/// So many more may a client have for a moment, to be told that it has too many. What it opens beyond them is reset.
const TOLD: usize = 16;

/// The connections of all clients.
#[derive(Debug)]
pub struct Connections {
    room: Semaphore,
    /// `None`: no limit, and nothing is counted by client.
    per_client: Option<NonZeroUsize>,
    clients: Counts,
    metrics: Arc<Metrics>,
}

/// Leave to have a connection, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    connections: Arc<Connections>,
    /// Whose it is, where clients are counted.
    client: Option<IpAddr>,
    is_beyond: bool,
}

impl Connections {
    /// At most `all` at a time, and `per_client` of one client; `None`: no limit of its own.
    pub fn new(all: usize, per_client: Option<NonZeroUsize>, metrics: Arc<Metrics>) -> Self {
        Self { room: Semaphore::new(all), per_client, clients: Counts::default(), metrics }
    }

    /// Waits until there is room for one more. It is never closed: `None` does not come.
    pub async fn room(&self) -> Option<SemaphorePermit<'_>> {
        // Mostly there is some, and no wait to make ready for.
        match self.room.try_acquire() {
            Ok(room) => Some(room),
            Err(_) => self.room.acquire().await.ok(),
        }
    }

    /// The permit for a connection that came while there was room.
    pub fn open(self: &Arc<Self>, room: SemaphorePermit<'_>) -> Permit {
        // The permit itself gives it back.
        room.forget();
        self.metrics.connection_opens();
        Permit { connections: Arc::clone(self), client: None, is_beyond: false }
    }
}

impl Permit {
    /// Counts the connection as this client's. A client that has as many as it may have gets an error, or, if it `hears`
    /// what is said on its connections, for a few of them a permit that is [beyond](Self::is_beyond) the limit.
    pub fn belongs_to(&mut self, client: IpAddr, hears: bool) -> Result<(), Error> {
        let Connections { per_client, clients, metrics, .. } = &*self.connections;
        let Some(per_client) = *per_client else { return Ok(()) };
        let most = per_client.saturating_add(if hears { TOLD } else { 0 });
        let count = clients.add(client, most);
        self.client = count.map(|_| client);
        self.is_beyond = count.is_some_and(|count| count > per_client.get());
        if self.is_beyond || count.is_none() {
            metrics.connection_refused();
        }
        count.map(|_| ()).ok_or(Error::LimitClientConnections)
    }

    /// Whether the connection is there to be told that its client has too many, and for nothing else.
    pub fn is_beyond(&self) -> bool {
        self.is_beyond
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.connections.clients.remove(client);
        }
        self.connections.metrics.connection_closes();
        self.connections.room.add_permits(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn connections(all: usize, per_client: usize) -> Arc<Connections> {
        Arc::new(Connections::new(all, NonZeroUsize::new(per_client), Arc::new(Metrics::new().unwrap())))
    }

    async fn open(connections: &Arc<Connections>, client: IpAddr, hears: bool) -> Result<Permit, Error> {
        let mut permit = connections.open(connections.room().await.unwrap());
        permit.belongs_to(client, hears).map(|()| permit)
    }

    #[tokio::test]
    async fn a_client_at_its_limit_is_told_on_a_few_connections_and_on_no_more() {
        let connections = connections(100, 2);
        let mut open_ones = Vec::new();
        for beyond in [[false; 2].as_slice(), &[true; TOLD]].concat() {
            let permit = open(&connections, A, true).await.unwrap();
            assert_eq!(permit.is_beyond(), beyond);
            open_ones.push(permit);
        }
        assert!(matches!(open(&connections, A, true).await, Err(Error::LimitClientConnections)));
        assert!(!open(&connections, B, true).await.unwrap().is_beyond());
        drop(open_ones);
        assert!(!open(&connections, A, true).await.unwrap().is_beyond());
    }

    #[tokio::test]
    async fn a_client_that_hears_nothing_has_its_limit_alone() {
        let connections = connections(100, 2);
        let first = open(&connections, A, false).await.unwrap();
        let _second = open(&connections, A, false).await.unwrap();
        assert!(matches!(open(&connections, A, false).await, Err(Error::LimitClientConnections)));
        drop(first);
        assert!(open(&connections, A, false).await.is_ok());
    }

    #[tokio::test]
    async fn a_refused_connection_leaves_its_room_to_the_next() {
        let connections = connections(2, 1);
        let _open = open(&connections, A, false).await.unwrap();
        for _ in 0..10 {
            assert!(open(&connections, A, false).await.is_err());
        }
        let other = open(&connections, B, false).await.unwrap();
        assert!(futures_util::poll!(std::pin::pin!(connections.room())).is_pending());
        drop(other);
        assert!(connections.room().await.is_some());
    }

    #[test]
    fn a_permit_is_small() {
        assert!(size_of::<Permit>() <= 32, "{}", size_of::<Permit>());
    }
}
