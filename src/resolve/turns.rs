//! Whose turn it is to ask: each client has so many questions under way at once, and all of them together as many as
//! there are file descriptors for. So names that nobody answers for harm whoever asks for them, and nobody else.
//!
//! A few clients with as many as they may have would leave nothing to the others. So nobody has more under way than there
//! is room for besides: of N that go on asking as much as they can each comes to have 1/(N+1) of a server, and as much is left.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::client::network;
use crate::lock::lock;
use crate::resolve::failure::{Crowded, Failure};

/// Questions that may be under way over one connection to a server, and tries over all sockets. hickory looks at every
/// one of a connection whenever anything happens on it, so there must not be many.
pub(super) const AT_ONCE: usize = 512;
/// Sockets that one try of a question takes at most: over UDP it is sent that often, each time from another port; over
/// TCP it has one.
pub(super) const SOCKETS_A_TRY: u8 = 3;
/// Sockets for all tries.
pub const SOCKETS: usize = AT_ONCE * SOCKETS_A_TRY as usize;
/// The part of all tries that one client may have under way. Two servers are asked at the same time, so it has half of
/// them at most.
const SHARE: usize = 4;

/// For whom a name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A client, which has its share of the questions that may be under way.
    Client(IpAddr),
    /// exeat itself: for the few names that settings and policies list, whoever needs them.
    Exeat,
}

/// Who has questions under way.
#[derive(Debug)]
pub(super) struct Turns {
    tries: Semaphore,
    /// Questions that one client may have under way.
    share: usize,
    /// Those of each client that has any.
    clients: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// Leave of a client to have one more question under way, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    client: IpAddr,
    own: Arc<Semaphore>,
    has_begun: bool,
}

impl Turns {
    /// For as many tries as so many sockets will do for, but for one at least.
    pub(super) fn new(sockets: usize) -> Self {
        let tries = (sockets / usize::from(SOCKETS_A_TRY)).clamp(1, AT_ONCE);
        Self { tries: Semaphore::new(tries), share: (tries / SHARE).max(1), clients: Mutex::default() }
    }

    /// Waits until this client may ask one more question, but not for longer than `within`: until it has less under way
    /// than its share, and than there is `room` for now.
    pub(super) async fn of(
        &self,
        client: IpAddr,
        room: usize,
        within: Duration,
    ) -> Result<Turn<'_>, Failure> {
        let client = network(client);
        let own = Arc::clone(
            lock(&self.clients).entry(client).or_insert_with(|| Arc::new(Semaphore::new(self.share))),
        );
        let mut turn = Turn { turns: self, client, own, has_begun: false };
        // One that has none under way waits for room like everyone.
        let held_back = self.share.saturating_sub(room.max(1));
        turn.begin(held_back, within).await.map_err(|_| Failure::TooMany)?;
        Ok(turn)
    }

    /// How many tries there are sockets for besides those under way.
    pub(super) fn room(&self) -> usize {
        self.tries.available_permits()
    }

    /// Waits until there are sockets for one more try, whoever asks.
    pub(super) async fn sockets(&self, within: Duration) -> Result<SemaphorePermit<'_>, Crowded> {
        take(&self.tries, 1, within).await
    }
}

impl Turn<'_> {
    /// Takes one of the client's share, while so many others of it are free.
    async fn begin(&mut self, held_back: usize, within: Duration) -> Result<(), Crowded> {
        let mut taken = take(&self.own, 1 + held_back, within).await?;
        drop(taken.split(held_back));
        // Given back by hand, as a permit can't be kept beside what it is of.
        taken.forget();
        self.has_begun = true;
        Ok(())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.has_begun {
            self.own.add_permits(1);
        }
        let mut clients = lock(&self.turns.clients);
        // One is the table's and one is this: nobody else of the client asks or waits, and nobody can begin to now.
        if Arc::strong_count(&self.own) == 2 {
            clients.remove(&self.client);
        }
    }
}

/// So many permits as one, if there are as many in time. Mostly there are, and no wait to make ready for.
pub(super) async fn take(
    of: &Semaphore,
    count: usize,
    within: Duration,
) -> Result<SemaphorePermit<'_>, Crowded> {
    let count = u32::try_from(count).map_err(|_| Crowded)?;
    match of.try_acquire_many(count) {
        Ok(permit) => Ok(permit),
        // It is never closed.
        Err(_) => timeout(within, of.acquire_many(count)).await.ok().and_then(Result::ok).ok_or(Crowded),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    const WAIT: Duration = Duration::from_secs(3);
    /// More than any share.
    const ROOM: usize = 1000;

    #[tokio::test(start_paused = true)]
    async fn a_client_beyond_its_share_waits_for_its_own_and_then_is_told() {
        let turns = Turns::new(48);
        let mut own: Vec<Turn<'_>> = Vec::new();
        for _ in 0..4 {
            own.push(turns.of(A, ROOM, WAIT).await.unwrap());
        }
        assert!(matches!(turns.of(A, ROOM, WAIT).await, Err(Failure::TooMany)));
        assert!(turns.of(B, ROOM, WAIT).await.is_ok(), "another client is another matter");
        let mut next = pin!(turns.of(A, ROOM, WAIT));
        assert!(poll!(&mut next).is_pending());
        own.pop();
        assert!(next.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_has_more_under_way_than_there_is_room_for_besides() {
        let turns = Turns::new(96);
        for (room, most) in [(100, 8), (8, 8), (7, 7), (3, 3), (1, 1), (0, 1)] {
            let mut own = Vec::new();
            while let Ok(turn) = turns.of(A, room, WAIT).await {
                own.push(turn);
            }
            assert_eq!(own.len(), most, "{room}");
            let mut next = pin!(turns.of(A, room, WAIT));
            assert!(poll!(&mut next).is_pending());
            own.pop();
            assert!(next.await.is_ok(), "{room}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_ask_nothing_are_forgotten() {
        let turns = Turns::new(24);
        let first = turns.of(A, ROOM, WAIT).await.unwrap();
        let second = turns.of(A, ROOM, WAIT).await.unwrap();
        {
            let mut gives_up = pin!(turns.of(A, ROOM, WAIT));
            assert!(poll!(&mut gives_up).is_pending());
        }
        assert!(turns.of(A, ROOM, WAIT).await.is_err());
        drop(first);
        assert_eq!(lock(&turns.clients).len(), 1);
        drop(second);
        assert_eq!(lock(&turns.clients).len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_addresses_of_an_ipv6_network_are_one_client() {
        let turns = Turns::new(24);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let _first = turns.of(address("2001:db8::1"), ROOM, WAIT).await.unwrap();
        let _second = turns.of(address("2001:db8::2"), ROOM, WAIT).await.unwrap();
        assert!(turns.of(address("2001:db8::3"), ROOM, WAIT).await.is_err());
        assert!(turns.of(address("2001:db8:0:1::1"), ROOM, WAIT).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn all_clients_together_have_as_many_tries_as_there_are_sockets_for() {
        for (sockets, tries) in [(0, 1), (48, 16), (512, 170), (1 << 20, AT_ONCE)] {
            let turns = Turns::new(sockets);
            let mut under_way = Vec::new();
            while let Ok(permit) = turns.sockets(WAIT).await {
                under_way.push(permit);
            }
            assert_eq!(under_way.len(), tries, "{sockets}");
        }
    }
}
