//! `exeat explain`: what the policy says to one destination, and why.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::civil::Date;

use crate::cli::{DENIED, Format, USAGE, json, print};
use crate::client::{Client, User};
use crate::clock::today;
use crate::mistake::Mistake;
use crate::policy::asked::Asked;
use crate::policy::document::Sources;
use crate::policy::explain::{Explanation, explain};

/// Say whether a client may reach a destination, and why
///
/// Nothing is connected or looked up: it asks the same decision as the proxy. Exits with 0 if the destination
/// is allowed, with 3 if it is denied.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  exeat explain --policy /etc/exeat/policies --client 10.0.1.9 static.crates.io\n  \
                  exeat explain --policy /etc/exeat/policies --client 10.0.0.7 --user alice --group ci github.com\n  \
                  exeat explain --allow '*.example.com' http://pub.example.com/file"
)]
pub(super) struct ExplainArgs {
    /// Policy files or directories; without any, and without --allow, the built-in policy
    #[arg(long, value_name = "PATH")]
    pub policy: Vec<PathBuf>,
    /// Allow a pattern for every client
    #[arg(long, value_name = "PATTERN")]
    pub allow: Vec<String>,
    /// The address of the client
    #[arg(long, value_name = "IP", value_parser = ip, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub client: IpAddr,
    /// The user that the client's credentials are of
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// A group that the user is in; may be repeated
    #[arg(long, value_name = "NAME", requires = "user")]
    pub group: Vec<String>,
    /// The name of the client's certificate
    #[arg(long, value_name = "NAME")]
    pub cert: Option<String>,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// A host, host:port or URL; the port is 443 if it is left out
    #[arg(value_name = "HOST[:PORT]|URL")]
    pub destination: String,
}

/// Runs the command.
pub(super) fn run(args: ExplainArgs) -> ExitCode {
    let format = args.format;
    match answer(args, today()) {
        Ok(explanation) => {
            let answer = match format {
                Format::Text => explanation.to_string(),
                Format::Json => json(&explanation),
            };
            print(&answer, if explanation.verdict == "allow" { 0 } else { DENIED })
        }
        Err(complaint) => {
            anstream::eprint!("{complaint}");
            ExitCode::from(USAGE)
        }
    }
}

fn answer(args: ExplainArgs, today: Date) -> Result<Explanation, String> {
    let asked = Asked::parse(&args.destination)
        .map_err(|error| format!("error: {:?} is no destination: {error}\n", args.destination))?;
    let loaded =
        Sources { paths: args.policy, allow: args.allow }.load().map_err(|mistakes| listed(&mistakes))?;
    let policy = loaded.builder.finish(0);
    let user = args.user.map(|user| User::supposed(&user, &args.group));
    let client = Client::supposed(args.client).named(user, args.cert.as_deref());
    Ok(explain(&policy, &client, &asked, today))
}

fn listed(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "it must be an IP address, like 10.0.1.9 or 2001:db8::9".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(allow: &[&str], destination: &str) -> Result<Explanation, String> {
        let args = ExplainArgs {
            policy: Vec::new(),
            allow: allow.iter().map(ToString::to_string).collect(),
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            user: None,
            group: Vec::new(),
            cert: None,
            format: Format::Text,
            destination: destination.to_owned(),
        };
        answer(args, jiff::civil::date(2026, 11, 22))
    }

    #[test]
    fn without_a_policy_the_built_in_one_answers() {
        let explanation = ask(&[], "static.crates.io").unwrap();
        assert_eq!(explanation.verdict, "allow");
        assert_eq!(explanation.rule.unwrap().file, "policies/default.yaml (built in)");
    }

    #[test]
    fn flags_make_a_policy_of_their_own() {
        let explanation = ask(&["*.example.com"], "crates.io").unwrap();
        assert_eq!((explanation.verdict, explanation.reason), ("deny", "no_rule"));
        assert_eq!(explanation.remedy.unwrap().to_string(), "start exeat with --allow crates.io too");
        assert_eq!(ask(&["*.example.com"], "a.example.com").unwrap().verdict, "allow");
    }

    #[test]
    fn whoever_is_named_is_asked_about() {
        #[derive(clap::Parser)]
        struct Typed {
            #[command(flatten)]
            args: ExplainArgs,
        }
        let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        let policy = "version: 1\nprofiles:\n  \
             - { name: office, clients: [10.0.0.0/8], allow: [office.example] }\n  \
             - { name: alice, clients: ['user:alice'], allow: [alice.example] }\n  \
             - { name: ci, clients: [{ group: ci, from: 10.0.0.0/8 }], allow: [ci.example] }\n  \
             - { name: spiffe, clients: ['cert:spiffe://corp/*'], allow: [cert.example] }\n";
        std::fs::write(&file, policy).unwrap();
        let ask = |flags: &str, destination: &str| {
            let path = file.path().to_str().unwrap();
            let words = ["explain", "--policy", path].into_iter().chain(flags.split_whitespace());
            let typed = <Typed as clap::Parser>::try_parse_from(words.chain([destination])).unwrap();
            answer(typed.args, jiff::civil::date(2026, 11, 22)).unwrap()
        };
        for (flags, profiles, allowed) in [
            ("--client 10.0.0.7", &["office"][..], "office.example"),
            ("--client 10.0.0.7 --user alice", &["office", "alice"], "alice.example"),
            ("--client 10.0.0.7 --user bob --group dev --group ci", &["office", "ci"], "ci.example"),
            ("--client 192.0.2.1 --user bob --group ci", &[], ""),
            ("--client 192.0.2.1 --cert spiffe://corp/build", &["spiffe"], "cert.example"),
        ] {
            for destination in ["office.example", "alice.example", "ci.example", "cert.example"] {
                let explanation = ask(flags, destination);
                assert_eq!(explanation.profiles, profiles, "{flags}");
                let is_allowed =
                    destination == allowed || profiles.contains(&"office") && destination == "office.example";
                assert_eq!(explanation.verdict == "allow", is_allowed, "{flags} {destination}");
            }
        }
        let said = ask("--client 10.0.0.7 --user bob --group ci", "ci.example").to_string();
        assert!(said.starts_with("allow  ci.example:443 for 10.0.0.7 as bob of ci\n"), "{said}");
    }

    #[test]
    fn what_is_no_destination_or_no_pattern_is_told() {
        assert!(ask(&[], "exa mple").unwrap_err().starts_with("error: \"exa mple\" is no destination"));
        let complaint = ask(&["a.example", "https://b.example"], "a.example").unwrap_err();
        assert!(
            complaint.starts_with("--allow:2:1: error: ") && complaint.contains("\"b.example\""),
            "{complaint}"
        );
    }
}
