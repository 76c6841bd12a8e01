//! `exeat lockdown status`: what is in force.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::cli::lockdown::arguments::{Words, formats};
use crate::cli::{FAILED, Format as Output, json, print};
use crate::lockdown::firewall::{self, Format};
use crate::lockdown::rule::Family;
use crate::lockdown::status::{Extent, Status};
use crate::lockdown::{routes, tracking};

/// Which rules, and how to print what they are.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  exeat lockdown status --format json | jq '.[].extent'")]
pub(super) struct StatusArgs {
    /// Only rules of this kind; else those of iptables and of nft
    #[arg(long, value_enum)]
    pub rules: Option<Words>,
    /// Ask for IPv4 alone
    #[arg(long)]
    pub ipv4_only: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Output,
}

/// Runs the command.
pub(super) fn run(args: &StatusArgs) -> ExitCode {
    let families: &[Family] = if args.ipv4_only { &[Family::V4] } else { &Family::BOTH };
    let shown: Vec<Shown> = families.iter().map(|family| Shown::of(args, *family)).collect();
    let locked = shown.iter().all(|shown| shown.extent == Extent::Full);
    let answer: String = match args.format {
        Output::Text => shown.iter().map(Shown::text).collect(),
        Output::Json => json(&shown),
    };
    print(&answer, if locked { 0 } else { FAILED })
}

/// The better locked of the formats, for one family.
#[derive(Debug, Serialize)]
struct Shown {
    family: &'static str,
    extent: Extent,
    #[serde(flatten)]
    status: Status,
}

impl Shown {
    fn of(args: &StatusArgs, family: Family) -> Self {
        let (mut best, mut errors) = (Status::default(), Vec::new());
        for format in formats(args.rules) {
            match firewall::status(format, family) {
                Ok(status) if covers(format, family) && rank(&status) > rank(&best) => best = status,
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => errors.push(error.to_string()),
            }
        }
        if rank(&best) < 2 {
            best.faults.extend(errors.iter().cloned());
        }
        let takes = best.shape().is_some_and(|shape| shape.takes());
        if takes && !matches!(routes::are_there(family), Ok(true)) {
            best.faults.push("the routes of TPROXY are not there: nothing reaches exeat".to_owned());
        }
        if rank(&best) > 0 && !matches!(tracking::loose(), Ok(false)) {
            let fault = "nf_conntrack_tcp_loose is not 0: connections opened before may live on";
            best.faults.push(fault.to_owned());
        }
        Self { family: family.name(), extent: best.extent(), status: best }
    }

    fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.family, self.extent);
        for fault in &self.status.faults {
            text += &format!("  fault: {fault}\n");
        }
        for chain in &self.status.chains {
            text += &format!("  {}: {} of {} rules\n", chain.name, chain.rules.len(), chain.expected);
            for rule in &chain.rules {
                text += &format!("{:>12} {:>14}  {}\n", rule.packets, rule.bytes, rule.comment);
            }
        }
        text
    }
}

/// An `nft` table may be of IPv4 alone.
fn covers(format: Format, family: Family) -> bool {
    let ipv4_only = || firewall::in_force(format, family).is_ok_and(|text| text.starts_with("table ip "));
    format != Format::Nft || family == Family::V4 || !ipv4_only()
}

fn rank(status: &Status) -> u8 {
    match status.extent() {
        Extent::None => 0,
        Extent::Partial => 1,
        Extent::Full => 2,
    }
}
