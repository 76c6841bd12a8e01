//! The way from TPROXY to exeat: packets that bear its mark are delivered on this host, whatever their destination.

use crate::lockdown::commands::{CommandError, run};
use crate::lockdown::rule::Family;
use crate::sys::TAKEN;

/// The number of the routing table, and of the rule that leads there: before the table `main`, after `local`.
const TABLE: &str = "3129";

/// What stands in the table.
const ROUTE: &str = "local default dev lo";

/// Why some of it is still there.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Kept(pub Vec<CommandError>);

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

/// Takes away what is there, the rules and the route whichever of them fails; whether there was anything. Without the
/// program there can't be.
pub fn remove(family: Family) -> Result<bool, Kept> {
    let rules = match count(family) {
        Err(error) if error.is_not_found() => return Ok(false),
        rules => rules.and_then(|rules| {
            // They are alike: if one can't be deleted, nor can the next.
            (0..rules).try_for_each(|_| ip(family, &format!("rule del {}", rule())).map(drop))?;
            Ok(rules > 0)
        }),
    };
    let route = match has_route(family) {
        true => ip(family, &format!("route del {ROUTE} table {TABLE}")).map(|_| true),
        false => Ok(false),
    };
    match (rules, route) {
        (Ok(rules), Ok(route)) => Ok(rules || route),
        (rules, route) => Err(Kept([rules.err(), route.err()].into_iter().flatten().collect())),
    }
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
