//! From what was seen on the ports of a name to the fewest rules that allow it and little else.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::learn::count::Count;
use crate::learn::draft::{On, Rule};
use crate::learn::observation::Sight;
use crate::policy::terms::Protocol;

/// What was seen inside the flows to one name and port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inside {
    pub(super) tls: Count,
    pub(super) http: Count,
    /// What no rule can see into.
    pub(super) other: Count,
    /// Nothing was said before the flow ended, or nobody looked.
    pub(super) unknown: Count,
}

/// What a rule says besides its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Terms {
    /// TLS on 443 and HTTP on 80, as a pattern alone says.
    Usual,
    /// TLS, HTTP or (`None`) either of them on these ports.
    On(Option<Wire>, BTreeSet<u16>),
    /// Anything, without a look.
    Blind(BTreeSet<u16>),
}

/// What can be read, in an order for printing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wire {
    Tls,
    Http,
}

impl Inside {
    pub(super) fn add(&mut self, sight: &Sight, time: Timestamp) {
        let count = match sight {
            Sight::Tls { .. } => &mut self.tls,
            Sight::Http { .. } => &mut self.http,
            Sight::Other => &mut self.other,
            Sight::Unknown => &mut self.unknown,
        };
        count.add(time);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.tls.merge(other.tls);
        self.http.merge(other.http);
        self.other.merge(other.other);
        self.unknown.merge(other.unknown);
    }

    pub(super) fn total(&self) -> Count {
        [self.tls, self.http, self.other, self.unknown].into_iter().collect()
    }

    /// Whether TLS and HTTP have to pass. Nothing seen stands for what the port is mostly used for.
    fn reads(&self, port: u16) -> (bool, bool) {
        let (tls, http) = (!self.tls.is_zero(), !self.http.is_zero());
        match (tls, http, port) {
            (false, false, 443) => (true, false),
            (false, false, 80) => (false, true),
            (false, false, _) => (true, true),
            _ => (tls, http),
        }
    }
}

/// The terms on which a name has to be allowed, each with the flows that ask for it. What opens 443 and 80 at once is
/// not among them where one of the two was not seen but `denied`.
pub(super) fn terms(ports: &BTreeMap<u16, Inside>, denied: impl Fn(u16) -> bool) -> Vec<(Terms, Count)> {
    let may_open = |port| ports.contains_key(&port) || !denied(port);
    let opens_both = may_open(443) && may_open(80);
    let mut usual = Count::default();
    let mut blind = (BTreeSet::new(), Count::default());
    let mut on: BTreeMap<Option<Wire>, (BTreeSet<u16>, Count)> = BTreeMap::new();
    let mut take = |wire, port, count| {
        let (ports, sum) = on.entry(wire).or_default();
        ports.insert(port);
        sum.merge(count);
    };
    for (&port, inside) in ports {
        let total = inside.total();
        if total.is_zero() {
            continue;
        }
        if !inside.other.is_zero() {
            // Such a rule lets TLS and HTTP pass as well.
            blind.0.insert(port);
            blind.1.merge(total);
            continue;
        }
        let readable: Count = [inside.tls, inside.unknown].into_iter().collect();
        match (port, inside.reads(port)) {
            (443, (tls, http)) => {
                match tls {
                    true if opens_both => usual.merge(readable),
                    true => take(Some(Wire::Tls), port, readable),
                    false => {}
                }
                if http {
                    take(Some(Wire::Http), port, inside.http);
                }
            }
            (80, (tls, http)) => {
                let readable = [inside.http, inside.unknown].into_iter().collect();
                match http {
                    true if opens_both => usual.merge(readable),
                    true => take(Some(Wire::Http), port, readable),
                    false => {}
                }
                if tls {
                    take(Some(Wire::Tls), port, inside.tls);
                }
            }
            (_, (true, true)) => take(None, port, total),
            (_, (true, false)) => take(Some(Wire::Tls), port, total),
            (_, (false, _)) => take(Some(Wire::Http), port, total),
        }
    }
    let usual = (!usual.is_zero()).then_some((Terms::Usual, usual));
    let on = on.into_iter().map(|(wire, (ports, count))| (Terms::On(wire, ports), count));
    let blind = (!blind.0.is_empty()).then_some((Terms::Blind(blind.0), blind.1));
    usual.into_iter().chain(on).chain(blind).collect()
}

impl Terms {
    /// The rule that says so.
    pub(super) fn rule(&self, on: On) -> Rule {
        let ports = |ports: &BTreeSet<u16>| ports.iter().map(|&port| (port, port)).collect();
        let mut rule = Rule::new(on);
        match self {
            Self::Usual => {}
            Self::On(wire, on) => {
                rule.ports = ports(on);
                rule.protocol = wire.map(|wire| match wire {
                    Wire::Tls => Protocol::Tls,
                    Wire::Http => Protocol::Http,
                });
            }
            Self::Blind(on) => {
                rule.ports = ports(on);
                rule.protocol = Some(Protocol::Tcp);
            }
        }
        rule
    }
}
