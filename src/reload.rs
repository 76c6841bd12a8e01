//! Watches the files that exeat was started with, and swaps the policy without a restart.
//!
//! A policy with a mistake changes nothing: the last good one stays in force. The open flows are judged
//! anew by each new policy, and at each midnight that ends a rule's last day.

mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::flow::Ledger;
use crate::gate::http::Pool;
use crate::mistake::Mistake;
use crate::policy::Policy;
use crate::policy::document::{Loaded, Sources, Watched};
use crate::proxy::today;
use crate::reload::watch::{Changed, Watch};
use crate::resolve::Resolver;

/// Editors and mounts touch files several times; reading begins when they have been quiet for this long.
const QUIET: Duration = Duration::from_millis(200);

/// Everything that follows a change of policy.
#[derive(Debug)]
pub struct Reload {
    sources: Sources,
    policy: Arc<ArcSwap<Policy>>,
    ledger: Arc<Ledger>,
    pool: Arc<Pool>,
    resolver: Arc<Resolver>,
    /// Of the policy in force.
    watched: Watched,
    content: u64,
}

/// What to do about a change.
#[derive(Clone, Copy, Debug, Default)]
struct Task {
    policy: bool,
    resolver: bool,
}
