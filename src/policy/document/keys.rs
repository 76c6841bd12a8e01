//! The keys that a policy file knows. `docs/policy.schema.json` describes the same ones; a test compares.

pub(super) const FILE: &[&str] = &["version", "profiles", "tests"];

pub(super) const PROFILE: &[&str] =
    &["name", "clients", "mode", "ech", "outgoing", "parent", "allow", "deny", "allow_file", "deny_file"];

/// Of a client that is a map.
pub(super) const CLIENT: &[&str] = &["user", "group", "cert", "from"];

/// Of `outgoing`.
pub(super) const OUTGOING: &[&str] = &["source", "interface", "mark", "family"];

pub(super) const RULE: &[&str] = &[
    "host",
    "cidr",
    "ports",
    "protocol",
    "private",
    "until",
    "reason",
    "methods",
    "paths",
    "ech",
    "parent",
    "public_suffix",
];

/// Keys of a rule that say on which terms something is let through, so they mean nothing in `deny`.
pub(super) const ALLOW_ONLY: &[&str] = &["private", "ech", "parent", "public_suffix"];
