//! Rules that a person adds to the policy while exeat runs.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Mutex;

use crate::client::Leave;
use crate::lock::lock;
use crate::policy::{ASKED, Builder, Grant, ProfileId, Wish};
use crate::reload::in_force::InForce;

/// The policy as it was loaded, and what was said yes to since. Nobody else may change the policy beside it.
#[derive(Debug)]
pub struct Grants {
    in_force: InForce,
    granted: Mutex<Granted>,
}

#[derive(Debug)]
struct Granted {
    builder: Builder,
    everyones: Option<ProfileId>,
    /// How many there are.
    count: u32,
}

impl Grants {
    /// The builder is the one that the policy in force came from.
    pub fn new(in_force: InForce, builder: Builder) -> Self {
        Self { in_force, granted: Mutex::new(Granted { builder, everyones: None, count: 0 }) }
    }

    /// A rule for what waits alone.
    pub fn once(&self, wish: &Wish) -> Leave {
        let mut granted = lock(&self.granted);
        granted.count += 1;
        let leave = Leave(NonZeroU32::MIN.saturating_add(granted.count));
        let number = granted.count;
        self.put(&mut granted, Grant { wish, leave: Some(leave), file: Path::new(ASKED), line: number });
        leave
    }

    /// A rule for everyone, for as long as exeat runs. It stands in a file's line, or nowhere: its line is then
    /// the position among those.
    pub fn always(&self, wish: &Wish, written: Option<(&Path, u32)>) {
        let mut granted = lock(&self.granted);
        granted.count += 1;
        let (file, line) = written.unwrap_or((Path::new(ASKED), granted.count));
        self.put(&mut granted, Grant { wish, leave: None, file, line });
    }

    fn put(&self, granted: &mut Granted, grant: Grant<'_>) {
        granted.builder.grant(&grant, &mut granted.everyones);
        self.in_force.put(granted.builder.clone());
    }
}
