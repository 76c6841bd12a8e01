//! Binds every listener, then serves until told to stop.

mod accept;
mod fault;
mod files;
mod listeners;
mod preamble;
mod room;
mod sender;
mod start;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::admin::{self, Readiness};
use crate::auth::Authenticator;
use crate::dns;
use crate::drain;
use crate::flow::Connections;
use crate::names::{Names, keep_listed};
use crate::policy::Policy;
use crate::proxy::Proxy;
use crate::reload::{Grants, InForce, Reload};
use crate::server::accept::{Door, Entrance};
use crate::server::listeners::{Listeners, pause};
use crate::server::preamble::{Preamble, Preambles};
use crate::server::workers::Workers;
use crate::transparent;

pub use fault::StartError;
pub use listeners::Doors;
pub use start::Jailed;

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
    workers: Workers,
    listeners: Listeners,
    preambles: Preambles,
    state: Arc<admin::State>,
    readiness: Arc<Readiness>,
    proxy: Arc<Proxy>,
    names: Arc<Names>,
    answers: Arc<dns::Door>,
    reload: Reload,
    /// Where somebody is asked.
    grants: Option<Arc<Grants>>,
    connections: Arc<Connections>,
    drain: Duration,
}

impl Server {
    /// Where the explicit door listens.
    pub fn explicit_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.explicit_addresses()
    }

    /// Whether clients speak TLS to the explicit door, for each of its addresses.
    pub fn explicit_tls(&self) -> Vec<bool> {
        let has_tls = |preamble: &Option<Arc<Preamble>>| {
            preamble.as_ref().is_some_and(|preamble| preamble.tls.is_some())
        };
        self.preambles.explicit.iter().map(has_tls).collect()
    }

    /// Where the transparent door listens.
    pub fn transparent_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.transparent_addresses()
    }

    /// Where the DNS door listens, over both transports.
    pub fn dns_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.dns_addresses()
    }

    /// Where the admin door listens.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.listeners.admin.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The policy in force, now and later.
    pub fn policy(&self) -> Arc<ArcSwap<Policy>> {
        Arc::clone(&self.proxy.policy)
    }

    /// What a person's yes is added to, where somebody is asked.
    pub fn grants(&self) -> Option<Arc<Grants>> {
        self.grants.clone()
    }

    /// Serves until a [`Signal::Stop`], or until nobody can send one any more.
    pub async fn run(self, mut signals: mpsc::Receiver<Signal>) {
        let Self { workers, listeners, preambles, state, readiness, proxy, names, answers, .. } = self;
        let (reload, connections, drain) = (self.reload, self.connections, self.drain);
        let in_force = reload.in_force().clone();
        let (trigger, watch) = drain::channel();
        let (hangup, hangups) = mpsc::channel(1);
        // Dropped, and thereby ended, when this function returns.
        let mut background = JoinSet::new();
        background.spawn(reload.run(hangups));
        background.spawn(sweep(in_force.clone()));
        background.spawn(refresh(proxy.auth.clone()));
        if !listeners.transparent_addresses().is_empty() {
            let (resolver, policy) = (Arc::clone(answers.resolver()), Arc::clone(&in_force.policy));
            background.spawn(keep_listed(Arc::clone(&names), resolver, policy));
        }
        if let Some(listener) = listeners.admin {
            background.spawn(serve_admin(listener, state));
        }
        let pool = in_force.pool;
        let origin = listeners.origin;
        for (runtime, share) in workers.runtimes().zip(listeners.shares) {
            let accept = |door: &Door, listener, preamble: Option<&Option<Arc<Preamble>>>| {
                let (preamble, connections) = (preamble.cloned().flatten(), Arc::clone(&connections));
                let entrance = Entrance { listener, origin, preamble, connections };
                runtime.spawn(door.clone().accept(entrance, watch.clone()));
            };
            let door = Door::Explicit(Arc::clone(&proxy), Arc::clone(&pool));
            for (index, listener) in share.explicit.into_iter().enumerate() {
                accept(&door, listener, preambles.explicit.get(index));
            }
            let (proxy, pool, names) = (Arc::clone(&proxy), Arc::clone(&pool), Arc::clone(&names));
            let door = Door::Transparent(Arc::new(transparent::Door { proxy, pool, names }));
            for (index, listener) in share.transparent.into_iter().enumerate() {
                accept(&door, listener, preambles.transparent.get(index));
            }
            let door = Door::Dns(Arc::clone(&answers));
            for (index, (socket, listener)) in share.dns.into_iter().enumerate() {
                runtime.spawn(dns::serve_udp(Arc::clone(&answers), socket, origin, watch.clone()));
                accept(&door, listener, preambles.dns.get(index));
            }
        }
        drop(watch);
        readiness.listening();
        let reload = || {
            proxy.ledger.sink().reopen();
            // A hang-up that is waiting already will do for this one too.
            let _ = hangup.try_send(());
        };
        while let Some(Signal::Reload) = signals.recv().await {
            reload();
        }

        readiness.draining();
        end(&proxy, trigger, drain, stopped_again(signals, reload)).await;
    }
}

/// Lets the open flows end, in their time, and writes the last records.
async fn end(proxy: &Proxy, trigger: drain::Trigger, drain: Duration, again: impl Future<Output = ()>) {
    trigger.start();
    let open = proxy.ledger.open();
    tracing::info!(open, "draining");
    tokio::select! {
        () = trigger.drained() => {}
        () = sleep(drain) => {}
        () = again => {}
    }
    proxy.ledger.stop_all();
    if timeout(LAST_WORDS, trigger.drained()).await.is_err() {
        let flows = proxy.ledger.end_all();
        tracing::warn!(flows, "some connections did not end in time");
    }
    proxy.ledger.sink().close(LAST_WORDS);
}

async fn serve_admin(listener: TcpListener, state: Arc<admin::State>) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => drop(tokio::spawn(admin::serve_connection(socket, Arc::clone(&state)))),
            Err(error) => pause(error).await,
        }
    }
}

/// Keeps an issuer's keys fresh, where there is one.
async fn refresh(auth: Option<Arc<Authenticator>>) {
    if let Some(auth) = auth {
        auth.refresh().await;
    }
}

async fn sweep(in_force: InForce) {
    loop {
        sleep(SWEEP).await;
        in_force.pool.sweep(in_force.policy.load().revision());
    }
}

/// Files may still change while open flows go on, and logs be rotated.
async fn stopped_again(mut signals: mpsc::Receiver<Signal>, reload: impl Fn()) {
    while let Some(signal) = signals.recv().await {
        match signal {
            Signal::Reload => reload(),
            Signal::Stop => return,
        }
    }
    // Nobody is left to say it.
    std::future::pending::<()>().await;
}
