//! From settings to a server that is bound.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;

use crate::admin::{self, Access, Readiness};
use crate::config::{Expose, Listen, Settings};
use crate::dial::Dialer;
use crate::dns;
use crate::flow::{self, Ledger};
use crate::gate::http::Pool;
use crate::metrics::Metrics;
use crate::mistake::Mistake;
use crate::names::Names;
use crate::policy::document::Sources;
use crate::proxy::{Bounds, Proxy};
use crate::record::{Audit, Sink};
use crate::relay::{self, Relay};
use crate::reload::{InForce, Reload};
use crate::resolve::{self, Resolver};
use crate::server::{Listeners, Server, addresses};
use crate::sys;
use crate::via::Via;

/// File descriptors kept for all but connections: listeners, records, the admin door, and look-ups and
/// attempts to connect, which have several for a moment.
const RESERVED_FILES: usize = 1024;
/// A tunnel has two sockets.
const FILES_A_FLOW: usize = 2;
/// At most this part of the file descriptors is reserved, this part goes to pipes, which have two each,
/// and this part to idle connections to upstreams.
const PART: usize = 8;
/// More idle connections than that do not make it faster.
const KEPT: usize = 4096;

/// Why exeat did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the policy has mistakes")]
    Policy(Vec<Mistake>),
    #[error("can't listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    #[error("can't open the audit file {}: {}", .0.display(), .1)]
    Audit(PathBuf, io::Error),
    #[error("names can't be resolved: {0}")]
    Resolve(#[from] resolve::FileError),
    #[error(
        "{0}, the server that names are looked up at, is exeat itself: set dns.servers to the ones behind it"
    )]
    Circle(SocketAddr),
    #[error("the metrics can't be set up: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What the limit on open files leaves room for.
struct Room {
    pipes: usize,
    /// Idle connections to upstreams.
    kept: usize,
    flows: usize,
}

impl Server {
    /// Loads the policy and binds every listener. Must be called on a tokio runtime.
    pub fn new(settings: &Settings, sources: Sources) -> Result<Self, StartError> {
        let room = Room::of(sys::raise_file_limit());
        let read = SystemTime::now();
        let loaded = sources.load().map_err(StartError::Policy)?;
        let metrics = Arc::new(Metrics::new()?);
        let listeners = Listeners::bind(&settings.listen)?;
        let resolver = Arc::new(Resolver::new(resolver_settings(settings))?);
        refuse_circle(&resolver, &listeners.dns)?;
        let limits = room.limits(settings);
        let sink = Sink::open(&audit(settings, limits), metrics.records_lost())
            .map_err(|error| StartError::Audit(settings.audit.path.clone(), error))?;
        let ledger = Arc::new(Ledger::new(metrics, sink, limits));
        let pool = Arc::new(Pool::new(settings.timeouts.keepalive, room.kept));

        let reload = Reload::start(sources, loaded, read, Arc::clone(&resolver), |policy| InForce {
            policy,
            ledger: Arc::clone(&ledger),
            pool,
        });
        let proxy = Arc::new(Proxy {
            ledger: Arc::clone(&ledger),
            dialer: Dialer::new(Arc::clone(&resolver), &listeners.addresses(), settings.timeouts.dial),
            policy: Arc::clone(&reload.in_force().policy),
            relay: Relay::new(relay_limits(settings), room.pipes),
            bounds: bounds(settings),
            via: Via::new(),
        });
        let names = Arc::new(Names::new());
        let answers = dns::Door::new(Arc::clone(&proxy), resolver, Arc::clone(&names), settings.dns.manners);
        let answers = Arc::new(answers);
        let readiness = Arc::new(Readiness::default());
        readiness.policy_loaded();
        let access =
            Access { names: settings.admin_names.clone(), expose_all: settings.admin_expose == Expose::All };
        Ok(Self {
            state: Arc::new(admin::State::new(
                ledger,
                Arc::clone(&proxy.policy),
                Arc::clone(&readiness),
                access,
            )),
            connections: Arc::new(Semaphore::new(room.flows)),
            drain: settings.timeouts.drain,
            listeners,
            answers,
            names,
            readiness,
            proxy,
            reload,
        })
    }
}

impl Listeners {
    fn bind(listen: &Listen) -> Result<Self, StartError> {
        let transparent = bind(&listen.transparent)?;
        for listener in &transparent {
            // Only TPROXY needs this; REDIRECT and DNAT ask for nothing.
            if let Err(error) = sys::take_any_address(listener) {
                tracing::debug!(%error, "TPROXY needs CAP_NET_ADMIN");
            }
        }
        Ok(Self {
            explicit: bind(&listen.explicit)?,
            transparent,
            dns: listen.dns.iter().map(bind_both).collect::<Result<_, _>>()?,
            admin: bind(listen.admin.as_slice())?.pop(),
        })
    }

    /// Where exeat itself is to be found.
    fn addresses(&self) -> Vec<SocketAddr> {
        let dns = self.dns.iter().map(|(_, listener)| listener);
        addresses(self.explicit.iter().chain(&self.transparent).chain(dns).chain(&self.admin))
    }
}

impl Room {
    fn of(files: u64) -> Self {
        let files = usize::try_from(files).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let part = files / PART;
        let (pipes, kept, reserved) =
            ((part / 2).min(Relay::PIPES), part.min(KEPT), part.min(RESERVED_FILES));
        let flows = (files - reserved - 2 * pipes - kept) / FILES_A_FLOW;
        Self { pipes, kept, flows: flows.max(1) }
    }

    /// The limits of the settings, as far as there are file descriptors for them.
    fn limits(&self, settings: &Settings) -> flow::Limits {
        let wanted = settings.limits.flows;
        let flows = wanted.map_or(self.flows, |flows| flows.min(self.flows));
        if let Some(wanted) = wanted.filter(|wanted| *wanted > flows) {
            tracing::warn!(
                "limits.flows is {wanted}, but the limit on open files leaves room for {flows}: raise it (ulimit -n)"
            );
        }
        flow::Limits { flows, flows_per_client: settings.limits.flows_per_client.unwrap_or(0) }
    }
}

fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    addresses.iter().map(bind_one).collect()
}

fn bind_one(address: &SocketAddr) -> Result<TcpListener, StartError> {
    let listener = sys::listen(*address).and_then(TcpListener::from_std);
    listener.map_err(|error| StartError::Listen(*address, error))
}

/// Binds an address for both transports; a port that is left to choose is the same for both.
fn bind_both(wanted: &SocketAddr) -> Result<(UdpSocket, TcpListener), StartError> {
    let failed = |error| StartError::Listen(*wanted, error);
    let listener = bind_one(wanted)?;
    let chosen = listener.local_addr().map_err(failed)?;
    let socket = sys::listen_udp(chosen).and_then(UdpSocket::from_std).map_err(failed)?;
    Ok((socket, listener))
}

/// A resolver that asks our own DNS door would ask it for ever.
fn refuse_circle(resolver: &Resolver, questions: &[(UdpSocket, TcpListener)]) -> Result<(), StartError> {
    let is_ours = |server: &SocketAddr| {
        let ports = questions.iter().filter_map(|(_, listener)| Some(listener.local_addr().ok()?.port()));
        ports.into_iter().any(|port| port == server.port()) && sys::is_local(server.ip())
    };
    resolver.servers().into_iter().find(is_ours).map_or(Ok(()), |server| Err(StartError::Circle(server)))
}

fn resolver_settings(settings: &Settings) -> resolve::Settings {
    let dns = &settings.dns;
    resolve::Settings {
        servers: dns.servers.clone(),
        hosts: dns.hosts.clone(),
        min_ttl: dns.min_ttl,
        max_ttl: dns.max_ttl,
        ..resolve::Settings::default()
    }
}

fn audit(settings: &Settings, limits: flow::Limits) -> Audit {
    Audit {
        path: Some(settings.audit.path.clone()),
        opened: settings.audit.opened,
        required: settings.audit.required,
        reserve: limits.flows,
    }
}

fn relay_limits(settings: &Settings) -> relay::Limits {
    relay::Limits { idle: settings.timeouts.idle, half_closed: settings.timeouts.half_closed }
}

fn bounds(settings: &Settings) -> Bounds {
    Bounds {
        head_bytes: settings.limits.head_bytes,
        head: settings.timeouts.head,
        keepalive: settings.timeouts.keepalive,
        idle: settings.timeouts.idle,
        half_closed: settings.timeouts.half_closed,
    }
}
