//! What an acl holds: for certain, and at most. Where Squid looks at something that exeat does not, the two differ.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use crate::learn::import::places::{Bound, Place, Places, name};
use crate::learn::import::region::{Area, Region};
use crate::learn::import::sets::{Clients, Methods, Ports, Wires};
use crate::learn::import::squid::regex;

/// What is known of where an acl holds.
#[derive(Clone, Debug)]
pub(super) struct Holds {
    /// Here it holds for certain.
    pub(super) surely: Region,
    /// Elsewhere it certainly does not.
    pub(super) maybe: Region,
    /// Why the two differ, and what has no equal.
    pub(super) why: Vec<Why>,
}

/// Why it can't be told exactly where an acl holds.
#[derive(Clone, Debug)]
pub(super) struct Why {
    pub(super) text: String,
    /// Whether that matters to a line that allows, and to one that denies.
    pub(super) allowing: bool,
    pub(super) denying: bool,
}

impl Why {
    pub(super) fn matters(&self, allow: bool) -> bool {
        if allow { self.allowing } else { self.denying }
    }
}

impl Holds {
    pub(super) fn exactly(region: Region) -> Self {
        Self { surely: region.clone(), maybe: region, why: Vec::new() }
    }

    pub(super) fn nowhere() -> Self {
        Self::exactly(Region::none())
    }

    /// Nobody here can say where it holds.
    pub(super) fn unknown(why: String) -> Self {
        let why = Why { text: why, allowing: true, denying: true };
        Self { surely: Region::none(), maybe: Region::all(), why: vec![why] }
    }

    pub(super) fn or(self, other: Self) -> Self {
        let why = [self.why, other.why].concat();
        Self { surely: self.surely.or(other.surely), maybe: self.maybe.or(other.maybe), why }
    }

    pub(super) fn and(self, other: &Self) -> Self {
        let mut why = [self.why, other.why.clone()].concat();
        if is_beside_names(&self.maybe, &other.maybe) || is_beside_names(&other.maybe, &self.maybe) {
            let text =
                "a deny rule on the addresses of `dst` covers all names that lead there, not only some"
                    .to_owned();
            why.push(Why { text, allowing: false, denying: true });
        }
        Self { surely: self.surely.and(&other.surely), maybe: self.maybe.and(&other.maybe), why }
    }

    /// `None` if it is too much to tell.
    pub(super) fn not(&self, line: u32) -> Option<Self> {
        let surely = self.maybe.complement(line, Bound::Least)?;
        let maybe = self.surely.complement(line, Bound::Most)?;
        let turned = |why: &Why| Why { allowing: why.denying, denying: why.allowing, ..why.clone() };
        Some(Self { surely, maybe, why: self.why.iter().map(turned).collect() })
    }
}

/// Whether addresses that names lead to are meant for some destinations alone.
fn is_beside_names(led_to: &Region, others: &Region) -> bool {
    led_to.0.iter().any(|area| area.places.are_led_to())
        && others.0.iter().any(|area| !area.places.are_led_to() && area.places != Places::all())
}

/// What the acls hold that Squid has by itself.
pub(super) fn predefined(name: &str) -> Option<Holds> {
    let leads_to = |networks: &[&str]| {
        let values: Vec<String> = networks.iter().map(ToString::to_string).collect();
        Holds { why: Vec::new(), ..addresses(&values) }
    };
    Some(match name {
        "all" => Holds::exactly(Region::all()),
        "localhost" => clients(&["127.0.0.1".to_owned(), "::1".to_owned()]),
        "to_localhost" => leads_to(&["0.0.0.0/32", "127.0.0.0/8", "::/128", "::1/128"]),
        "to_linklocal" => leads_to(&["169.254.0.0/16", "fe80::/10"]),
        "CONNECT" => methods(&["CONNECT".to_owned()]),
        // Pages of Squid itself: nothing that exeat has.
        "manager" => Holds::nowhere(),
        _ => return None,
    })
}

/// What an acl of a type holds, by its values.
pub(super) fn of_type(kind: &str, values: &[String]) -> Holds {
    let options = |value: &String| !value.starts_with('-') && value != "+i";
    let plain: Vec<String> = values.iter().filter(|value| options(value)).cloned().collect();
    match kind {
        "src" => clients(&plain),
        "dstdomain" | "ssl::server_name" => each(&plain, domain),
        "dstdom_regex" | "ssl::server_name_regex" => each(&plain, regex::places),
        "dst" => addresses(&plain),
        "port" => ports(&plain),
        "method" => methods(&plain),
        // How `manager` was defined before Squid had it.
        "proto" if plain.iter().all(|value| value == "cache_object") => Holds::nowhere(),
        other => Holds::unknown(format!("exeat does not look at `{other}`")),
    }
}

fn places_alone(places: Vec<Place>) -> Region {
    Region(vec![Area { places: Places::new(places), ..Area::all() }])
}

/// The places of all values; those that can't be read may be anywhere.
fn each(values: &[String], read: impl Fn(&str) -> Option<Vec<Place>>) -> Holds {
    let mut places = Vec::new();
    let mut unread = Vec::new();
    for value in values {
        match read(value) {
            Some(more) => places.extend(more),
            None => unread.push(value.as_str()),
        }
    }
    let known = Holds::exactly(places_alone(places));
    match unread.is_empty() {
        true => known,
        false => known.or(Holds::unknown(format!("these have no equal: {}", unread.join(" ")))),
    }
}

/// `.example.com` is the name and what is below it.
fn domain(value: &str) -> Option<Vec<Place>> {
    match value.strip_prefix('.') {
        Some(domain) => name(domain).map(|name| vec![Place::Within(name)]),
        None if value.contains(['*', '/']) => None,
        None => Place::parse(value).map(|place| vec![place]),
    }
}

/// Addresses that a destination has or leads to. A rule that allows speaks of those that are given as such; one that
/// denies covers both.
fn addresses(values: &[String]) -> Holds {
    let (networks, unread) = networks(values);
    let of = |place: fn(IpNet) -> Place| places_alone(networks.iter().copied().map(place).collect());
    let text =
        "`dst` is certain of destinations that are given by address, not of names that lead there".to_owned();
    // A deny rule on addresses covers both.
    let why = Why { text, allowing: true, denying: false };
    but(Holds { surely: of(Place::Network), maybe: of(Place::LeadsTo), why: vec![why] }, &unread)
}

fn clients(values: &[String]) -> Holds {
    let (networks, unread) = networks(values);
    but(Holds::exactly(Region(vec![Area { clients: Clients::new(&networks), ..Area::all() }])), &unread)
}

/// The networks among the values, and what is none.
fn networks(values: &[String]) -> (Vec<IpNet>, Vec<&str>) {
    let mut networks = Vec::new();
    let mut unread = Vec::new();
    for value in values {
        match network(value) {
            Some(more) => networks.extend(more),
            None => unread.push(value.as_str()),
        }
    }
    (networks, unread)
}

/// Where addresses hold, beside those that nobody could read.
fn but(known: Holds, unread: &[&str]) -> Holds {
    match unread {
        [] => known,
        unread => known.or(Holds::unknown(format!("these are no addresses: {}", unread.join(" ")))),
    }
}

/// `10.0.0.0/8`, `10.0.0.0/255.0.0.0`, `10.0.0.1-10.0.0.9`, `all`, `ipv4`, `ipv6`.
fn network(value: &str) -> Option<Vec<IpNet>> {
    match value {
        "all" => return Some(Clients::all().networks().to_vec()),
        "ipv4" => return Some(vec!["0.0.0.0/0".parse().ok()?]),
        "ipv6" => return Some(vec!["::/0".parse().ok()?]),
        _ => {}
    }
    if let Some((first, last)) = value.split_once('-') {
        return match (first.parse::<IpAddr>().ok()?, last.parse::<IpAddr>().ok()?) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                Some(Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect())
            }
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                Some(Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect())
            }
            _ => None,
        };
    }
    let network = match value.split_once('/') {
        None => value.parse::<IpAddr>().ok()?.into(),
        Some((address, mask)) => match mask.parse::<IpAddr>() {
            Ok(mask) => IpNet::with_netmask(address.parse().ok()?, mask).ok()?,
            Err(_) => value.parse::<IpNet>().ok()?,
        },
    };
    Some(vec![network.trunc()])
}

fn ports(values: &[String]) -> Holds {
    let ranges: Option<Vec<(u16, u16)>> = values
        .iter()
        .map(|value| {
            let (first, last) = value.split_once('-').unwrap_or((value, value));
            let (first, last) = (first.parse::<u16>().ok()?.max(1), last.parse::<u16>().ok()?);
            (first <= last).then_some((first, last))
        })
        .collect();
    match ranges {
        Some(ranges) => Holds::exactly(Region(vec![Area { ports: Ports::new(ranges), ..Area::all() }])),
        None => Holds::unknown(format!("these are not all ports: {}", values.join(" "))),
    }
}

/// CONNECT is a method to Squid; whatever else is one of requests in plain HTTP.
fn methods(values: &[String]) -> Holds {
    let (connect, others): (Vec<_>, Vec<_>) = values.iter().cloned().partition(|value| value == "CONNECT");
    let wires = Wires {
        tls: !connect.is_empty(),
        http: Methods::Only(others.into_iter().collect()),
        other: !connect.is_empty(),
    };
    Holds::exactly(Region(vec![Area { wires, ..Area::all() }]))
}
