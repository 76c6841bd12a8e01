//! Binds every listener, then serves until told to stop.

mod start;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::admin::{self, Readiness};
use crate::client::Client;
use crate::drain;
use crate::explicit;
use crate::proxy::Proxy;
use crate::reload::{InForce, Reload};
use crate::stream::Stream;

pub use start::StartError;

/// After a failed accept: file descriptors don't come back at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long flows that were told to stop may take to end, and records to be written.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often idle connections to upstreams are looked through.
const SWEEP: Duration = Duration::from_secs(10);

/// What a running exeat can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Read the policy again, and open the audit file anew.
    Reload,
    /// Stop: the first time once the open flows have ended, the second time at once.
    Stop,
}

/// An exeat that is bound and has a policy, and serves nobody yet.
#[derive(Debug)]
pub struct Server {
    explicit: Vec<TcpListener>,
    admin: Option<TcpListener>,
    state: Arc<admin::State>,
    readiness: Arc<Readiness>,
    proxy: Arc<Proxy>,
    reload: Reload,
    /// As many connections as there are file descriptors for.
    connections: Arc<Semaphore>,
    drain: Duration,
}

impl Server {
    /// Where the explicit door listens.
    pub fn explicit_addresses(&self) -> Vec<SocketAddr> {
        self.explicit.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Where the admin door listens.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Serves until a [`Signal::Stop`], or until nobody can send one any more.
    pub async fn run(self, mut signals: mpsc::Receiver<Signal>) {
        let Self { explicit, admin, state, readiness, proxy, reload, connections, drain } = self;
        let in_force = reload.in_force().clone();
        let (trigger, watch) = drain::channel();
        let (hangup, hangups) = mpsc::channel(1);
        // Dropped, and thereby ended, when this function returns.
        let mut background = JoinSet::new();
        background.spawn(reload.run(hangups));
        background.spawn(sweep(in_force.clone()));
        if let Some(listener) = admin {
            background.spawn(serve_admin(listener, state));
        }
        for listener in explicit {
            let door = Door { proxy: Arc::clone(&proxy), in_force: in_force.clone() };
            tokio::spawn(door.accept(listener, Arc::clone(&connections), watch.clone()));
        }
        drop(watch);
        readiness.listening();
        while let Some(Signal::Reload) = signals.recv().await {
            proxy.ledger.sink().reopen();
            // A hang-up that is waiting already will do for this one too.
            let _ = hangup.try_send(());
        }

        readiness.draining();
        trigger.start();
        let open = proxy.ledger.open();
        tracing::info!(open, "draining");
        tokio::select! {
            () = trigger.drained() => {}
            () = sleep(drain) => {}
            () = stopped_again(&mut signals) => {}
        }
        proxy.ledger.stop_all();
        if timeout(LAST_WORDS, trigger.drained()).await.is_err() {
            let flows = proxy.ledger.end_all();
            tracing::warn!(flows, "some connections did not end in time");
        }
        proxy.ledger.sink().close(LAST_WORDS);
    }
}

/// The explicit door's listener.
struct Door {
    proxy: Arc<Proxy>,
    in_force: InForce,
}

impl Door {
    async fn accept(self, listener: TcpListener, connections: Arc<Semaphore>, mut drain: drain::Watch) {
        loop {
            // Beyond the limit clients wait in the kernel's queue, where they cost nothing.
            let accepted = async {
                let permit = Arc::clone(&connections).acquire_owned().await.ok()?;
                Some((permit, listener.accept().await))
            };
            let accepted = tokio::select! {
                // Whoever waits in the queue when the drain starts is not let in any more.
                biased;
                () = drain.started() => return,
                accepted = accepted => accepted,
            };
            let Some((permit, accepted)) = accepted else { return };
            let Some((socket, client)) = accept(accepted).await else { continue };
            let (proxy, pool) = (Arc::clone(&self.proxy), Arc::clone(&self.in_force.pool));
            tokio::spawn(explicit::enter(proxy, pool, client, Stream::new(socket), drain.clone(), permit));
        }
    }
}

/// The socket and its client, unless accepting failed.
async fn accept(accepted: std::io::Result<(TcpStream, SocketAddr)>) -> Option<(TcpStream, Client)> {
    match accepted {
        Ok((socket, peer)) => {
            let local = socket.local_addr().ok()?;
            Some((socket, Client::new(peer, local.ip())))
        }
        Err(error) => {
            tracing::warn!(%error, "accepting a connection failed");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve_admin(listener: TcpListener, state: Arc<admin::State>) {
    loop {
        if let Some((socket, _)) = accept(listener.accept().await).await {
            tokio::spawn(admin::serve_connection(socket, Arc::clone(&state)));
        }
    }
}

async fn sweep(in_force: InForce) {
    loop {
        sleep(SWEEP).await;
        in_force.pool.sweep(in_force.policy.load().revision());
    }
}

async fn stopped_again(signals: &mut mpsc::Receiver<Signal>) {
    while let Some(signal) = signals.recv().await {
        if signal == Signal::Stop {
            return;
        }
    }
    // Nobody is left to say it.
    std::future::pending::<()>().await;
}
