//! Tells every part of exeat that it is time to stop, and waits until each has.

use tokio::sync::watch;

/// The side that says when; it also learns when everyone is done.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// The side that listens. Whoever holds one is waited for.
#[derive(Clone, Debug)]
pub struct Watch(watch::Receiver<bool>);

/// A trigger and the first watch.
pub fn channel() -> (Trigger, Watch) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Watch(receiver))
}

impl Trigger {
    /// Asks everyone to stop taking new work.
    pub fn start(&self) {
        self.0.send_replace(true);
    }

    /// Resolves once every [`Watch`] is gone.
    pub async fn drained(&self) {
        self.0.closed().await;
    }
}

impl Watch {
    /// Resolves when the drain starts.
    pub async fn started(&mut self) {
        // An error means that the trigger is gone, which is as good a reason to stop.
        let _gone = self.0.wait_for(|draining| *draining).await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn tells_every_watch_and_waits_for_all() {
        let (trigger, mut watch) = channel();
        let mut other = watch.clone();
        let worker = tokio::spawn(async move { other.started().await });
        assert!(poll!(pin!(watch.started())).is_pending());
        trigger.start();
        watch.started().await;
        worker.await.unwrap();
        assert!(poll!(pin!(trigger.drained())).is_pending());
        drop(watch);
        trigger.drained().await;
    }
}
