//! Names to addresses: the hosts file first, then DNS, asked for both families side by side.
//!
//! Names are absolute, so no search domain is ever tried, and addresses are never looked up in
//! reverse. What comes back is not screened here: whoever dials it judges it, from whichever source it came.

mod answers;
mod files;
mod servers;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::rr::rdata::{A, AAAA};
use hickory_resolver::proto::rr::{Name as WireName, RData, RecordType};

use crate::host::Name;

pub use answers::{Answers, Failure};
pub use files::FileError;
use files::Hosts;
use servers::Servers;

/// For how long an answer of the hosts file holds: it may change at any time.
const HOSTS_TTL: Duration = Duration::from_secs(10);

/// Where answers come from and how long they are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The DNS servers; empty: those of `resolv_conf`.
    pub servers: Vec<SocketAddr>,
    pub resolv_conf: PathBuf,
    /// The hosts file, which then must be there; `None`: `/etc/hosts`, if there is one.
    pub hosts: Option<PathBuf>,
    /// Answers are kept at least as long, whatever their own time to live says.
    pub min_ttl: Duration,
    /// Answers are kept no longer.
    pub max_ttl: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            hosts: None,
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(5 * 60),
        }
    }
}

/// Looks names up. Questions that are under way are shared, and answers are cached.
#[derive(Debug)]
pub struct Resolver {
    settings: Settings,
    sources: ArcSwap<Sources>,
}

/// The records of one type that a name has, wherever its aliases led.
#[derive(Clone, Debug)]
pub struct Records {
    pub data: Vec<RData>,
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
    /// Reads the files. Without a usable `resolv.conf` the local machine is asked (resolv.conf(5)).
    pub fn new(settings: Settings) -> Result<Self, FileError> {
        let hosts = Arc::new(read_hosts(&settings)?);
        let addresses = read_servers(&settings).unwrap_or_else(|error| {
            tracing::warn!("{error}; asking the DNS server on this host");
            vec![files::LOCAL_SERVER]
        });
        let servers = start(addresses, &settings)?;
        Ok(Self { sources: ArcSwap::from_pointee(Sources { hosts, servers }), settings })
    }

    /// The files that it reads, for whoever watches them.
    pub fn files(&self) -> [&Path; 2] {
        [hosts_path(&self.settings), &self.settings.resolv_conf]
    }

    /// Reads the files again. A file that can't be used changes nothing of what the last good one
    /// said, and the cache is kept unless the servers changed.
    pub fn reload(&self) -> Result<(), FileError> {
        let last = self.sources.load();
        let (hosts, hosts_error) = match read_hosts(&self.settings) {
            Ok(hosts) => (Arc::new(hosts), None),
            Err(error) => (Arc::clone(&last.hosts), Some(error)),
        };
        let (servers, servers_error) = match read_servers(&self.settings) {
            Ok(addresses) if addresses != last.servers.addresses() => {
                (start(addresses, &self.settings)?, None)
            }
            Ok(_) => (Arc::clone(&last.servers), None),
            Err(error) => (Arc::clone(&last.servers), Some(error)),
        };
        self.sources.store(Arc::new(Sources { hosts, servers }));
        hosts_error.or(servers_error).map_or(Ok(()), Err)
    }

    /// The servers that are asked.
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.sources.load().servers.addresses().to_vec()
    }

    /// Looks up the records of one type, of the hosts file or of DNS.
    pub async fn records(&self, name: &Name, kind: RecordType) -> Result<Records, Failure> {
        let sources = self.sources.load_full();
        if let Some(addresses) = sources.hosts.find(name) {
            let data = addresses.iter().filter_map(|address| rdata(*address, kind)).collect();
            return Ok(Records { data, ttl: HOSTS_TTL.min(self.settings.max_ttl) });
        }
        let name = wire_name(name).map_err(|_| Failure::Malformed)?;
        sources.servers.records(&name, kind).await
    }

    /// Starts to look a name up. Nothing is asked before the first [`Answers::next`], and dropping
    /// the answers takes the questions back.
    ///
    /// `localhost` and the names below it are this host's loopback addresses unless the hosts file
    /// says otherwise (RFC 6761 §6.3), and `invalid` and `onion` names do not exist (RFC 6761 §6.4,
    /// RFC 7686): no DNS server is asked for those.
    pub fn resolve(&self, name: &Name) -> Answers {
        let sources = self.sources.load();
        if let Some(addresses) = sources.hosts.find(name) {
            // As with libc, a name of the hosts file is not in DNS, not even for the other family.
            return Answers::known(addresses.to_vec());
        }
        let Ok(name) = wire_name(name) else { return Answers::failed(Failure::Malformed) };
        let ask = |name, family| -> Lookup {
            let servers = Arc::clone(&sources.servers);
            Box::pin(async move { servers.ask(name, family).await })
        };
        Answers::asked(ask(name.clone(), RecordType::AAAA), ask(name, RecordType::A))
    }
}

fn rdata(address: IpAddr, kind: RecordType) -> Option<RData> {
    match (address, kind) {
        (IpAddr::V4(v4), RecordType::A) => Some(RData::A(A(v4))),
        (IpAddr::V6(v6), RecordType::AAAA) => Some(RData::AAAA(AAAA(v6))),
        _ => None,
    }
}

/// The name as a question carries it, ending in the root: search domains are for relative names.
fn wire_name(name: &Name) -> Result<WireName, ProtoError> {
    WireName::from_labels(name.as_str().split('.').map(str::as_bytes))
}

fn start(addresses: Vec<SocketAddr>, settings: &Settings) -> Result<Arc<Servers>, FileError> {
    let servers = Servers::new(addresses, settings);
    servers.map(Arc::new).map_err(|error| FileError::new(&settings.resolv_conf, error))
}

fn hosts_path(settings: &Settings) -> &Path {
    settings.hosts.as_deref().unwrap_or(Path::new("/etc/hosts"))
}

fn read_hosts(settings: &Settings) -> Result<Hosts, FileError> {
    let path = hosts_path(settings);
    match Hosts::read(path) {
        Err(error) if settings.hosts.is_none() && error.is_not_found() => Ok(Hosts::default()),
        result => result,
    }
}

fn read_servers(settings: &Settings) -> Result<Vec<SocketAddr>, FileError> {
    if settings.servers.is_empty() {
        return files::read_servers(&settings.resolv_conf);
    }
    Ok(settings.servers.clone())
}
