//! Which probes are made, and with which control each.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use hickory_proto::rr::RecordType;

use crate::guard;
use crate::verify::{Finding, Outcome, Seen, Trial, dns, icmp, tcp, udp};

/// Where metadata services answer.
const METADATA_PORT: u16 = 80;

/// A control that held, or what went wrong with it.
type Control = Result<String, String>;

/// Makes every probe, all at once; the allowed name comes first.
pub fn run(trial: &Trial) -> Vec<Finding> {
    let addresses: BTreeSet<IpAddr> = trial.probes.iter().map(SocketAddr::ip).collect();
    thread::scope(|scope| {
        let allowed = scope.spawn(|| allowed(trial));
        let mut pending = Vec::new();
        for at in trial.probes.iter().copied().chain(metadata()) {
            pending
                .push(scope.spawn(move || (format!("TCP {at}"), tcp::by_address(trial, at), Needs::Allowed)));
        }
        pending.push(scope.spawn(|| {
            let probe = format!("TCP {}:443, by name", trial.unlisted.as_str());
            (probe, tcp::by_name(trial, &trial.unlisted, 443), Needs::Allowed)
        }));
        for ip in addresses {
            pending.push(scope.spawn(move || {
                (format!("UDP 443 (QUIC) {ip}"), udp::quic(trial, ip), Needs::Itself(udp::itself(trial, ip)))
            }));
            pending.push(scope.spawn(move || {
                (format!("ping {ip}"), icmp::ping(trial, ip), Needs::Itself(icmp::itself(trial, ip)))
            }));
            for (what, kind, over_tcp) in [
                ("DNS", RecordType::A, false),
                ("DNS TXT", RecordType::TXT, false),
                ("DNS over TCP", RecordType::A, true),
            ] {
                pending.push(scope.spawn(move || {
                    let seen = dns::ask(trial, ip, &trial.unlisted, kind, over_tcp);
                    (format!("{what} {ip}"), seen, Needs::Itself(dns_control(trial, ip, over_tcp)))
                }));
            }
        }
        let allowed = joined(allowed);
        let tried: Vec<_> = pending.into_iter().map(joined).collect();
        judge(trial, allowed, tried)
    })
}

/// Where clouds tell an instance about itself, its credentials among it. A link-local address of IPv6 is left out: it
/// means nothing without an interface, and so no packet to it would leave.
fn metadata() -> impl Iterator<Item = SocketAddr> {
    let is_whole = |ip: &IpAddr| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    guard::metadata().filter(is_whole).map(|ip| SocketAddr::new(ip, METADATA_PORT))
}

/// By what a probe would have succeeded.
enum Needs {
    /// The allowed name, by the same kind of connection.
    Allowed,
    /// A control of its own.
    Itself(Control),
}

fn judge(trial: &Trial, allowed: Option<Seen>, tried: Vec<(String, Seen, Needs)>) -> Vec<Finding> {
    let control = match (&trial.allowed, &allowed) {
        (Some((name, port)), Some(Seen::Answer(_))) => Ok(format!("{}:{port} answers", name.as_str())),
        (Some((name, port)), _) => Err(format!("{}:{port} does not answer", name.as_str())),
        (None, _) => Err("no allowed name was given (--allowed)".to_owned()),
    };
    let first = trial.allowed.as_ref().zip(allowed).map(|((name, port), seen)| {
        let (outcome, detail) = match seen {
            Seen::Answer(detail) => (Outcome::Works, detail),
            Seen::Nothing(detail) | Seen::Ended(detail) | Seen::NoWay(detail) => (Outcome::Broken, detail),
        };
        Finding {
            probe: format!("allowed: {}:{port}", name.as_str()),
            outcome,
            detail,
            control: String::new(),
        }
    });
    let probes = tried.into_iter().map(|(probe, seen, needs)| {
        let control = match needs {
            Needs::Allowed => control.clone(),
            Needs::Itself(control) => control,
        };
        finding(probe, seen, control)
    });
    first.into_iter().chain(probes).collect()
}

fn finding(probe: String, seen: Seen, control: Control) -> Finding {
    let (outcome, detail, control) = match (seen, control) {
        (Seen::Answer(detail), Ok(control) | Err(control)) => (Outcome::GotOut, detail, control),
        (Seen::NoWay(detail), _) => (Outcome::Blocked, detail, "none needed".to_owned()),
        (Seen::Ended(detail), _) => {
            (Outcome::Unproven, detail, "a firewall here says so, or a host that was reached".to_owned())
        }
        (Seen::Nothing(detail), Ok(held)) => (Outcome::Blocked, detail, held),
        (Seen::Nothing(detail), Err(failure)) => (Outcome::Unproven, detail, failure),
    };
    Finding { probe, outcome, detail, control }
}

fn allowed(trial: &Trial) -> Option<Seen> {
    let (name, port) = trial.allowed.as_ref()?;
    Some(tcp::by_name(trial, name, *port))
}

/// The same server has to answer, through exeat, what may be asked.
fn dns_control(trial: &Trial, server: IpAddr, over_tcp: bool) -> Control {
    let Some((name, _)) = &trial.allowed else {
        return Err("no allowed name was given (--allowed)".to_owned());
    };
    let kind = if server.is_ipv6() { RecordType::AAAA } else { RecordType::A };
    // A name may have addresses of one family only.
    for kind in [kind, RecordType::A, RecordType::AAAA] {
        if let Seen::Answer(_) = dns::ask(trial, server, name, kind, over_tcp) {
            return Ok(format!("{} is answered", name.as_str()));
        }
    }
    Err(format!("{} is not answered either", name.as_str()))
}

/// A probe that panicked is a mistake of exeat's own, and no proof.
fn joined<T>(probe: thread::ScopedJoinHandle<'_, T>) -> T {
    probe.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
