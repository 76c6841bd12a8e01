//! Names to addresses: the hosts file first, then DNS, asked for both families side by side.
//!
//! Names are absolute, so no search domain is ever tried, and addresses are never looked up in
//! reverse. What comes back is not screened here: whoever dials it judges it, from whichever source it came.

mod answers;
mod files;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name as WireName, RecordType};

use crate::host::Name;

pub use answers::Answers;
use answers::Failure;
pub use files::FileError;
use files::Hosts;

/// One try of one question. With [`RETRIES`] it stays within the ten seconds that a dial has by default.
const TRY: Duration = Duration::from_secs(3);
/// Tries after the first; within each, a question over UDP is repeated every third of a second.
const RETRIES: usize = 2;
/// Answers kept: a name has two of them, and each step of a chain of aliases two more.
const CACHED: u64 = 16_384;
/// The longest that a name is held not to exist (RFC 2308 lets its zone say up to hours): a name
/// that was just made has to work soon.
const NEGATIVE_MAX: Duration = Duration::from_secs(30);
/// More addresses than a name has for any good reason; a DNS message would hold thousands.
const ADDRESSES_MAX: usize = 64;

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

/// What the files said when they were last read.
#[derive(Debug)]
struct Sources {
    hosts: Arc<Hosts>,
    servers: Vec<SocketAddr>,
    /// Holds the cache, so it lives for as long as the servers stay the same.
    dns: TokioResolver,
}

/// The addresses of one family, once they are there.
type Lookup = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, Failure>> + Send>>;

impl Resolver {
    /// Reads the files. Without a usable `resolv.conf` the local machine is asked (resolv.conf(5)).
    pub fn new(settings: Settings) -> Result<Self, FileError> {
        let hosts = Arc::new(read_hosts(&settings)?);
        let servers = read_servers(&settings).unwrap_or_else(|error| {
            tracing::warn!("{error}; asking the DNS server on this host");
            vec![files::LOCAL_SERVER]
        });
        let dns = client(&servers, &settings)?;
        Ok(Self { sources: ArcSwap::from_pointee(Sources { hosts, servers, dns }), settings })
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
            Ok(servers) => (servers, None),
            Err(error) => (last.servers.clone(), Some(error)),
        };
        let dns = if servers == last.servers { last.dns.clone() } else { client(&servers, &self.settings)? };
        self.sources.store(Arc::new(Sources { hosts, servers, dns }));
        hosts_error.or(servers_error).map_or(Ok(()), Err)
    }

    /// Starts to look a name up. Nothing is asked before the first [`Answers::next`], and dropping
    /// the answers takes the questions back.
    ///
    /// `localhost` and the names below it are this host's loopback addresses unless the hosts file
    /// says otherwise (RFC 6761 §6.3), and `invalid` and `onion` names do not exist (RFC 6761 §6.4,
    /// RFC 7686): no DNS server is asked for those.
    pub fn resolve(&self, name: &Name) -> Answers {
        let sources = self.sources.load_full();
        if let Some(addresses) = sources.hosts.find(name) {
            // As with libc, a name of the hosts file is not in DNS, not even for the other family.
            return Answers::known(addresses.to_vec());
        }
        match wire_name(name) {
            Ok(wire) => Answers::asked(
                ask(Arc::clone(&sources), wire.clone(), RecordType::AAAA),
                ask(sources, wire, RecordType::A),
            ),
            Err(failure) => Answers::failed(failure),
        }
    }
}

fn ask(sources: Arc<Sources>, name: WireName, family: RecordType) -> Lookup {
    Box::pin(async move {
        let lookup = sources.dns.lookup(name, family).await?;
        let records = lookup.answers().iter();
        Ok(records.filter_map(|record| record.data.ip_addr()).take(ADDRESSES_MAX).collect())
    })
}

/// The name as a question carries it, ending in the root: search domains are for relative names.
fn wire_name(name: &Name) -> Result<WireName, Failure> {
    WireName::from_labels(name.as_str().split('.').map(str::as_bytes)).map_err(|_| Failure::Malformed)
}

fn client(servers: &[SocketAddr], settings: &Settings) -> Result<TokioResolver, FileError> {
    let servers = servers.iter().map(name_server).collect();
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options(settings);
    builder.build().map_err(|error| FileError::new(&settings.resolv_conf, io::Error::other(error)))
}

fn options(settings: &Settings) -> ResolverOpts {
    let (min_ttl, max_ttl) = (settings.min_ttl, settings.max_ttl.max(settings.min_ttl));
    let mut options = ResolverOpts::default();
    options.timeout = TRY;
    options.attempts = RETRIES;
    options.cache_size = CACHED;
    options.use_hosts_file = ResolveHosts::Never;
    options.preserve_intermediates = false;
    options.positive_min_ttl = Some(min_ttl);
    options.positive_max_ttl = Some(max_ttl);
    options.negative_min_ttl = Some(min_ttl.min(NEGATIVE_MAX));
    options.negative_max_ttl = Some(max_ttl.min(NEGATIVE_MAX));
    options
}

/// UDP, and TCP for what does not fit into it.
fn name_server(server: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.to_vec())
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
