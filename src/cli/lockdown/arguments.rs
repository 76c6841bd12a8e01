//! What can be said about the rules, and the plan it comes to.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::config::{Listener, Settings};
use crate::lockdown::Plan;
use crate::lockdown::firewall::{Format, Variant};
use crate::lockdown::plan::{Allowance, Exit, Shape};
use crate::network;
use crate::policy::document;

/// Whose words the rules are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Words {
    /// iptables-restore and ip6tables-restore, of the kind that the system has chosen.
    #[default]
    Iptables,
    /// iptables over nf_tables.
    IptablesNft,
    /// iptables of old.
    IptablesLegacy,
    /// One table of nft for both families; rules of other tables can't come before it.
    Nft,
}

impl Words {
    pub(super) fn format(self) -> Format {
        match self {
            Self::Iptables => Format::Iptables(Variant::System),
            Self::IptablesNft => Format::Iptables(Variant::Nft),
            Self::IptablesLegacy => Format::Iptables(Variant::Legacy),
            Self::Nft => Format::Nft,
        }
    }
}

/// The formats that are meant: one, or all that a system may have. Two of them may be the same.
pub(super) fn formats(only: Option<Words>) -> Vec<Format> {
    match only {
        Some(words) => vec![words.format()],
        None => [Variant::System, Variant::Nft, Variant::Legacy]
            .map(Format::Iptables)
            .into_iter()
            .chain([Format::Nft])
            .collect(),
    }
}

/// The rules to print or apply.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct RuleArgs {
    /// Lock what arrives by --interface and would be forwarded, not the programs of this host
    #[arg(long, requires = "interface")]
    pub gateway: bool,
    /// With --gateway: an interface of the clients. Without: one of containers, which then may use exeat
    /// as the programs of this host do (docker0; docker+ for all that begin so); may be repeated
    #[arg(long, value_name = "IF", value_parser = interface)]
    pub interface: Vec<String>,
    /// Only these addresses are let to exeat, others that arrive there are forwarded nowhere; may be repeated
    #[arg(long, value_name = "CIDR", value_parser = network::parse, requires = "gateway")]
    pub subnet: Vec<IpNet>,
    /// With --gateway: TCP reaches exeat by TPROXY and routes of its own instead of NAT; exeat needs CAP_NET_ADMIN
    #[arg(long, requires = "gateway")]
    pub tproxy: bool,
    /// The user that exeat runs as: its programs may leave
    #[arg(long, value_name = "NAME", default_value = "exeat", value_parser = user)]
    pub uid: String,
    /// Let packets with this mark leave, instead of those of a user; exeat does not set it itself
    #[arg(long, value_name = "MARK", value_parser = mark, conflicts_with = "uid")]
    pub mark: Option<u32>,
    /// The settings of exeat: its ports, and the DNS servers it asks
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The port of the transparent door [default: that of the settings, or 3129]
    #[arg(long, value_name = "PORT", value_parser = port())]
    pub transparent_port: Option<u16>,
    /// The port of the DNS door [default: that of the settings, or 3153]
    #[arg(long, value_name = "PORT", value_parser = port())]
    pub dns_port: Option<u16>,
    /// Let this UDP port of the addresses of the next --to pass; may be repeated
    #[arg(long, value_name = "PORT", value_parser = port(), requires = "to")]
    pub allow_udp: Vec<u16>,
    /// Where --allow-udp leads; one for each
    #[arg(long, value_name = "CIDR", value_parser = network::parse, requires = "allow_udp")]
    pub to: Vec<IpNet>,
    /// Let everything but DNS to these addresses pass, without exeat: the traffic of a cluster; may be repeated
    #[arg(long, value_name = "CIDR", value_parser = network::parse)]
    pub allow_cidr: Vec<IpNet>,
    /// A UDP port that is served here for others: its answers pass; may be repeated
    #[arg(long, value_name = "PORT", value_parser = port())]
    pub serve_udp: Vec<u16>,
    /// Connections from outside to this TCP port live on even if they are older than connection tracking;
    /// below 1024; may be repeated
    #[arg(long, value_name = "PORT", default_value = "22", value_parser = clap::value_parser!(u16).range(1..1024))]
    pub keep_port: Vec<u16>,
    /// Lock IPv4 alone: everything can leave by IPv6, if there is any
    #[arg(long)]
    pub ipv4_only: bool,
    /// How the rules are written
    #[arg(long, value_enum, default_value_t)]
    pub format: Words,
}

/// What that comes to.
#[derive(Debug)]
pub(super) struct Meant {
    pub plan: Plan,
    /// The DNS servers that exeat is told to ask; none: those of the system.
    pub dns_servers: Vec<SocketAddr>,
}

impl RuleArgs {
    /// What is meant, or what is wrong with what was said. The settings are read here alone: a pipe has them once, and a
    /// file may change.
    pub(super) fn meant(&self) -> Result<Meant, String> {
        if self.allow_udp.len() != self.to.len() {
            return Err("each --allow-udp PORT needs its own --to CIDR".to_owned());
        }
        let shape = match self.gateway {
            true => Shape::Gateway {
                interfaces: self.interface.clone(),
                subnets: self.subnet.clone(),
                tproxy: self.tproxy,
            },
            false => Shape::Instance { containers: self.interface.clone() },
        };
        let mut plan = Plan::new(shape);
        let settings = self.settings()?;
        plan.ipv4_only = self.ipv4_only;
        plan.exit = self.mark.map_or_else(|| Exit::User(self.uid.clone()), Exit::Mark);
        plan.transparent_port =
            self.transparent_port.or(settings.transparent).unwrap_or(plan.transparent_port);
        plan.dns_port = self.dns_port.or(settings.dns).unwrap_or(plan.dns_port);
        let ports = self.allow_udp.iter().zip(&self.to).map(|(port, to)| Allowance::Udp(*port, *to));
        plan.allowances = self.allow_cidr.iter().copied().map(Allowance::Network).chain(ports).collect();
        plan.served_udp.clone_from(&self.serve_udp);
        plan.kept_tcp.clone_from(&self.keep_port);
        Ok(Meant { plan, dns_servers: settings.dns_servers })
    }

    fn settings(&self) -> Result<Said, String> {
        let Some(path) = &self.config else { return Ok(Said::default()) };
        let settings = Settings::load(path)
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        let port = |listeners: &[Listener]| listeners.first().map(|listener| listener.address.port());
        Ok(Said {
            transparent: port(&settings.listen.transparent),
            dns: port(&settings.listen.dns),
            dns_servers: settings.dns.servers.iter().map(|server| server.address).collect(),
        })
    }
}

/// What the settings say about the rules.
#[derive(Default)]
struct Said {
    transparent: Option<u16>,
    dns: Option<u16>,
    dns_servers: Vec<SocketAddr>,
}

fn port() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}

/// The rules are text: what goes into them is checked to be one word.
fn user(text: &str) -> Result<String, String> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.$".contains(&byte);
    if text.is_empty() || text.len() > 32 || text.starts_with('-') || !text.bytes().all(word) {
        return Err("not the name or number of a user".to_owned());
    }
    let user = match text.bytes().all(|byte| byte.is_ascii_digit()) {
        // iptables and nft would take one that begins with 0 for octal.
        true => text.parse::<u32>().map_err(|_| "no user has this number".to_owned())?.to_string(),
        false => text.to_owned(),
    };
    if user == "root" || user == "0" {
        return Err("every daemon of the system would be let out: exeat needs a user of its own".to_owned());
    }
    Ok(user)
}

/// As the kernel allows (IFNAMSIZ), and `+` at its end for all that begin so.
fn interface(text: &str) -> Result<String, String> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@:".contains(&byte);
    let name = text.strip_suffix('+').unwrap_or(text);
    if name.is_empty() || text.len() > 15 || name.starts_with('-') || !name.bytes().all(word) {
        return Err("not the name of an interface".to_owned());
    }
    Ok(text.to_owned())
}

fn mark(text: &str) -> Result<u32, String> {
    document::mark(text).map(NonZeroU32::get).map_err(|why| format!("{why}; write one like 0x65"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;
    use std::thread;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        rules: RuleArgs,
    }

    fn plan(line: &str) -> Result<Plan, String> {
        let words = ["exeat"].into_iter().chain(line.split_ascii_whitespace());
        let typed = Typed::try_parse_from(words).map_err(|error| error.to_string())?;
        typed.rules.meant().map(|meant| meant.plan)
    }

    #[test]
    fn settings_may_come_through_a_pipe() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("exeat.yaml");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let writer = thread::spawn({
            let pipe = pipe.clone();
            move || {
                let text = "listen: { transparent: [\"127.0.0.1:4129\"], dns: [\"127.0.0.1:4153\"] }\n\
                            dns: { servers: [192.0.2.53] }\n";
                fs::write(pipe, text).unwrap();
            }
        });
        let typed = Typed::try_parse_from(["exeat".as_ref(), "--config".as_ref(), pipe.as_os_str()]).unwrap();
        let meant = typed.rules.meant().unwrap();
        writer.join().unwrap();
        assert_eq!((meant.plan.transparent_port, meant.plan.dns_port), (4129, 4153));
        assert_eq!(meant.dns_servers, ["192.0.2.53:53".parse().unwrap()]);
    }

    #[test]
    fn what_is_typed_becomes_a_plan() {
        let ours = plan("").unwrap();
        assert_eq!(ours, Plan::new(Shape::Instance { containers: Vec::new() }));
        let typed = plan(
            "--gateway --tproxy --interface eth1 --subnet 10.0.1.7 --mark 0x65 --dns-port 53 --allow-udp 123 --to 10.0.0.2 \
             --allow-udp 4789 --to 10.0.0.0/8 --allow-cidr fd00::/8",
        )
        .unwrap();
        let subnets = vec!["10.0.1.7/32".parse().unwrap()];
        assert_eq!(
            typed.shape,
            Shape::Gateway { interfaces: vec!["eth1".to_owned()], subnets, tproxy: true }
        );
        assert_eq!((typed.exit, typed.dns_port), (Exit::Mark(0x65), 53));
        assert_eq!(
            typed.allowances,
            [
                Allowance::Network("fd00::/8".parse().unwrap()),
                Allowance::Udp(123, "10.0.0.2/32".parse().unwrap()),
                Allowance::Udp(4789, "10.0.0.0/8".parse().unwrap()),
            ]
        );
    }

    #[test]
    fn the_number_of_a_user_is_decimal() {
        assert_eq!(plan("--uid 01000").unwrap().exit, Exit::User("1000".to_owned()));
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for line in [
            "--uid 4294967296",
            "--gateway",
            "--subnet 10.0.0.0/8",
            "--tproxy",
            "--uid root",
            "--uid 0",
            "--uid x;y",
            "--uid exeat --mark 1",
            "--mark 0",
            // TPROXY sets this bit.
            "--mark 0x2000000",
            "--interface eth0!",
            "--interface an-interface-too-long",
            "--allow-udp 123",
            "--to 10.0.0.2",
            "--allow-udp 123 --allow-udp 124 --to 10.0.0.2",
            "--allow-cidr 10.0.0.0/33",
            "--dns-port 0",
            "--keep-port 8080",
            "--config /nowhere/exeat.yaml",
        ] {
            assert!(plan(line).is_err(), "{line}");
        }
    }
}
