//! Sets of destinations: names, domains and addresses, less some of them.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::host::Name;
use crate::policy::pattern::Pattern;

/// Destinations that are written as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Every name and every address.
    Any,
    /// A name alone.
    Exact(Name),
    /// A name and what is below it.
    Within(Name),
    /// What is below a name.
    Below(Name),
    /// Addresses that are given as such.
    Network(IpNet),
    /// Addresses, given as such or as what a name leads to: only to be taken away.
    LeadsTo(IpNet),
}

impl Place {
    /// Reads a name, `*.` before a name, `*`, an address or a network.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        if let Some(domain) = text.strip_prefix("*.") {
            return name(domain).map(Self::Below);
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Some(Self::Network(network.trunc()));
        }
        match text.parse::<IpAddr>() {
            Ok(address) => Some(Self::Network(address.to_canonical().into())),
            Err(_) => name(text).map(Self::Exact),
        }
    }

    /// What both hold: of two that meet, one has it all. Where names may lead is not known, so all that may is told.
    pub(super) fn and(&self, other: &Self) -> Option<Self> {
        if let (Self::LeadsTo(_), _) = (self, other) {
            return Some(self.clone());
        }
        if let Self::LeadsTo(_) = other {
            return Some(other.clone());
        }
        match (self.covers(other), other.covers(self)) {
            (true, _) => Some(other.clone()),
            (_, true) => Some(self.clone()),
            _ => None,
        }
    }

    /// What both hold for certain.
    fn surely_and(&self, other: &Self) -> Option<Self> {
        let given = |place: &Self| match place {
            Self::LeadsTo(network) => Self::Network(*network),
            other => other.clone(),
        };
        // An address that is given leads to itself. Which names lead where is not known.
        given(self).and(&given(other))
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        use Place::{Any, Below, Exact, LeadsTo, Network, Within};
        match (self, other) {
            (Network(own) | LeadsTo(own), Network(network)) | (LeadsTo(own), LeadsTo(network)) => {
                own.contains(network)
            }
            (_, LeadsTo(_)) => false,
            (Any, _) => true,
            (Exact(own), Exact(name)) => own == name,
            (Within(own), Exact(name) | Within(name) | Below(name)) => own == name || is_below(name, own),
            (Below(own), Below(name)) => own == name || is_below(name, own),
            (Below(own), Exact(name) | Within(name)) => is_below(name, own),
            _ => false,
        }
    }

    /// The pattern of a name or domain.
    pub(super) fn pattern(&self) -> Option<Pattern> {
        let text = match self {
            Self::Exact(name) => return Some(Pattern::exact(name)),
            Self::Within(name) => format!(".{name}"),
            Self::Below(name) => format!("*.{name}"),
            Self::Any => "*".to_owned(),
            Self::Network(_) | Self::LeadsTo(_) => return None,
        };
        Pattern::parse(&text).ok()
    }
}

/// A name as people write it.
pub(super) fn name(text: &str) -> Option<Name> {
    let pattern = Pattern::parse(text).ok().filter(|pattern| !pattern.is_wildcard())?;
    Name::parse(&pattern.to_string()).ok()
}

pub(super) fn is_below(name: &Name, domain: &Name) -> bool {
    name.as_str().strip_suffix(domain.as_str()).is_some_and(|before| before.ends_with('.'))
}

/// How to tell what can't be told exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Only what is certain: it is to be allowed.
    Least,
    /// All that may be: it is to be denied.
    Most,
}

/// Some destinations without some others; each of those with the line that takes it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) own: Vec<Place>,
    pub(super) less: Vec<(Place, u32)>,
}

impl Places {
    pub(super) fn all() -> Self {
        Self::new(vec![Place::Any])
    }

    pub(super) fn new(own: Vec<Place>) -> Self {
        let mut places = Self { own, less: Vec::new() };
        places.tidy();
        places
    }

    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        self.meet(other, Place::and)
    }

    fn meet(&self, other: &Self, both: impl Fn(&Place, &Place) -> Option<Place>) -> Self {
        let pairs = self.own.iter().flat_map(|a| other.own.iter().filter_map(|b| both(a, b)));
        let less = self.less.iter().chain(&other.less).cloned().collect();
        let mut places = Self { own: pairs.collect(), less };
        places.tidy();
        places
    }

    /// Whether these are addresses that names lead to.
    pub(super) fn are_led_to(&self) -> bool {
        self.own.iter().any(|place| matches!(place, Place::LeadsTo(_)))
    }

    /// What is left without others, in two parts: what they do not hold, and what they leave out themselves.
    pub(super) fn without(&self, other: &Self, line: u32, bound: Bound) -> [Self; 2] {
        let mut outside = self.clone();
        outside.less.extend(other.own.iter().map(|place| (place.clone(), line)));
        outside.tidy();
        let left_out = Self::new(other.less.iter().map(|(place, _)| place.clone()).collect());
        // Where what was left out takes in more than the others hold, only that which they do hold.
        let both = match bound {
            Bound::Least => Place::surely_and,
            Bound::Most => Place::and,
        };
        let inside = self.meet(&Self::new(other.own.clone()), both).meet(&left_out, both);
        [outside, inside]
    }

    /// Leaves out what does nothing.
    fn tidy(&mut self) {
        self.own.sort();
        self.own.dedup();
        let own = std::mem::take(&mut self.own);
        let is_within = |place: &Place, others: &[Place]| {
            others.iter().any(|other| other != place && other.covers(place))
        };
        // What leads there is taken away; nothing is by itself.
        let is_gone = |place: &Place| self.less.iter().any(|(gone, _)| gone.covers(place));
        self.own = own.iter().filter(|place| !is_within(place, &own) && !is_gone(place)).cloned().collect();
        let meets = |gone: &Place, own: &[Place]| own.iter().any(|place| place.and(gone).is_some());
        self.less.sort();
        self.less.dedup_by(|(a, _), (b, _)| a == b);
        let less = std::mem::take(&mut self.less);
        let is_within = |gone: &Place| less.iter().any(|(other, _)| other != gone && other.covers(gone));
        let own = &self.own;
        self.less = less.iter().filter(|(gone, _)| !is_within(gone) && meets(gone, own)).cloned().collect();
    }
}
