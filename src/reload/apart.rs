//! What may wait for a file system, done apart from the event loop that has the signals and the admin door.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// For longer only a file system takes that does not answer; the largest policies are read in seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does it on a thread of its own; `None` if it broke off, which is told. Where a file system is dead, it is waited for:
/// one thread hangs then, and not one more with every glance. Dropping the future leaves that thread behind.
pub(super) async fn apart<T, F>(what: &str, work: F) -> Option<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let mut work = spawn_blocking(work);
    let done = match timeout(PATIENCE, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            tracing::warn!(
                "{what} takes more than {seconds} s: until their file system answers, no change is seen"
            );
            let done = work.await;
            tracing::info!("{what} is over");
            done
        }
    };
    done.inspect_err(|error| tracing::error!("{what} broke off: {error}")).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_waited_for_and_what_breaks_off_is_nothing() {
        let (answer, answered) = channel();
        let reading = tokio::spawn(apart("reading", move || answered.recv()));
        // Time stands still while a thread works, so it passes here alone.
        tokio::task::yield_now().await;
        advance(PATIENCE * 2).await;
        tokio::task::yield_now().await;
        assert!(!reading.is_finished());
        answer.send(2).unwrap();
        assert_eq!(reading.await.unwrap(), Some(Ok(2)));
        assert_eq!(apart("judging", || -> u8 { panic!("broken on purpose") }).await, None);
    }
}
