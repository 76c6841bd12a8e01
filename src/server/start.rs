//! From settings to a server that is bound.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::process::geteuid;

use crate::admin::{self, Access, Readiness};
use crate::config::{Expose, Listen, Settings};
use crate::consent::Consent;
use crate::dial::{self, Dialer};
use crate::dns;
use crate::flow::{self, Ledger};
use crate::gate::http::Pool;
use crate::metrics::Metrics;
use crate::names::Names;
use crate::policy::document::{Audience, Loaded, Sources};
use crate::proxy::{Bounds, Proxy};
use crate::record::{Audit, Sink, Watch};
use crate::relay::Relay;
use crate::reload::{Certificates, Grants, InForce, Reload};
use crate::resolve::{self, Follow, Resolver};
use crate::server::listeners::{Doors, Listeners};
use crate::server::preamble::Preambles;
use crate::server::room::Room;
use crate::server::workers::Workers;
use crate::server::{Server, StartError, files};
use crate::silence::Silence;
use crate::sys;
use crate::via::Via;

/// What a server is given whose clients are in a jail.
#[derive(Debug)]
pub struct Jailed {
    pub doors: Doors,
    /// Which part of the policy is for the jail.
    pub audience: Audience,
    /// The policy as it was loaded for that, and when.
    pub loaded: (SystemTime, Loaded),
    /// Sees every record.
    pub watch: Watch,
    /// `None`: nobody is asked.
    pub consent: Option<Arc<Consent>>,
}

/// What there is before the settings are looked at.
struct Given {
    audience: Audience,
    loaded: Loaded,
    /// The policy is not older than this.
    read: SystemTime,
    doors: Option<Doors>,
    watch: Option<Watch>,
    consent: Option<Arc<Consent>>,
}

impl Server {
    /// Loads the policy, binds every listener and starts the workers. Must be called on a tokio runtime, which
    /// then has all to do that is not a flow.
    pub fn new(settings: &Settings, sources: Sources) -> Result<Self, StartError> {
        Self::start(settings, sources, None)
    }

    /// The same for a jail: its doors are bound already, and what the settings say of listeners, of TLS and PROXY headers
    /// there, and of users means nothing. Who its one client is needs no proof, and a command would have none to give.
    pub fn jailed(settings: &Settings, sources: Sources, jailed: Jailed) -> Result<Self, StartError> {
        let settings = Settings { listen: Listen::nowhere(), auth: None, ..settings.clone() };
        Self::start(&settings, sources, Some(jailed))
    }

    fn start(settings: &Settings, sources: Sources, jailed: Option<Jailed>) -> Result<Self, StartError> {
        let files = sys::raise_file_limit();
        let Given { audience, loaded, read, doors, watch, consent } = Given::new(settings, &sources, jailed)?;
        let metrics = Arc::new(Metrics::new()?);
        let (workers, listeners) = listen(settings, doors)?;
        let tls = files::load_tls(settings).map_err(StartError::Tls)?;
        let room = Room::of(files, &workers, listeners.count())?;
        let resolver = resolver_settings(settings, room.look_ups, listeners.questions(), &audience);
        let resolver = Arc::new(Resolver::new(resolver)?);
        let auth = files::authenticator(settings, &resolver, &metrics).map_err(StartError::Users)?;
        let via = Via::new();
        let parents = files::parents(settings, &via, &metrics).map_err(StartError::Parents)?;
        let limits = room.limits(settings);
        metrics.sized(limits.flows, workers.count());
        let sink = Sink::open(&audit(settings, limits), metrics.records())
            .map_err(|error| StartError::Audit(settings.audit.path.clone(), error))?
            .watched_by(watch);
        let connections = Arc::new(room.connections(settings, listeners.count(), &metrics));
        let ledger = Arc::new(Ledger::new(metrics, sink, limits));
        let preambles = Preambles::new(&settings.listen, &tls, settings.timeouts.head, &ledger);
        let pool = Arc::new(Pool::new(settings.timeouts.keepalive, room.kept));
        let certificates =
            Certificates::new(tls.into_iter().flatten().collect(), Arc::clone(ledger.metrics()));
        let read_again = (Arc::clone(&resolver), certificates, Arc::clone(&parents));
        let base = consent.as_ref().map(|_| loaded.builder.clone());
        let reload = Reload::start((sources, audience), loaded, read, read_again, |policy| InForce {
            policy,
            ledger: Arc::clone(&ledger),
            pool,
            auth: auth.clone(),
        });
        let proxy = Arc::new(Proxy {
            ledger: Arc::clone(&ledger),
            dialer: dialer(settings, Arc::clone(&resolver), &listeners, &room).with_parents(parents),
            auth,
            consent,
            policy: Arc::clone(&reload.in_force().policy),
            relay: Relay::new(silence(settings), room.pipes).with_spares(room.spares),
            bounds: bounds(settings),
            via,
        });
        let (names, readiness) = (Arc::new(Names::new()), Arc::new(Readiness::default()));
        let answers = dns::Door::new(Arc::clone(&proxy), resolver, Arc::clone(&names), settings.dns.manners);
        readiness.policy_loaded();
        let (policy, access) = (Arc::clone(&proxy.policy), access(settings));
        Ok(Self {
            state: Arc::new(admin::State::new(ledger, policy, Arc::clone(&readiness), access)),
            connections,
            drain: settings.timeouts.drain,
            workers,
            listeners,
            preambles,
            answers: Arc::new(answers),
            names,
            readiness,
            proxy,
            grants: base.map(|base| Arc::new(Grants::new(reload.in_force().clone(), base))),
            reload,
        })
    }
}

impl Given {
    fn new(settings: &Settings, sources: &Sources, jailed: Option<Jailed>) -> Result<Self, StartError> {
        let Some(Jailed { doors, audience, loaded: (read, loaded), watch, consent }) = jailed else {
            let (audience, read) = (Audience::Clients, SystemTime::now());
            let loaded = audience.load(sources, settings.known_parents()).map_err(StartError::Policy)?;
            return Ok(Self { audience, loaded, read, doors: None, watch: None, consent: None });
        };
        Ok(Self { audience, loaded, read, doors: Some(doors), watch: Some(watch), consent })
    }
}

/// An address or an interface may come later, so exeat starts without; until then what would leave by it fails.
fn dialer(settings: &Settings, resolver: Arc<Resolver>, listeners: &Listeners, room: &Room) -> Dialer {
    if let Some(Err(error)) = settings.outgoing.as_deref().map(dial::try_out) {
        tracing::warn!("`outgoing` of the settings: {error}; until that changes, connections fail");
    }
    let dialer = Dialer::new(resolver, &listeners.addresses(), settings.timeouts.dial);
    dialer.leaving(settings.outgoing.clone()).with_spares(Arc::clone(&room.spares))
}

/// Starts the workers, each with its sockets.
fn listen(settings: &Settings, doors: Option<Doors>) -> Result<(Workers, Listeners), StartError> {
    // There are as many sockets of a jail as there are to be threads.
    let threads = doors.as_ref().map(|doors| doors.workers).or(settings.threads);
    let workers = Workers::start(threads).map_err(StartError::Threads)?;
    let listeners = match doors {
        Some(doors) => Listeners::take(doors, &workers)?,
        None => Listeners::bind(&settings.listen, &workers)?,
    };
    Ok((workers, listeners))
}

fn resolver_settings(
    settings: &Settings,
    sockets: usize,
    doors: Vec<SocketAddr>,
    audience: &Audience,
) -> resolve::Settings {
    let dns = &settings.dns;
    let follow = match audience {
        Audience::Clients => Follow::All,
        // The command could write to the files that lead its names somewhere; as root, to any.
        Audience::Jail { .. } if geteuid().is_root() => Follow::Nothing,
        Audience::Jail { .. } => Follow::ResolvConf,
    };
    resolve::Settings {
        servers: dns.servers.clone(),
        ca: dns.ca.clone(),
        hosts: dns.hosts.clone(),
        min_ttl: dns.min_ttl,
        max_ttl: dns.max_ttl,
        sockets,
        doors,
        follow,
        ..resolve::Settings::default()
    }
}

fn access(settings: &Settings) -> Access {
    Access { names: settings.admin_names.clone(), expose_all: settings.admin_expose == Expose::All }
}

fn audit(settings: &Settings, limits: flow::Limits) -> Audit {
    Audit {
        path: Some(settings.audit.path.clone()),
        opened: settings.audit.opened,
        required: settings.audit.required,
        reserve: limits.flows,
    }
}

fn silence(settings: &Settings) -> Silence {
    Silence { idle: settings.timeouts.idle, half_closed: settings.timeouts.half_closed }
}

fn bounds(settings: &Settings) -> Bounds {
    Bounds {
        head_bytes: settings.limits.head_bytes,
        head: settings.timeouts.head,
        keepalive: settings.timeouts.keepalive,
        silence: silence(settings),
    }
}
