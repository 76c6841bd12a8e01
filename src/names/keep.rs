//! Keeps the names that the policy's `tcp` rules list by themselves in the memory, so that a client which knows
//! an address from before, or from elsewhere, finds it there.

use std::collections::HashSet;
use std::future::ready;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::time::{sleep, timeout};

use crate::host::Name;
use crate::names::Names;
use crate::policy::Policy;
use crate::resolve::{Asker, Resolver};

/// How soon a new policy's names are looked up.
const GLANCE: Duration = Duration::from_millis(500);
/// How old an answer may become. Answers are remembered for an hour, so a server that fails for a while does no harm.
const REFRESH: Duration = Duration::from_secs(300);
/// How soon names that were not found are looked up again; each time it takes twice as long.
const RETRY: Duration = Duration::from_secs(1);
/// How long a name may take at first, and later as long as was waited before: those that nobody answers for must not keep the
/// others waiting.
const PATIENCE: Duration = Duration::from_secs(4);
/// Names kept; looked up so many at a time, the others wait.
const NAMES_MAX: usize = 10_000;
const AT_ONCE: usize = 16;

/// Looks the listed names up at once, whenever the policy changes, and from time to time. It never ends.
pub async fn keep_listed(names: Arc<Names>, resolver: Arc<Resolver>, policy: Arc<ArcSwap<Policy>>) {
    loop {
        let (revision, listed) = listed(&policy.load());
        let replaced = async {
            while policy.load().revision() == revision {
                sleep(GLANCE).await;
            }
        };
        tokio::select! {
            () = keep(&names, &resolver, &listed) => {}
            () = replaced => {}
        }
    }
}

/// Looks these names up at once and from time to time. It never ends.
async fn keep(names: &Names, resolver: &Resolver, listed: &HashSet<Name>) {
    let mut retry = RETRY;
    loop {
        let patience = retry.max(PATIENCE);
        let looked_up = futures_util::stream::iter(listed.iter().cloned())
            .map(|name| timeout(patience, look_up(names, resolver, name)))
            .buffer_unordered(AT_ONCE);
        let all = looked_up.fold(true, |all, found| ready(all && found.unwrap_or(false))).await;
        sleep(if all { REFRESH } else { retry }).await;
        retry = if all { RETRY } else { (2 * retry).min(REFRESH) };
    }
}

/// The policy's revision and its names, in no order. The policy itself is not held on to.
fn listed(policy: &Policy) -> (u64, HashSet<Name>) {
    let mut names = HashSet::new();
    for name in policy.unread_names() {
        if names.len() >= NAMES_MAX && !names.contains(&name) {
            tracing::warn!(
                "the policy lists more than {NAMES_MAX} names under `protocol: tcp`: not all are looked up ahead"
            );
            break;
        }
        names.insert(name);
    }
    (policy.revision(), names)
}

/// Looks up both families; says whether one has an address.
async fn look_up(names: &Names, resolver: &Resolver, name: Name) -> bool {
    let mut is_found = false;
    for kind in [RecordType::A, RecordType::AAAA] {
        if let Ok(found) = resolver.records(Asker::Exeat, &name, kind).await {
            let addresses: Vec<IpAddr> = found.data.iter().filter_map(RData::ip_addr).collect();
            names.found(&name, &addresses, found.ttl);
            is_found |= !addresses.is_empty();
        }
    }
    is_found
}

#[cfg(test)]
mod tests;
