//! `/policy`: the policy in force, its rules a page at a time.

use std::collections::HashMap;

use hyper::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use crate::admin::State;
use crate::admin::answer::{self, Answer, Refusal};
use crate::admin::query::number;
use crate::policy::terms::{Action, Mode, Way};
use crate::policy::{Policy, Rule};

/// Rules on a page unless `?limit=` says otherwise.
const PAGE: usize = 100;
/// Most rules on a page.
const PAGE_MAX: usize = 10_000;
/// Most profiles, and most sources, that are listed.
const LISTED: usize = 1_000;

#[derive(Serialize)]
struct Page {
    revision: u64,
    loaded: Option<String>,
    /// How many rules, profiles and sources there are, listed or not.
    rule_count: usize,
    profile_count: usize,
    source_count: usize,
    sources: Vec<String>,
    profiles: Vec<ProfileRow>,
    rules: Vec<RuleRow>,
    /// The `?offset=` of the next page.
    next: Option<usize>,
}

#[derive(Serialize)]
struct ProfileRow {
    name: String,
    mode: &'static str,
    /// `null`: every client.
    clients: Option<Vec<String>>,
    /// `null`: its flows go straight to their upstreams, unless a rule says otherwise.
    parent: Option<String>,
    /// `null`: as the settings say.
    outgoing: Option<String>,
    rules: usize,
}

#[derive(Serialize)]
struct RuleRow {
    profile: String,
    action: &'static str,
    pattern: String,
    /// As records name it.
    rule: String,
}

/// Counting goes through every rule: off the I/O threads, and one page at a time.
pub(super) async fn respond(state: &State, query: Option<&str>) -> Result<Answer, Refusal> {
    let offset = number(query, "offset", 0, None)?;
    let limit = number(query, "limit", PAGE, Some(1..=PAGE_MAX))?;
    let stopping = || Refusal::unavailable("exeat is stopping");
    let _turn = state.pages.acquire().await.map_err(|_| stopping())?;
    let policy = state.policy.load_full();
    let loaded = state.ledger.metrics().policy_loaded();
    let page = tokio::task::spawn_blocking(move || {
        // Strings and numbers always serialise.
        serde_json::to_vec(&Page::new(&policy, loaded, offset, limit)).unwrap_or_default()
    });
    page.await.map(|json| answer::json(StatusCode::OK, json)).map_err(|_| stopping())
}

impl Page {
    fn new(policy: &Policy, loaded: Option<Timestamp>, offset: usize, limit: usize) -> Self {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let mut rules = Vec::new();
        for (index, rule) in policy.rules().enumerate() {
            *counts.entry(rule.profile()).or_default() += 1;
            if (offset..offset.saturating_add(limit)).contains(&index) {
                rules.push(RuleRow::new(rule));
            }
        }
        let end = offset.saturating_add(rules.len());
        let profiles = policy.profiles().iter().take(LISTED).map(|profile| ProfileRow {
            name: profile.name.clone(),
            mode: match profile.mode {
                Mode::Enforce => "enforce",
                Mode::Report => "report",
            },
            clients: profile
                .clients
                .as_ref()
                .map(|entries| entries.iter().map(ToString::to_string).collect()),
            parent: profile.way.as_ref().and_then(Way::parent).map(ToString::to_string),
            outgoing: profile.outgoing.as_ref().map(ToString::to_string),
            rules: counts.get(profile.name.as_str()).copied().unwrap_or(0),
        });
        Self {
            revision: policy.revision(),
            loaded: loaded.map(|loaded| format!("{loaded:.3}")),
            rule_count: policy.len(),
            profile_count: policy.profiles().len(),
            source_count: policy.sources().len(),
            sources: policy.sources().take(LISTED).map(|path| path.display().to_string()).collect(),
            profiles: profiles.collect(),
            rules,
            next: (end < policy.len()).then_some(end),
        }
    }
}

impl RuleRow {
    fn new(rule: Rule<'_>) -> Self {
        Self {
            profile: rule.profile().to_owned(),
            action: match rule.action() {
                Action::Allow => "allow",
                Action::Deny => "deny",
            },
            pattern: rule.pattern().to_string(),
            rule: rule.to_string(),
        }
    }
}
