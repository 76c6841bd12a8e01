//! A clock that a test moves, however long the machine takes for what is done meanwhile.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time;

/// While it lives, the time of tokio's timers stands still. Afterwards it passes by itself wherever nothing else is to be
/// done.
pub struct Clock(#[allow(dead_code, reason = "it is held")] Sender<()>);

impl Clock {
    pub fn stop() -> Self {
        time::pause();
        // To wait for a socket looks to tokio as if nothing were to be done, unless a blocking task runs.
        let (held, end) = channel();
        spawn_blocking(move || end.recv());
        Self(held)
    }

    pub async fn advance(&self, by: Duration) {
        time::advance(by).await;
    }
}
