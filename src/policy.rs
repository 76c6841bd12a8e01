//! The policy in force and its one decision: may this client go there, with what is known of it so far?

pub mod asked;
mod builder;
mod clients;
mod conditions;
pub mod document;
pub mod expectation;
pub mod explain;
mod index;
mod judge;
pub mod lint;
mod method;
pub mod outgoing;
pub mod pattern;
mod question;
mod reach;
mod rules;
pub mod terms;
mod verdict;
pub mod who;
mod wish;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use jiff::civil::Date;

use crate::client::Client;
use crate::host::Name;
use crate::policy::clients::Clients;
use crate::policy::reach::PortsOf;
use crate::policy::rules::Rules;
use crate::reason::Reason;

pub use crate::policy::builder::{Builder, ProfileId, SourceId, Target, TermsId};
pub use crate::policy::clients::Subject;
pub use crate::policy::question::{Question, Seen};
pub use crate::policy::reach::{Inquiry, Listed};
pub use crate::policy::rules::{Rule, RuleId};
pub use crate::policy::verdict::{Admission, Passage, Verdict};
pub use crate::policy::wish::{ASKED, Grant, Wish};

/// An immutable set of rules. A look-up costs the labels of the name times the client's own profiles,
/// whatever the number of rules, profiles and clients.
pub struct Policy {
    rules: Rules,
    clients: Clients,
    ports: Box<[PortsOf]>,
    has_outgoing: bool,
    has_parents: bool,
    has_ends: bool,
}

impl Policy {
    pub fn revision(&self) -> u64 {
        self.rules.revision
    }

    /// The number of rules.
    pub fn len(&self) -> usize {
        self.rules.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.rows.is_empty()
    }

    /// The profiles that take part for a client. Ask once a connection, and again for a new revision.
    pub fn subject(&self, client: &Client) -> Subject {
        self.clients.subject(client, &self.rules.profiles, self.revision())
    }

    /// A client that no profile is for, not even those for everyone.
    pub fn nobody(&self) -> Subject {
        Subject::nobody(self.revision())
    }

    /// The decision: no I/O, no clock but `today`, no allocation. The subject must be this policy's own.
    pub fn decide<'a>(
        &'a self,
        subject: &'a Subject,
        question: &'a Question<'a>,
        today: Date,
    ) -> Verdict<'a> {
        debug_assert_eq!(subject.revision, self.revision(), "a subject of another revision");
        verdict::decide(&self.rules, subject, question, today)
    }

    /// Whether a flow that is open already may go on. Of one into which nobody looked, nobody can tell any more what it is;
    /// report mode lets such pass, unless a deny rule may be about it.
    pub fn keeps(&self, subject: &Subject, question: &Question<'_>, today: Date) -> bool {
        let verdict = self.decide(subject, question, today);
        if verdict.is_allow() || question.seen != Seen::Unread || verdict.reason == Reason::DeniedByRule {
            return verdict.is_allow();
        }
        self.decide(subject, &Question { seen: Seen::Other, ..*question }, today).is_allow()
    }

    /// Which allow rules of the client list a port, whatever their names: where none does, there is nothing to wait for.
    pub fn listed(&self, subject: &Subject, port: u16) -> Listed {
        debug_assert_eq!(subject.revision, self.revision(), "a subject of another revision");
        reach::listed(&self.ports, subject, port)
    }

    /// Whether the client may be told where a name leads, and that it leads to `address`: some rule could admit it on
    /// some port. Like [`Policy::decide`] it allocates nothing.
    pub fn inquire<'a>(
        &'a self,
        subject: &Subject,
        name: &Name,
        address: Option<IpAddr>,
        today: Date,
    ) -> Inquiry<'a> {
        debug_assert_eq!(subject.revision, self.revision(), "a subject of another revision");
        reach::inquire(&self.rules, subject, name, address, today)
    }

    /// The names that `tcp` rules allow by themselves; one may come more than once.
    pub fn unread_names(&self) -> impl Iterator<Item = Name> {
        reach::unread_names(&self.rules)
    }

    /// Every rule, in file order.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = Rule<'_>> {
        let mut rows: Vec<_> = self.rules.rows.iter().collect();
        rows.sort_unstable_by_key(|row| row.order);
        rows.into_iter().map(|row| Rule::new(&self.rules, row))
    }

    /// Whether any rule is about addresses.
    pub fn has_networks(&self) -> bool {
        !self.rules.networks.is_empty()
    }

    /// Whether any profile says how its connections leave this host.
    pub fn has_outgoing(&self) -> bool {
        self.has_outgoing
    }

    /// Whether any profile or rule names a parent.
    pub fn has_parents(&self) -> bool {
        self.has_parents
    }

    /// Whether any rule ends one day. Where none does, all days are the same.
    pub fn has_ends(&self) -> bool {
        self.has_ends
    }

    /// The parents that its profiles and rules name.
    pub fn parents(&self) -> BTreeSet<&str> {
        let ways = self.rules.profiles.iter().map(|profile| &profile.way);
        let ways = ways.chain(self.rules.terms.iter().map(|terms| &terms.way));
        ways.flatten().filter_map(|way| way.parent()).map(|name| &**name).collect()
    }

    /// Every profile, in file order.
    pub fn profiles(&self) -> &[terms::Profile] {
        &self.rules.profiles
    }

    /// The files and lists that the rules stand in.
    pub fn sources(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.rules.sources.iter().map(AsRef::as_ref)
    }

    /// The next day, from `today` on, that is the last of some rule.
    pub fn next_expiry(&self, today: Date) -> Option<Date> {
        self.rules.terms.iter().filter_map(|terms| terms.until).filter(|last| *last >= today).min()
    }
}

impl Builder {
    /// The policy, of a revision that no other policy in this process has.
    pub fn finish(self, revision: u64) -> Policy {
        let (mut rules, clients) = self.into_parts();
        rules.revision = revision;
        let ports = PortsOf::all(&rules);
        let has_outgoing = rules.profiles.iter().any(|profile| profile.outgoing.is_some());
        let has_ends = rules.terms.iter().any(|terms| terms.until.is_some());
        let mut policy = Policy { rules, clients, ports, has_outgoing, has_parents: false, has_ends };
        policy.has_parents = !policy.parents().is_empty();
        policy
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy {{ revision: {}, rules: {} }}", self.revision(), self.len())
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Builder")
    }
}

#[cfg(test)]
mod tests;
