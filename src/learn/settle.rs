//! What a group's flows come to: what is to be allowed, and what is set apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::destination::Destination;
use crate::guard;
use crate::host::{Host, Name};
use crate::learn::collapse::collapse;
use crate::learn::count::Count;
use crate::learn::draft::{Entry, On, Rule};
use crate::learn::group::{Apart, Group, Named};
use crate::learn::rules::{Inside, Terms, terms};
use crate::learn::unusual::{Refused, Why, domain, is_flood, is_long};
use crate::plural::plural;
use crate::policy::document::has_one_owner;
use crate::policy::pattern::Pattern;
use crate::policy::terms::Protocol;
use crate::reason::Reason;

/// How much of what is set apart for one reason is shown.
const SHOWN_MAX: usize = 100;

/// A group, sorted out.
#[derive(Debug, Default)]
pub(super) struct Settled<'g> {
    pub(super) wanted: BTreeMap<&'g Name, Vec<(Terms, Count)>>,
    apart: BTreeMap<Why, Vec<Case>>,
    /// Names on which no pattern may be widened.
    barred: BTreeSet<&'g Name>,
    /// How many names were asked for that nobody connected to, and how often.
    pub(super) only_asked: (u64, Count),
}

/// Something that is set apart.
#[derive(Debug)]
struct Case {
    /// How it sorts.
    order: (String, u16),
    shown: String,
    /// What would allow it, where a rule could.
    rules: Vec<Rule>,
    count: Count,
}

impl Group {
    /// Takes in what another group has seen.
    pub(super) fn merge(&mut self, other: Self) {
        self.clients.extend(other.clients);
        for (name, named) in other.names {
            let own = self.names.entry(name).or_default();
            own.questions.merge(named.questions);
            for (ports, others) in [(&mut own.ports, named.ports), (&mut own.unreached, named.unreached)] {
                others.iter().for_each(|(port, inside)| ports.entry(*port).or_default().merge(inside));
            }
        }
        for (key, apart) in other.apart {
            let own = self.apart.entry(key).or_default();
            own.inside.merge(&apart.inside);
            own.addresses.extend(apart.addresses);
        }
        for (below, domain) in other.domains {
            self.domains.entry(below).or_default().more.merge(domain.more);
        }
    }

    pub(super) fn settle(&self) -> Settled<'_> {
        let mut settled = Settled::default();
        let mut domains: HashMap<&str, Vec<(&Name, &Named)>> = HashMap::new();
        for (name, named) in &self.names {
            domains.entry(domain(name)).or_default().push((name, named));
        }
        for (below, names) in domains {
            let more = self.domains.get(below).map(|domain| domain.more).unwrap_or_default();
            let flows = names.iter().map(|(_, named)| named.total().flows);
            if !more.is_zero() || is_flood(flows) {
                settled.flood(below, &names, more);
                continue;
            }
            for (name, named) in names {
                let denied = Why::Refused(Refused(Reason::DeniedByRule));
                let is_denied = |port| self.apart.contains_key(&(denied, at(name, port)));
                settled.name(name, named, is_denied);
            }
        }
        for ((why, to), apart) in &self.apart {
            settled.set_apart(*why, to, apart);
        }
        let more = self.domains.get("").map(|domain| domain.more).unwrap_or_default();
        if !more.is_zero() {
            let case = Case {
                order: (String::new(), 0),
                shown: "further ones".into(),
                rules: Vec::new(),
                count: more,
            };
            settled.apart.entry(Why::ByAddress).or_default().push(case);
        }
        settled
    }
}

impl Named {
    fn total(&self) -> Count {
        let flows = self.ports.values().chain(self.unreached.values()).map(Inside::total);
        flows.chain([self.questions]).collect()
    }
}

impl<'g> Settled<'g> {
    fn name(&mut self, name: &'g Name, named: &Named, is_denied: impl Fn(u16) -> bool) {
        if named.ports.is_empty() && named.unreached.is_empty() {
            self.only_asked.0 += 1;
            self.only_asked.1.merge(named.questions);
        }
        let unreached = || named.unreached.iter().filter(|(port, _)| !named.ports.contains_key(port));
        if is_long(name) {
            self.barred.insert(name);
            for (port, inside) in named.ports.iter().chain(unreached()) {
                self.push(Why::LongLabel, &at(name, *port), inside, &[]);
            }
            return;
        }
        let terms = terms(&named.ports, is_denied);
        if !terms.is_empty() {
            self.wanted.insert(name, terms);
        }
        unreached().for_each(|(port, inside)| self.push(Why::Unreached, &at(name, *port), inside, &[]));
    }

    /// Everything below a domain, at once.
    fn flood(&mut self, below: &str, names: &[(&'g Name, &Named)], more: Count) {
        let count: Count = names.iter().map(|(_, named)| named.total()).chain([more]).collect();
        let pattern = Pattern::parse(&format!("*.{below}")).ok().filter(has_one_owner);
        let shown = match more.is_zero() {
            true => format!("{} below {below}", plural(names.len(), "name")),
            false => format!("more than {} below {below}", plural(names.len(), "name")),
        };
        let rules = pattern.map(|pattern| Rule::new(On::Name(pattern))).into_iter().collect();
        let order = (reversed(below), 0);
        self.apart.entry(Why::Flood).or_default().push(Case { order, shown, rules, count });
        self.barred.extend(names.iter().map(|(name, _)| *name));
    }

    fn set_apart(&mut self, why: Why, to: &'g Destination, apart: &Apart) {
        if let Host::Name(name) = &to.host {
            self.barred.insert(name);
        }
        let addresses: Vec<IpAddr> = apart.addresses.iter().copied().collect();
        self.push(why, to, &apart.inside, &addresses);
    }

    fn push(&mut self, why: Why, to: &Destination, inside: &Inside, addresses: &[IpAddr]) {
        let order = match &to.host {
            Host::Name(name) => reversed(name.as_str()),
            Host::Ip(address) => address.to_canonical().to_string(),
        };
        let rules = offers(why, to, inside, addresses);
        let case = Case { order: (order, to.port), shown: to.to_string(), rules, count: inside.total() };
        self.apart.entry(why).or_default().push(case);
    }

    /// The lines of `allow`: the rules, and what is set apart.
    pub(super) fn entries(&self, siblings: Option<usize>) -> Vec<Entry> {
        let mut by_terms: BTreeMap<&Terms, Vec<(&Name, Count)>> = BTreeMap::new();
        for (name, wanted) in &self.wanted {
            wanted.iter().for_each(|(terms, count)| by_terms.entry(terms).or_default().push((name, *count)));
        }
        let mut rules = Vec::new();
        for (terms, names) in by_terms {
            // Whoever may speak anything to a host had better name it.
            let siblings = siblings.filter(|_| !matches!(terms, Terms::On(Some(Protocol::Tcp), _)));
            for one in collapse(names, self.barred.iter().copied(), siblings) {
                let comment = match one.names {
                    0 => one.count.to_string(),
                    names => format!("{names} names ({}, …), {}", one.examples.join(", "), one.count),
                };
                let order = reversed(&one.pattern.to_string());
                let rule = terms.rule(On::Name(one.pattern));
                rules.push((order, Entry::Rule { rule, comment: Some(comment) }));
            }
        }
        // What belongs together stands together, and the terms of one name in their own order.
        rules.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut entries: Vec<Entry> = rules.into_iter().map(|(_, entry)| entry).collect();
        for (why, cases) in &self.apart {
            entries.push(Entry::Comment(format!("Not allowed: {why}.")));
            let mut cases: Vec<&Case> = cases.iter().collect();
            cases.sort_by(|a, b| a.order.cmp(&b.order));
            for case in cases.iter().take(SHOWN_MAX) {
                entries.extend(case.entries());
            }
            if let Some(more) = cases.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
                entries.push(Entry::Comment(format!("  and {more} more")));
            }
        }
        entries
    }
}

impl Case {
    fn entries(&self) -> Vec<Entry> {
        let Self { shown, rules, count, .. } = self;
        match rules.is_empty() {
            true => vec![Entry::Comment(format!("  {shown}: {count}"))],
            false => {
                let offer =
                    |rule: &Rule| Entry::Offer { rule: rule.clone(), comment: format!("{shown}: {count}") };
                rules.iter().map(offer).collect()
            }
        }
    }
}

/// The rules that would allow what is set apart; nothing where none could, or none should be at hand.
fn offers(why: Why, to: &Destination, inside: &Inside, addresses: &[IpAddr]) -> Vec<Rule> {
    let on = match &to.host {
        Host::Ip(address) => On::Network(IpNet::from(*address)),
        Host::Name(name) => On::Name(Pattern::exact(name)),
    };
    let private: Vec<IpNet> = match why {
        Why::LedToSpecial => addresses
            .iter()
            .filter(|address| guard::special(**address).is_some())
            .map(|address| IpNet::from(*address))
            .collect(),
        _ => Vec::new(),
    };
    let blind = Inside { other: inside.total(), ..Inside::default() };
    let inside = match why {
        Why::Metadata => return Vec::new(),
        Why::Refused(Refused(Reason::NotTls | Reason::ServerNameMissing)) => &blind,
        Why::Refused(_) => return Vec::new(),
        _ => inside,
    };
    let ports = BTreeMap::from([(to.port, inside.clone())]);
    let rules = terms(&ports, |_| false).into_iter().map(|(terms, _)| terms.rule(on.clone()));
    rules.map(|rule| Rule { private: private.clone(), ..rule }).collect()
}

/// A name's labels from the right, so that siblings sort together.
fn reversed(name: &str) -> String {
    let mut labels: Vec<&str> = name.split('.').collect();
    labels.reverse();
    labels.join(".")
}

fn at(name: &Name, port: u16) -> Destination {
    Destination::new(Host::Name(name.clone()), port)
}
