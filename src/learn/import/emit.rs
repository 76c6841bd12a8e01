//! From regions to profiles: clients that may do the same share one, no two profiles share a client, and what is taken
//! away from a wildcard becomes a deny rule where that takes nothing away from anybody else.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::learn::draft::{Entry, On, Rule};
use crate::learn::import::places::{Place, Places};
use crate::learn::import::region::{AREAS_MAX, Area, Region};
use crate::learn::import::sets::{Clients, Methods, Ports, Wires};
use crate::policy::document::has_one_owner;
use crate::policy::terms::Protocol;

/// Methods that are written where only what is not allowed was said.
const METHODS: [&str; 8] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// The rules of clients that may do the same.
#[derive(Debug)]
pub(super) struct Cell {
    /// `None`: everybody.
    pub(super) clients: Option<Vec<IpNet>>,
    pub(super) allow: Vec<Entry>,
    pub(super) deny: Vec<Entry>,
    /// Lines whose denial takes more than they did, since deny wins: the line, and what it takes.
    pub(super) wider: Vec<(u32, Place)>,
}

/// Protocol, ports and methods of a rule.
type Terms = (Option<Protocol>, Vec<(u16, u16)>, Vec<String>);

/// Everything but the clients of an area.
type Body = (Places, Ports, Wires);

/// The cells of a region; `None` if there are too many.
pub(super) fn cells(region: &Region) -> Option<Vec<Cell>> {
    let mut cells: Vec<(Clients, Vec<Body>)> = Vec::new();
    for Area { clients, places, ports, wires } in &region.0 {
        let body = (places.clone(), ports.clone(), wires.clone());
        let mut left = clients.clone();
        let mut split = Vec::with_capacity(cells.len() + 2);
        for (own, bodies) in cells {
            let (both, without) = (own.and(&left), own.without(&left));
            left = left.without(&both);
            if !both.is_empty() {
                let more = bodies.iter().cloned().chain([body.clone()]).collect();
                split.push((both, more));
            }
            if !without.is_empty() {
                split.push((without, bodies));
            }
        }
        if !left.is_empty() {
            split.push((left, vec![body]));
        }
        cells = split;
        if cells.len() > AREAS_MAX {
            return None;
        }
    }
    // Clients that may do the same were parted by a difference of others.
    let mut shared: BTreeMap<String, (Clients, Vec<Body>)> = BTreeMap::new();
    for (clients, bodies) in cells {
        let bodies = tidy(bodies);
        let own = shared.entry(format!("{bodies:?}")).or_insert((Clients::new(&[]), bodies));
        own.0 = Clients::new(&[own.0.networks(), clients.networks()].concat());
    }
    let mut cells: Vec<_> = shared.into_values().collect();
    cells.sort_by(|(a, _), (b, _)| a.networks().cmp(b.networks()));
    Some(cells.into_iter().map(|(clients, bodies)| cell(&clients, &bodies)).collect())
}

/// Bodies without what the others have.
fn tidy(mut bodies: Vec<Body>) -> Vec<Body> {
    bodies.sort_by_key(|body| format!("{body:?}"));
    bodies.dedup();
    let has = |other: &Body, one: &Body| {
        let (places, _, wires) = other;
        one.0.own.iter().all(|place| places.own.iter().any(|other| other.covers(place)))
            && places.less.iter().all(|(gone, _)| {
                let meets = one.0.own.iter().any(|place| place.and(gone).is_some());
                !meets || one.0.less.iter().any(|(own, _)| own.covers(gone))
            })
            && one.2.without(wires).is_empty()
    };
    let mut index = 0;
    while index < bodies.len() {
        let one = &bodies[index];
        // Each that is kept still has what it had when another went for it: they go one by one.
        let others = bodies.iter().enumerate().filter(|(other, body)| *other != index && has(body, one));
        let left = others.fold(one.1.clone(), |left, (_, (_, ports, _))| left.without(ports));
        match left.is_empty() {
            true => drop(bodies.remove(index)),
            false => index += 1,
        }
    }
    bodies
}

fn cell(clients: &Clients, bodies: &[Body]) -> Cell {
    let everyone = *clients == Clients::all();
    let mut cell = Cell {
        clients: (!everyone).then(|| clients.networks().to_vec()),
        allow: Vec::new(),
        deny: Vec::new(),
        wider: Vec::new(),
    };
    for (index, body) in bodies.iter().enumerate() {
        let (places, ports, wires) = body;
        for place in &places.own {
            rules(place, ports, wires).into_iter().for_each(|rule| push(&mut cell.allow, rule));
        }
        for (gone, line) in &places.less {
            let others: Vec<&Body> = bodies
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, body)| body)
                .collect();
            cell.take_away(gone, *line, body, &others);
        }
    }
    join(&mut cell.allow);
    cell
}

/// By default a rule is for TLS on 443 and HTTP on 80, as two are of which each says one of them.
fn join(allow: &mut Vec<Entry>) {
    let with = |rule: &Rule, protocol| Entry::Rule { rule: Rule { protocol, ..rule.clone() }, comment: None };
    let halves: Vec<Rule> = allow
        .iter()
        .filter_map(|entry| match entry {
            Entry::Rule { rule, .. } if rule.protocol == Some(Protocol::Tls) && rule.ports.is_empty() => {
                Some(rule.clone())
            }
            _ => None,
        })
        .collect();
    for half in halves {
        let (tls, http) = (with(&half, Some(Protocol::Tls)), with(&half, Some(Protocol::Http)));
        if allow.contains(&http) {
            allow.retain(|entry| *entry != http);
            allow.iter_mut().filter(|entry| **entry == tls).for_each(|entry| *entry = with(&half, None));
        }
    }
}

impl Cell {
    /// Denies a place that an area leaves out.
    fn take_away(&mut self, gone: &Place, line: u32, body: &Body, others: &[&Body]) {
        // Where others may go there anyway, on these ports and with that inside, nothing is taken away.
        let is_void = others.iter().any(|(places, ports, wires)| {
            places.own.iter().any(|own| own.covers(gone))
                && !places.less.iter().any(|(less, _)| less.and(gone).is_some())
                && body.1.without(ports).is_empty()
                && body.2.without(wires).is_empty()
        });
        if is_void {
            return;
        }
        let meets = |ports: &Ports, wires: &Wires| {
            others.iter().any(|(places, their_ports, their_wires)| {
                let reaches = places.own.iter().any(|own| own.and(gone).is_some());
                let has_lost_it = places.less.iter().any(|(less, _)| less.covers(gone));
                reaches
                    && !has_lost_it
                    && !ports.and(their_ports).is_empty()
                    && !wires.and(their_wires).is_empty()
            })
        };
        let plain = rule_on(gone);
        if !meets(&Ports::all(), &Wires::all()) {
            plain.into_iter().for_each(|rule| push(&mut self.deny, Rule { public_suffix: false, ..rule }));
            return;
        }
        // Others may go there, on other ports or with something else inside.
        let (_, ports, wires) = body;
        if meets(ports, wires) {
            self.wider.push((line, gone.clone()));
        }
        // What is not looked into is denied whatever is inside.
        let inside = match wires.other {
            true => vec![(None, Vec::new())],
            false => {
                let tls = wires.tls.then(|| (Some(Protocol::Tls), Vec::new()));
                let http = listed(&wires.http).map(|methods| (Some(Protocol::Http), methods));
                tls.into_iter().chain(http).collect()
            }
        };
        for (protocol, methods) in inside {
            for rule in &plain {
                let ports = ports.ranges().to_vec();
                let methods = methods.clone();
                push(&mut self.deny, Rule { public_suffix: false, ports, protocol, methods, ..rule.clone() });
            }
        }
    }
}

/// A place in words.
pub(super) fn shown(place: &Place) -> String {
    rule_on(place).first().map(ToString::to_string).unwrap_or_default()
}

fn push(entries: &mut Vec<Entry>, rule: Rule) {
    let is_there = entries.iter().any(|entry| matches!(entry, Entry::Rule { rule: own, .. } if *own == rule));
    if !is_there {
        entries.push(Entry::Rule { rule, comment: None });
    }
}

/// The rules for a place, with the defaults of everything else: any place is any name and any address.
fn rule_on(place: &Place) -> Vec<Rule> {
    let network = |network: IpNet| Rule::new(On::Network(network));
    let named = place.pattern().map(|pattern| {
        let public_suffix = !has_one_owner(&pattern);
        Rule { public_suffix, ..Rule::new(On::Name(pattern)) }
    });
    match place {
        Place::Network(own) | Place::LeadsTo(own) => vec![network(*own)],
        Place::Any => {
            named.into_iter().chain(Clients::all().networks().iter().map(|all| network(*all))).collect()
        }
        _ => named.into_iter().collect(),
    }
}

/// Methods as a rule lists them: none for any; `None` if there is not one.
fn listed(methods: &Methods) -> Option<Vec<String>> {
    match methods {
        Methods::Except(not) if not.is_empty() => Some(Vec::new()),
        Methods::Except(not) => {
            Some(METHODS.iter().filter(|method| !not.contains(**method)).map(ToString::to_string).collect())
        }
        Methods::Only(methods) => (!methods.is_empty()).then(|| methods.iter().cloned().collect()),
    }
}

/// The allow rules for a place on these ports, with this inside.
fn rules(place: &Place, ports: &Ports, wires: &Wires) -> Vec<Rule> {
    let mut terms: Vec<Terms> = Vec::new();
    let methods = listed(&wires.http);
    let ranges = ports.ranges().to_vec();
    match (wires.tls, methods) {
        // Without a look anything passes, so only where anything may.
        _ if *wires == Wires::all() => terms.push((Some(Protocol::Tcp), ranges, Vec::new())),
        (true, Some(methods)) if methods.is_empty() => match ports.ranges() {
            [(80, 80), (443, 443)] => terms.push((None, Vec::new(), methods)),
            _ => terms.push((None, ranges, methods)),
        },
        (tls, methods) => {
            let usual = |port| if ports.ranges() == [(port, port)] { Vec::new() } else { ranges.clone() };
            if tls {
                terms.push((Some(Protocol::Tls), usual(443), Vec::new()));
            }
            if let Some(methods) = methods {
                terms.push((Some(Protocol::Http), usual(80), methods));
            }
        }
    }
    let on = rule_on(place);
    let with = |(protocol, ports, methods): Terms| {
        on.iter().map(move |rule| Rule {
            protocol,
            ports: ports.clone(),
            methods: methods.clone(),
            ..rule.clone()
        })
    };
    terms.into_iter().flat_map(with).collect()
}
