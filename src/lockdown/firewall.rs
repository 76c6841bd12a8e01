//! Loading the rules, reading them back, taking them away.

use crate::lockdown::commands::{CommandError, run};
use crate::lockdown::found::State;
use crate::lockdown::plan::Plan;
use crate::lockdown::rule::{Family, Table};
use crate::lockdown::status::Status;
use crate::lockdown::{chains, iptables, nft, routes};

/// How long another program may hold the lock of iptables, in seconds.
const WAIT: &str = "10";

/// Whose words the rules are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Iptables(Variant),
    Nft,
}

/// Which of the two kinds of iptables; the words are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Whichever the system has chosen.
    System,
    Nft,
    Legacy,
}

impl Format {
    /// The formats whose rules are not those of this one. Where nobody can tell which kind of iptables the system
    /// has chosen, there is only that one.
    pub fn others(self) -> Vec<Self> {
        let this = match self {
            Self::Iptables(Variant::System) => Self::Iptables(chosen()),
            named => named,
        };
        let mut others = vec![Self::Nft];
        if this != Self::Iptables(Variant::System) {
            others.extend([Variant::Nft, Variant::Legacy].map(Self::Iptables));
        }
        others.retain(|other| *other != this);
        others
    }
}

/// Which kind of iptables the system has chosen, as `iptables --version` tells it since 1.8.
fn chosen() -> Variant {
    match run("iptables", &["--version"], "") {
        Ok(said) if said.contains("nf_tables") => Variant::Nft,
        Ok(said) if said.contains("legacy") => Variant::Legacy,
        _ => Variant::System,
    }
}

#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// Nothing was changed.
    #[error("{} can't be locked: {error}", family.name())]
    Refused { family: Family, error: CommandError },
    /// What had been changed was put back.
    #[error("{} could not be locked, and all is as before: {error}", family.name())]
    Undone { family: Family, error: CommandError },
    /// What had been changed could not be put back.
    #[error("{} could not be locked: {error}; and putting back what was there failed: {}", family.name(), of_each(undoing))]
    Halfway { family: Family, error: CommandError, undoing: Vec<(Family, CommandError)> },
    #[error("{0}")]
    Other(#[from] CommandError),
}

fn of_each(errors: &[(Family, CommandError)]) -> String {
    errors.iter().map(|(family, error)| format!("{}: {error}", family.name())).collect::<Vec<_>>().join("; ")
}

impl FirewallError {
    /// The program that it needs is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { error, .. } | Self::Other(error) if error.is_not_found())
    }
}

/// The text that makes a plan's rules where none are yet: one for each family, or one for both. Commands that
/// are needed besides stand before it, as comments.
pub fn text(plan: &Plan, format: Format) -> String {
    let routes: String = match plan.shape.takes() {
        true => plan.families().iter().map(|family| routes::text(*family)).collect(),
        false => String::new(),
    };
    let routes: String = routes.lines().map(|line| format!("# {line}\n")).collect();
    routes + &rules_text(plan, format)
}

fn rules_text(plan: &Plan, format: Format) -> String {
    let Format::Iptables(variant) = format else { return nft::text(plan) };
    let chains = chains::of(plan);
    let one = |family: &Family| {
        let program = program(*family, variant, "restore");
        let text = State::default().change(&iptables::state(&chains, *family, &[]));
        format!("# {}: {program} --noflush -w {WAIT}\n{text}", family.name())
    };
    plan.families().iter().map(one).collect()
}

/// Puts the rules of a plan in force, for all of its families or for none.
pub fn apply(plan: &Plan, format: Format) -> Result<(), FirewallError> {
    match format {
        Format::Iptables(variant) => apply_iptables(plan, variant),
        Format::Nft => {
            let text = nft::text(plan);
            run("nft", &["-c", "-f", "-"], &text)?;
            run("nft", &["-f", "-"], &text)?;
            Ok(())
        }
    }
}

/// Takes away what is there of exeat's, in these families; whether there was anything.
pub fn remove(format: Format, families: &[Family]) -> Result<bool, FirewallError> {
    let Format::Iptables(variant) = format else {
        let there = status(format, Family::V4)? != Status::default();
        if there {
            run("nft", &["-f", "-"], &nft::removal())?;
        }
        return Ok(there);
    };
    let mut there = false;
    for family in families {
        let saved = save(*family, variant)?;
        let before = State::parse(&saved);
        if before.is_empty() {
            continue;
        }
        there = true;
        load(*family, variant, &before.change(&State::default()), false)?;
        for table in iptables::made(&saved) {
            unmake(*family, variant, table);
        }
    }
    Ok(there)
}

/// What is in force of one family; an `nft` table is of both.
pub fn status(format: Format, family: Family) -> Result<Status, CommandError> {
    Ok(match format {
        Format::Iptables(variant) => {
            Status::of_iptables(&run(&program(family, variant, "save"), &["-c"], "")?)
        }
        Format::Nft => Status::of_nft(&listed()?),
    })
}

/// The rules in force, as text.
pub fn in_force(format: Format, family: Family) -> Result<String, CommandError> {
    match format {
        Format::Iptables(variant) => save(family, variant),
        Format::Nft => listed(),
    }
}

/// The table in force, be it of both families or of IPv4 alone; empty if there is none.
fn listed() -> Result<String, CommandError> {
    let tables = run("nft", &["list", "tables"], "")?;
    for family in ["inet", "ip"] {
        if tables.lines().any(|line| line == format!("table {family} {}", nft::TABLE)) {
            return run("nft", &["list", "table", family, nft::TABLE], "");
        }
    }
    Ok(String::new())
}

/// What one family held and shall hold.
struct Change {
    family: Family,
    before: State,
    text: String,
}

fn apply_iptables(plan: &Plan, variant: Variant) -> Result<(), FirewallError> {
    let chains = chains::of(plan);
    let (mut changes, mut spare) = (Vec::new(), Vec::new());
    for family in plan.families().iter().copied() {
        let refused = |error| FirewallError::Refused { family, error };
        let saved = save(family, variant).map_err(refused)?;
        let before = State::parse(&saved);
        let made = iptables::made(&saved);
        let wanted = iptables::state(&chains, family, &made);
        spare.extend(made.into_iter().filter(|table| !wanted.holds(*table)).map(|table| (family, table)));
        let text = before.change(&wanted);
        load(family, variant, &text, true).map_err(refused)?;
        changes.push(Change { family, before, text });
    }
    for (index, change) in changes.iter().enumerate() {
        let family = change.family;
        let Err(error) = load(family, variant, &change.text, false) else { continue };
        // All of them are tried, whichever fails.
        let undone = changes[..=index].iter();
        let undoing = undone.filter_map(|change| Some((change.family, undo(change, variant).err()?)));
        let undoing: Vec<(Family, CommandError)> = undoing.collect();
        return Err(match undoing.is_empty() {
            true => FirewallError::Undone { family, error },
            false => FirewallError::Halfway { family, error, undoing },
        });
    }
    // Another shape needed them.
    for (family, table) in spare {
        unmake(family, variant, table);
    }
    Ok(())
}

fn undo(change: &Change, variant: Variant) -> Result<(), CommandError> {
    let now = State::parse(&save(change.family, variant)?);
    if now == change.before {
        return Ok(());
    }
    load(change.family, variant, &now.change(&change.before), false)
}

/// Takes away a table that was made for the lockdown, if nobody else has put anything there. Kept tables are
/// empty and do nothing, so failing here is no failure.
fn unmake(family: Family, variant: Variant, table: Table) {
    let Ok(saved) = save(family, variant) else { return };
    let Some((_, rest)) = saved.split_once(&format!("*{}\n", table.name())) else { return };
    let held = rest.split("COMMIT").next().unwrap_or_default();
    let untouched = held.lines().all(|line| line.starts_with(':') && line.contains(" ACCEPT "));
    let protocol = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let own_table = ["list", "table", protocol, table.name()];
    // Only iptables-nft can delete its built-in chains, and only while they are empty.
    if untouched && run(&program(family, variant, ""), &["-t", table.name(), "-X"], "").is_ok() {
        let emptied = run("nft", &own_table, "").is_ok_and(|listed| !listed.contains("chain "));
        if emptied {
            let deleted = run("nft", &["delete", "table", protocol, table.name()], "");
            drop(deleted);
        }
    }
}

fn save(family: Family, variant: Variant) -> Result<String, CommandError> {
    run(&program(family, variant, "save"), &[], "")
}

fn load(family: Family, variant: Variant, text: &str, test: bool) -> Result<(), CommandError> {
    let program = program(family, variant, "restore");
    let arguments: &[&str] = match test {
        true => &["--noflush", "-w", WAIT, "--test"],
        false => &["--noflush", "-w", WAIT],
    };
    run(&program, arguments, text).map(drop)
}

/// `iptables-legacy-restore` and the like.
fn program(family: Family, variant: Variant, what: &str) -> String {
    let family = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    let variant = match variant {
        Variant::System => "",
        Variant::Nft => "nft",
        Variant::Legacy => "legacy",
    };
    [family, variant, what].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}
