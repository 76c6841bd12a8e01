//! How fast one client may try credentials: one at a time, and after many wrong ones slowly.
//!
//! Whoever guesses is slowed, and with it whoever shares its address and has not been here before. Whoever has
//! been right from there goes by a lane of their own, and known credentials need none: a whole NAT is
//! never locked out by one behind it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use crate::auth::recent::Recent;
use crate::client::network;
use crate::error::Error;
use crate::lock::lock;

/// Wrong passwords in a row, and after that: one each such interval.
const BURST: u32 = 20;
const INTERVAL: Duration = Duration::from_secs(2);
/// Requests that may wait in one lane, and for how long.
const WAITING: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);
/// Lanes that are remembered, in each generation.
const LANES: usize = 32_768;

/// Who tried what of late.
#[derive(Debug)]
pub(super) struct Pace {
    lanes: Mutex<Recent<Origin, Arc<Lane>>>,
}

/// Where tries come from: an address, with a user who was right from there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Origin {
    network: IpAddr,
    user: Option<Box<str>>,
}

#[derive(Debug)]
struct Lane {
    turn: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// When all that was tried wrongly so far would have been tried at the steady pace.
    settled: Mutex<Instant>,
}

/// Leave to try once, for as long as it takes.
#[derive(Debug)]
pub(super) struct Turn<'p> {
    pace: &'p Pace,
    lane: Arc<Lane>,
    _permit: OwnedSemaphorePermit,
}

/// A place in a lane's queue.
struct Waiting<'l>(&'l Lane);

impl Pace {
    pub(super) fn new() -> Self {
        Self { lanes: Mutex::new(Recent::new(LANES)) }
    }

    /// A turn for a client that says to be this user, once those before it have had theirs.
    pub(super) async fn turn(&self, client: IpAddr, user: Option<&str>) -> Result<Turn<'_>, Error> {
        let lane = self.lane(network(client), user);
        let _place = lane.place()?;
        let turn = async {
            let permit =
                Arc::clone(&lane.turn).acquire_owned().await.map_err(|_| Error::LimitClientCredentials)?;
            let settled = *lock(&lane.settled);
            // The turn is held meanwhile: nobody gets ahead by trying more often.
            sleep_until(settled.checked_sub(INTERVAL * BURST).unwrap_or(settled)).await;
            Ok::<_, Error>(permit)
        };
        let permit = timeout(PATIENCE, turn).await.map_err(|_| Error::LimitClientCredentials)??;
        Ok(Turn { pace: self, lane: Arc::clone(&lane), _permit: permit })
    }

    fn lane(&self, network: IpAddr, user: Option<&str>) -> Arc<Lane> {
        let mut lanes = lock(&self.lanes);
        if let Some(user) = user
            && let Some(own) = lanes.find(&Origin { network, user: Some(user.into()) })
        {
            return Arc::clone(own);
        }
        let shared = Origin { network, user: None };
        if let Some(lane) = lanes.find(&shared) {
            return Arc::clone(lane);
        }
        let lane = Arc::new(Lane::new());
        lanes.insert(shared, Arc::clone(&lane));
        lane
    }
}

impl Turn<'_> {
    /// Notes that the try was wrong.
    pub(super) fn failed(&self) {
        let mut settled = lock(&self.lane.settled);
        *settled = (*settled).max(Instant::now()) + INTERVAL;
    }

    /// Notes that it was right: the user has a lane of its own from there.
    pub(super) fn succeeded(&self, client: IpAddr, user: &str) {
        let origin = Origin { network: network(client), user: Some(user.into()) };
        let mut lanes = lock(&self.pace.lanes);
        if lanes.find(&origin).is_none() {
            lanes.insert(origin, Arc::new(Lane::new()));
        }
    }
}

impl Lane {
    fn new() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
            settled: Mutex::new(Instant::now()),
        }
    }

    fn place(&self) -> Result<Waiting<'_>, Error> {
        let place = Waiting(self);
        match self.waiting.fetch_add(1, Ordering::Relaxed) < WAITING {
            true => Ok(place),
            false => Err(Error::LimitClientCredentials),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[tokio::test(start_paused = true)]
    async fn a_client_that_guesses_is_slowed_and_nobody_else() {
        let pace = Pace::new();
        pace.turn(A, Some("alice")).await.unwrap().succeeded(A, "alice");
        let began = Instant::now();
        for _ in 0..BURST {
            pace.turn(A, Some("root")).await.unwrap().failed();
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..5 {
            pace.turn(A, Some("admin")).await.unwrap().failed();
        }
        assert!(began.elapsed() >= INTERVAL * 4, "{:?}", began.elapsed());
        let began = Instant::now();
        pace.turn(B, Some("root")).await.unwrap().failed();
        pace.turn(A, Some("alice")).await.unwrap();
        assert_eq!(
            began.elapsed(),
            Duration::ZERO,
            "another address, and a user who was right from this one"
        );
        pace.turn(A, Some("root")).await.unwrap();
        assert!(began.elapsed() >= INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn one_try_at_a_time_and_so_many_may_wait() {
        let pace = Pace::new();
        let first = pace.turn(A, None).await.unwrap();
        let waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(pace.turn(A, None))).collect();
        let mut waiting = waiting;
        for one in &mut waiting {
            assert!(futures_util::poll!(one.as_mut()).is_pending());
        }
        assert!(matches!(pace.turn(A, None).await, Err(Error::LimitClientCredentials)));
        assert!(pace.turn(B, None).await.is_ok());
        drop(first);
        assert!(waiting.remove(0).await.is_ok());
        // Whoever waits for too long is told so.
        let held = pace.turn(B, None).await.unwrap();
        assert!(matches!(pace.turn(B, None).await, Err(Error::LimitClientCredentials)));
        drop(held);
    }
}
