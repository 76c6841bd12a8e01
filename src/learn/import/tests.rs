//! First-match lists against the policies that they become.

use std::path::Path;

use jiff::civil::date;
use proptest::prelude::*;

use super::emit::cells;
use super::places::{Place, Places, is_below};
use super::region::{Area, Line, Region, allowed};
use super::sets::{Clients, Methods, Ports, Wires};
use crate::client::Client;
use crate::destination::Destination;
use crate::host::Host;
use crate::learn::draft::{Draft, Profile};
use crate::policy::document::load_text;
use crate::policy::who::Who;
use crate::policy::{Policy, Question, Seen};

const CLIENTS: [&str; 5] = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "fd00::/8"];
const ADDRESSES: [&str; 6] = ["10.9.9.9", "10.1.9.9", "10.1.2.9", "10.1.2.3", "fd00::1", "192.168.0.1"];
const HOSTS: [&str; 7] = [
    "example.com",
    "a.example.com",
    "b.example.com",
    "x.a.example.com",
    "example.net",
    "203.0.114.7",
    "203.0.114.8",
];
const PORTS: [u16; 4] = [80, 443, 8080, 8443];

fn place() -> impl Strategy<Value = Place> {
    let name = |text: &str| super::places::name(text).unwrap();
    prop::sample::select(vec![
        Place::Any,
        Place::Exact(name("example.com")),
        Place::Exact(name("a.example.com")),
        Place::Within(name("example.com")),
        Place::Below(name("example.com")),
        Place::Within(name("a.example.com")),
        Place::Below(name("a.example.com")),
        Place::Exact(name("example.net")),
        Place::Network("203.0.114.7/32".parse().unwrap()),
        Place::Network("203.0.114.0/24".parse().unwrap()),
    ])
}

prop_compose! {
    fn area()(
        clients in prop::option::of(prop::collection::vec(prop::sample::select(&CLIENTS[..]), 1..3)),
        places in prop::option::of(prop::collection::vec(place(), 1..3)),
        ports in prop::option::of(prop::collection::vec(prop::sample::select(vec![(80, 80), (443, 443), (8000, 8100), (1024, 65535)]), 1..3)),
        wires in 0..5,
    ) -> Area {
        let get = || Methods::Only(["GET".to_owned()].into());
        Area {
            clients: clients.map_or_else(Clients::all, |own| Clients::new(&own.iter().map(|c| c.parse().unwrap()).collect::<Vec<_>>())),
            places: places.map_or_else(Places::all, Places::new),
            ports: ports.map_or_else(Ports::all, Ports::new),
            wires: match wires {
                0 => Wires::tls(),
                1 => Wires::http(Methods::all()),
                2 => Wires::http(get()),
                _ => Wires::readable(),
            },
        }
    }
}

/// Something that somebody does.
struct Deed {
    client: std::net::IpAddr,
    to: Destination,
    /// The method of a request; none: TLS.
    method: Option<&'static str>,
}

fn deeds() -> impl Iterator<Item = Deed> {
    let hosts = HOSTS.iter().flat_map(|host| PORTS.map(|port| (*host, port)));
    let everything = hosts.flat_map(|to| ADDRESSES.map(|address| (to, address)));
    everything.flat_map(|((host, port), address)| {
        [None, Some("GET"), Some("POST")].into_iter().filter_map(move |method| {
            // By default 443 is for TLS alone and 80 for HTTP: what nobody does is left out.
            let usual = !matches!((port, method), (443, Some(_)) | (80, None));
            usual.then(|| Deed {
                client: address.parse().unwrap(),
                to: Destination::new(Host::parse(host).unwrap(), port),
                method,
            })
        })
    })
}

impl Place {
    fn holds(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Network(network) | Self::LeadsTo(network), Host::Ip(address)) => network.contains(address),
            (Self::Exact(own), Host::Name(name)) => own == name,
            (Self::Within(own), Host::Name(name)) => own == name || is_below(name, own),
            (Self::Below(own), Host::Name(name)) => is_below(name, own),
            _ => false,
        }
    }
}

impl Places {
    fn holds(&self, host: &Host) -> bool {
        self.own.iter().any(|place| place.holds(host))
            && !self.less.iter().any(|(place, _)| place.holds(host))
    }
}

impl Area {
    fn holds(&self, deed: &Deed) -> bool {
        self.clients.networks().iter().any(|network| network.contains(&deed.client))
            && self.places.holds(&deed.to.host)
            && self.ports.ranges().iter().any(|&(first, last)| first <= deed.to.port && deed.to.port <= last)
            && match (deed.method, &self.wires.http) {
                (None, _) => self.wires.tls,
                (Some(method), Methods::Only(methods)) => methods.contains(method),
                (Some(method), Methods::Except(methods)) => !methods.contains(method),
            }
    }
}

fn first_match(lines: &[Line], otherwise: bool, deed: &Deed) -> bool {
    let line = lines.iter().find(|line| line.region.0.iter().any(|area| area.holds(deed)));
    line.map_or(otherwise, |line| line.allow)
}

fn decides(policy: &Policy, deed: &Deed) -> bool {
    let subject = policy.subject(&Client::supposed(deed.client));
    let seen = match deed.method {
        None => Seen::Tls { server_name: deed.to.host.name(), ech: false },
        Some(method) => Seen::Http { method, path: "/" },
    };
    policy.decide(&subject, &Question { to: &deed.to, seen, address: None }, date(2026, 11, 25)).is_allow()
}

proptest! {
    #[test]
    fn a_list_becomes_what_its_first_matches_say(
        lines in prop::collection::vec((any::<bool>(), prop::collection::vec(area(), 1..3)), 0..7),
        otherwise in any::<bool>(),
    ) {
        let lines: Vec<Line> = lines
            .into_iter()
            .zip(1..)
            .map(|((allow, areas), number)| Line { number, allow, region: Region(areas) })
            .collect();
        let universe = Region(vec![Area { wires: Wires::readable(), ..Area::all() }]);
        let region = allowed(&lines, otherwise).unwrap().and(&universe);
        let cells = cells(&region).unwrap();
        let wider = cells.iter().any(|cell| !cell.wider.is_empty());
        let profiles = cells.into_iter().zip(1..).map(|(cell, number)| Profile {
            name: format!("p{number}"),
            clients: cell.clients.map(|clients| clients.into_iter().map(Who::Network).collect()),
            allow: cell.allow,
            deny: cell.deny,
            ..Profile::default()
        });
        let mut profiles: Vec<_> = profiles.collect();
        profiles.push(Profile { name: "nobody".into(), clients: Some(vec![Who::Network("192.0.2.1/32".parse().unwrap())]), ..Profile::default() });
        let text = Draft { profiles, ..Draft::default() }.to_string();
        let loaded = load_text(Path::new("p.yaml"), &text).unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{text}"));
        prop_assert!(loaded.warnings.is_empty(), "{:?}\n{}", loaded.warnings, text);
        let policy = loaded.builder.finish(0);
        for deed in deeds() {
            let (theirs, ours) = (first_match(&lines, otherwise, &deed), decides(&policy, &deed));
            let Deed { client, to, method } = &deed;
            // Sets are exact.
            let in_region = region.0.iter().any(|area| area.holds(&deed));
            prop_assert_eq!(in_region, theirs, "{} {} {:?} {:#?}", client, to, method, lines);
            // A policy is too, or says that it denies more.
            prop_assert!(theirs || !ours, "{client} {to} {method:?} is allowed\n{text}{lines:#?}");
            prop_assert!(wider || ours == theirs, "{client} {to} {method:?} is denied\n{text}{lines:#?}");
        }
    }
}
