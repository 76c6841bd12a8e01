//! The DNS servers: asked together, and one by one when the quickest of them fails. Holds the cache.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::answers::Failure;
use super::{Records, Settings};

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
const RECORDS_MAX: usize = 64;

/// A client of some servers, with its cache. Questions that are under way are shared.
#[derive(Debug)]
pub(super) struct Servers {
    addresses: Vec<SocketAddr>,
    together: TokioResolver,
    /// Each by itself; empty for a single server.
    singly: Vec<TokioResolver>,
}

impl Servers {
    pub(super) fn new(addresses: Vec<SocketAddr>, settings: &Settings) -> io::Result<Self> {
        let together = client(&addresses, options(settings, RETRIES))?;
        let single = |address| client(&[address], options(settings, 0));
        let singly = match addresses[..] {
            [_] => Vec::new(),
            _ => addresses.iter().copied().map(single).collect::<Result<_, _>>()?,
        };
        Ok(Self { addresses, together, singly })
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses of one family. The client takes the first answer of two servers, be it an
    /// error; then, like libc, the others get their turn before that is believed.
    pub(super) async fn ask(&self, name: Name, family: RecordType) -> Result<Vec<IpAddr>, Failure> {
        let records = self.records(&name, family).await?;
        Ok(records.data.iter().filter_map(RData::ip_addr).collect())
    }

    /// The records of one type.
    pub(super) async fn records(&self, name: &Name, kind: RecordType) -> Result<Records, Failure> {
        let mut result = ask(&self.together, name, kind).await;
        for server in &self.singly {
            match result {
                Err(failure) if failure.is_of_one_server() => result = ask(server, name, kind).await,
                _ => break,
            }
        }
        result
    }
}

async fn ask(client: &TokioResolver, name: &Name, kind: RecordType) -> Result<Records, Failure> {
    let lookup = client.lookup(name.clone(), kind).await?;
    let of_kind = lookup.answers().iter().filter(|record| record.record_type() == kind);
    let data = of_kind.map(|record| record.data.clone()).take(RECORDS_MAX).collect();
    Ok(Records { data, ttl: lookup.valid_until().saturating_duration_since(Instant::now()) })
}

fn client(servers: &[SocketAddr], options: ResolverOpts) -> io::Result<TokioResolver> {
    let servers = servers.iter().map(name_server).collect();
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build().map_err(io::Error::other)
}

fn options(settings: &Settings, retries: usize) -> ResolverOpts {
    // The cache panics at a maximum below its minimum.
    let (min_ttl, max_ttl) = (settings.min_ttl, settings.max_ttl.max(settings.min_ttl));
    let mut options = ResolverOpts::default();
    options.timeout = TRY;
    options.attempts = retries;
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
