//! The way from TPROXY to exeat: packets that bear its mark are delivered on this host, whatever their destination.

use super::commands::{CommandError, run};
use super::rule::Family;
use crate::sys::TAKEN;

/// The number of the routing table, and of the rule that leads there: before the table `main`, after `local`.
const TABLE: &str = "3129";

/// What stands in the table.
const ROUTE: &str = "local default dev lo";

/// The rule and the route of one family, as commands.
pub fn text(family: Family) -> String {
    let option = option(family);
    format!("ip {option} rule add {}\nip {option} route replace {ROUTE} table {TABLE}\n", rule())
}

/// Whether they are there.
pub fn are_there(family: Family) -> Result<bool, CommandError> {
    Ok(count(family)? > 0 && has_route(family))
}

/// Adds what is not there.
pub fn add(family: Family) -> Result<(), CommandError> {
    ip(family, &format!("route replace {ROUTE} table {TABLE}"))?;
    if count(family)? == 0 {
        ip(family, &format!("rule add {}", rule()))?;
    }
    Ok(())
}

/// Takes away what is there; whether there was anything.
pub fn remove(family: Family) -> Result<bool, CommandError> {
    let (rules, route) = (count(family)?, has_route(family));
    for _ in 0..rules {
        ip(family, &format!("rule del {}", rule()))?;
    }
    if route {
        ip(family, &format!("route del {ROUTE} table {TABLE}"))?;
    }
    Ok(rules > 0 || route)
}

fn rule() -> String {
    format!("pref {TABLE} fwmark {TAKEN:#x}/{TAKEN:#x} lookup {TABLE}")
}

/// How many rules of ours there are: nothing keeps one from being added twice.
fn count(family: Family) -> Result<usize, CommandError> {
    let listed = ip(family, &format!("rule show pref {TABLE}"))?;
    let mark = format!("fwmark {TAKEN:#x}/{TAKEN:#x} lookup {TABLE}");
    Ok(listed.lines().filter(|line| line.contains(&mark)).count())
}

/// A table that was never used can't be listed.
fn has_route(family: Family) -> bool {
    ip(family, &format!("route show table {TABLE}")).is_ok_and(|listed| listed.contains(ROUTE))
}

fn ip(family: Family, words: &str) -> Result<String, CommandError> {
    let words: Vec<&str> = std::iter::once(option(family)).chain(words.split(' ')).collect();
    run("ip", &words, "")
}

fn option(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}
