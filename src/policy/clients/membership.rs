//! The profiles that take part for a client, and what is asked of all of them together.

use std::sync::Arc;

use crate::policy::terms::{Mode, Profile};

/// Which profiles take part: the same for all clients that the same entries are for, and shared by them.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// Ascending, as the rules of a place are.
    pub(super) profiles: Box<[u32]>,
    /// Their names. Records keep them when the policy is gone.
    pub(super) names: Arc<[Box<str>]>,
    /// Whether every one of them is in report mode.
    pub(super) reports: bool,
}

impl Membership {
    /// That of some of `all` profiles, in whatever order; one may come more than once.
    pub(super) fn new(mut own: Vec<u32>, all: &[Profile]) -> Self {
        own.sort_unstable();
        own.dedup();
        let profiles = || own.iter().map(|&index| &all[index as usize]);
        let names = profiles().map(|profile| profile.name.as_str().into()).collect();
        let reports = !own.is_empty() && profiles().all(|profile| profile.mode == Mode::Report);
        Self { names, reports, profiles: own.into_boxed_slice() }
    }
}
