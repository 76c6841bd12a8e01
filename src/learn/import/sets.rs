//! Sets that are closed under intersection and difference: clients, ports, methods.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::policy::terms;

/// Networks without overlaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clients(Vec<IpNet>);

impl Clients {
    pub(super) fn all() -> Self {
        Self(vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())])
    }

    pub(super) fn new(networks: &[IpNet]) -> Self {
        let mut networks = IpNet::aggregate(&networks.to_vec());
        networks.sort();
        Self(networks)
    }

    pub(super) fn networks(&self) -> &[IpNet] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        let pairs = self.0.iter().flat_map(|a| other.0.iter().map(move |b| (a, b)));
        let common = pairs.filter_map(|(a, b)| match (a.contains(b), b.contains(a)) {
            (true, _) => Some(*b),
            (_, true) => Some(*a),
            _ => None,
        });
        Self::new(&common.collect::<Vec<_>>())
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        let left = other.0.iter().fold(self.0.clone(), |left, hole| {
            left.into_iter().flat_map(|network| cut(network, hole)).collect()
        });
        Self::new(&left)
    }
}

/// What is left of a network without another.
fn cut(network: IpNet, hole: &IpNet) -> Vec<IpNet> {
    if hole.contains(&network) {
        return Vec::new();
    }
    if !network.contains(hole) {
        return vec![network];
    }
    // A network that holds a smaller one has halves.
    let halves = network.subnets(network.prefix_len() + 1);
    halves.into_iter().flatten().flat_map(|half| cut(half, hole)).collect()
}

/// Ranges of ports, in order and without overlaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports(terms::Ports);

impl Ports {
    /// Those that can be written down: nothing goes to port 0.
    pub(super) fn all() -> Self {
        Self::new(vec![(1, u16::MAX)])
    }

    pub(super) fn new(ranges: Vec<(u16, u16)>) -> Self {
        Self(terms::Ports::new(ranges))
    }

    pub(super) fn ranges(&self) -> &[(u16, u16)] {
        self.0.ranges()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        Self(self.0.and(&other.0))
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        Self(self.0.without(&other.0))
    }
}

/// Methods of requests: these, or all but these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Methods {
    Only(BTreeSet<String>),
    Except(BTreeSet<String>),
}

impl Methods {
    pub(super) fn all() -> Self {
        Self::Except(BTreeSet::new())
    }

    pub(super) fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Only(methods) if methods.is_empty())
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Only(a), Self::Only(b)) => Self::Only(a & b),
            (Self::Only(a), Self::Except(b)) | (Self::Except(b), Self::Only(a)) => Self::Only(a - b),
            (Self::Except(a), Self::Except(b)) => Self::Except(a | b),
        }
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        match other {
            Self::Only(methods) => self.and(&Self::Except(methods.clone())),
            Self::Except(methods) => self.and(&Self::Only(methods.clone())),
        }
    }
}

/// What may be inside a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wires {
    pub(super) tls: bool,
    pub(super) http: Methods,
    /// Anything else, so that nobody can look.
    pub(super) other: bool,
}

impl Wires {
    pub(super) fn all() -> Self {
        Self { tls: true, http: Methods::all(), other: true }
    }

    /// What can be read.
    pub(super) fn readable() -> Self {
        Self { other: false, ..Self::all() }
    }

    pub(super) fn tls() -> Self {
        Self { tls: true, http: Methods::none(), other: false }
    }

    pub(super) fn http(methods: Methods) -> Self {
        Self { tls: false, http: methods, other: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.tls && !self.other && self.http.is_empty()
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        Self {
            tls: self.tls && other.tls,
            http: self.http.and(&other.http),
            other: self.other && other.other,
        }
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        Self {
            tls: self.tls && !other.tls,
            http: self.http.without(&other.http),
            other: self.other && !other.other,
        }
    }
}
