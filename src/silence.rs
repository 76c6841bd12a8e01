//! How long nothing may move on what is open.

use std::time::Duration;

/// The bounds on silence. A byte in either direction starts the time anew.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// While both sides may still send.
    pub idle: Duration,
    /// After one side has sent its last byte, or is gone, unless `idle` is shorter.
    pub half_closed: Duration,
}

impl Silence {
    /// How long it may last, where one side has ended or where neither has.
    pub fn limit(self, half_closed: bool) -> Duration {
        if half_closed { self.half_closed.min(self.idle) } else { self.idle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_closed_is_waited_for_no_longer_than_what_is_open() {
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(2));
        for (idle, half_closed, limits) in [(long, short, [long, short]), (short, long, [short, short])] {
            let silence = Silence { idle, half_closed };
            assert_eq!([false, true].map(|half_closed| silence.limit(half_closed)), limits);
        }
    }
}
