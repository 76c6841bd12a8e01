//! `exeat lockdown apply`: look first, then lock.

use std::net::SocketAddr;

use clap::Args;

use crate::cli::lockdown::Refusal;
use crate::cli::lockdown::arguments::{Meant, RuleArgs};
use crate::lockdown::firewall::{self, Format};
use crate::lockdown::plan::{Exit, Shape};
use crate::lockdown::routes::Kept;
use crate::lockdown::rule::Family;
use crate::lockdown::status::Extent;
use crate::lockdown::{Plan, commands, conntrack, interfaces, listeners, routes, sockets, stub, tracking};

/// The rules, and what is looked at before.
#[derive(Args, Clone, Debug)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    pub rules: RuleArgs,
    /// exeat starts later, as at boot: lock now, whether somebody listens or not, and the interfaces are there or not
    #[arg(long)]
    pub ahead: bool,
    /// exeat asks DNS servers of its own, though /etc/resolv.conf names a stub resolver
    #[arg(long)]
    pub ignore_stub: bool,
}

/// Runs the command; what comes back says what is in force.
pub(super) fn run(args: &ApplyArgs) -> Result<String, Refusal> {
    let Meant { mut plan, dns_servers } = args.rules.meant().map_err(Refusal::Usage)?;
    let format = args.rules.format.format();
    look(args, &plan, &dns_servers)?;
    let locked = is_locked(&plan, format);
    let before = old_connections(&plan, locked)?;
    let loose = tracking::loose().map_err(|error| {
        Refusal::Failed(format!(
            "connection tracking can't be had, and without it old connections would live on: {error}"
        ))
    })?;
    plan.loose_before = Some(noted(format).unwrap_or(loose));
    tracking::set_loose(false)
        .map_err(|error| Refusal::Failed(format!("nf_conntrack_tcp_loose can't be set to 0: {error}")))?;
    if let Err(mut complaint) = put_in_force(&plan, format) {
        if let Err(error) = tracking::set_loose(loose) {
            complaint += &format!("\nnf_conntrack_tcp_loose can't be put back: {error}");
        }
        return Err(Refusal::Failed(complaint));
    }
    end(&before);
    forget_other(&plan, format);
    let ipv6 = if plan.ipv4_only { "IPv6 is NOT locked: all may leave by it" } else { "so is IPv6" };
    Ok(format!("IPv4 is locked, {ipv6}; `exeat lockdown remove` undoes it\n"))
}

/// All of it or nothing. Routes lead nowhere without rules, so they come first and go last.
fn put_in_force(plan: &Plan, format: Format) -> Result<(), String> {
    let forgotten = conntrack::forget_taken_up().map_err(|error| {
        format!("conntrack can't be told to forget whose beginning it did not see, so old flows would live on: {error}")
    })?;
    tracing::debug!(forgotten, "connections that conntrack had taken up in their middle");
    let new_routes = add_routes(plan)?;
    let Err(error) = firewall::apply(plan, format) else { return Ok(()) };
    let kept = take_back(&new_routes, routes::remove);
    let ipv6 = matches!(&error, firewall::FirewallError::Refused { family: Family::V6, .. });
    let hint = match ipv6 {
        true => format!("\n{}; --ipv4-only locks IPv4 and leaves IPv6 as it is", applied(&kept)),
        false => String::new(),
    };
    Err(format!("{error}{hint}{kept}"))
}

/// What there is of a lockdown that was refused.
fn applied(kept: &str) -> &'static str {
    if kept.is_empty() { "nothing was applied" } else { "no rule was applied" }
}

/// Removes what was added before it failed. A line for each family of which something is kept all the same.
fn take_back(families: &[Family], remove: impl Fn(Family) -> Result<bool, Kept>) -> String {
    let line = |family: &Family| {
        let why = remove(*family).err()?;
        let family = family.name();
        Some(format!("\nthe routes of {family} are kept, `exeat lockdown remove` tries again: {why}"))
    };
    families.iter().filter_map(line).collect()
}

/// The families whose routes were not there before.
fn add_routes(plan: &Plan) -> Result<Vec<Family>, String> {
    let mut added = Vec::new();
    if !plan.shape.takes() {
        return Ok(added);
    }
    for family in plan.families().iter().copied() {
        let there = routes::are_there(family);
        if matches!(there, Ok(true)) {
            continue;
        }
        added.push(family);
        if let Err(error) = there.and_then(|_| routes::add(family)) {
            let kept = take_back(&added, routes::remove);
            let (family, applied) = (family.name(), applied(&kept));
            return Err(format!("{family} can't be locked by TPROXY: {error}\n{applied}{kept}"));
        }
    }
    Ok(added)
}

/// What must be so before anything is changed. At boot a lock that lets nothing through is better than none.
fn look(args: &ApplyArgs, plan: &Plan, dns_servers: &[SocketAddr]) -> Result<(), Refusal> {
    let mut complaints = Vec::new();
    let closed = listeners::closed(plan);
    if !closed.is_empty() && !args.ahead {
        let list: Vec<String> = closed.iter().map(ToString::to_string).collect();
        complaints.push(format!(
            "nobody listens on {}: start exeat with these doors first, or say --ahead",
            list.join(", ")
        ));
    }
    let port = plan.transparent_port;
    if plan.shape.takes() && !args.ahead && listeners::takes_any_address(port) == Some(false) {
        complaints.push(format!(
            "the listener on TCP port {port} may not take connections to foreign addresses, as TPROXY brings them: \
             start exeat with CAP_NET_ADMIN"
        ));
    }
    if let Shape::Gateway { interfaces, .. } = &plan.shape
        && !args.ahead
        && let missing = interfaces::missing(interfaces)
        && !missing.is_empty()
    {
        complaints.push(format!(
            "there is no interface {}: what arrives by another would not be locked; mend the name, or say --ahead if it \
             comes later",
            missing.join(", ")
        ));
    }
    let instance = matches!(plan.shape, Shape::Instance { .. });
    if instance
        && !args.ignore_stub
        && let Some(complaint) = about_stub(dns_servers)
    {
        match args.ahead {
            true => tracing::warn!("{complaint}"),
            false => complaints.push(complaint),
        }
    }
    match complaints[..] {
        [] => Ok(()),
        _ => Err(Refusal::Failed(complaints.join("\nerror: "))),
    }
}

/// What is wrong with whom exeat would ask, or why that can't be known.
fn about_stub(dns_servers: &[SocketAddr]) -> Option<String> {
    let stub = match stub::find(dns_servers) {
        Ok(stub) => stub?,
        Err(error) => {
            let unknown = format!("whether exeat would ask a stub resolver can't be known: {error}");
            return Some(mended(&unknown, "…"));
        }
    };
    let circle = format!(
        "exeat would ask the stub resolver {}, whose questions the lockdown sends to exeat: they would go round \
         for ever",
        stub.address
    );
    Some(match stub.upstream {
        Ok(servers) if servers.is_empty() => mended(&circle, "…"),
        Ok(servers) => {
            let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
            mended(&circle, &servers.join(", "))
        }
        Err(error) => mended(&format!("{circle} (the servers behind it can't be told: {error})"), "…"),
    })
}

fn mended(wrong: &str, servers: &str) -> String {
    format!(
        "{wrong}. Write `dns: {{ servers: [{servers}] }}` into the settings of exeat and give them here by \
         --config, or say --ignore-stub"
    )
}

fn is_locked(plan: &Plan, format: Format) -> bool {
    let extent = |family: &Family| firewall::status(format, *family).map(|status| status.extent());
    plan.families().iter().all(|family| matches!(extent(family), Ok(Extent::Full | Extent::Partial)))
}

/// What an earlier lockdown found, in whatever format; others may have flushed one family of it.
fn noted(format: Format) -> Option<bool> {
    let formats = std::iter::once(format).chain(format.others());
    let mut places = formats.flat_map(|format| Family::BOTH.map(|family| (format, family)));
    places.find_map(|(format, family)| tracking::noted(&firewall::in_force(format, family).ok()?))
}

/// What programs of this host hold open. Under a lockdown those are connections to exeat, whatever their
/// sockets say.
fn old_connections(plan: &Plan, locked: bool) -> Result<Vec<sockets::Connection>, Refusal> {
    let instance = matches!(plan.shape, Shape::Instance { .. });
    if !instance || locked {
        return Ok(Vec::new());
    }
    let exeat = match &plan.exit {
        Exit::User(user) => Some(number(user)?),
        Exit::Mark(_) => None,
    };
    let opened = sockets::opened_here(exeat);
    opened.map_err(|error| Refusal::Failed(format!("the connections that are open can't be listed: {error}")))
}

/// The number of a user. Their programs may not have been started yet, but they must be known.
fn number(user: &str) -> Result<u32, Refusal> {
    user.parse().or_else(|_| {
        let said = commands::run("id", &["-u", user], "");
        let said = said.map_err(|error| Refusal::Failed(format!("no user {user}: {error}")))?;
        said.trim().parse().map_err(|_| Refusal::Failed(format!("no number for user {user}")))
    })
}

fn end(connections: &[sockets::Connection]) {
    if connections.is_empty() {
        return;
    }
    match sockets::end(connections) {
        Ok(left) if left.is_empty() => {
            tracing::info!("ended {} connections opened before", connections.len());
        }
        Ok(left) => tracing::warn!(
            "{} connections opened before could not be closed; they end when they next send",
            left.len()
        ),
        Err(error) => tracing::warn!("connections opened before end when they next send: {error}"),
    }
}

/// Rules of another format, or of a family that is no longer meant, would send what they redirect to the ports they were
/// made with.
fn forget_other(plan: &Plan, format: Format) {
    for family in
        Family::BOTH.into_iter().filter(|family| !plan.shape.takes() || !plan.families().contains(family))
    {
        if let Err(why) = routes::remove(family) {
            tracing::warn!("the routes of an earlier TPROXY stay: {why}");
        }
    }
    // A table of nft is replaced as a whole. Where there is no IPv6 its tables can't be read, and hold nothing.
    let has_v6 = || firewall::status(format, Family::V6).is_ok_and(|status| status.extent() != Extent::None);
    if plan.ipv4_only
        && format != Format::Nft
        && has_v6()
        && let Err(error) = firewall::remove(format, &[Family::V6])
    {
        tracing::warn!("earlier rules of IPv6 stay: {error}");
    }
    for other in format.others() {
        if let Err(error) = firewall::remove(other, &Family::BOTH)
            && !error.is_not_found()
        {
            tracing::warn!("earlier rules of another format stay: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockdown::commands::CommandError;

    #[test]
    fn what_can_not_be_taken_back_is_told_in_the_words_of_the_command() {
        let remove = |family| match family {
            Family::V4 => Ok(true),
            Family::V6 => {
                let said = "RTNETLINK answers: Operation not permitted".to_owned();
                let failed =
                    |command: &str| CommandError::Failed { command: command.to_owned(), said: said.clone() };
                Err(Kept(["ip -6 rule del pref 3129", "ip -6 route del"].map(failed).into()))
            }
        };
        let told = "\nthe routes of IPv6 are kept, `exeat lockdown remove` tries again: ip -6 rule del pref 3129 failed: \
                    RTNETLINK answers: Operation not permitted; ip -6 route del failed: RTNETLINK answers: Operation \
                    not permitted";
        assert_eq!(take_back(&Family::BOTH, remove), told);
        assert_eq!(take_back(&[Family::V4], remove), "");
    }
}
