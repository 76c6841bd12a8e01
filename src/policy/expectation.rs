//! The `tests` of a policy file: what its author expects it to decide.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use jiff::civil::Date;

use crate::client::{Client, User, check_name};
use crate::mistake::Place;
use crate::policy::Policy;
use crate::policy::asked::{Asked, Inside};
use crate::policy::method;
use crate::reason::Reason;
use crate::yaml::{Field, Fields, Reader, quoted};

/// The keys of a test.
pub(super) const KEYS: &[&str] = &["client", "user", "groups", "cert", "to", "expect", "reason", "method"];

const VERDICTS: &[(&str, bool)] = &[("allow", true), ("deny", false)];

/// One test.
#[derive(Clone, Debug)]
pub struct Expectation {
    pub place: Place,
    client: Client,
    /// The destination as it was written.
    written: Box<str>,
    asked: Asked,
    allow: bool,
    reason: Option<Reason>,
}

/// A test that the policy does not pass; prints on one line, without its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub place: Place,
    pub client: String,
    pub to: String,
    pub expected: String,
    pub got: String,
    /// The rule that decided, or came nearest to it.
    pub rule: Option<String>,
}

/// Reads a test.
pub(super) fn read(reader: &mut Reader, field: Field<'_>) -> Option<Expectation> {
    let fields = reader.map(Field { key: "test", ..field }, KEYS)?;
    let client = client(reader, &fields);
    let to = reader.required(&fields, "the test", "to", r#""static.crates.io:443""#);
    let asked = to.and_then(|field| reader.parsed(field, "a host, host:port or URL", Asked::parse));
    let allow = reader
        .required(&fields, "the test", "expect", "allow")
        .and_then(|field| reader.word(field, VERDICTS));
    let reasons: Vec<_> = Reason::ALL.iter().map(|reason| (reason.as_str(), *reason)).collect();
    let reason = fields.get("reason").map(|field| reader.word(field, &reasons));
    let method = fields.get("method").map(|field| read_method(reader, field));
    let mut asked = asked?;
    if let Some(method) = method {
        let Inside::Http { method: own, .. } = &mut asked.inside else {
            let hint = "write `to` as an http:// URL: exeat sees no methods inside TLS";
            reader.error(fields.key_at("method"), "`method` in a test that is not about HTTP").hint(hint);
            return None;
        };
        method?.clone_into(own);
    }
    Some(Expectation {
        place: reader.place(fields.at),
        client: client?,
        written: to?.node.text.clone(),
        asked,
        allow: allow?,
        reason: match reason {
            Some(reason) => Some(reason?),
            None => None,
        },
    })
}

/// Reads who asks.
fn client(reader: &mut Reader, fields: &Fields<'_>) -> Option<Client> {
    let address = match fields.get("client") {
        Some(field) => reader.parsed(field, "the address of a client", str::parse::<IpAddr>),
        None => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    };
    let user = fields.get("user").and_then(|field| name(reader, field));
    let certificate = fields.get("cert").and_then(|field| name(reader, field));
    let mut groups = Vec::new();
    if let Some(field) = fields.get("groups") {
        groups.extend(
            reader
                .list(field)
                .collect::<Vec<_>>()
                .into_iter()
                .filter_map(|group| name(reader, group).map(str::to_owned)),
        );
        if fields.get("user").is_none() {
            let hint = "add `user`: only users are in groups";
            reader.error(fields.key_at("groups"), "`groups` in a test without a user").hint(hint);
        }
    }
    Some(Client::supposed(address?).named(user.map(|user| User::supposed(user, &groups)), certificate))
}

/// Reads a method. What no request has would be denied by any policy, and the test would show nothing.
fn read_method<'n>(reader: &mut Reader, field: Field<'n>) -> Option<&'n str> {
    let text = reader.text(field)?;
    if let Err((what, hint)) = method::check(text) {
        reader.error(field.node.at, what).hint(hint);
        return None;
    }
    Some(text)
}

fn name<'n>(reader: &mut Reader, field: Field<'n>) -> Option<&'n str> {
    let text = reader.text(field)?;
    if let Err(error) = check_name(text) {
        let what = format!("`{}` is {}: {error}", field.key, quoted(text));
        reader.error(field.node.at, what).hint("it must be a name as credentials have it");
        return None;
    }
    Some(text)
}

impl Expectation {
    /// Asks the policy, and says in what it fails.
    pub fn failure(&self, policy: &Policy, today: Date) -> Option<Failure> {
        let subject = policy.subject(&self.client);
        let question = self.asked.question(policy, &subject, today);
        let verdict = policy.decide(&subject, &question, today);
        let is_allowed = verdict.is_allow();
        if is_allowed == self.allow && self.reason.is_none_or(|reason| reason == verdict.reason) {
            return None;
        }
        let expected = Outcome { allow: self.allow, reason: self.reason };
        let got = Outcome { allow: is_allowed, reason: Some(verdict.reason) };
        Some(Failure {
            place: self.place.clone(),
            client: self.client.to_string(),
            to: self.written.to_string(),
            expected: expected.to_string(),
            got: got.to_string(),
            rule: verdict.rule.map(|rule| rule.to_string()),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, to, expected, got, .. } = self;
        write!(f, "{client} to {}: expected {expected}, got {got}", quoted(to))?;
        match &self.rule {
            Some(rule) => write!(f, ", by {rule}"),
            None => Ok(()),
        }
    }
}

struct Outcome {
    allow: bool,
    reason: Option<Reason>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.allow { "allow" } else { "deny" })?;
        match self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}
