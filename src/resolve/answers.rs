//! The answers to one look-up as they arrive.

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::error::Error;
use crate::resolve::Lookup;
use crate::resolve::failure::Failure;

/// How long the addresses of a family wait for those of the one that goes first (the resolution delay of RFC 8305 §3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// The addresses of a name, in up to two batches: neither family waits for the other for long.
pub struct Answers {
    /// The family that goes first; the other waits for it.
    first: Family,
    second: Family,
    /// The name of the family that alone was asked for.
    only: Option<&'static str>,
    delay: Option<Pin<Box<Sleep>>>,
    /// Whether any address was given out.
    found: bool,
}

enum Family {
    Asked(Lookup),
    Answered(Result<Vec<IpAddr>, Failure>),
}

impl Answers {
    pub(super) fn asked(first: Lookup, second: Lookup) -> Self {
        Self::new(Family::Asked(first), Family::Asked(second))
    }

    /// Of one family, which is called `name`.
    pub(super) fn only(name: &'static str, lookup: Lookup) -> Self {
        Self { only: Some(name), ..Self::new(Family::Asked(lookup), Family::Answered(Ok(Vec::new()))) }
    }

    /// Addresses that need no look-up.
    pub(crate) fn known(addresses: Vec<IpAddr>) -> Self {
        Self::new(Family::Answered(Ok(addresses)), Family::Answered(Ok(Vec::new())))
    }

    fn new(first: Family, second: Family) -> Self {
        Self { first, second, only: None, delay: None, found: false }
    }

    /// The next batch, never an empty one; `None` once all have been given out; an error if there
    /// was none at all. It may be dropped and called again without losing anything.
    pub async fn next(&mut self) -> Result<Option<Vec<IpAddr>>, Error> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same for whoever polls by hand.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Vec<IpAddr>>, Error>> {
        let (first_pending, second_pending) =
            (self.first.is_pending(context), self.second.is_pending(context));
        if first_pending && !self.found && self.second.has_addresses() && self.is_delayed(context) {
            return Poll::Pending;
        }
        let mut batch = self.first.take();
        batch.append(&mut self.second.take());
        if !batch.is_empty() {
            self.found = true;
            return Poll::Ready(Ok(Some(batch)));
        }
        if first_pending || second_pending {
            return Poll::Pending;
        }
        Poll::Ready(if self.found { Ok(None) } else { Err(self.error()) })
    }

    /// Whether another batch may follow the one that was just given out.
    pub(crate) fn is_open(&self) -> bool {
        [&self.first, &self.second].into_iter().any(|family| matches!(family, Family::Asked(_)))
    }

    /// What to say when whoever asked can't wait any longer.
    pub(crate) fn timed_out() -> Error {
        Failure::Timeout.into()
    }

    fn is_delayed(&mut self, context: &mut Context<'_>) -> bool {
        let delay = self.delay.get_or_insert_with(|| Box::pin(tokio::time::sleep(RESOLUTION_DELAY)));
        delay.as_mut().poll(context).is_pending()
    }

    fn error(&self) -> Error {
        match (self.first.failure().max(self.second.failure()), self.only) {
            (Failure::NoAddresses, Some(family)) => Error::Dns(format!("the name has no {family} addresses")),
            (failure, _) => failure.into(),
        }
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("found", &self.found).finish_non_exhaustive()
    }
}

impl Family {
    fn is_pending(&mut self, context: &mut Context<'_>) -> bool {
        let Self::Asked(lookup) = self else { return false };
        let Poll::Ready(result) = lookup.as_mut().poll(context) else { return true };
        *self = Self::Answered(result);
        false
    }

    fn has_addresses(&self) -> bool {
        matches!(self, Self::Answered(Ok(addresses)) if !addresses.is_empty())
    }

    fn take(&mut self) -> Vec<IpAddr> {
        match self {
            Self::Answered(Ok(addresses)) => mem::take(addresses),
            _ => Vec::new(),
        }
    }

    fn failure(&self) -> Failure {
        match self {
            Self::Answered(Err(failure)) => *failure,
            _ => Failure::NoAddresses,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::sync::oneshot::{Sender, channel};

    use super::*;

    type Answer = Result<Vec<IpAddr>, Failure>;

    /// Answers whose families arrive when the test sends them: IPv6, then IPv4.
    fn awaited() -> (Sender<Answer>, Sender<Answer>, Answers) {
        let ((v6, from_v6), (v4, from_v4)) = (channel::<Answer>(), channel::<Answer>());
        let answers = Answers::asked(
            Box::pin(async { from_v6.await.unwrap() }),
            Box::pin(async { from_v4.await.unwrap() }),
        );
        (v6, v4, answers)
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// What is there by now.
    fn now(answers: &mut Answers) -> Poll<Result<Option<Vec<IpAddr>>, String>> {
        let result = answers.poll_next(&mut Context::from_waker(Waker::noop()));
        result.map_err(|error| error.to_string())
    }

    fn batch(texts: &[&str]) -> Poll<Result<Option<Vec<IpAddr>>, String>> {
        Poll::Ready(Ok(Some(addresses(texts))))
    }

    #[tokio::test]
    async fn ipv6_waits_for_nobody() {
        let (v6, v4, mut answers) = awaited();
        assert!(now(&mut answers).is_pending());
        v6.send(Ok(addresses(&["2001:db8::1"]))).unwrap();
        assert_eq!(now(&mut answers), batch(&["2001:db8::1"]));
        assert!(now(&mut answers).is_pending());
        v4.send(Ok(addresses(&["192.0.2.1"]))).unwrap();
        assert_eq!(now(&mut answers), batch(&["192.0.2.1"]));
        assert_eq!(now(&mut answers), Poll::Ready(Ok(None)));
    }

    #[tokio::test]
    async fn ipv4_waits_a_little_for_ipv6() {
        let (v6, v4, mut answers) = awaited();
        v4.send(Ok(addresses(&["192.0.2.1"]))).unwrap();
        assert!(now(&mut answers).is_pending());
        v6.send(Ok(addresses(&["2001:db8::1"]))).unwrap();
        assert_eq!(now(&mut answers), batch(&["2001:db8::1", "192.0.2.1"]));

        let (v6, v4, mut answers) = awaited();
        v4.send(Ok(addresses(&["192.0.2.1"]))).unwrap();
        assert_eq!(answers.next().await.unwrap(), Some(addresses(&["192.0.2.1"])));
        v6.send(Ok(addresses(&["2001:db8::1"]))).unwrap();
        assert_eq!(now(&mut answers), batch(&["2001:db8::1"]));
    }

    #[tokio::test]
    async fn ipv4_does_not_wait_for_what_will_not_come() {
        for answer in [Ok(Vec::new()), Err(Failure::Timeout)] {
            let (v6, v4, mut answers) = awaited();
            v6.send(answer).unwrap();
            assert!(now(&mut answers).is_pending());
            v4.send(Ok(addresses(&["192.0.2.1"]))).unwrap();
            assert_eq!(now(&mut answers), batch(&["192.0.2.1"]));
            assert_eq!(now(&mut answers), Poll::Ready(Ok(None)));
        }
    }

    #[tokio::test]
    async fn without_any_address_the_failure_that_says_most_is_told() {
        for (a, b, text) in [
            (Ok(Vec::new()), Ok(Vec::new()), "the name has no addresses"),
            (Ok(Vec::new()), Err(Failure::ServerFailed), "the DNS server failed (SERVFAIL)"),
            (Err(Failure::Timeout), Err(Failure::NoSuchName), "the name does not exist (NXDOMAIN)"),
            (Err(Failure::Unreachable), Err(Failure::Timeout), "no DNS server answered in time"),
        ] {
            for (first, second) in [(a.clone(), b.clone()), (b, a)] {
                let (v6, v4, mut answers) = awaited();
                v6.send(first).unwrap();
                assert!(now(&mut answers).is_pending());
                v4.send(second).unwrap();
                assert_eq!(now(&mut answers), Poll::Ready(Err(format!("look-up failed: {text}"))));
            }
        }
    }
}
