#!/bin/sh
# Asks cargo-deny about licences, bans, sources and advisories. Without it only tests/repository.rs checks
# the licences and sources, by the same deny.toml.
set -eu

if ! cargo deny --version >/dev/null 2>&1; then
    echo "NOT CHECKED: advisories and bans, since cargo-deny is not installed (cargo install cargo-deny --locked)" >&2
    exit 0
fi
cargo deny --locked check bans licenses sources
# The advisories come from the network: where it can't be reached nothing is known, which is no finding.
if cargo deny --locked fetch db; then
    cargo deny --locked check advisories
else
    echo "NOT CHECKED: advisories, since their list can't be fetched" >&2
fi
