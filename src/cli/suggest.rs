//! `exeat suggest`: a policy from what was seen.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::{FAILED, PARTLY, USAGE, print, refuse};
use crate::clock::today;
use crate::learn::audit::{self, Line};
use crate::learn::{Baseline, By, Options, Tally};
use crate::policy::document::Sources;

/// How many bad lines are told one by one.
const TOLD_MAX: u64 = 20;
/// Records are read in pieces of this size.
const BUFFER: usize = 256 * 1024;

/// Suggest a policy from what was seen
///
/// Reads the records of flows and prints a policy that allows what was let through: exact names, and `*.name` where
/// there are many. What looks like noise or a risk is set apart in comments, with the rule that would allow it.
/// Exits with 0, or with 3 if there were lines that are no records or more destinations than are kept.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  exeat suggest /var/log/exeat/flows.jsonl > learned.yaml\n  \
                  exeat suggest --baseline /etc/exeat/policies --denied flows.jsonl.1 flows.jsonl\n  \
                  zcat flows.jsonl.*.gz | exeat suggest --by client -")]
pub(super) struct SuggestArgs {
    /// Files of records; `-` is the standard input
    #[arg(required = true, value_name = "AUDIT.jsonl")]
    audit: Vec<PathBuf>,
    /// Who shares a profile
    #[arg(long, value_enum, default_value_t)]
    by: ByArg,
    /// Leave out what this policy allows already; may be repeated
    #[arg(long, value_name = "PATH")]
    baseline: Vec<PathBuf>,
    /// Take in what was denied because no rule or no profile allowed it
    #[arg(long)]
    denied: bool,
    /// How many names below one domain become `*.domain`, unless it is a public suffix; 0: never
    #[arg(long, value_name = "COUNT", default_value_t = Options::SIBLINGS)]
    siblings: usize,
    /// Take IPv4 clients as the network of this prefix length that they are in, IPv6 clients as their /64
    #[arg(long, value_name = "LENGTH", value_parser = clap::value_parser!(u8).range(8..=32))]
    network: Option<u8>,
    /// The name of the profile, with `--by all`
    #[arg(long, value_name = "NAME", default_value = Options::NAME)]
    name: String,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ByArg {
    /// The clients that the same profiles took part for
    #[default]
    Profile,
    /// The clients that did the same
    Client,
    /// Every client
    All,
}

/// Runs the command.
pub(super) fn run(args: SuggestArgs) -> ExitCode {
    let today = today();
    let baseline = match args.baseline.is_empty() {
        true => None,
        false => match (Sources { paths: args.baseline, allow: Vec::new() }).load() {
            Ok(loaded) => Some(Baseline { policy: loaded.builder.finish(0), today }),
            Err(mistakes) => return refuse(&mistakes),
        },
    };
    let options = Options {
        by: match args.by {
            ByArg::Profile => By::Profile,
            ByArg::Client => By::Client,
            ByArg::All => By::All,
        },
        siblings: (args.siblings > 0).then_some(args.siblings),
        denied: args.denied,
        network: args.network,
        name: args.name,
    };
    let mut reading = Reading { tally: Tally::new(options, baseline), bad: 0 };
    for path in &args.audit {
        if let Err((code, what)) = reading.file(path) {
            anstream::eprintln!("error: {}: {what}", path.display());
            return ExitCode::from(code);
        }
    }
    let Reading { tally, bad } = reading;
    let suggestion = tally.suggest();
    if bad > TOLD_MAX {
        anstream::eprintln!("warning: {bad} lines are no records");
    }
    if suggestion.lost > 0 {
        anstream::eprintln!(
            "warning: {} flows are left out: there are more destinations or clients than are kept; --network or fewer \
             files at once may help",
            suggestion.lost
        );
    }
    print(&suggestion.to_string(), if bad > 0 || suggestion.lost > 0 { PARTLY } else { 0 })
}

/// What was read so far.
struct Reading {
    tally: Tally,
    /// Lines that are no records.
    bad: u64,
}

impl Reading {
    /// Reads a file to its end. An error comes with its exit code.
    fn file(&mut self, path: &Path) -> Result<(), (u8, String)> {
        if path == Path::new("-") {
            return self.lines("standard input", BufReader::with_capacity(BUFFER, io::stdin()));
        }
        let file = File::open(path).map_err(|error| (USAGE, format!("it can't be read: {error}")))?;
        if file.metadata().is_ok_and(|about| about.is_dir()) {
            return Err((USAGE, "it is a directory; name the files in it".to_owned()));
        }
        self.lines(&path.display().to_string(), BufReader::with_capacity(BUFFER, file))
    }

    fn lines(&mut self, shown: &str, mut input: impl BufRead) -> Result<(), (u8, String)> {
        let failed = |error: io::Error| (FAILED, format!("it can't be read: {error}"));
        if let Some(program) = audit::decompressor(input.fill_buf().map_err(failed)?) {
            let with = format!("it is compressed; use `{program} FILE | exeat suggest -`");
            return Err((USAGE, with));
        }
        audit::each(input, |number, line| match line {
            Line::Flow(flow) => self.tally.add(&flow),
            Line::Opened | Line::Blank => {}
            Line::Bad(what) => {
                self.bad += 1;
                if self.bad <= TOLD_MAX {
                    anstream::eprintln!("warning: {shown}:{number}: left out: {what}");
                }
            }
        })
        .map_err(failed)
    }
}
