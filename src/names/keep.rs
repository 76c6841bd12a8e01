//! Keeps the names that the policy's `tcp` rules list by themselves in the memory, so that a client which knows
//! an address from before, or from elsewhere, finds it there.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::time::{Instant, sleep};

use crate::host::Name;
use crate::names::Names;
use crate::policy::Policy;
use crate::resolve::Resolver;

/// How soon a new policy's names are looked up.
const GLANCE: Duration = Duration::from_millis(500);
/// How old an answer may become. Answers are remembered for an hour, so a server that fails for a while does no harm.
const REFRESH: Duration = Duration::from_secs(300);
/// Names kept; looked up so many at a time, the others wait.
const NAMES_MAX: usize = 10_000;
const AT_ONCE: usize = 16;

/// Looks the listed names up at once, whenever the policy changes, and from time to time. It never ends.
pub async fn keep_listed(names: Arc<Names>, resolver: Arc<Resolver>, policy: Arc<ArcSwap<Policy>>) {
    loop {
        let (revision, listed) = listed(&policy.load());
        let next = Instant::now() + REFRESH;
        futures_util::stream::iter(listed)
            .for_each_concurrent(AT_ONCE, |name| look_up(&names, &resolver, name))
            .await;
        while policy.load().revision() == revision && Instant::now() < next {
            sleep(GLANCE).await;
        }
    }
}

/// The policy's revision and its names, in no order. The policy itself is not held on to.
fn listed(policy: &Policy) -> (u64, HashSet<Name>) {
    let names: HashSet<Name> = policy.unread_names().take(NAMES_MAX + 1).collect();
    if names.len() > NAMES_MAX {
        tracing::warn!(
            "the policy lists more than {NAMES_MAX} names under `protocol: tcp`: not all are looked up ahead"
        );
    }
    (policy.revision(), names)
}

async fn look_up(names: &Names, resolver: &Resolver, name: Name) {
    for kind in [RecordType::A, RecordType::AAAA] {
        // A name that is not found now is looked up again with the others.
        if let Ok(found) = resolver.records(&name, kind).await {
            let addresses: Vec<IpAddr> = found.data.iter().filter_map(RData::ip_addr).collect();
            names.found(&name, &addresses, found.ttl);
        }
    }
}
