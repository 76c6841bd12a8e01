//! What the command was denied, told when it has ended, with the line that would allow each.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use crate::client::Origin;
use crate::destination::Destination;
use crate::guard::{self, Special};
use crate::host::Host;
use crate::ingress::Ingress;
use crate::lock::lock;
use crate::policy::Policy;
use crate::policy::explain::{Denial, remedy};
use crate::reason::Reason;
use crate::record::Record;

/// Denials that are told apart; what comes beyond is counted.
const KEPT: usize = 10_000;
/// Denials that are told.
const TOLD: usize = 50;

/// All denials of a run.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// In the order of their first time.
    denied: Vec<Denied>,
    places: HashMap<(Option<Destination>, Reason), usize>,
    /// How many found no room.
    beyond: usize,
}

#[derive(Debug)]
struct Denied {
    to: Option<Destination>,
    denial: Denial,
    /// Asked for by name alone.
    asked: bool,
    times: usize,
}

impl Denials {
    /// Notes a record, if it is that of a denial.
    pub(super) fn see(&self, record: &Record) {
        let Some(reason) = record.reason.filter(|reason| !reason.allows()) else { return };
        let key = (record.to.clone(), reason);
        let mut seen = lock(&self.0);
        if let Some(&place) = seen.places.get(&key) {
            seen.denied[place].times += 1;
            return;
        }
        if seen.denied.len() >= KEPT {
            seen.beyond += 1;
            return;
        }
        let place = seen.denied.len();
        seen.places.insert(key, place);
        let special = record.to.as_ref().and_then(|to| match to.host {
            Host::Ip(address) => guard::special(address),
            Host::Name(_) => record.metadata.then_some(Special::Metadata),
        });
        seen.denied.push(Denied {
            to: record.to.clone(),
            denial: Denial { reason, special, rule: record.rule.as_deref().map(str::to_owned) },
            asked: record.ingress == Ingress::Dns,
            times: 1,
        });
    }

    /// Tells them on the standard error; says nothing where nothing was denied.
    pub(super) fn tell(&self, policy: &Policy) {
        let seen = lock(&self.0);
        for line in seen.lines(policy) {
            anstream::eprintln!("{line}");
        }
    }
}

impl Seen {
    fn lines(&self, policy: &Policy) -> Vec<String> {
        // Asked for and connected to is one wish.
        let connected: HashSet<&Host> = self
            .denied
            .iter()
            .filter(|one| !one.asked)
            .filter_map(|one| Some(&one.to.as_ref()?.host))
            .collect();
        let wishes: Vec<&Denied> = self
            .denied
            .iter()
            .filter(|one| !one.asked || !one.to.as_ref().is_some_and(|to| connected.contains(&to.host)))
            .collect();
        if wishes.is_empty() {
            return Vec::new();
        }
        let count = wishes.len() + self.beyond;
        let mut lines = vec![match count {
            1 => "exeat: 1 destination was denied".to_owned(),
            count => format!("exeat: {count} destinations were denied"),
        }];
        for denied in wishes.iter().take(TOLD) {
            lines.push(denied.line());
            lines.extend(denied.remedy(policy).map(|remedy| format!("    {remedy}")));
        }
        if count > TOLD {
            lines.push(format!("  and {} more", count - TOLD));
        }
        lines
    }
}

impl Denied {
    fn line(&self) -> String {
        let to = match &self.to {
            Some(to) if self.asked => to.host.to_string(),
            Some(to) => to.to_string(),
            None => "a destination that could not be read".to_owned(),
        };
        let times = if self.times > 1 { format!(" ({} times)", self.times) } else { String::new() };
        format!("  {to}: {}{times}", self.denial.reason)
    }

    fn remedy(&self, policy: &Policy) -> Option<String> {
        let client = Origin::Jail.client((Ipv4Addr::LOCALHOST, 0).into(), IpAddr::from(Ipv4Addr::LOCALHOST));
        let to = self.to.as_ref()?;
        // A question names no port: what would follow it is most likely TLS.
        let to = if self.asked { &Destination::new(to.host.clone(), 443) } else { to };
        remedy(policy, &policy.subject(&client), &client, to, &self.denial).map(|remedy| remedy.to_string())
    }
}
