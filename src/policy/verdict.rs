//! The answer, and the two leaves that only an allowing answer gives: to connect, and to let bytes pass.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::civil::Date;

use crate::destination::Destination;
use crate::error::Error;
use crate::families::Families;
use crate::guard::Special;
use crate::policy::clients::Subject;
use crate::policy::judge::{Finding, judge, judge_address};
use crate::policy::outgoing::Outgoing;
use crate::policy::question::{Question, Seen};
use crate::policy::rules::{Row, Rule, Rules};
use crate::policy::terms::{Profile, Way};
use crate::reason::Reason;

/// The answer.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    pub reason: Reason,
    /// Let through only because every matching profile is in report mode.
    pub would_deny: bool,
    /// The rule that decided; for a denial, the one that came nearest to allowing it.
    pub rule: Option<Rule<'a>>,
    /// Why the address may not be dialled, where that is the reason.
    pub special: Option<Special>,
    /// What the leaves rest on: the fields above are for telling, and may be changed by whoever holds them.
    is_allow: bool,
    /// The rule that allows it; `None` where none does, in report mode.
    allows: Option<&'a Row>,
    /// The parent to go through.
    parent: Option<&'a Arc<str>>,
    case: Case<'a>,
}

/// Leave to connect to the destination of the question, and to nothing else: only an allowing verdict makes one.
#[derive(Debug)]
pub struct Admission<'a>(Verdict<'a>);

/// Leave to let bytes pass: made only by an allowing verdict on what was seen inside.
#[derive(Debug)]
pub struct Passage(());

/// What was asked, so that it can be asked again with the address known.
#[derive(Clone, Copy)]
struct Case<'a> {
    rules: &'a Rules,
    subject: &'a Subject,
    /// Not the question itself, as a verdict is handed on from one step of a flow to the next.
    question: &'a Question<'a>,
    /// That of the question, or one that was found since.
    address: Option<IpAddr>,
    today: Date,
}

/// Asks the rules.
pub(super) fn decide<'a>(
    rules: &'a Rules,
    subject: &'a Subject,
    question: &'a Question<'a>,
    today: Date,
) -> Verdict<'a> {
    Case { rules, subject, question, address: question.address, today }.decide()
}

impl<'a> Verdict<'a> {
    pub fn is_allow(&self) -> bool {
        self.is_allow
    }

    /// Leave to connect to the destination that was asked about.
    pub fn admit(self) -> Result<Admission<'a>, Error> {
        if !self.is_allow {
            return Err(Error::Denied(self.reason));
        }
        Ok(Admission(self))
    }

    /// How its connection is to leave this host, if the policy says so: by the profile whose rule allows it. Where none
    /// does, in report mode, by the client's first profile that says anything.
    pub fn outgoing(&self) -> Option<&'a Arc<Outgoing>> {
        match self.allows {
            Some(row) => self.case.rules.profile_of(row).outgoing.as_ref(),
            None => self.case.profiles().find_map(|profile| profile.outgoing.as_ref()),
        }
    }

    /// The parent that its connection is to go through, if any: by the rule that allows it. Where none does, in report
    /// mode, by the first of the client's profiles that says anything of it.
    pub fn parent(&self) -> Option<&'a Arc<str>> {
        self.parent
    }

    /// Leave to let bytes pass on a connection that goes `through` this parent, or through none. A verdict on what
    /// nobody looked for gives none, be it an allow.
    pub fn pass(self, through: Option<&str>) -> Result<Passage, Error> {
        if !self.is_allow {
            return Err(Error::Denied(self.reason));
        }
        if !self.goes(through) {
            return Err(Error::OtherWay);
        }
        if self.case.question.seen == Seen::Unknown {
            return Err(Error::Internal("bytes were to pass before they were seen".into()));
        }
        Ok(Passage(()))
    }

    /// Whether what allows it allows it that way: rules never combine.
    fn goes(&self, through: Option<&str>) -> bool {
        // Report mode goes on as it went.
        self.allows.is_none() || self.parent.map(|parent| &**parent) == through
    }
}

impl<'a> Admission<'a> {
    /// The verdict that it comes from.
    pub fn verdict(&self) -> Verdict<'a> {
        self.0
    }

    pub fn to(&self) -> &'a Destination {
        self.0.case.question.to
    }

    /// The parent to go through, if any.
    pub fn parent(&self) -> Option<&'a Arc<str>> {
        self.0.parent
    }

    /// How the connection is to leave this host by what is known so far, if the policy says so.
    pub fn outgoing(&self) -> Option<&'a Arc<Outgoing>> {
        self.0.outgoing()
    }

    /// Whether it is for a request in the clear, rather than for what is yet to be seen.
    pub fn is_for_request(&self) -> bool {
        matches!(self.0.case.question.seen, Seen::Http { .. })
    }

    /// The families of addresses that some rule may yet admit, in the order of the profile whose rule would by what is
    /// known so far. `default` is of profiles that say nothing.
    pub fn families(&self, default: Families) -> Families {
        let of = |outgoing: Option<&Arc<Outgoing>>| outgoing.map_or(default, |outgoing| outgoing.families());
        self.0
            .case
            .profiles()
            .fold(of(self.outgoing()), |families, profile| families.or(of(profile.outgoing.as_ref())))
    }

    /// The verdict with this resolved address: the rule that allows it must be one that accepts all the rest too.
    pub fn accepts(&self, address: IpAddr) -> Verdict<'a> {
        let case = Case { address: Some(address), ..self.0.case };
        let verdict = match self.0.allows {
            Some(row) => case.decide_address(row),
            None => case.decide(),
        };
        if verdict.is_allow && !verdict.goes(self.parent().map(|parent| &**parent)) {
            return Verdict { is_allow: false, reason: Reason::NoRule, ..verdict };
        }
        verdict
    }
}

impl<'a> Case<'a> {
    fn decide(self) -> Verdict<'a> {
        self.verdict(judge(self.rules, self.subject, &self.question(), self.today))
    }

    /// The same where `row` is the rule that allowed all but the address.
    fn decide_address(self, row: &'a Row) -> Verdict<'a> {
        self.verdict(judge_address(self.rules, self.subject, &self.question(), self.today, row))
    }

    fn question(self) -> Question<'a> {
        Question { address: self.address, ..*self.question }
    }

    fn verdict(self, finding: Finding<'a>) -> Verdict<'a> {
        let allows = finding.row.filter(|_| finding.reason == Reason::Allowed);
        let way = match allows {
            Some(row) => self.rules.way_of(row),
            None => self.profiles().find_map(|profile| profile.way.as_ref()),
        };
        Verdict {
            reason: finding.reason,
            would_deny: finding.reason == Reason::ReportOnly,
            rule: finding.row.map(|row| Rule::new(self.rules, row)),
            special: finding.special,
            is_allow: matches!(finding.reason, Reason::Allowed | Reason::ReportOnly),
            allows,
            parent: way.and_then(Way::parent),
            case: self,
        }
    }

    /// The client's profiles, in file order.
    fn profiles(self) -> impl Iterator<Item = &'a Profile> {
        self.subject.profiles().iter().map(move |&index| &self.rules.profiles[index as usize])
    }
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.question(), f)
    }
}
