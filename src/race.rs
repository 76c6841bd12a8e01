//! Happy eyeballs (RFC 8305): of a host's addresses, the first that connects wins.
//!
//! Which addresses may be tried, and how, is for whoever races them to say.

mod setback;
mod waiting;

use std::future::poll_fn;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::error::Error;
use crate::families::Families;
use crate::race::waiting::Waiting;
use crate::resolve::Answers;

pub(crate) use self::setback::{Says, Setback};

/// How long an attempt to connect has before the next one joins it (RFC 8305 §5).
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How long the look-up has to come up with the preferred address once it has others.
const PREFERENCE_DELAY: Duration = Duration::from_millis(50);
/// The most addresses that one race tries.
const ATTEMPTS_MAX: usize = 16;

/// The addresses found so far and the attempts under way. Dropping it ends them all.
pub(crate) struct Race<'f, W, E, A> {
    answers: Answers,
    /// Whether more addresses may come.
    is_open: bool,
    port: u16,
    /// Tries one address, or says why it is not to be tried.
    attempt: A,
    /// How long an attempt has before the next one joins it.
    delay: Duration,
    /// When the turn that it has began: all that a turn does is done at once.
    now: Instant,
    waiting: Waiting,
    attempts: Vec<Attempt<'f, W, E>>,
    started: usize,
    /// When the next attempt may join those under way; `None`: at once.
    next_start: Option<Instant>,
    /// For that; most names have one address, for which nothing is to be awaited.
    alarm: Alarm,
    /// Whether the first attempt waits for the preferred address to be found.
    holds: bool,
    /// When the look-up gave its first address.
    first_address: Option<Instant>,
    /// Of what went wrong so far, what says most.
    setback: Option<Setback<E>>,
}

/// One address being tried.
type Attempt<'f, W, E> = Pin<Box<dyn Future<Output = Result<W, Setback<E>>> + Send + 'f>>;

/// An attempt that was begun, or why that address is not to be tried.
pub(crate) type Begun<'f, W, E> = Result<Attempt<'f, W, E>, Setback<E>>;

impl<'f, W, E, A> Race<'f, W, E, A>
where
    E: From<Error>,
    A: Fn(SocketAddr) -> Begun<'f, W, E>,
{
    pub(crate) fn new(
        answers: Answers,
        (port, families): (u16, Families),
        (start, delay): (Instant, Duration),
        attempt: A,
    ) -> Self {
        Self {
            answers,
            is_open: true,
            port,
            attempt,
            delay,
            now: start,
            waiting: Waiting::of(families),
            attempts: Vec::new(),
            started: 0,
            next_start: None,
            alarm: Alarm::default(),
            holds: false,
            first_address: None,
            setback: None,
        }
    }

    /// Asks for one address to be tried first, should it be among those found.
    pub(crate) fn prefer(&mut self, address: IpAddr) {
        self.waiting.prefer(address);
    }

    /// Runs until a connection stands or nothing is left to try. Its first turn is at the start.
    pub(crate) async fn run(&mut self) -> Result<W, E> {
        let mut is_first = true;
        poll_fn(|cx| {
            if !mem::take(&mut is_first) {
                self.now = Instant::now();
            }
            self.poll(cx)
        })
        .await
    }

    /// When the look-up gave its first address.
    pub(crate) fn first_address(&self) -> Option<Instant> {
        self.first_address
    }

    /// When its last turn began.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Why there is no connection, now that the time is over.
    pub(crate) fn timed_out(&mut self) -> E {
        if self.attempts.is_empty() { self.failed() } else { Error::DialTimeout.into() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<W, E>> {
        loop {
            self.start_next();
            if self.attempts.is_empty() && !self.is_open {
                return Poll::Ready(Err(self.failed()));
            }
            if let Poll::Ready(ended) = poll_ended(&mut self.attempts, cx) {
                match ended {
                    Ok(won) => return Poll::Ready(Ok(won)),
                    Err(Setback { error, says: Says::All }) => return Poll::Ready(Err(error)),
                    Err(setback) => {
                        self.suffer(setback);
                        self.next_start = None;
                    }
                }
            } else if self.is_open
                && let Poll::Ready(found) = self.answers.poll_next(cx)
            {
                self.add(found);
            } else {
                let next = self.next_start.filter(|_| !self.waiting.is_empty());
                let Some(time) = next else { return Poll::Pending };
                ready!(self.alarm.poll(time, cx));
                self.next_start = None;
            }
        }
    }

    fn add(&mut self, found: Result<Option<Vec<IpAddr>>, Error>) {
        match found {
            Ok(Some(addresses)) => {
                let first = self.first_address.is_none();
                self.first_address.get_or_insert(self.now);
                self.waiting.add(addresses);
                self.is_open = self.answers.is_open();
                if first && self.waiting.misses_preferred() {
                    self.next_start = Some(self.now + PREFERENCE_DELAY);
                    self.holds = true;
                }
            }
            Ok(None) => self.is_open = false,
            Err(error) => {
                self.is_open = false;
                self.suffer(Setback::new(Says::NoAddress, error.into()));
            }
        }
    }

    /// Starts the next attempt if it is due: at once if none is under way.
    fn start_next(&mut self) {
        self.holds &= self.is_open && self.waiting.misses_preferred();
        while self.is_due() {
            let Some(ip) = self.waiting.next() else { return };
            match (self.attempt)(SocketAddr::new(ip, self.port)) {
                Ok(attempt) => self.attempts.push(attempt),
                Err(setback) => {
                    self.suffer(setback);
                    continue;
                }
            }
            self.next_start = Some(self.now + self.delay);
            self.started += 1;
            if self.started == ATTEMPTS_MAX {
                self.waiting = Waiting::default();
                self.is_open = false;
            }
        }
    }

    fn is_due(&self) -> bool {
        let is_alone = self.attempts.is_empty() && !self.holds;
        !self.waiting.is_empty() && (is_alone || self.next_start.is_none())
    }

    fn suffer(&mut self, setback: Setback<E>) {
        if self.setback.as_ref().is_none_or(|before| setback.says_more_than(before)) {
            self.setback = Some(setback);
        }
    }

    /// What to say of it all.
    fn failed(&mut self) -> E {
        self.setback.take().map_or_else(|| Answers::timed_out().into(), |setback| setback.error)
    }
}

/// The first attempt to end. They are few: to ask each one costs less than to know which one called.
fn poll_ended<W, E>(
    attempts: &mut Vec<Attempt<'_, W, E>>,
    cx: &mut Context<'_>,
) -> Poll<Result<W, Setback<E>>> {
    for index in 0..attempts.len() {
        let ended = attempts[index].as_mut().poll(cx);
        if ended.is_ready() {
            drop(attempts.remove(index));
            return ended;
        }
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::io;

    use rustix::io::Errno;

    use super::*;
    use crate::reason::Reason;

    /// What comes of one attempt.
    enum Attempted {
        Forbidden,
        Fails(Errno),
        Hangs,
        Stands,
    }
    use Attempted::*;

    /// The address at which the race ended, or the reason that it gave, of addresses that fare like this.
    async fn raced(fates: &[Attempted]) -> Result<usize, Reason> {
        let addresses: Vec<IpAddr> =
            (1..).take(fates.len()).map(|last| IpAddr::from([192, 0, 2, last])).collect();
        let attempt = |address: SocketAddr| -> Begun<'_, usize, Error> {
            let index = addresses.iter().position(|ip| *ip == address.ip()).unwrap();
            Ok(match &fates[index] {
                Forbidden => return Err(Setback::new(Says::Forbidden, Error::Denied(Reason::NoRule))),
                Fails(errno) => Box::pin(ready(Err(Setback::connecting(address, io::Error::from(*errno))))),
                Hangs => Box::pin(pending()),
                Stands => Box::pin(ready(Ok(index))),
            })
        };
        let (answers, start) = (Answers::known(addresses.clone()), Instant::now());
        let mut race = Race::new(answers, (443, Families::default()), (start, ATTEMPT_DELAY), attempt);
        race.run().await.map_err(|error| error.reason())
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_fails_is_followed_at_once_whatever_hangs() {
        let fails = || Fails(Errno::CONNREFUSED);
        for (fates, winner, delays) in [
            (vec![Stands, Stands], 0, 0),
            (vec![fails(), fails(), Stands], 2, 0),
            (vec![Forbidden, Stands], 1, 0),
            (vec![Hangs, Stands], 1, 1),
            (vec![Hangs, fails(), fails(), Stands], 3, 1),
            (vec![Hangs, Hangs, fails(), Forbidden, Stands], 4, 2),
        ] {
            let begun = Instant::now();
            assert_eq!(raced(&fates).await, Ok(winner));
            assert_eq!(begun.elapsed(), delays * ATTEMPT_DELAY, "{winner}");
        }
    }

    #[tokio::test]
    async fn the_error_told_is_the_one_that_says_most_of_the_upstream() {
        use Reason::{DialFailed, DialRefused, DialTimeout, NoRule};
        for (errors, reason) in [
            (&[][..], NoRule),
            (&[Errno::CONNREFUSED], DialRefused),
            (&[Errno::TIMEDOUT], DialTimeout),
            (&[Errno::NETUNREACH], DialFailed),
            (&[Errno::CONNREFUSED, Errno::NETUNREACH], DialRefused),
            (&[Errno::AFNOSUPPORT, Errno::CONNREFUSED], DialRefused),
            (&[Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::CONNREFUSED], DialFailed),
            (&[Errno::ADDRNOTAVAIL, Errno::TIMEDOUT, Errno::CONNREFUSED], DialTimeout),
        ] {
            let fates: Vec<_> = errors.iter().copied().map(Fails).chain([Forbidden]).collect();
            assert_eq!(raced(&fates).await, Err(reason), "{errors:?}");
        }
    }
}
