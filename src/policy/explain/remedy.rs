//! What would change a denial: the line of a policy, and where it goes.

use std::fmt;
use std::path::Path;

use ipnet::IpNet;
use serde::Serialize;

use crate::client::Client;
use crate::destination::Destination;
use crate::guard::{self, Special};
use crate::host::Host;
use crate::policy::document::{BUILT_IN_NAME, FLAG};
use crate::policy::terms::{Action, Private, Profile, Protocol, Way};
use crate::policy::{Policy, Subject, Verdict};
use crate::reason::Reason;
use crate::yaml;

/// What is spoken there is neither TLS nor HTTP.
const SSH: u16 = 22;

/// What to do about a denial; prints as one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// What to do, where a line alone does not say it.
    pub advice: String,
    /// The line of YAML that would allow it.
    pub line: Option<String>,
    /// The profile it goes into.
    pub profile: Option<String>,
    /// The file that the profile stands in.
    pub file: Option<String>,
}

/// A denial, as far as it matters for what to do about it.
#[derive(Clone, Debug)]
pub struct Denial {
    pub reason: Reason,
    /// The address that may not be dialled, where that is the reason.
    pub special: Option<Special>,
    /// The rule that decided.
    pub rule: Option<String>,
}

impl From<&Verdict<'_>> for Denial {
    fn from(verdict: &Verdict<'_>) -> Self {
        let rule = verdict.rule.map(|rule| rule.to_string());
        Self { reason: verdict.reason, special: verdict.special, rule }
    }
}

/// Says what would turn a denial, or a pass in report mode, into an allow. `None` for an allow, and for what
/// no policy decides.
pub fn remedy(
    policy: &Policy,
    subject: &Subject,
    client: &Client,
    to: &Destination,
    denial: &Denial,
) -> Option<Remedy> {
    let profiles = &policy.rules.profiles;
    let own = subject.profiles().iter().find_map(|&index| profiles.get(index as usize));
    let add = |terms| Some(Line { to, terms }.place(own));
    let present = || Extras::present(policy, subject, to);
    match denial.reason {
        Reason::NoRule | Reason::ReportOnly => add(Extras { tcp: to.port == SSH, ..Extras::default() }),
        // Most likely the client waits for the server's first word.
        Reason::HeadTimeout if !matches!(to.port, 80 | 443) => {
            add(Extras { tcp: true, ..present() }).map(|remedy| Remedy {
                advice: format!("if the server is the first to speak there, {}", remedy.advice),
                ..remedy
            })
        }
        Reason::NotTls | Reason::NotHttp | Reason::ServerNameMissing => {
            add(Extras { tcp: true, ..present() })
        }
        Reason::EchDenied => add(Extras { ech_outer: true, ..present() }),
        Reason::AddressProhibited if denial.special == Some(Special::Metadata) => {
            let whom = if client.on_this_host { "" } else { ", which this one is not" };
            Some(Remedy::advice(format!(
                "metadata addresses hand out credentials: only a `cidr` rule for the one address opens them, and only for \
                 clients on this host{whom}"
            )))
        }
        Reason::AddressProhibited => match to.host {
            Host::Ip(address) => match guard::carried(address).filter(|v4| guard::special(*v4).is_some()) {
                // It would need `private`, which no such rule has.
                Some(v4) => Some(Remedy::advice(format!(
                    "no `cidr` rule opens an IPv6 address that carries {v4}: allow {v4} itself, or a name that leads \
                     there with `private`"
                ))),
                None => add(Extras::default()),
            },
            Host::Name(_) => add(Extras { private: Some(&Private::Any), ..present() }),
        },
        Reason::NoProfile => Some(no_profile(profiles, client)),
        Reason::DeniedByRule => {
            let rule = denial.rule.as_ref().map_or_else(String::new, |rule| format!(" {rule}"));
            Some(Remedy::advice(format!("a deny rule wins over every allow: remove or narrow{rule}")))
        }
        Reason::ServerNameMismatch => Some(Remedy::advice(
            "the server name must be the name that was asked for: no rule allows another",
        )),
        _ => None,
    }
}

/// The line of a policy that allows a destination, whatever is inside or not.
pub(in crate::policy) fn line(to: &Destination, unread: bool) -> String {
    Line { to, terms: Extras { tcp: unread, ..Extras::default() } }.to_string()
}

/// What a rule says beside the destination.
#[derive(Clone, Copy, Default)]
struct Extras<'p> {
    tcp: bool,
    private: Option<&'p Private>,
    ech_outer: bool,
    way: Option<&'p Way>,
}

impl<'p> Extras<'p> {
    /// What the client's rules for the destination say already. Rules never combine, so a further one that leaves it out
    /// would allow nothing new.
    fn present(policy: &'p Policy, subject: &Subject, to: &Destination) -> Self {
        let (rules, mut present) = (&policy.rules, Self::default());
        let Host::Name(name) = &to.host else { return present };
        // Of what only one can say, the closest that says anything.
        let (mut opens, mut leads) = (None, None);
        rules.each_for_name(name, subject.profiles(), |row| {
            let terms = rules.terms_of(row);
            if terms.action == Action::Allow && terms.ports.contains(to.port) {
                present.tcp |= terms.protocol == Some(Protocol::Tcp);
                present.ech_outer |= terms.ech_outer;
                if terms.private != Private::No {
                    row.keep_closest(&mut opens);
                }
                if terms.way.is_some() {
                    row.keep_closest(&mut leads);
                }
            }
        });
        present.private = opens.map(|row| &rules.terms_of(row).private);
        present.way = leads.and_then(|row| rules.terms_of(row).way.as_ref());
        present
    }

    fn is_empty(&self) -> bool {
        !self.tcp && self.private.is_none() && !self.ech_outer && self.way.is_none()
    }
}

/// A rule to add.
struct Line<'a> {
    to: &'a Destination,
    terms: Extras<'a>,
}

impl Line<'_> {
    fn place(&self, own: Option<&Profile>) -> Remedy {
        let (profile, file) = own.map(|own| (own.name.as_str(), &*own.place.file)).unzip();
        let advice = match file {
            Some(file) if file == Path::new(FLAG) && self.is_plain() => {
                return Remedy::advice(format!("start exeat with --allow {} too", self.to.host));
            }
            Some(file) if file == Path::new(FLAG) || file == Path::new(BUILT_IN_NAME) => {
                "write a policy file, give it with --policy, and add to its `allow`"
            }
            _ => "add to `allow`",
        };
        let is_file = advice == "add to `allow`";
        Remedy {
            advice: advice.to_owned(),
            line: Some(self.to_string()),
            profile: profile.filter(|_| is_file).map(str::to_owned),
            file: file.filter(|_| is_file).map(|file| file.display().to_string()),
        }
    }

    /// Whether a pattern says it all.
    fn is_plain(&self) -> bool {
        self.terms.is_empty() && matches!(self.to.host, Host::Name(_)) && matches!(self.to.port, 80 | 443)
    }
}

/// As an entry of a list in YAML.
impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key_and_host = match &self.to.host {
            Host::Name(name) if self.is_plain() => return write!(f, "- {}", yaml::scalar(name.as_str())),
            Host::Name(name) => format!("host: {}", yaml::scalar(name.as_str())),
            Host::Ip(address) => format!("cidr: {}", IpNet::from(*address)),
        };
        write!(f, "- {{ {key_and_host}")?;
        let Extras { tcp, private, ech_outer, way } = self.terms;
        if !matches!(self.to.port, 80 | 443) || tcp {
            write!(f, ", ports: [{}]", self.to.port)?;
        }
        if tcp {
            f.write_str(", protocol: tcp")?;
        }
        match private {
            None | Some(Private::No) => {}
            Some(Private::Any) => f.write_str(", private: true")?,
            Some(Private::Networks(networks)) => {
                let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
                write!(f, ", private: [{}]", networks.join(", "))?;
            }
        }
        // Where nobody looks inside there is none to be seen.
        if ech_outer && !tcp {
            f.write_str(", ech: outer")?;
        }
        match way {
            None => {}
            Some(Way::Direct) => f.write_str(", parent: direct")?,
            Some(Way::Parent(name)) => write!(f, ", parent: {}", yaml::scalar(name))?,
        }
        f.write_str(" }")
    }
}

impl Remedy {
    fn advice(advice: impl Into<String>) -> Self {
        Self { advice: advice.into(), line: None, profile: None, file: None }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.advice)?;
        if let Some(profile) = &self.profile {
            write!(f, " of the profile {profile}")?;
        }
        if let Some(file) = &self.file {
            write!(f, " in {file}")?;
        }
        match &self.line {
            Some(line) => write!(f, ": {line}"),
            None => Ok(()),
        }
    }
}

fn no_profile(profiles: &[Profile], client: &Client) -> Remedy {
    let file = profiles.first().map(|profile| profile.place.file.display().to_string());
    let (what, line) = match (&client.user, &client.certificate) {
        (Some(user), _) => ("its user", format!("user:{}", user.name)),
        (None, Some(certificate)) => ("its certificate", format!("cert:{}", certificate.name)),
        (None, None) => ("its address", client.ip().to_string()),
    };
    let advice = format!("no profile is for this client: add {what} to the `clients` of one");
    Remedy { advice, line: Some(format!("- {}", yaml::scalar(&line))), profile: None, file }
}
