//! What rules of another program allow: who may go where, on which ports, with what inside. First-match lists become
//! unions here, exactly.

use crate::learn::import::places::{Bound, Places};
use crate::learn::import::sets::{Clients, Ports, Wires};

/// A part of everything that is the same for all its clients, destinations, ports and contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) clients: Clients,
    pub(super) places: Places,
    pub(super) ports: Ports,
    pub(super) wires: Wires,
}

/// Areas together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Region(pub(super) Vec<Area>);

/// A list in which the first line that holds decides.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Where it stands, for what can't be expressed.
    pub(super) number: u32,
    pub(super) allow: bool,
    pub(super) region: Region,
}

/// More parts than anyone's rules make; beyond them the rules are refused.
pub(super) const AREAS_MAX: usize = 5_000;

impl Area {
    pub(super) fn all() -> Self {
        Self { clients: Clients::all(), places: Places::all(), ports: Ports::all(), wires: Wires::all() }
    }

    fn is_empty(&self) -> bool {
        self.clients.is_empty() || self.places.is_empty() || self.ports.is_empty() || self.wires.is_empty()
    }

    pub(super) fn and(&self, other: &Self) -> Option<Self> {
        let common = Self {
            clients: self.clients.and(&other.clients),
            places: self.places.and(&other.places),
            ports: self.ports.and(&other.ports),
            wires: self.wires.and(&other.wires),
        };
        (!common.is_empty()).then_some(common)
    }

    /// What is left without another: for each way in which it goes beyond the other, the part that does, and on with
    /// the rest.
    fn without(&self, other: &Self, line: u32, bound: Bound) -> Vec<Self> {
        if self.and(other).is_none() {
            return vec![self.clone()];
        }
        let mut parts = vec![Self { clients: self.clients.without(&other.clients), ..self.clone() }];
        let rest = Self { clients: self.clients.and(&other.clients), ..self.clone() };
        parts.push(Self { ports: rest.ports.without(&other.ports), ..rest.clone() });
        let rest = Self { ports: rest.ports.and(&other.ports), ..rest };
        parts.push(Self { wires: rest.wires.without(&other.wires), ..rest.clone() });
        let rest = Self { wires: rest.wires.and(&other.wires), ..rest };
        let places = rest.places.without(&other.places, line, bound);
        parts.extend(places.map(|places| Self { places, ..rest.clone() }));
        parts.retain(|part| !part.is_empty());
        parts
    }
}

impl Region {
    pub(super) fn all() -> Self {
        Self(vec![Area::all()])
    }

    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().flat_map(|a| other.0.iter().filter_map(|b| a.and(b))).collect())
    }

    pub(super) fn or(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// What is left without another; `None` if it is too much to tell.
    pub(super) fn without(&self, other: &Self, line: u32, bound: Bound) -> Option<Self> {
        let left = other.0.iter().try_fold(self.0.clone(), |left, hole| {
            let left: Vec<Area> = left.iter().flat_map(|area| area.without(hole, line, bound)).collect();
            (left.len() <= AREAS_MAX).then_some(left)
        });
        left.map(Self)
    }

    /// All that it does not have.
    pub(super) fn complement(&self, line: u32, bound: Bound) -> Option<Self> {
        Self::all().without(self, line, bound)
    }
}

/// What a list allows in the end; `None` if it is too much to tell.
pub(super) fn allowed(lines: &[Line], otherwise: bool) -> Option<Region> {
    let last = Line { number: 0, allow: otherwise, region: Region::all() };
    let mut allowed = Region::none();
    let mut denied: Vec<&Line> = Vec::new();
    for line in lines.iter().chain([&last]) {
        if !line.allow {
            denied.push(line);
            continue;
        }
        let own = denied
            .iter()
            .try_fold(line.region.clone(), |own, deny| own.without(&deny.region, deny.number, Bound::Least));
        allowed = allowed.or(own?);
        if allowed.0.len() > AREAS_MAX {
            return None;
        }
    }
    Some(allowed)
}
