//! What no rule speaks for, as a person is asked about it, and the rule that says yes to it.

use std::fmt;
use std::path::Path;

use ipnet::IpNet;

use crate::client::Leave;
use crate::destination::Destination;
use crate::guard;
use crate::host::{Host, Name};
use crate::mistake::Place;
use crate::policy::builder::{Builder, ProfileId, Target};
use crate::policy::explain;
use crate::policy::pattern::Pattern;
use crate::policy::question::{Question, Seen};
use crate::policy::terms::{Action, Mode, Ports, Private, Profile, Protocol, Terms};
use crate::policy::verdict::Verdict;
use crate::policy::who::Who;
use crate::reason::Reason;

/// The ports of a rule that names none.
const USUAL: [u16; 2] = [80, 443];

/// How rules are shown that a person was asked about, and that stand in no file.
pub const ASKED: &str = "--ask";

/// A destination that somebody may be asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wish {
    pub host: Host,
    /// `None`: 80 and 443, which a rule opens that names no port.
    pub port: Option<u16>,
    /// Neither TLS nor HTTP: only a rule that does not look inside allows it.
    pub unread: bool,
}

/// A yes: the rule, and for whom it is.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    pub wish: &'a Wish,
    /// `None`: everyone.
    pub leave: Option<Leave>,
    /// Where the rule stands, for people.
    pub file: &'a Path,
    pub line: u32,
}

impl Wish {
    /// What to ask about a flow with this verdict; `None` where a rule decided, or where none could allow it.
    pub fn of(question: &Question<'_>, verdict: &Verdict<'_>) -> Option<Self> {
        let Question { to, seen, .. } = *question;
        let is_special = matches!(to.host, Host::Ip(address) if guard::special(address).is_some());
        // Where a rule for the destination leaves this out, its author has answered already.
        if verdict.reason != Reason::NoRule || verdict.rule.is_some() || is_special {
            return None;
        }
        let unread = matches!(seen, Seen::Unread | Seen::Other);
        let is_usual = USUAL.contains(&to.port) && !unread;
        Some(Self { host: to.host.clone(), port: (!is_usual).then_some(to.port), unread })
    }

    /// What to ask about the look-up of a name.
    pub fn of_name(name: &Name) -> Self {
        Self { host: Host::Name(name.clone()), port: None, unread: false }
    }

    /// A destination that it stands for.
    pub fn destination(&self) -> Destination {
        Destination::new(self.host.clone(), self.port.unwrap_or(USUAL[1]))
    }

    /// The rule, as an item of a list in a policy file, with its dash.
    pub fn line(&self) -> String {
        explain::line(&self.destination(), self.unread)
    }

    fn target(&self) -> Option<Target> {
        Some(match &self.host {
            Host::Name(name) => Target::Name(Pattern::parse(name.as_str()).ok()?),
            Host::Ip(address) => Target::Cidr(IpNet::from(address.to_canonical())),
        })
    }

    fn terms(&self, ech_outer: bool) -> Terms {
        let ports = self.port.map_or(USUAL.to_vec(), |port| vec![port]);
        Terms {
            action: Action::Allow,
            ports: Ports::new(ports.into_iter().map(|port| (port, port)).collect()),
            protocol: self.unread.then_some(Protocol::Tcp),
            private: Private::No,
            until: None,
            methods: Vec::new(),
            paths: None,
            ech_outer,
            way: None,
            reason: None,
        }
    }
}

/// For people: the name, or the address, and the port if it is not one of the usual.
impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(_) => self.destination().fmt(f),
            None => self.host.fmt(f),
        }
    }
}

impl Builder {
    /// Adds what a person said yes to, in the profile `everyones` or in one of its own for a leave.
    pub fn grant(&mut self, grant: &Grant<'_>, everyones: &mut Option<ProfileId>) {
        let Grant { wish, leave, file, line } = *grant;
        // As if it stood in the profile of everyone that is there already: what that says of its rules holds.
        let own = self.profiles().iter().find(|profile| profile.clients.is_none()).cloned();
        let (Some(target), Some(own)) = (wish.target(), own) else { return };
        let mut profile = |clients| {
            self.profile(Profile {
                // Its name can't be that of a profile in a file.
                name: ASKED.to_owned(),
                place: Place::start(Path::new(ASKED)),
                clients,
                // Whether silence denies is for the others to say: all of a client's profiles have to report.
                mode: Mode::Report,
                ..own.clone()
            })
        };
        let profile = match leave {
            Some(leave) => profile(Some(vec![Who::Leave(leave)])),
            None => *everyones.get_or_insert_with(|| profile(None)),
        };
        let terms = self.terms(wish.terms(own.ech_outer));
        let source = self.source(file);
        self.rule(profile, &target, terms, source, line);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use jiff::civil::date;

    use super::*;
    use crate::client::Client;
    use crate::policy::Policy;
    use crate::policy::document::load_text;

    const POLICY: &str = "version: 1\nprofiles:\n  - name: all\n    deny: [denied.example]\n    allow:\n      \
        - a.example\n      - { host: head.example, protocol: http, methods: [HEAD] }\n";
    const GET: Seen<'_> = Seen::Http { method: "GET", path: "/" };

    fn decide(policy: &Policy, leave: Option<Leave>, to: &str, seen: Seen<'_>) -> (Reason, Option<Wish>) {
        let client = Client { leave, ..Client::supposed("127.0.0.1".parse().unwrap()) };
        let (to, subject) = (Destination::parse(to).unwrap(), policy.subject(&client));
        let question = Question { to: &to, seen, address: None };
        let verdict = policy.decide(&subject, &question, date(2026, 11, 25));
        (verdict.reason, Wish::of(&question, &verdict))
    }

    #[test]
    fn only_what_no_rule_speaks_for_is_a_wish() {
        let policy = load_text(Path::new("policy.yaml"), POLICY).unwrap().builder.finish(1);
        for (to, seen, wish) in [
            ("new.example:443", Seen::Unknown, Some(("new.example", "- new.example"))),
            ("new.example:80", GET, Some(("new.example", "- new.example"))),
            (
                "new.example:8443",
                Seen::Unknown,
                Some(("new.example:8443", "- { host: new.example, ports: [8443] }")),
            ),
            (
                "a.example:22",
                Seen::Unread,
                Some(("a.example:22", "- { host: a.example, ports: [22], protocol: tcp }")),
            ),
            (
                "new.example:443",
                Seen::Other,
                Some(("new.example:443", "- { host: new.example, ports: [443], protocol: tcp }")),
            ),
            ("93.184.216.34:443", Seen::Unknown, Some(("93.184.216.34", "- { cidr: 93.184.216.34/32 }"))),
            ("a.example:443", Seen::Unknown, None),
            ("a.example:443", Seen::Other, None),
            ("denied.example:443", Seen::Unknown, None),
            ("head.example:80", GET, None),
            ("10.0.0.1:443", Seen::Unknown, None),
            ("169.254.169.254:80", GET, None),
        ] {
            let (reason, asked) = decide(&policy, None, to, seen);
            let asked = asked.map(|asked| (asked.to_string(), asked.line()));
            let wish = wish.map(|(name, line)| (name.to_owned(), line.to_owned()));
            assert_eq!(asked, wish, "{to} {reason}");
        }
    }

    #[test]
    fn a_yes_allows_what_was_wished_for_and_whom_it_is_for() {
        let wish = |to: &str, seen| {
            let policy = load_text(Path::new("policy.yaml"), POLICY).unwrap().builder.finish(1);
            decide(&policy, None, to, seen).1.unwrap()
        };
        let leave = Leave(NonZeroU32::MIN);
        let mut builder = load_text(Path::new("policy.yaml"), POLICY).unwrap().builder;
        let mut everyones = None;
        for (number, (wish, leave)) in [
            (wish("once.example:443", Seen::Unknown), Some(leave)),
            (wish("run.example:443", Seen::Unknown), None),
            (wish("run.example:22", Seen::Unread), None),
            (wish("93.184.216.34:443", Seen::Unknown), None),
        ]
        .iter()
        .enumerate()
        {
            let line = u32::try_from(number).unwrap();
            let grant = Grant { wish, leave: *leave, file: Path::new(ASKED), line };
            builder.grant(&grant, &mut everyones);
        }
        let policy = builder.finish(2);
        for (to, seen, allowed, with_leave) in [
            ("once.example:443", Seen::Unknown, false, true),
            ("once.example:80", GET, false, true),
            ("once.example:22", Seen::Unread, false, false),
            ("run.example:443", Seen::Unknown, true, true),
            ("a.run.example:443", Seen::Unknown, false, false),
            ("run.example:22", Seen::Unread, true, true),
            ("run.example:23", Seen::Unread, false, false),
            ("93.184.216.34:443", Seen::Unknown, true, true),
            ("denied.example:443", Seen::Unknown, false, false),
            ("a.example:443", Seen::Unknown, true, true),
        ] {
            let reason = |leave| decide(&policy, leave, to, seen).0 == Reason::Allowed;
            assert_eq!((reason(None), reason(Some(leave))), (allowed, with_leave), "{to}");
        }
        // A yes lets nothing else through, and does not take report mode away.
        let text = POLICY.replace("- name: all\n", "- name: all\n    mode: report\n");
        let mut builder = load_text(Path::new("policy.yaml"), &text).unwrap().builder;
        let wish = wish("run.example:443", Seen::Unknown);
        builder.grant(&Grant { wish: &wish, leave: None, file: Path::new(ASKED), line: 1 }, &mut None);
        let policy = builder.finish(3);
        assert_eq!(decide(&policy, None, "new.example:443", Seen::Unknown).0, Reason::ReportOnly);
    }
}
