//! The one decision: what the rules say to a question. Pure, and it allocates nothing.

use std::net::IpAddr;

use jiff::civil::Date;

use crate::guard::{self, Special};
use crate::host::Host;
use crate::policy::clients::Subject;
use crate::policy::conditions::{self, Refusal, Screened};
use crate::policy::question::{Question, Seen};
use crate::policy::rules::{Row, Rules};
use crate::policy::terms::{Action, Terms};
use crate::reason::Reason;

/// What the rules say.
#[derive(Clone, Copy)]
pub(super) struct Finding<'r> {
    pub(super) reason: Reason,
    /// The rule that decided; for a denial, the one that came nearest to allowing it.
    pub(super) row: Option<&'r Row>,
    pub(super) special: Option<Special>,
}

/// The closest rule of each outcome so far.
struct Tally<'r> {
    denies: Option<&'r Row>,
    allows: Option<&'r Row>,
    refuses: Option<(&'r Row, Refusal)>,
    /// Whether what no rule decides is let through.
    reports: bool,
}

/// A deny wins over every allow; an allow is one rule that accepts everything by itself.
pub(super) fn judge<'r>(
    rules: &'r Rules,
    subject: &Subject,
    question: &Question<'_>,
    today: Date,
) -> Finding<'r> {
    if subject.profiles().is_empty() {
        return Finding { reason: Reason::NoProfile, row: None, special: None };
    }
    let address = address_of(question);
    let screened = address.and_then(Screened::new);
    let mut tally = Tally { denies: None, allows: None, refuses: None, reports: subject.reports() };
    let weigh = |row: &'r Row| {
        let terms = rules.terms_of(row);
        if !holds(terms, question.to.port, today) {
            return;
        }
        match terms.action {
            Action::Deny if conditions::denies(terms, question.seen) => row.keep_closest(&mut tally.denies),
            Action::Deny => {}
            Action::Allow => match conditions::accepts(rules, row, subject, question, screened) {
                Ok(()) => row.keep_closest(&mut tally.allows),
                Err(refusal) => tally.refuse(row, refusal),
            },
        }
    };
    match &question.to.host {
        Host::Name(name) => rules.each_for_name(name, subject.profiles(), weigh),
        Host::Ip(ip) => rules.each_for_address(ip.to_canonical(), subject.profiles(), weigh),
    }
    if tally.denies.is_none() {
        tally.denies = denied_beside(rules, subject, question, address, today);
    }
    conclude(&tally, question.seen, screened)
}

/// The same, once the address is known that a name led to, where `allows` is the rule that decided without it. An
/// address can only take rules away that would allow, so if that rule allows it too, it is the closest of them still,
/// and no other need be found; but one may deny the address.
pub(super) fn judge_address<'r>(
    rules: &'r Rules,
    subject: &Subject,
    question: &Question<'_>,
    today: Date,
    allows: &'r Row,
) -> Finding<'r> {
    let address = address_of(question);
    let is_allowed =
        conditions::accepts(rules, allows, subject, question, address.and_then(Screened::new)).is_ok();
    if is_allowed && denied_beside(rules, subject, question, address, today).is_none() {
        return Finding { reason: Reason::Allowed, row: Some(allows), special: None };
    }
    judge(rules, subject, question, today)
}

/// The address that is or would be dialled, as far as it is known.
fn address_of(question: &Question<'_>) -> Option<IpAddr> {
    match (question.address, &question.to.host) {
        (Some(address), _) | (None, &Host::Ip(address)) => Some(address.to_canonical()),
        (None, Host::Name(_)) => None,
    }
}

/// Whether a rule takes part at all.
fn holds(terms: &Terms, port: u16, today: Date) -> bool {
    terms.ports.contains(port) && terms.hold(today)
}

/// The deny rule, if there is one, for what stands beside the destination: the address its name led to, one that an address
/// carries inside, and a server name that is not its name.
fn denied_beside<'r>(
    rules: &'r Rules,
    subject: &Subject,
    question: &Question<'_>,
    address: Option<IpAddr>,
    today: Date,
) -> Option<&'r Row> {
    let mut closest = None;
    let mut weigh = |row: &'r Row| {
        let terms = rules.terms_of(row);
        let denies = terms.action == Action::Deny
            && holds(terms, question.to.port, today)
            && conditions::denies(terms, question.seen);
        if denies {
            row.keep_closest(&mut closest);
        }
    };
    let is_weighed = |address| question.to.host == Host::Ip(address) && guard::carried(address).is_none();
    if let Some(address) = address.filter(|&address| !is_weighed(address)) {
        rules.each_denying(address, subject.profiles(), &mut weigh);
    }
    if let Seen::Tls { server_name: Some(name), .. } = question.seen
        && question.to.host.name() != Some(name)
    {
        rules.each_for_name(name, subject.profiles(), &mut weigh);
    }
    closest
}

fn conclude<'r>(tally: &Tally<'r>, seen: Seen<'_>, screened: Option<Screened>) -> Finding<'r> {
    if let Some(row) = tally.denies {
        return Finding { reason: Reason::DeniedByRule, row: Some(row), special: None };
    }
    if let Some(row) = tally.allows {
        return Finding { reason: Reason::Allowed, row: Some(row), special: None };
    }
    let row = tally.refuses.map(|(row, _)| row);
    let refusal = match tally.refuses {
        Some((_, refusal)) => refusal,
        // No rule speaks for the address, so before report mode may, the guard has to.
        None => match screened.filter(|_| tally.reports) {
            Some(screened) => Refusal::Address(screened.special),
            None => Refusal::Inside(Reason::NoRule),
        },
    };
    match refusal {
        Refusal::Address(special) => {
            Finding { reason: Reason::AddressProhibited, row, special: Some(special) }
        }
        // Nothing read is nothing to report: the caller is to look inside first.
        // Nor is what can be read in two ways: nobody can say what would pass.
        Refusal::Inside(reason) if tally.reports && seen != Seen::Unread && reason != Reason::BadRequest => {
            Finding { reason: Reason::ReportOnly, row, special: None }
        }
        Refusal::Inside(reason) => Finding { reason, row, special: None },
    }
}

impl<'r> Tally<'r> {
    /// Of rules as deep, the one that came further is closer.
    fn refuse(&mut self, row: &'r Row, refusal: Refusal) {
        let is_closer = self.refuses.is_none_or(|(closest, known)| {
            // What report mode lets through must not hang on which rule is the closest: it goes by all of them.
            let (further, deeper) =
                (refusal.progress().cmp(&known.progress()), row.depth.cmp(&closest.depth));
            let order = if self.reports { further.then(deeper) } else { deeper.then(further) };
            order.then(closest.order.cmp(&row.order)).is_gt()
        });
        if is_closer {
            self.refuses = Some((row, refusal));
        }
    }
}
