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
    /// This, or (`None`) TLS and HTTP, on these ports.
    On(Option<Protocol>, BTreeSet<u16>),
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
    let mut on: BTreeMap<Option<Protocol>, (BTreeSet<u16>, Count)> = BTreeMap::new();
    let mut take = |protocol, port, count| {
        let (ports, sum) = on.entry(protocol).or_default();
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
            take(Some(Protocol::Tcp), port, total);
            continue;
        }
        match (port, inside.reads(port)) {
            (443 | 80, (tls, http)) => {
                for (reads, protocol, seen, at) in
                    [(tls, Protocol::Tls, inside.tls, 443), (http, Protocol::Http, inside.http, 80)]
                {
                    let seen = if at == port { [seen, inside.unknown].into_iter().collect() } else { seen };
                    match reads {
                        true if at == port && opens_both => usual.merge(seen),
                        true => take(Some(protocol), port, seen),
                        false => {}
                    }
                }
            }
            (_, (true, true)) => take(None, port, total),
            (_, (true, false)) => take(Some(Protocol::Tls), port, total),
            (_, (false, _)) => take(Some(Protocol::Http), port, total),
        }
    }
    let usual = (!usual.is_zero()).then_some((Terms::Usual, usual));
    let on = on.into_iter().map(|(protocol, (ports, count))| (Terms::On(protocol, ports), count));
    usual.into_iter().chain(on).collect()
}

impl Terms {
    /// The rule that says so.
    pub(super) fn rule(&self, on: On) -> Rule {
        let mut rule = Rule::new(on);
        if let Self::On(protocol, ports) = self {
            rule.ports = ports.iter().map(|&port| (port, port)).collect();
            rule.protocol = *protocol;
        }
        rule
    }
}
