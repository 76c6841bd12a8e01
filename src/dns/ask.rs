//! From a question to what its client is told: judged first, looked up then, screened last.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::SVCB;
use hickory_proto::rr::rdata::svcb::{SvcParamKey, SvcParamValue};
use hickory_proto::rr::{RData, RecordType};
use tokio::time::timeout;

use crate::client::{Client, network};
use crate::destination::Destination;
use crate::dns::message::{Question, Reply, Request};
use crate::dns::{Denied, Door, Https};
use crate::error::Error;
use crate::flow::Flow;
use crate::host::{Host, Name};
use crate::proxy::Standing;
use crate::reason::Reason;
use crate::resolve::{Asker, Failure, Records};

/// Where questions go, as the record tells it (RFC 1035 §4.2).
const PORT: u16 = 53;
/// Programs have asked again or given up by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// RFC 7553.
const URI: RecordType = RecordType::Unknown(256);
/// What is passed on of a name besides its addresses and its service bindings: records of text and of names, each of
/// which is judged when it is asked for in turn. No type is among them that holds an address which would have to be
/// screened, and none of the signatures that would not fit what is told here (RRSIG, DNSKEY, DS, NSEC).
const TOLD: [RecordType; 12] = [
    RecordType::CAA,
    RecordType::CNAME,
    RecordType::MX,
    RecordType::NAPTR,
    RecordType::NS,
    RecordType::PTR,
    RecordType::SOA,
    RecordType::SRV,
    RecordType::SSHFP,
    RecordType::TLSA,
    RecordType::TXT,
    // Kerberos asks for it before SRV.
    URI,
];

/// What a client is told, and how its flow ends.
pub(super) type Told = (Reply, Result<(), Error>);

impl Door {
    /// Judges a question, and finds the answer if it may be answered.
    pub(super) async fn tell(&self, flow: &Flow, client: Client, request: &Request) -> Told {
        let refused = |error| (Reply::code(ResponseCode::Refused), Err(error));
        let _turn = match self.pace.turn(client.ip()) {
            Ok(turn) => turn,
            Err(error) => return refused(error),
        };
        if let Err(error) = flow.take_permit() {
            return refused(error);
        }
        let Question { name, kind } = match request.question() {
            Ok(question) => question,
            Err((reply, error)) => return (reply, Err(error)),
        };
        flow.to(&Destination::new(Host::Name(name.clone()), PORT));
        flow.asked(&written(kind));
        let mut standing = self.proxy.standing(client);
        self.proxy.settle_name(flow, &mut standing, &name).await;
        let inquiry = self.proxy.inquire(flow, &standing, &name);
        if !inquiry.is_allow() {
            let code = match self.manners.denied {
                Denied::NoSuchName => ResponseCode::NXDomain,
                Denied::Refused => ResponseCode::Refused,
            };
            return (Reply::blocked(code, inquiry.reason), Err(Error::Denied(inquiry.reason)));
        }
        let told = flow.unless_stopped(self.find(flow, &standing, &name, kind)).await;
        told.unwrap_or_else(|stop| (Reply::code(ResponseCode::ServFail), Err(stop.into())))
    }

    /// Looks up what is passed on of a name that may be asked for. Every other type is held not to exist, without
    /// anybody being asked: programs that reach names need no more. So is ANY, whose answers serve amplification alone
    /// (RFC 8482).
    async fn find(&self, flow: &Flow, standing: &Standing, name: &Name, kind: RecordType) -> Told {
        use RecordType::{A, AAAA, HTTPS, SVCB};
        let is_told = match kind {
            A | AAAA => true,
            HTTPS | SVCB => self.manners.https == Https::WithoutEch,
            kind => TOLD.contains(&kind),
        };
        if !is_told {
            return (Reply::found(Vec::new(), Duration::ZERO), Ok(()));
        }
        let began = Instant::now();
        let asker = Asker::Client(standing.client.ip());
        let found = timeout(PATIENCE, self.resolver.records(asker, name, kind)).await;
        let found = found.unwrap_or(Err(Failure::Timeout));
        let took = began.elapsed();
        let Records { data, ttl } = match found {
            Ok(records) => records,
            Err(failure) => {
                flow.looked_up(None, took);
                return failed(failure);
            }
        };
        if !matches!(kind, A | AAAA) {
            flow.looked_up(None, took);
            return (Reply::found(data.iter().cloned().filter_map(without_ech).collect(), ttl), Ok(()));
        }
        let addresses: Vec<IpAddr> = data.iter().filter_map(RData::ip_addr).collect();
        let told = screen(flow, standing, name, addresses);
        flow.looked_up(told.as_ref().ok().and_then(|told| told.first().copied()), took);
        match told {
            Ok(told) => {
                self.names.told(network(standing.client.ip()), name, &told, ttl);
                (Reply::found(told.into_iter().map(RData::from).collect(), ttl), Ok(()))
            }
            Err(error) => (Reply::filtered(error.reason()), Err(error)),
        }
    }
}

/// The addresses that the client could be let through to by some rule for the name; an error if none is left.
fn screen(
    flow: &Flow,
    standing: &Standing,
    name: &Name,
    addresses: Vec<IpAddr>,
) -> Result<Vec<IpAddr>, Error> {
    let mut first = None;
    let screened = addresses.into_iter().filter(|&address| {
        let inquiry = standing.inquire(name, Some(address));
        if !inquiry.is_allow() {
            first.get_or_insert((address, inquiry));
        }
        inquiry.is_allow()
    });
    let told: Vec<IpAddr> = screened.collect();
    let Some((address, inquiry)) = first.filter(|_| told.is_empty()) else { return Ok(told) };
    if let Some(rule) = inquiry.rule {
        flow.decider(rule);
    }
    Err(match inquiry.special {
        Some(special) if inquiry.reason == Reason::AddressProhibited => {
            Error::AddressProhibited { address, what: special.what() }
        }
        _ => Error::Denied(inquiry.reason),
    })
}

fn failed(failure: Failure) -> Told {
    match failure {
        Failure::NoSuchName => (Reply::code(ResponseCode::NXDomain), Ok(())),
        Failure::NoAddresses => (Reply::found(Vec::new(), Duration::ZERO), Ok(())),
        Failure::TooMany => (Reply::code(ResponseCode::Refused), Err(failure.into())),
        failure => (Reply::code(ResponseCode::ServFail), Err(failure.into())),
    }
}

/// A record without what would lead around the door: keys that hide the server name, and addresses that nobody
/// screened. `None` for one that says it can't do without.
fn without_ech(data: RData) -> Option<RData> {
    match data {
        RData::HTTPS(https) => plain(https.0).map(|svcb| RData::HTTPS(hickory_proto::rr::rdata::HTTPS(svcb))),
        RData::SVCB(svcb) => plain(svcb).map(RData::SVCB),
        other => Some(other),
    }
}

fn plain(mut binding: SVCB) -> Option<SVCB> {
    let hidden = |key: &SvcParamKey| {
        matches!(key, SvcParamKey::EchConfigList | SvcParamKey::Ipv4Hint | SvcParamKey::Ipv6Hint)
    };
    let needs_hidden = binding.svc_params.iter().any(|(_, value)| match value {
        SvcParamValue::Mandatory(mandatory) => mandatory.0.iter().any(hidden),
        _ => false,
    });
    binding.svc_params.retain(|(key, _)| !hidden(key));
    (!needs_hidden).then_some(binding)
}

/// A type as people write it: by its number where it has no name (RFC 3597 §5).
fn written(kind: RecordType) -> String {
    match kind {
        URI => "URI".to_owned(),
        RecordType::Unknown(number) => format!("TYPE{number}"),
        named => named.to_string(),
    }
}
