//! What is seen of the command's flows, and told when it has ended.

use std::sync::Mutex;

use crate::cli::run::summary::Denials;
use crate::learn::{By, Observation, Options, Tally};
use crate::lock::lock;
use crate::policy::Policy;
use crate::record::Record;

/// What was seen.
#[derive(Debug)]
pub(super) struct Watched {
    denials: Denials,
    /// `None`: nobody asks what would have been enough, or was told already.
    tally: Mutex<Option<Tally>>,
}

impl Watched {
    /// With `report` everything is kept that the command reached, as far as there is room.
    pub(super) fn new(report: bool) -> Self {
        // One profile, for a command has no address; the records of rules and of report mode alike, so that it needs no
        // other policy beside it.
        let options = || Options { by: By::All, ..Options::default() };
        let tally = report.then(|| Tally::new(options(), None));
        Self { denials: Denials::default(), tally: Mutex::new(tally) }
    }

    /// Notes a record.
    pub(super) fn see(&self, record: &Record) {
        self.denials.see(record);
        if let Some(tally) = &mut *lock(&self.tally) {
            tally.add(&Observation::from(record));
        }
    }

    /// Tells on the standard error what was denied.
    pub(super) fn tell_denials(&self, policy: &Policy) {
        self.denials.tell(policy);
    }

    /// Tells there the policy that would have been enough, up to its end so that it can be cut out.
    pub(super) fn suggest(&self) {
        if let Some(tally) = lock(&self.tally).take() {
            anstream::eprint!("{}", tally.suggest());
        }
    }
}
