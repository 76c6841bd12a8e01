//! Whether a proxy is worth a try, told by how the last tries went: nothing is sent only to find out.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;

/// How long one is passed over after a first failure; twice as long after each further one.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// So many tunnels that got no answer, and none in between that did, are a failure. A single one may be the
/// destination's doing.
const UNANSWERED_MAX: u32 = 3;

/// How one proxy fares.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Until when it is passed over.
    paused: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// Questions without an answer in a row.
    unanswered: u32,
}

impl Health {
    /// Whether it is to be tried now. After its pause one flow is let through to try it: for others the pause goes on
    /// until that is known.
    pub(super) fn takes_a_turn(&self, now: Instant) -> bool {
        let mut state = lock(&self.0);
        match state.paused {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.paused = Some(now + state.pause());
                true
            }
        }
    }

    /// It took a connection; says whether it is well. One that often left questions without an answer has to answer.
    pub(super) fn works(&self) -> bool {
        let mut state = lock(&self.0);
        let is_well = state.unanswered < UNANSWERED_MAX;
        if is_well {
            (state.paused, state.failures) = (None, 0);
        }
        is_well
    }

    /// It answered.
    pub(super) fn answers(&self) {
        *lock(&self.0) = State::default();
    }

    /// It took no connection.
    pub(super) fn fails(&self, now: Instant) {
        lock(&self.0).fails(now);
    }

    /// It left a question without an answer; says whether that was one too many.
    pub(super) fn leaves_unanswered(&self, now: Instant) -> bool {
        let mut state = lock(&self.0);
        state.unanswered += 1;
        let too_many = state.unanswered >= UNANSWERED_MAX;
        if too_many {
            state.fails(now);
        }
        too_many
    }
}

impl State {
    fn fails(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.paused = Some(now + self.pause());
    }

    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(8);
        (PAUSE * 2_u32.pow(doublings)).min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_failed_is_passed_over_and_then_tried_by_one_flow() {
        let (health, start) = (Health::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(health.takes_a_turn(start) && health.takes_a_turn(start));
        health.fails(start);
        assert!(!health.takes_a_turn(at(4)));
        assert!(health.takes_a_turn(at(5)) && !health.takes_a_turn(at(5)), "one alone");
        health.fails(at(6));
        assert!(!health.takes_a_turn(at(15)) && health.takes_a_turn(at(16)), "twice as long");
        for _ in 0..100 {
            health.fails(at(20));
        }
        assert!(!health.takes_a_turn(at(79)) && health.takes_a_turn(at(80)), "a minute at most");
        assert!(health.works());
        assert!(health.takes_a_turn(at(80)) && health.takes_a_turn(at(80)));
        health.fails(at(80));
        assert!(health.takes_a_turn(at(85)), "from the beginning");
    }

    #[test]
    fn silence_is_a_failure_once_it_is_usual() {
        let (health, start) = (Health::default(), Instant::now());
        let silent = || health.leaves_unanswered(start);
        assert!(!silent() && !silent());
        health.answers();
        assert!(!silent() && !silent() && health.takes_a_turn(start));
        assert!(silent() && !health.takes_a_turn(start));
        // It takes connections all the time.
        assert!(!health.works() && !health.takes_a_turn(start));
        health.answers();
        assert!(health.takes_a_turn(start));
    }
}
