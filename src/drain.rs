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
    pub fn is_draining(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when the drain starts.
    pub async fn started(&mut self) {
        // An error means that the trigger is gone, which is as good a reason to stop.
        let _gone = self.0.wait_for(|draining| *draining).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_every_watch() {
        let (trigger, watch) = channel();
        let mut other = watch.clone();
        let worker = tokio::spawn(async move { other.started().await });
        assert!(!watch.is_draining());
        trigger.start();
        assert!(watch.is_draining());
        worker.await.unwrap();
        drop(watch);
        trigger.drained().await;
    }
}
