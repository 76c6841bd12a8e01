//! How far a client's rules reach, before there is a destination to ask about: which ports any of them
//! lists, and whether any could ever admit a name.

use std::collections::HashSet;
use std::net::IpAddr;

use jiff::civil::Date;

use crate::guard::Special;
use crate::host::Name;
use crate::policy::clients::Subject;
use crate::policy::conditions::{Screened, opens};
use crate::policy::pattern::Lead;
use crate::policy::rules::{Kind, Row, Rule, Rules};
use crate::policy::terms::{Action, Ports, Protocol, Terms};
use crate::reason::Reason;

/// The ports of one profile's allow rules, whatever their names and dates.
#[derive(Debug)]
pub(super) struct PortsOf {
    /// Of the rules that do not look inside.
    unread: Ports,
    /// Of those that do.
    inside: Ports,
}

/// Which kinds of allow rules list a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Rules that do not look inside.
    pub unread: bool,
    /// Rules for TLS or HTTP.
    pub inside: bool,
}

/// Whether a client may be told where a name leads.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    pub reason: Reason,
    /// The rule that decided; for a denial, the one that came nearest to allowing it.
    pub rule: Option<Rule<'a>>,
    /// Why the client may not have the address, where that is the reason.
    pub special: Option<Special>,
}

impl Inquiry<'_> {
    pub fn is_allow(&self) -> bool {
        matches!(self.reason, Reason::Allowed | Reason::ReportOnly)
    }
}

impl PortsOf {
    /// The ports of every profile, in the order of the profiles.
    pub(super) fn all(rules: &Rules) -> Box<[Self]> {
        let mut ranges = vec![(Vec::new(), Vec::new()); rules.profiles.len()];
        let mut known = HashSet::new();
        for row in &rules.rows {
            let terms = rules.terms_of(row);
            // Most rules share their terms: of a list of a million names one adds its ports.
            if terms.action == Action::Allow && known.insert((row.profile, row.terms)) {
                let (unread, inside) = &mut ranges[row.profile as usize];
                let own = if looks_inside(terms) { inside } else { unread };
                own.extend_from_slice(terms.ports.ranges());
            }
        }
        let joined = ranges.into_iter();
        joined
            .map(|(unread, inside)| Self { unread: Ports::new(unread), inside: Ports::new(inside) })
            .collect()
    }
}

/// Which rules of the client list the port.
pub(super) fn listed(ports: &[PortsOf], subject: &Subject, port: u16) -> Listed {
    let mut listed = Listed::default();
    for &profile in subject.profiles() {
        let own = &ports[profile as usize];
        listed.unread |= own.unread.contains(port);
        listed.inside |= own.inside.contains(port);
    }
    listed
}

/// Whether some allow rule could admit the name on any port, led to the address if one is given, and no deny rule
/// covers all of it.
pub(super) fn inquire<'r>(
    rules: &'r Rules,
    subject: &Subject,
    name: &Name,
    address: Option<IpAddr>,
    today: Date,
) -> Inquiry<'r> {
    let address = address.map(|address| address.to_canonical());
    let screened = address.and_then(Screened::new);
    let (mut denies, mut allows, mut screens) = (None, None, None);
    let mut weigh = |row: &'r Row| {
        let terms = rules.terms_of(row);
        let closest = match terms.action {
            _ if !terms.hold(today) => return,
            Action::Deny if covers_all(terms) => &mut denies,
            Action::Deny => return,
            Action::Allow if screened.is_none_or(|screened| opens(terms, None, subject, screened)) => {
                &mut allows
            }
            Action::Allow => &mut screens,
        };
        row.keep_closest(closest);
    };
    rules.each_for_name(name, subject.profiles(), &mut weigh);
    if let Some(address) = address {
        rules.each_denying(address, subject.profiles(), &mut weigh);
    }
    let special = screened.map(|screened| screened.special);
    let say = |reason, row: Option<&'r Row>, special| Inquiry {
        reason,
        rule: row.map(|row| Rule::new(rules, row)),
        special,
    };
    match (denies, allows, screens) {
        _ if subject.profiles().is_empty() => say(Reason::NoProfile, None, None),
        (Some(row), ..) => say(Reason::DeniedByRule, Some(row), None),
        (None, Some(row), _) => say(Reason::Allowed, Some(row), None),
        (None, None, Some(row)) => say(Reason::AddressProhibited, Some(row), special),
        // No rule speaks for the address, so before report mode may, the guard has to.
        (None, None, None) if subject.reports() && special.is_some() => {
            say(Reason::AddressProhibited, None, special)
        }
        (None, None, None) if subject.reports() => say(Reason::ReportOnly, None, None),
        (None, None, None) => say(Reason::NoRule, None, None),
    }
}

/// The names that an allow rule lists by themselves and does not look inside for, each once or more.
pub(super) fn unread_names(rules: &Rules) -> impl Iterator<Item = Name> {
    let exact = rules.rows.iter().filter(|row| {
        let terms = rules.terms_of(row);
        let is_exact = matches!(row.kind, Kind::Name(Lead::This | Lead::Within));
        is_exact && terms.action == Action::Allow && !looks_inside(terms)
    });
    exact.filter_map(|row| Name::parse(rules.names.suffix_text(row.at)).ok())
}

fn looks_inside(terms: &Terms) -> bool {
    terms.protocol != Some(Protocol::Tcp) || terms.is_narrowed()
}

/// Whether a deny rule leaves nothing of what it matches.
fn covers_all(terms: &Terms) -> bool {
    matches!(terms.protocol, None | Some(Protocol::Tcp))
        && matches!(terms.ports.ranges(), [(0 | 1, u16::MAX)])
}
