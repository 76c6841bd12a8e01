//! Policies and questions in a few words.

use std::path::Path;

use jiff::civil::{Date, date};

use crate::client::Client;
use crate::destination::Destination;
use crate::guard::Special;
use crate::host::Name;
use crate::mistake::Place;
use crate::policy::pattern::Pattern;
use crate::policy::terms::{Action, Mode, Ports, Private, Profile, Protocol, Terms};
use crate::policy::who::Who;
use crate::policy::{Builder, Policy, ProfileId, Question, Seen, SourceId, Target};
use crate::reason::Reason;

/// A policy in the making: rules go to the profile that was begun last, one a line of `p.yaml`.
pub(super) struct Draft {
    builder: Builder,
    source: SourceId,
    profile: ProfileId,
    line: u32,
}

impl Draft {
    pub(super) fn new(profile: Profile) -> Self {
        let mut builder = Builder::new();
        let source = builder.source(Path::new("p.yaml"));
        let profile = builder.profile(profile);
        Self { builder, source, profile, line: 0 }
    }

    pub(super) fn profile(mut self, profile: Profile) -> Self {
        self.profile = self.builder.profile(profile);
        self
    }

    pub(super) fn rule(mut self, target: &str, terms: Terms) -> Self {
        let target = match target.parse() {
            Ok(network) => Target::Cidr(network),
            Err(_) => Target::Name(Pattern::parse(target).unwrap()),
        };
        self.line += 1;
        let terms = self.builder.terms(terms);
        self.builder.rule(self.profile, &target, terms, self.source, self.line);
        self
    }

    pub(super) fn finish(self) -> Policy {
        self.builder.finish(7)
    }
}

pub(super) fn everyone() -> Profile {
    Profile {
        name: "everyone".to_owned(),
        place: Place::start(Path::new("p")),
        clients: None,
        mode: Mode::Enforce,
        ech_outer: false,
        outgoing: None,
        way: None,
    }
}

pub(super) fn reporting() -> Profile {
    Profile { name: "reporting".to_owned(), mode: Mode::Report, ..everyone() }
}

pub(super) fn clients(name: &str, networks: &[&str]) -> Profile {
    let networks = networks.iter().map(|network| Who::Network(network.parse().unwrap())).collect();
    Profile { name: name.to_owned(), clients: Some(networks), ..everyone() }
}

pub(super) fn allow() -> Terms {
    Terms {
        action: Action::Allow,
        ports: ports(&[80, 443]),
        protocol: None,
        private: Private::No,
        until: None,
        methods: Vec::new(),
        paths: None,
        ech_outer: false,
        way: None,
        reason: None,
    }
}

pub(super) fn deny() -> Terms {
    Terms { action: Action::Deny, ports: Ports::all(), ..allow() }
}

pub(super) fn tcp(port: u16) -> Terms {
    Terms { protocol: Some(Protocol::Tcp), ports: ports(&[port]), ..allow() }
}

pub(super) fn ports(ports: &[u16]) -> Ports {
    Ports::new(ports.iter().map(|&port| (port, port)).collect())
}

/// A question in the making, and its answer.
#[derive(Clone)]
pub(super) struct Ask<'p> {
    policy: &'p Policy,
    pub(super) client: Client,
    to: Destination,
    seen: Sight,
    address: Option<std::net::IpAddr>,
    today: Date,
}

#[derive(Clone, Debug)]
pub(super) enum Sight {
    Unknown,
    Unread,
    Hello { server_name: Option<&'static str>, ech: bool },
    Request(&'static str, &'static str),
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) reason: Reason,
    pub(super) rule: Option<String>,
    pub(super) would_deny: bool,
    pub(super) special: Option<Special>,
}

pub(super) fn hello(server_name: &'static str) -> Sight {
    Sight::Hello { server_name: Some(server_name), ech: false }
}

pub(super) fn ask<'p>(policy: &'p Policy, to: &str) -> Ask<'p> {
    let client = Client::supposed("10.0.0.1".parse().unwrap());
    let to = Destination::parse(to).unwrap();
    Ask { policy, client, to, seen: Sight::Unknown, address: None, today: date(2026, 11, 22) }
}

impl Ask<'_> {
    pub(super) fn client(mut self, address: &str) -> Self {
        self.client.address.set_ip(address.parse().unwrap());
        self
    }

    pub(super) fn on_this_host(mut self) -> Self {
        self.client.on_this_host = true;
        self
    }

    pub(super) fn seen(mut self, seen: Sight) -> Self {
        self.seen = seen;
        self
    }

    pub(super) fn address(mut self, address: &str) -> Self {
        self.address = Some(address.parse().unwrap());
        self
    }

    pub(super) fn on(mut self, today: Date) -> Self {
        self.today = today;
        self
    }

    pub(super) fn answer(&self) -> Answer {
        let subject = self.policy.subject(&self.client);
        let name = match self.seen {
            Sight::Hello { server_name, .. } => server_name.map(|name| Name::parse(name).unwrap()),
            _ => None,
        };
        let seen = match self.seen {
            Sight::Unknown => Seen::Unknown,
            Sight::Unread => Seen::Unread,
            Sight::Hello { ech, .. } => Seen::Tls { server_name: name.as_ref(), ech },
            Sight::Request(method, path) => Seen::Http { method, path },
            Sight::Other => Seen::Other,
        };
        let question = Question { to: &self.to, seen, address: self.address };
        let verdict = self.policy.decide(&subject, &question, self.today);
        assert_eq!(verdict.is_allow(), verdict.admit().is_ok());
        // Whoever was admitted before the address was known gets the same answer.
        let question = Question { address: None, ..question };
        let before = self.policy.decide(&subject, &question, self.today);
        if let (Some(address), Ok(admission)) = (self.address, before.admit()) {
            assert_eq!(format!("{:?}", admission.accepts(address)), format!("{verdict:?}"));
        }
        Answer {
            reason: verdict.reason,
            rule: verdict.rule.map(|rule| rule.to_string()),
            would_deny: verdict.would_deny,
            special: verdict.special,
        }
    }

    pub(super) fn reason(&self) -> Reason {
        self.answer().reason
    }

    /// The line of the rule that the verdict names; 0 for none.
    pub(super) fn line(&self) -> u32 {
        let rule = self.answer().rule.unwrap_or_default();
        rule.split([':', ' ']).nth(1).map_or(0, |line| line.parse().unwrap())
    }
}
