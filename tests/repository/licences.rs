//! The licences and sources of all dependencies, by `deny.toml`: what cargo-deny checks, where it is not installed.

use std::collections::BTreeSet;
use std::env;
use std::process::Command;

use serde_json::Value;

use crate::{read, root};

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let deny = read("deny.toml");
    let allowed = deny.split("[licenses]\nallow = [").nth(1).unwrap().split(']').next().unwrap();
    let allowed: BTreeSet<&str> = allowed.split('"').skip(1).step_by(2).collect();
    for package in packages() {
        let (name, licence) = (&package["name"], package["license"].as_str().unwrap_or("none"));
        assert!(permits(licence, &allowed), "{name}: {licence}");
    }
}

#[test]
fn every_dependency_is_in_its_lock_and_from_the_registry() {
    for package in packages().iter().filter(|package| package["name"] != "exeat") {
        let source = package["source"].as_str().unwrap_or("none");
        assert!(source.starts_with("registry+"), "{} comes from {source}", package["name"]);
    }
}

/// Whether an expression of SPDX, with `/` for `OR` as older crates have it, can be met.
fn permits(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    // An exception to a licence gives more, never less.
    let spaced = spaced.replace(" WITH LLVM-exception", "");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let permitted = any(&words, &mut at, allowed);
    assert_eq!(at, words.len(), "{expression}");
    permitted
}

fn any(words: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let mut permitted = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        permitted |= all(words, at, allowed);
    }
    permitted
}

fn all(words: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let mut permitted = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        permitted &= one(words, at, allowed);
    }
    permitted
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let word = words[*at];
    *at += 1;
    if word != "(" {
        return allowed.contains(word);
    }
    let permitted = any(words, at, allowed);
    assert_eq!(words[*at], ")");
    *at += 1;
    permitted
}

/// Everything that is built for Linux, tests and benches included.
fn packages() -> Vec<Value> {
    let mut command = Command::new(env::var_os("CARGO").expect("cargo test says where cargo is"));
    command.current_dir(root()).args(["metadata", "--format-version=1", "--locked"]);
    let output = command.args(["--filter-platform", "x86_64-unknown-linux-gnu"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn expressions_are_read_as_they_are_meant() {
    let allowed = BTreeSet::from(["MIT", "Apache-2.0"]);
    for (expression, permitted) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0 AND MIT", false),
        ("(MIT OR GPL-3.0) AND Apache-2.0", true),
        ("MIT OR Apache-2.0 AND GPL-3.0", true),
        ("Apache-2.0 WITH LLVM-exception", true),
    ] {
        assert_eq!(permits(expression, &allowed), permitted, "{expression}");
    }
}
