//! `exeat import`: the rules of another program as a policy.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use ipnet::IpNet;

use crate::cli::{PARTLY, print, refuse};
use crate::file;
use crate::learn::import::{Imported, SIZE_MAX, aviatrix, smokescreen, squid};
use crate::mistake::{Mistake, Place};
use crate::network;
use crate::policy::who::Who;

/// Translate the rules of another program into a policy
///
/// Prints the policy; what has no equal is told on stderr line by line, and stands in comments at the end. Exits with 0
/// if everything has an equal, otherwise with 3.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example:\n  exeat import squid /etc/squid/squid.conf > policy.yaml && exeat check policy.yaml"
)]
pub(super) struct ImportArgs {
    #[command(subcommand)]
    from: From,
    /// Print no policy unless everything has an equal
    #[arg(long, global = true)]
    strict: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum From {
    /// Aviatrix' FQDN egress tags: Terraform (HCL, JSON, state), the controller's API, or CSV
    #[command(after_help = "Example:\n  exeat import aviatrix --client prod=10.0.1.0/24 tags.csv")]
    Aviatrix {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The clients of a tag, instead of those in the file; may be repeated
        #[arg(long, value_name = "TAG=CIDR", value_parser = client)]
        client: Vec<(String, IpNet)>,
        /// Take rules without a mode, as in CSV, as a black list
        #[arg(long)]
        black: bool,
    },
    /// Smokescreen's ACL, v1
    #[command(
        after_help = "Example:\n  exeat import smokescreen --client ci=10.0.1.0/24 --client web=cert:web acl.yaml"
    )]
    Smokescreen {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The clients of a role; may be repeated. A role without stays a comment
        #[arg(long, value_name = "ROLE=CIDR|cert:NAME|user:NAME", value_parser = role)]
        client: Vec<(String, Who)>,
        /// Ports that are allowed, instead of 443 and 80; may be repeated
        #[arg(long, value_name = "PORT|RANGE", value_parser = ports)]
        ports: Vec<(u16, u16)>,
    },
    /// Squid's acl and http_access lines, with what they include
    #[command(after_help = "Example:\n  exeat import squid /etc/squid/squid.conf")]
    Squid {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Runs the command.
pub(super) fn run(args: ImportArgs) -> ExitCode {
    match imported(args.from) {
        Err(mistakes) => refuse(&mistakes),
        Ok(imported) => {
            imported.remarks.iter().for_each(|remark| anstream::eprintln!("{remark}"));
            let lost = imported.lost();
            if lost > 0 {
                let more = if args.strict { "; no policy is printed" } else { "" };
                anstream::eprintln!("{lost} of these have no equal{more}");
            }
            let code = if lost > 0 { PARTLY } else { 0 };
            if lost > 0 && args.strict { ExitCode::from(code) } else { print(&imported.policy(), code) }
        }
    }
}

fn imported(from: From) -> Result<Imported, Vec<Mistake>> {
    match from {
        From::Aviatrix { file, client, black } => {
            aviatrix::import(&file, &read(&file)?, &aviatrix::Options { clients: client, black })
        }
        From::Smokescreen { file, client, ports } => {
            smokescreen::import(&file, &read(&file)?, &smokescreen::Options { clients: client, ports })
        }
        From::Squid { file } => squid::import(&file),
    }
}

fn read(path: &Path) -> Result<String, Vec<Mistake>> {
    file::read(path, SIZE_MAX).map_err(|error| vec![Mistake::error(Place::start(path), error.to_string())])
}

fn client(text: &str) -> Result<(String, IpNet), String> {
    let (name, network) = text.rsplit_once('=').ok_or("write NAME=CIDR, like ci=10.0.1.0/24")?;
    let network = network::parse(network).map_err(|error| format!("after the =: {error}"))?;
    Ok((name.to_owned(), network.trunc()))
}

fn role(text: &str) -> Result<(String, Who), String> {
    let (name, who) = text.split_once('=').ok_or("write ROLE=WHO, like ci=10.0.1.0/24 or ci=cert:ci")?;
    Ok((name.to_owned(), who.parse().map_err(|error| format!("after the =: {error}"))?))
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first @ 1..), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err("write a port from 1 to 65535, or a range like 8000-8100".to_owned()),
    }
}
