//! `exeat verify`: proof that nothing else gets out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::{FAILED, Format, address, json, print};
use crate::host::Name;
use crate::verify::{Finding, Outcome, Trial, run as probe};

/// Well-known servers that answer: resolvers with DNS, DNS over TLS and HTTPS.
const CLOUDFLARE: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1));
const CLOUDFLARE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111));
const GOOGLE: IpAddr = IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8));
const GOOGLE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888));
const PROBES: [SocketAddr; 7] = [
    SocketAddr::new(CLOUDFLARE, 443),
    SocketAddr::new(CLOUDFLARE, 80),
    SocketAddr::new(CLOUDFLARE, 853),
    SocketAddr::new(GOOGLE, 443),
    SocketAddr::new(CLOUDFLARE_V6, 443),
    SocketAddr::new(CLOUDFLARE_V6, 853),
    SocketAddr::new(GOOGLE_V6, 443),
];

/// Prove, from where it stands, that nothing gets out but what exeat lets out
///
/// Tries TCP, UDP, QUIC, DNS and pings over IPv4 and IPv6, and the metadata addresses. A connection that is redirected
/// to exeat always succeeds, so it looks at what comes back; and each probe has a control that has to succeed.
/// Exits with 0 only if nothing got out and the allowed name works.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  exeat verify --allowed static.crates.io:443")]
pub(super) struct VerifyArgs {
    /// A name that the policy allows, with port 443 unless it says another: it has to work. Without it nothing is proven
    #[arg(long, value_name = "NAME[:PORT]", value_parser = name_and_port)]
    allowed: Option<(Name, u16)>,
    /// A server that must not be reached, instead of well-known ones; may be repeated
    #[arg(long, value_name = "ADDR:PORT", value_parser = server)]
    probe: Vec<SocketAddr>,
    /// A name that exists and that the policy does not allow
    #[arg(long, value_name = "NAME", default_value = "example.com", value_parser = name)]
    unlisted: Name,
    /// How long each step may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    patience: u64,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the command.
pub(super) fn run(args: VerifyArgs) -> ExitCode {
    let probes = if args.probe.is_empty() { PROBES.to_vec() } else { args.probe };
    let patience = Duration::from_secs(args.patience);
    let report =
        Report::new(probe(&Trial { allowed: args.allowed, unlisted: args.unlisted, probes, patience }));
    let answer = match args.format {
        Format::Text => report.text(),
        Format::Json => json(&report),
    };
    print(&answer, if report.proven { 0 } else { FAILED })
}

#[derive(Debug, Serialize)]
struct Report {
    proven: bool,
    findings: Vec<Finding>,
}

impl Report {
    fn new(findings: Vec<Finding>) -> Self {
        let works = findings.iter().any(|finding| finding.outcome == Outcome::Works);
        let proven = works && findings.iter().all(|finding| finding.outcome.is_good());
        Self { proven, findings }
    }

    fn text(&self) -> String {
        let width = |text: fn(&Finding) -> &str| {
            self.findings.iter().map(|finding| text(finding).chars().count()).max().unwrap_or_default()
        };
        let (probes, details) = (width(|finding| &finding.probe), width(|finding| &finding.detail));
        let mut text = String::new();
        for Finding { probe, outcome, detail, control } in &self.findings {
            let line = format!("{:<8}  {probe:<probes$}  {detail:<details$}  {control}", outcome.word());
            text += &format!("{}\n", line.trim_end());
        }
        text + self.summary()
    }

    fn summary(&self) -> &'static str {
        let any = |outcome| self.findings.iter().any(|finding| finding.outcome == outcome);
        match () {
            () if any(Outcome::GotOut) => "NOT ENFORCED: something got out\n",
            () if any(Outcome::Broken) => "not proven: the allowed name does not work\n",
            () if !self.proven => "not proven: the last column says why not\n",
            () => "enforced: nothing got out, and the allowed name works\n",
        }
    }
}

/// Nothing is ever sent to a link-local address of IPv6 without an interface, and so nothing is proven by it.
fn server(text: &str) -> Result<SocketAddr, String> {
    match address(text)? {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => Err(format!(
            "it needs the number of an interface (`ip link` shows them), like [{}%2]:{}",
            v6.ip(),
            v6.port()
        )),
        address => Ok(address),
    }
}

fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|error| error.to_string())
}

fn name_and_port(text: &str) -> Result<(Name, u16), String> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "443"));
    match port.parse() {
        Ok(port) if port > 0 => Ok((name(host)?, port)),
        _ => Err("not a name and a port, like static.crates.io:443".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(outcome: Outcome) -> Finding {
        Finding { probe: "p".to_owned(), outcome, detail: "d".to_owned(), control: "c".to_owned() }
    }

    #[test]
    fn a_server_is_one_that_can_be_reached_at_all() {
        for text in ["1.1.1.1:443", "[2606:4700::1111]:443", "169.254.169.254:80", "[fe80::a9fe:a9fe%2]:80"] {
            assert_eq!(server(text).map(|at| at.to_string()).as_deref(), Ok(text));
        }
        let told = server("[fe80::a9fe:a9fe]:80").unwrap_err();
        assert!(told.ends_with("like [fe80::a9fe:a9fe%2]:80"), "{told}");
        assert!(server("1.1.1.1").is_err());
    }

    #[test]
    fn only_a_working_name_and_silence_with_controls_prove_it() {
        use Outcome::{Blocked, Broken, GotOut, Unproven, Works};
        for (outcomes, proven) in [
            (&[Works, Blocked][..], true),
            (&[Blocked], false),
            (&[Works, Unproven], false),
            (&[Works, Blocked, GotOut], false),
            (&[Broken, Blocked], false),
            (&[], false),
        ] {
            let report = Report::new(outcomes.iter().copied().map(finding).collect());
            assert_eq!(report.proven, proven, "{outcomes:?}");
            assert_eq!(report.text().contains("enforced: nothing got out"), proven, "{outcomes:?}");
        }
    }
}
