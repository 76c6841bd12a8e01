//! Happy eyeballs (RFC 8305): of a name's addresses, the first that connects wins.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::Instant;

use super::Failed;
use super::waiting::Waiting;
use crate::alarm::Alarm;
use crate::error::Error;
use crate::families::Families;
use crate::reason::Reason;
use crate::resolve::Answers;

/// How long the look-up has to come up with the preferred address once it has others.
const PREFERENCE_DELAY: Duration = Duration::from_millis(50);
/// What an upstream itself says.
const INTEREST_MOST: u8 = 2;
/// The most addresses that one dial tries.
const ATTEMPTS_MAX: usize = 16;

/// One dial: the addresses found so far and the attempts under way. Dropping it ends them all.
pub(super) struct Race<'a, 'f, W, S, A> {
    answers: Answers,
    /// Whether more addresses may come.
    is_open: bool,
    port: u16,
    /// Says for each address whether it may be dialled, and what goes with that.
    screen: S,
    /// Dials one that may be.
    attempt: A,
    /// How long an attempt has before the next one joins it.
    delay: Duration,
    /// When the turn that it has began: all that a turn does is done at once.
    pub(super) now: Instant,
    waiting: Waiting,
    attempts: Vec<Attempt<'f, W>>,
    started: usize,
    /// When the next attempt may join those under way; `None`: at once.
    next_start: Option<Instant>,
    /// For that; most names have one address, for which nothing is to be awaited.
    alarm: Alarm,
    /// Whether the first attempt waits for the preferred address to be found.
    holds: bool,
    /// When the look-up gave its first address.
    pub(super) first_address: Option<Instant>,
    setbacks: Setbacks<'a>,
}

/// One address being dialled.
pub(super) type Attempt<'f, W> = Pin<Box<dyn Future<Output = Result<W, Setback>> + Send + 'f>>;

/// Why an address did not do.
#[derive(Debug)]
pub(super) struct Setback {
    error: Error,
    /// How much it says of the upstream.
    interest: u8,
    /// Whether no other address is to be tried.
    is_final: bool,
}

impl<'a, 'f, L, W, S, A> Race<'a, 'f, W, S, A>
where
    S: Fn(SocketAddr) -> Result<L, Failed<'a>>,
    A: Fn(SocketAddr, L) -> Attempt<'f, W>,
{
    pub(super) fn new(
        answers: Answers,
        (port, families): (u16, Families),
        (start, delay): (Instant, Duration),
        screen: S,
        attempt: A,
    ) -> Self {
        Self {
            answers,
            is_open: true,
            port,
            screen,
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
            setbacks: Setbacks::default(),
        }
    }

    /// Asks for one address to be tried first, should it be among those found.
    pub(super) fn prefer(&mut self, address: IpAddr) {
        self.waiting.prefer(address);
    }

    /// Runs until a connection stands or nothing is left to try. Its first turn is at the start.
    pub(super) async fn run(&mut self) -> Result<W, Failed<'a>> {
        let mut is_first = true;
        poll_fn(|cx| {
            if !mem::take(&mut is_first) {
                self.now = Instant::now();
            }
            self.poll(cx)
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<W, Failed<'a>>> {
        loop {
            self.start_next();
            if self.attempts.is_empty() && !self.is_open {
                return Poll::Ready(Err(self.setbacks.take()));
            }
            if let Poll::Ready(ended) = poll_ended(&mut self.attempts, cx) {
                match ended {
                    Ok(won) => return Poll::Ready(Ok(won)),
                    Err(Setback { error, is_final: true, .. }) => return Poll::Ready(Err(error.into())),
                    Err(setback) => {
                        self.setbacks.dialled(setback);
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

    /// Why there is no connection, now that the time is over.
    pub(super) fn timed_out(&mut self) -> Failed<'a> {
        if self.attempts.is_empty() { self.setbacks.take() } else { Error::DialTimeout.into() }
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
                self.setbacks.looked_up = Some(error);
            }
        }
    }

    /// Starts the next attempt if it is due: at once if none is under way.
    fn start_next(&mut self) {
        self.holds &= self.is_open && self.waiting.misses_preferred();
        while self.is_due() {
            let Some(ip) = self.waiting.next() else { return };
            let address = SocketAddr::new(ip, self.port);
            match (self.screen)(address) {
                Ok(leave) => self.attempts.push((self.attempt)(address, leave)),
                Err(refused) => {
                    self.setbacks.screened(refused);
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
}

impl Setback {
    /// The address could not be connected to.
    pub(super) fn connecting(address: SocketAddr, error: io::Error) -> Self {
        Self { interest: interest(&error), error: dial_error(address, error), is_final: false }
    }
}

/// A parent did not lead to the address.
impl From<Error> for Setback {
    fn from(error: Error) -> Self {
        // Neither a parent that refuses nor one that is not there is tried with every address of a name.
        let is_final = !matches!(&error, Error::Parent(failure) if failure.fault.is_about_destination());
        Self { error, interest: INTEREST_MOST, is_final }
    }
}

/// The first attempt to end. They are few: to ask each one costs less than to know which one called.
fn poll_ended<W>(attempts: &mut Vec<Attempt<'_, W>>, cx: &mut Context<'_>) -> Poll<Result<W, Setback>> {
    for index in 0..attempts.len() {
        let ended = attempts[index].as_mut().poll(cx);
        if ended.is_ready() {
            drop(attempts.remove(index));
            return ended;
        }
    }
    Poll::Pending
}

/// What went wrong so far. What an upstream answered says more than why an address was not tried.
#[derive(Debug, Default)]
struct Setbacks<'a> {
    dialled: Option<Setback>,
    screened: Option<Failed<'a>>,
    looked_up: Option<Error>,
}

impl<'a> Setbacks<'a> {
    fn dialled(&mut self, setback: Setback) {
        if self.dialled.as_ref().is_none_or(|last| setback.interest >= last.interest) {
            self.dialled = Some(setback);
        }
    }

    /// That the policy refuses an address says more than that this host has no way there.
    fn screened(&mut self, refused: Failed<'a>) {
        let says_little = |known: &Failed<'_>| known.error.reason() == Reason::DialFailed;
        if self.screened.as_ref().is_none_or(says_little) {
            self.screened = Some(refused);
        }
    }

    fn take(&mut self) -> Failed<'a> {
        if let Some(Setback { error, .. }) = self.dialled.take() {
            return error.into();
        }
        if let Some(refused) = self.screened.take() {
            return refused;
        }
        self.looked_up.take().unwrap_or_else(Answers::timed_out).into()
    }
}

fn dial_error(address: SocketAddr, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::DialRefused(address),
        io::ErrorKind::TimedOut => Error::DialTimeout,
        _ => Error::DialFailed(address, error),
    }
}

/// How much an error says of the upstream: that this host has no way there, as without IPv6, says nothing.
fn interest(error: &io::Error) -> u8 {
    match Errno::from_io_error(error) {
        Some(Errno::NETUNREACH | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => 0,
        Some(Errno::CONNREFUSED) => 1,
        _ => INTEREST_MOST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_told_is_the_one_that_says_most_of_the_upstream() {
        use Reason::{DialFailed, DialRefused, DialTimeout};
        for (errors, reason) in [
            (&[Errno::CONNREFUSED][..], DialRefused),
            (&[Errno::TIMEDOUT], DialTimeout),
            (&[Errno::NETUNREACH], DialFailed),
            (&[Errno::CONNREFUSED, Errno::NETUNREACH], DialRefused),
            (&[Errno::AFNOSUPPORT, Errno::CONNREFUSED], DialRefused),
            (&[Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::CONNREFUSED], DialFailed),
            (&[Errno::ADDRNOTAVAIL, Errno::TIMEDOUT, Errno::CONNREFUSED], DialTimeout),
        ] {
            let mut setbacks = Setbacks {
                dialled: None,
                screened: Some(Error::Revoked.into()),
                looked_up: Some(Error::Dns(String::new())),
            };
            for errno in errors {
                let address = "192.0.2.1:443".parse().unwrap();
                setbacks.dialled(Setback::connecting(address, io::Error::from(*errno)));
            }
            assert_eq!(setbacks.take().error.reason(), reason, "{errors:?}");
        }
    }
}
