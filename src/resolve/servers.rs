//! The DNS servers: asked together, and one by one when the quickest of them fails. Holds the cache.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::rr::{Name as WireName, RData, Record, RecordData, RecordType};
use rustls::RootCertStore;
use tokio_rustls::TlsConnector;

use crate::host::Name;
use crate::resolve::cache::Cache;
use crate::resolve::connect::Connector;
use crate::resolve::server::Server;
use crate::resolve::tls::Line;
use crate::resolve::turns::{AT_ONCE, Asker, Turns};
use crate::resolve::{Failure, Records, Settings};
use crate::tls::trust;

/// Tries after the first. With the default they stay within the ten seconds that a dial has by default; within each, a
/// question over UDP is repeated every third of a second.
const RETRIES: usize = 2;
/// The longest that a name is held not to exist (RFC 2308 lets its zone say up to hours): a name
/// that was just made has to work soon.
const NEGATIVE_MAX: Duration = Duration::from_secs(30);
/// More addresses than a name has for any good reason; a DNS message would hold thousands.
const RECORDS_MAX: usize = 64;

/// A client of some servers, with its cache. Questions that are under way are shared.
#[derive(Debug)]
pub(super) struct Servers {
    list: Vec<Server>,
    lines: HashMap<SocketAddr, Line>,
    /// On whose word the servers over TLS are believed, if there are any.
    roots: Option<RootCertStore>,
    together: Client,
    /// Each by itself; empty for a single server.
    singly: Vec<Client>,
    cache: Cache,
    turns: Arc<Turns>,
    try_for: Duration,
    min_ttl: Duration,
    max_ttl: Duration,
}

type Client = hickory_resolver::Resolver<Connector>;
/// What was found, or why nothing was, and for how long that holds.
type Answer = (Result<Arc<[RData]>, Failure>, Duration);

impl Servers {
    pub(super) fn new(
        list: Vec<Server>,
        roots: Option<RootCertStore>,
        settings: &Settings,
        turns: Arc<Turns>,
    ) -> io::Result<Self> {
        let (min_ttl, max_ttl) = (settings.min_ttl, settings.max_ttl.max(settings.min_ttl));
        let try_for = settings.try_for;
        let lines = lines(&list, roots.as_ref(), try_for)?;
        let connector = Connector::new(lines.clone(), Arc::clone(&turns), try_for);
        let options = |retries| {
            let mut options = options(try_for, retries);
            (options.positive_min_ttl, options.positive_max_ttl) = (Some(min_ttl), Some(max_ttl));
            options
        };
        let single = |server| client(&[server], &connector, options(0));
        let singly = match &list[..] {
            [_] => Vec::new(),
            list => list.iter().map(single).collect::<Result<_, _>>()?,
        };
        let all: Vec<&Server> = list.iter().collect();
        let together = client(&all, &connector, options(RETRIES))?;
        let cache = Cache::new(max_ttl);
        Ok(Self { list, lines, roots, together, singly, cache, turns, try_for, min_ttl, max_ttl })
    }

    pub(super) fn list(&self) -> &[Server] {
        &self.list
    }

    /// Whether these are the servers, believed on the word of the same authorities.
    pub(super) fn are(&self, list: &[Server], roots: Option<&RootCertStore>) -> bool {
        let anchors = |roots: &RootCertStore| roots.roots.clone();
        self.list == list && self.roots.as_ref().map(anchors) == roots.map(anchors)
    }

    /// The records of one type. What is known costs the asker nothing of its share.
    pub(super) async fn records(
        &self,
        asker: Asker,
        name: &Name,
        kind: RecordType,
    ) -> Result<Records, Failure> {
        if let Some(known) = self.cache.find(name, kind) {
            return known;
        }
        let _turn = match asker {
            Asker::Client(client) => Some(self.turns.of(client, self.room(), self.try_for).await?),
            Asker::Exeat => None,
        };
        // While it waited for its turn, others may have been told.
        match self.cache.find(name, kind) {
            Some(known) => known,
            None => self.ask_all(name, kind).await,
        }
    }

    /// For how many more questions there is room now, at the server that has most.
    fn room(&self) -> usize {
        let room = |server: &Server| self.lines.get(&server.address).map(Line::room);
        let rooms = self.list.iter().map(|server| room(server).unwrap_or_else(|| self.turns.room()));
        rooms.max().unwrap_or_default()
    }

    /// The client takes the first answer of two servers, be it an error; then, like libc, the others get their turn
    /// before that is believed.
    async fn ask_all(&self, name: &Name, kind: RecordType) -> Result<Records, Failure> {
        let wire = wire_name(name).map_err(|_| Failure::Malformed)?;
        let (answer, ttl) = match self.ask(&self.together, &wire, kind).await {
            (Err(failure), _) if failure.is_of_one_server() => self.ask_each(failure, &wire, kind).await,
            answer => answer,
        };
        self.cache.keep(name, kind, answer.clone(), ttl);
        answer.map(|data| Records { data, ttl })
    }

    /// Asks one server after the other until one knows. If none does, what is told is what says most of all that went
    /// wrong: one that is silent must not hide what another said, nor one that stands behind it.
    async fn ask_each(&self, mut failure: Failure, name: &WireName, kind: RecordType) -> Answer {
        for server in &self.singly {
            match self.ask(server, name, kind).await {
                (Err(other), _) if !other.is_of_the_name() => failure = failure.max(other),
                answer => return answer,
            }
        }
        (Err(failure), Duration::ZERO)
    }

    async fn ask(&self, client: &Client, name: &WireName, kind: RecordType) -> Answer {
        match client.lookup(name.clone(), kind).await {
            Ok(lookup) => {
                let found = found(lookup.answers(), name, kind);
                let data = found.map(|record| record.data.clone()).take(RECORDS_MAX).collect();
                (Ok(data), lookup.valid_until().saturating_duration_since(Instant::now()))
            }
            Err(error) => {
                let ttl = self.negative_ttl(&error);
                (Err(self.failure(error)), ttl)
            }
        }
    }

    /// What an error means, in the words of the server over TLS where it is one's.
    fn failure(&self, error: NetError) -> Failure {
        match error.into() {
            Failure::Unreachable => {
                self.lines.values().find_map(Line::fault).map_or(Failure::Unreachable, Failure::Tls)
            }
            failure => failure,
        }
    }

    /// For how long an error holds: that there is nothing, for as long as the zone says within bounds; that a server
    /// failed, not for a moment.
    fn negative_ttl(&self, error: &NetError) -> Duration {
        let NetError::Dns(DnsError::NoRecordsFound(NoRecords { negative_ttl, .. })) = error else {
            return Duration::ZERO;
        };
        let (min, max) = (self.min_ttl.min(NEGATIVE_MAX), self.max_ttl.min(NEGATIVE_MAX));
        negative_ttl.map_or(min, |seconds| Duration::from_secs(seconds.into()).clamp(min, max))
    }
}

/// The records of a type that the name has or, where it has none itself, those that hickory found behind its aliases.
/// What an answer says of other names besides is nobody's question.
fn found<'a>(
    answers: &'a [Record],
    name: &'a WireName,
    kind: RecordType,
) -> impl Iterator<Item = &'a Record> {
    // Without data there is a record in an UPDATE only (RFC 2136 §2.4), which a server may call its answer.
    let of_kind =
        answers.iter().filter(move |record| record.record_type() == kind && !record.data.is_update());
    let has_own = of_kind.clone().any(|record| record.name == *name);
    of_kind.filter(move |record| !has_own || record.name == *name)
}

/// The name as a question carries it, ending in the root: search domains are for relative names.
fn wire_name(name: &Name) -> Result<WireName, ProtoError> {
    WireName::from_labels(name.as_str().split('.').map(str::as_bytes))
}

/// The lines to those servers that are asked over TLS.
fn lines(
    list: &[Server],
    roots: Option<&RootCertStore>,
    try_for: Duration,
) -> io::Result<HashMap<SocketAddr, Line>> {
    let Some(roots) = roots else { return Ok(HashMap::new()) };
    let config = trust::client_config(roots.clone()).map_err(io::Error::other)?;
    let tls = TlsConnector::from(Arc::new(config));
    let certified = list.iter().filter_map(|server| Some((server.address, server.certified.clone()?)));
    let line = |address, name| Line::new(address, name, tls.clone(), try_for);
    Ok(certified.map(|(address, name)| (address, line(address, name))).collect())
}

fn client(servers: &[&Server], connector: &Connector, options: ResolverOpts) -> io::Result<Client> {
    let servers = servers.iter().map(|server| name_server(server)).collect();
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let mut builder = Client::builder_with_config(config, connector.clone());
    *builder.options_mut() = options;
    builder.build().map_err(io::Error::other)
}

fn options(try_for: Duration, retries: usize) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = try_for;
    options.attempts = retries;
    options.max_active_requests = AT_ONCE;
    // Answers are kept here, within a bound of bytes, which theirs has not.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.preserve_intermediates = false;
    options
}

/// UDP, and TCP for what does not fit into it; or what stands for TLS.
fn name_server(server: &Server) -> NameServerConfig {
    let connections = match server.certified {
        Some(_) => vec![ConnectionConfig::tcp()],
        None => vec![ConnectionConfig::udp(), ConnectionConfig::tcp()],
    };
    let connections = connections.into_iter().map(|mut connection| {
        connection.port = server.address.port();
        connection
    });
    NameServerConfig::new(server.address.ip(), true, connections.collect())
}
