//! A verdict in words: what decided, what is required inside, and what would change a denial.

mod remedy;

use std::fmt;
use std::net::IpAddr;

use jiff::civil::Date;
use serde::Serialize;

use crate::client::{Client, User};
use crate::destination::Destination;
use crate::host::Host;
use crate::policy::asked::Asked;
use crate::policy::terms::{Private, Protocol, Terms};
use crate::policy::{Policy, Rule, Verdict};
use crate::reason::Reason;

pub(super) use crate::policy::explain::remedy::line;
pub use crate::policy::explain::remedy::{Denial, Remedy, remedy};

/// The answer to "may this client go there, and why?".
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// Let through only because every matching profile is in report mode.
    pub would_deny: bool,
    pub reason: &'static str,
    pub destination: String,
    pub client: IpAddr,
    /// Who the client is, as far as that was said.
    pub user: Option<String>,
    pub groups: Vec<String>,
    pub certificate: Option<String>,
    /// The profiles that take part for the client.
    pub profiles: Vec<String>,
    /// The rule that decided; for a denial, the one that came nearest to allowing it.
    pub rule: Option<RuleShown>,
    /// What an allow still depends on.
    pub requires: Option<Requires>,
    /// What would change a denial.
    pub remedy: Option<Remedy>,
}

/// A rule, for people and programs.
#[derive(Clone, Debug, Serialize)]
pub struct RuleShown {
    pub file: String,
    pub line: u32,
    pub pattern: String,
    pub profile: String,
    /// Why it is there, in its author's words.
    pub reason: Option<String>,
}

/// What must still turn out for the bytes to pass.
#[derive(Clone, Debug, Serialize)]
pub struct Requires {
    /// What must be inside the connection.
    pub inside: String,
    /// Which addresses are dialled; nothing is looked up to tell.
    pub addresses: String,
    /// The parent that it goes through; `None`: it goes straight there.
    pub parent: Option<String>,
    /// How the connection leaves this host; `None`: as the settings say.
    pub outgoing: Option<String>,
}

/// Asks the policy and puts its answer into words.
pub fn explain(policy: &Policy, client: &Client, asked: &Asked, today: Date) -> Explanation {
    let subject = policy.subject(client);
    let question = asked.question(policy, &subject, today);
    let verdict = policy.decide(&subject, &question, today);
    let deciding = verdict.rule.filter(|_| verdict.is_allow() && !verdict.would_deny);
    Explanation {
        verdict: if verdict.is_allow() { "allow" } else { "deny" },
        would_deny: verdict.would_deny,
        reason: verdict.reason.as_str(),
        destination: asked.to.to_string(),
        client: client.ip(),
        user: client.user.as_deref().map(|user| user.name.to_string()),
        groups: client.user.iter().flat_map(|user| &user.groups).map(ToString::to_string).collect(),
        certificate: client.certificate.as_deref().map(|certificate| certificate.name.to_string()),
        profiles: subject.profile_names().iter().map(ToString::to_string).collect(),
        rule: verdict.rule.map(RuleShown::new),
        requires: deciding.map(|rule| Requires::new(rule, &asked.to, &verdict)),
        remedy: remedy(policy, &subject, client, &asked.to, &Denial::from(&verdict)),
    }
}

impl Explanation {
    /// The client in the words in which it was asked about.
    fn who(&self) -> Client {
        let user = self.user.as_deref().map(|user| User::supposed(user, &self.groups));
        Client::supposed(self.client).named(user, self.certificate.as_deref())
    }
}

impl RuleShown {
    fn new(rule: Rule<'_>) -> Self {
        Self {
            file: rule.source().display().to_string(),
            line: rule.line(),
            pattern: rule.pattern().to_string(),
            profile: rule.profile().to_owned(),
            reason: rule.terms().reason.as_deref().map(str::to_owned),
        }
    }
}

impl Requires {
    fn new(rule: Rule<'_>, to: &Destination, verdict: &Verdict<'_>) -> Self {
        let terms = rule.terms();
        let until = terms.until.map(|last| format!(", until {last}")).unwrap_or_default();
        let (inside, addresses) = (inside(terms, to) + &until, addresses(terms, to));
        let (parent, outgoing) = (verdict.parent(), verdict.outgoing());
        Self {
            inside,
            addresses,
            parent: parent.map(ToString::to_string),
            outgoing: outgoing.map(ToString::to_string),
        }
    }
}

fn inside(terms: &Terms, to: &Destination) -> String {
    let tls = match &to.host {
        Host::Name(name) => format!("TLS with the server name {name}"),
        Host::Ip(_) => "TLS with any server name that is not denied, or none".to_owned(),
    };
    let mut http = format!("HTTP requests to {}", to.host);
    if !terms.methods.is_empty() {
        http += &format!(", {} only", terms.methods.join(" or "));
    }
    if let Some(paths) = &terms.paths {
        http += &format!(", to {} only", paths.patterns.join(" or "));
    }
    match terms.wants(to.port) {
        Some(Protocol::Tcp) => "anything: exeat does not look inside".to_owned(),
        Some(Protocol::Tls) => tls,
        Some(Protocol::Http) => http,
        None => format!("{tls}, or {http}"),
    }
}

fn addresses(terms: &Terms, to: &Destination) -> String {
    if let Host::Ip(address) = to.host {
        return format!("{address} itself");
    }
    match &terms.private {
        Private::No => "public ones only".to_owned(),
        Private::Any => "public and private ones, but none of cloud metadata".to_owned(),
        Private::Networks(networks) => {
            let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
            format!("public ones, and those in {}", networks.join(", "))
        }
    }
}

/// For people, over several lines.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  {} for {}", self.verdict, self.destination, self.who())?;
        writeln!(f, "  reason:    {}", self.reason)?;
        if let Some(rule) = &self.rule {
            let decided = self.requires.is_some() || self.reason == Reason::DeniedByRule.as_str();
            let what = if decided { "rule:   " } else { "nearest:" };
            let RuleShown { file, line, pattern, profile, reason } = rule;
            writeln!(f, "  {what}   {file}:{line} \"{pattern}\" of the profile {profile}")?;
            if let Some(reason) = reason {
                writeln!(f, "  because:   {reason}")?;
            }
        }
        match self.profiles.is_empty() {
            true => writeln!(f, "  profiles:  none")?,
            false => writeln!(f, "  profiles:  {}", self.profiles.join(", "))?,
        }
        if let Some(requires) = &self.requires {
            writeln!(f, "  inside:    {}", requires.inside)?;
            writeln!(f, "  addresses: {}", requires.addresses)?;
            if let Some(parent) = &requires.parent {
                writeln!(f, "  parent:    {parent}")?;
            }
            if let Some(outgoing) = &requires.outgoing {
                writeln!(f, "  outgoing:  {outgoing}")?;
            }
        }
        match &self.remedy {
            Some(remedy) => writeln!(f, "  hint:      {remedy}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
