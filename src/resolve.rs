//! Names to addresses: the hosts file first, then DNS, asked for both families side by side.
//!
//! Names are absolute, so no search domain is ever tried, and addresses are never looked up in
//! reverse. What comes back is not screened here: whoever dials it judges it, from whichever source it came.

mod answers;
mod cache;
mod circle;
mod connect;
mod failure;
mod fault;
mod files;
mod reading;
mod server;
mod servers;
mod tls;
mod turns;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_resolver::proto::rr::rdata::{A, AAAA};
use hickory_resolver::proto::rr::{RData, RecordType};
use rustls::RootCertStore;

use crate::families::Families;
use crate::host::Name;
use crate::tls::trust;

pub use answers::Answers;
pub use circle::Circle;
pub use failure::Failure;
pub use fault::Fault;
use files::Hosts;
pub use files::{FileError, RESOLV_CONF_MAX, read_servers_if_any};
use reading::{hosts_path, read_hosts, read_roots, read_servers};
pub use server::{Server, ServerError};
use servers::Servers;
use turns::Turns;
pub use turns::{Asker, SOCKETS};

/// Where this host says whom it asks.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved says whom it asks itself.
pub const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";

/// For how long an answer of the hosts file holds: it may change at any time.
const HOSTS_TTL: Duration = Duration::from_secs(10);

/// Where answers come from and how long they are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The DNS servers; empty: those of `resolv_conf`.
    pub servers: Vec<Server>,
    pub resolv_conf: PathBuf,
    /// Whom the stub resolver of this host asks, where systemd-resolved is that stub.
    pub behind_stub: PathBuf,
    /// The authorities that may certify servers over TLS; `None`: those of this host.
    pub ca: Option<PathBuf>,
    /// The hosts file, which then must be there; `None`: `/etc/hosts`, if there is one.
    pub hosts: Option<PathBuf>,
    /// How long one try of one question may take, and how long a handshake.
    pub try_for: Duration,
    /// File descriptors that questions may take, besides one for each server over TLS.
    pub sockets: usize,
    /// Answers are kept at least as long, whatever their own time to live says.
    pub min_ttl: Duration,
    /// Answers are kept no longer.
    pub max_ttl: Duration,
    /// Where exeat itself answers questions: those are never asked.
    pub doors: Vec<SocketAddr>,
    pub follow: Follow,
}

/// Which of its files a resolver heeds once it has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    All,
    /// `resolv_conf`, which changes with the network that this host is in.
    ResolvConf,
    /// None: whoever is held by the answers could write to all of them.
    Nothing,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            resolv_conf: PathBuf::from(RESOLV_CONF),
            behind_stub: PathBuf::from(BEHIND_STUB),
            ca: None,
            hosts: None,
            try_for: Duration::from_secs(3),
            sockets: SOCKETS,
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(5 * 60),
            doors: Vec::new(),
            follow: Follow::All,
        }
    }
}

/// Looks names up. Questions that are under way are shared, and answers are cached.
#[derive(Debug)]
pub struct Resolver {
    settings: Settings,
    /// Those of questions to servers that are no longer asked, too.
    turns: Arc<Turns>,
    sources: ArcSwap<Sources>,
}

/// The records of one type that a name has, wherever its aliases led.
#[derive(Clone, Debug)]
pub struct Records {
    pub data: Arc<[RData]>,
    /// How much longer they hold.
    pub ttl: Duration,
}

/// What the files said when they were last read.
#[derive(Debug)]
struct Sources {
    hosts: Arc<Hosts>,
    /// Holds the cache, so it lives for as long as the servers stay the same.
    servers: Arc<Servers>,
}

/// The addresses of one family, once they are there.
type Lookup = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, Failure>> + Send>>;

impl Resolver {
    /// Reads the files. Where no `resolv.conf` names a server, the local machine is asked (resolv.conf(5)).
    pub fn new(settings: Settings) -> Result<Self, Fault> {
        let hosts = Arc::new(read_hosts(&settings)?);
        let list = match read_servers(&settings) {
            Err(error) if error.names_nobody() => {
                tracing::warn!("{error}; asking the DNS server on this host");
                vec![files::LOCAL_SERVER.into()]
            }
            result => result.map_err(Fault::ResolvConf)?,
        };
        let is_over_tls = |server: &Server| server.certified.is_some();
        if list.iter().any(is_over_tls) && !list.iter().all(is_over_tls) {
            tracing::warn!(
                "dns.servers has servers over TLS and others: whatever is looked up may go in the clear"
            );
        }
        refuse_circle(&list, &settings)?;
        let roots = read_roots(&list, &settings)?;
        let turns = Arc::new(Turns::new(settings.sockets));
        let servers = start(list, roots, &settings, &turns)?;
        Ok(Self { sources: ArcSwap::from_pointee(Sources { hosts, servers }), settings, turns })
    }

    /// The files that it follows, for whoever watches them.
    pub fn files(&self) -> Vec<PathBuf> {
        let Settings { resolv_conf, behind_stub, ca, .. } = &self.settings;
        match self.settings.follow {
            Follow::All => {}
            Follow::ResolvConf => return vec![resolv_conf.clone()],
            Follow::Nothing => return Vec::new(),
        }
        let mut files = vec![hosts_path(&self.settings).to_owned(), resolv_conf.clone()];
        if !self.settings.doors.is_empty() {
            files.push(behind_stub.clone());
        }
        if self.sources.load().servers.list().iter().any(|server| server.certified.is_some()) {
            files.push(trust::path(ca.as_deref()));
        }
        files
    }

    /// Reads the files again. A file that can't be used, or that leads back to exeat, changes nothing of what the
    /// last good one said, and the cache is kept unless the servers changed.
    pub fn reload(&self) -> Result<(), Fault> {
        let last = self.sources.load();
        let hosts = || read_hosts(&self.settings).map(Arc::new).map_err(Fault::from);
        let (follows_hosts, follows_servers) = match self.settings.follow {
            Follow::All => (true, true),
            // Servers that the settings list would change with their authorities alone.
            Follow::ResolvConf => (false, self.settings.servers.is_empty()),
            Follow::Nothing => (false, false),
        };
        let (hosts, hosts_fault) = newer_or(&last.hosts, follows_hosts.then(hosts));
        let servers = follows_servers.then(|| self.reload_servers(&last.servers));
        let (servers, servers_fault) = newer_or(&last.servers, servers);
        self.sources.store(Arc::new(Sources { hosts, servers }));
        hosts_fault.or(servers_fault).map_or(Ok(()), Err)
    }

    fn reload_servers(&self, last: &Arc<Servers>) -> Result<Arc<Servers>, Fault> {
        let list = match read_servers(&self.settings) {
            // It is as it was at the start, which told of it.
            Err(error) if error.names_nobody() && last.are(&[files::LOCAL_SERVER.into()], None) => {
                return Ok(Arc::clone(last));
            }
            result => result.map_err(Fault::ResolvConf)?,
        };
        refuse_circle(&list, &self.settings)?;
        let roots = read_roots(&list, &self.settings)?;
        if last.are(&list, roots.as_ref()) {
            return Ok(Arc::clone(last));
        }
        Ok(start(list, roots, &self.settings, &self.turns)?)
    }

    /// Looks up the records of one type, of the hosts file or of DNS.
    pub async fn records(&self, asker: Asker, name: &Name, kind: RecordType) -> Result<Records, Failure> {
        let sources = self.sources.load_full();
        if let Some(addresses) = sources.hosts.find(name) {
            let data = addresses.iter().filter_map(|address| rdata(*address, kind)).collect();
            return Ok(Records { data, ttl: HOSTS_TTL.min(self.settings.max_ttl) });
        }
        sources.servers.records(asker, name, kind).await
    }

    /// Starts to look a name up. Nothing is asked before the first [`Answers::next`], and dropping
    /// the answers takes the questions back. Of a family that is not among these no DNS server is asked, and the other
    /// waits a little for the one that goes first.
    ///
    /// `localhost` and the names below it are this host's loopback addresses unless the hosts file
    /// says otherwise (RFC 6761 §6.3), and `invalid` and `onion` names do not exist (RFC 6761 §6.4,
    /// RFC 7686): no DNS server is asked for those.
    pub fn resolve(&self, asker: Asker, name: &Name, families: Families) -> Answers {
        let sources = self.sources.load();
        if let Some(addresses) = sources.hosts.find(name) {
            // As with libc, a name of the hosts file is not in DNS, not even for the other family.
            return Answers::known(addresses.to_vec());
        }
        let ask = |family| -> Lookup {
            let (servers, name) = (Arc::clone(&sources.servers), name.clone());
            Box::pin(async move {
                let records = servers.records(asker, &name, family).await?;
                Ok(records.data.iter().filter_map(RData::ip_addr).collect())
            })
        };
        let (first, second) = match families.begin_with_v4() {
            true => (RecordType::A, RecordType::AAAA),
            false => (RecordType::AAAA, RecordType::A),
        };
        match families.only() {
            Some(family) => Answers::only(family, ask(first)),
            None => Answers::asked(ask(first), ask(second)),
        }
    }
}

fn rdata(address: IpAddr, kind: RecordType) -> Option<RData> {
    match (address, kind) {
        (IpAddr::V4(v4), RecordType::A) => Some(RData::A(A(v4))),
        (IpAddr::V6(v6), RecordType::AAAA) => Some(RData::AAAA(AAAA(v6))),
        _ => None,
    }
}

fn start(
    list: Vec<Server>,
    roots: Option<RootCertStore>,
    settings: &Settings,
    turns: &Arc<Turns>,
) -> Result<Arc<Servers>, FileError> {
    let servers = Servers::new(list, roots, settings, Arc::clone(turns));
    servers.map(Arc::new).map_err(|error| FileError::new(&settings.resolv_conf, error))
}

fn refuse_circle(list: &[Server], settings: &Settings) -> Result<(), Fault> {
    match circle::find(list, &settings.doors, &settings.behind_stub).map_err(Fault::BehindStub)? {
        Some(circle) => Err(circle.into()),
        None => Ok(()),
    }
}

/// What was read just now, or what was read before and why nothing newer is.
fn newer_or<T>(last: &Arc<T>, read: Option<Result<Arc<T>, Fault>>) -> (Arc<T>, Option<Fault>) {
    match read {
        Some(Ok(newer)) => (newer, None),
        Some(Err(fault)) => (Arc::clone(last), Some(fault)),
        None => (Arc::clone(last), None),
    }
}
