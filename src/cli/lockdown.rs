//! `exeat lockdown`: the firewall rules that leave no way out but exeat.

mod apply;
mod arguments;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::{FAILED, USAGE, print};
use crate::lockdown::firewall::{self, Format};
use crate::lockdown::rule::Family;
use crate::lockdown::{routes, tracking};

/// Leave programs no way out but exeat
///
/// Without --gateway the programs of this host are locked: TCP goes to the transparent door of exeat, DNS to its
/// DNS door, and all else is refused. With --gateway the same holds for what arrives by an interface and
/// would be forwarded. The rules stay when exeat stops: nothing leaves then.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  exeat lockdown print\n  exeat lockdown apply --allow-udp 123 --to 10.0.0.2\n  \
                        exeat lockdown apply --gateway --interface eth1 --subnet 10.0.1.0/24\n  exeat lockdown apply --gateway --tproxy --interface eth1\n  exeat lockdown status"
)]
pub(super) struct LockdownArgs {
    #[command(subcommand)]
    command: LockdownCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum LockdownCommand {
    /// Print the rules; needs no privileges, and changes nothing
    #[command(after_help = "Example:\n  exeat lockdown print --format nft > exeat.nft")]
    Print(arguments::RuleArgs),
    /// Put the rules in force
    #[command(
        after_help = "Examples:\n  exeat lockdown apply --config /etc/exeat/exeat.yaml\n  exeat lockdown apply --gateway --interface eth1 --subnet 10.0.1.0/24"
    )]
    Apply(apply::ApplyArgs),
    /// Take the rules away again
    Remove(RemoveArgs),
    /// Say whether the rules are in force, and what they counted; exits with 0 only if all is locked
    Status(show::StatusArgs),
}

/// Which rules to remove.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  exeat lockdown remove")]
struct RemoveArgs {
    /// Only rules of this format; else those of iptables and of nft
    #[arg(long, value_enum)]
    format: Option<arguments::Words>,
}

/// Runs the command.
pub(super) fn run(args: LockdownArgs) -> ExitCode {
    let done = match args.command {
        LockdownCommand::Print(args) => match args.meant() {
            Ok(meant) => return print(&firewall::text(&meant.plan, args.format.format()), ExitCode::SUCCESS),
            Err(complaint) => Err(Refusal::Usage(complaint)),
        },
        LockdownCommand::Apply(args) => apply::run(&args),
        LockdownCommand::Remove(args) => remove(&args),
        LockdownCommand::Status(args) => return show::run(&args),
    };
    let (complaint, code) = match done {
        Ok(answer) => {
            // What was done is done, whether anybody can read of it or not.
            let _ = print(&answer, ExitCode::SUCCESS);
            return ExitCode::SUCCESS;
        }
        Err(Refusal::Usage(complaint)) => (complaint, USAGE),
        Err(Refusal::Failed(complaint)) => (complaint, FAILED),
    };
    anstream::eprintln!("error: {complaint}");
    ExitCode::from(code)
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
enum Refusal {
    /// It can't be meant so.
    Usage(String),
    Failed(String),
}

fn remove(args: &RemoveArgs) -> Result<String, Refusal> {
    let (mut removed, mut failed, mut loose) = (false, Vec::new(), None);
    for format in arguments::formats(args.format) {
        for family in Family::BOTH {
            match remove_one(format, family, &mut loose) {
                Ok(there) => removed |= there,
                // Without the program there are no rules of its kind.
                Err(error) if error.is_not_found() => {}
                Err(error) => failed.push(error.to_string()),
            }
        }
    }
    for family in Family::BOTH {
        match routes::remove(family) {
            Ok(there) => removed |= there,
            Err(kept) => failed.push(kept.to_string()),
        }
    }
    if let Some(loose) = loose.filter(|_| failed.is_empty()) {
        let set = tracking::set_loose(loose);
        failed.extend(set.err().map(|error| format!("nf_conntrack_tcp_loose can't be put back: {error}")));
    }
    if !failed.is_empty() {
        return Err(Refusal::Failed(failed.join("\n")));
    }
    Ok(if removed { "the lockdown is removed\n" } else { "there was no lockdown\n" }.to_owned())
}

fn remove_one(
    format: Format,
    family: Family,
    loose: &mut Option<bool>,
) -> Result<bool, firewall::FirewallError> {
    let noted = tracking::noted(&firewall::in_force(format, family)?);
    *loose = noted.or(*loose);
    firewall::remove(format, &[family])
}
