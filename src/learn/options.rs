//! What to make of what was seen.

use jiff::civil::Date;

use crate::policy::Policy;

/// What to make of what was seen.
#[derive(Clone, Debug)]
pub struct Options {
    pub by: By,
    /// How many names below one domain become a wildcard; `None`: never.
    pub siblings: Option<usize>,
    /// Take in what was denied because no rule or no profile allowed it.
    pub denied: bool,
    /// Clients are taken as their IPv4 network of this prefix length, IPv6 ones as their /64.
    pub network: Option<u8>,
    /// The name of the one profile of [`By::All`].
    pub name: String,
}

impl Options {
    /// How many names become a wildcard, where nobody says.
    pub const SIBLINGS: usize = 8;
    /// The name of the one profile, where nobody says.
    pub const NAME: &'static str = "learned";
}

/// Who shares a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// The clients that the same profiles took part for.
    #[default]
    Profile,
    /// Clients that did the same.
    Client,
    /// Everybody.
    All,
}

/// A policy that is there already.
#[derive(Debug)]
pub struct Baseline {
    pub policy: Policy,
    pub today: Date,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            by: By::default(),
            siblings: Some(Self::SIBLINGS),
            denied: false,
            network: None,
            name: Self::NAME.to_owned(),
        }
    }
}
