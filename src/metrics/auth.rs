//! How credentials fared.

use prometheus::IntCounter;

use crate::metrics::register::{Attempts, Register};

/// What became of the credentials of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthEvent {
    /// None came, and they are required.
    Required,
    /// They are neither Basic nor Bearer, or of a kind that is not taken.
    Unreadable,
    /// They were right before.
    PasswordKnown,
    PasswordProved,
    PasswordFailed,
    /// Too many wait, or have been wrong, at the same client address.
    PasswordLimited,
    TokenKnown,
    TokenProved,
    TokenFailed,
    TokenLimited,
}

/// Each event with its labels, in the order of the variants.
const EVENTS: [(AuthEvent, [&str; 2]); 10] = [
    (AuthEvent::Required, ["none", "required"]),
    (AuthEvent::Unreadable, ["other", "failed"]),
    (AuthEvent::PasswordKnown, ["basic", "known"]),
    (AuthEvent::PasswordProved, ["basic", "proved"]),
    (AuthEvent::PasswordFailed, ["basic", "failed"]),
    (AuthEvent::PasswordLimited, ["basic", "limited"]),
    (AuthEvent::TokenKnown, ["bearer", "known"]),
    (AuthEvent::TokenProved, ["bearer", "proved"]),
    (AuthEvent::TokenFailed, ["bearer", "failed"]),
    (AuthEvent::TokenLimited, ["bearer", "limited"]),
];

/// The counters of authentication.
#[derive(Debug)]
pub struct AuthCounters {
    events: Vec<IntCounter>,
    passwords: Attempts,
    keys: Attempts,
}

impl AuthCounters {
    pub(super) fn new(register: &Register<'_>) -> Result<Self, prometheus::Error> {
        let events = register.auth(EVENTS.map(|(_, labels)| labels))?;
        let [passwords, keys] = register.auth_reloads()?;
        Ok(Self { events, passwords, keys })
    }

    /// Counts the credentials of a request.
    pub fn count(&self, event: AuthEvent) {
        self.events[event as usize].inc();
    }

    /// Counts an attempt to read the file of users anew.
    pub fn reloaded_passwords(&self, success: bool) {
        self.passwords.count(success);
    }

    /// Counts an attempt to get an issuer's keys anew.
    pub fn reloaded_keys(&self, success: bool) {
        self.keys.count(success);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_stand_in_the_order_of_their_variants() {
        for (index, (event, _)) in EVENTS.iter().enumerate() {
            assert_eq!(*event as usize, index);
        }
    }
}
