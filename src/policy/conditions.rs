//! One rule against one question, once name, port and date agree: what is inside, and which address.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::guard::{self, Special};
use crate::host::Host;
use crate::policy::clients::Subject;
use crate::policy::question::{Question, Seen};
use crate::policy::rules::{Row, Rules};
use crate::policy::terms::{Private, Protocol, Terms};
use crate::reason::Reason;
use crate::sniff::plain_path;

/// A special address, and why it is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screened {
    pub(super) address: IpAddr,
    pub(super) special: Special,
}

impl Screened {
    pub(super) fn new(address: IpAddr) -> Option<Self> {
        guard::special(address).map(|special| Self { address, special })
    }
}

/// Why an allow rule does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The guard stands, and the rule does not open it.
    Address(Special),
    /// What is inside is not what the rule is for.
    Inside(Reason),
}

impl Refusal {
    /// How far a rule came: past the guard or not, and up to what can be read in two ways, which holds whatever other
    /// rules say.
    pub(super) fn progress(self) -> u8 {
        match self {
            Self::Address(_) => 0,
            Self::Inside(Reason::BadRequest) => 2,
            Self::Inside(_) => 1,
        }
    }
}

/// What a rule lets be inside.
struct Expected {
    tls: bool,
    http: bool,
    /// Whatever it is, without a look.
    any: bool,
}

/// Whether an allow rule accepts all that is known. The address comes first: that the rest may pass in
/// report mode says nothing about it.
pub(super) fn accepts(
    rules: &Rules,
    row: &Row,
    subject: &Subject,
    question: &Question<'_>,
    screened: Option<Screened>,
) -> Result<(), Refusal> {
    let terms = rules.terms_of(row);
    if let Some(screened) = screened
        && !opens(terms, rules.network_of(row), subject, screened)
    {
        return Err(Refusal::Address(screened.special));
    }
    let takes_ech = terms.ech_outer || rules.profile_of(row).ech_outer;
    accepts_inside(terms, takes_ech, question).map_err(Refusal::Inside)
}

/// Whether a deny rule covers what was seen. What was not read might be anything, so it is covered;
/// before anything was read there is still time.
pub(super) fn denies(terms: &Terms, seen: Seen<'_>) -> bool {
    match (terms.protocol, seen) {
        (None | Some(Protocol::Tcp), _) | (Some(_), Seen::Unread) => true,
        (Some(Protocol::Tls), Seen::Tls { .. }) => true,
        // A path with two readings may be the denied one.
        (Some(Protocol::Http), Seen::Http { method, path }) => {
            names_request(terms, method, path).unwrap_or(true)
        }
        (Some(_), _) => false,
    }
}

fn accepts_inside(terms: &Terms, takes_ech: bool, question: &Question<'_>) -> Result<(), Reason> {
    let expected = Expected::of(terms, question.to.port);
    if expected.any || question.seen == Seen::Unknown {
        return Ok(());
    }
    match question.seen {
        Seen::Tls { ech: true, .. } if expected.tls && !takes_ech => Err(Reason::EchDenied),
        Seen::Tls { server_name, .. } if expected.tls => match (&question.to.host, server_name) {
            (Host::Ip(_), _) => Ok(()),
            (Host::Name(_), None) => Err(Reason::ServerNameMissing),
            (Host::Name(name), Some(server_name)) if name == server_name => Ok(()),
            (Host::Name(_), Some(_)) => Err(Reason::ServerNameMismatch),
        },
        Seen::Http { method, path } if expected.http => match names_request(terms, method, path)? {
            true => Ok(()),
            false => Err(Reason::NoRule),
        },
        _ if expected.http && !expected.tls => Err(Reason::NotHttp),
        _ => Err(Reason::NotTls),
    }
}

impl Expected {
    fn of(terms: &Terms, port: u16) -> Self {
        let (tls, http, any) = match terms.wants(port) {
            Some(Protocol::Tls) => (true, false, false),
            Some(Protocol::Http) => (false, true, false),
            Some(Protocol::Tcp) => (true, true, true),
            None => (true, true, false),
        };
        match terms.is_narrowed() {
            true => Self { tls: false, http, any: false },
            false => Self { tls, http, any },
        }
    }
}

/// Whether the rule's methods and paths take in a request; the query is no part of the path. A path that
/// origins read in more than one way is an error where paths matter, and only there.
fn names_request(terms: &Terms, method: &str, path: &str) -> Result<bool, Reason> {
    if !terms.methods.is_empty() && !terms.methods.iter().any(|own| own == method) {
        return Ok(false);
    }
    let Some(own) = &terms.paths else { return Ok(true) };
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let path = plain_path(path).map_err(|_| Reason::BadRequest)?;
    Ok(own.globs.is_match(&*path))
}

/// Whether a rule opens the guard for a special address: by `private`, or by a network of its own that is
/// about nothing else than such addresses.
pub(super) fn opens(terms: &Terms, own: Option<IpNet>, subject: &Subject, screened: Screened) -> bool {
    let Screened { address, special } = screened;
    let own = own.filter(|network| network.contains(&address));
    match (special, address) {
        // Credentials of the host itself: only for those who could ask without us, and named one by one.
        (Special::Metadata, _) => {
            subject.on_this_host
                && own.is_some_and(|network| network.prefix_len() == network.max_prefix_len())
        }
        (Special::Embedded, IpAddr::V6(v6)) => {
            let covers_inside = guard::embedded(v6).is_some_and(|v4| {
                guard::special(IpAddr::V4(v4)).is_none() || covers(&terms.private, IpAddr::V4(v4))
            });
            // Every form carries its IPv4 address in at most 32 of the bits; a shorter prefix names none of them.
            let is_named = own.is_some_and(|network| network.prefix_len() >= 96);
            covers_inside && (is_named || covers(&terms.private, address))
        }
        (Special::Embedded, IpAddr::V4(_)) => false,
        (Special::Block(block), _) => {
            let is_within =
                |network: IpNet| block.contains(network.network()) && block.contains(network.broadcast());
            own.is_some_and(is_within) || covers(&terms.private, address)
        }
    }
}

fn covers(private: &Private, address: IpAddr) -> bool {
    match private {
        Private::No => false,
        Private::Any => true,
        Private::Networks(networks) => networks.iter().any(|network| network.contains(&address)),
    }
}
