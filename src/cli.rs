//! The commands: what a person types, and the only exit codes.

pub mod check;
pub mod explain;

use std::io::{self, Write};

use clap::ValueEnum;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// How a command prints its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// It was used wrongly, or a file is bad; clap exits with it too.
const USAGE: u8 = 2;
/// The answer is "denied", or a policy's test fails.
const DENIED: u8 = 3;

/// The day by which rules expire: everyone's, in UTC.
fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// Writes an answer; whoever stops reading it early wants no more of it.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    drop(written);
}
