//! What is wrong with one file.

use std::path::Path;
use std::sync::Arc;

use crate::mistake::{Mistake, Place};
use crate::yaml::At;

/// More mistakes of one file than anyone reads; the rest is counted.
const MISTAKES_MAX: usize = 1000;

/// Collects the mistakes of one file while it is read.
#[derive(Debug)]
pub(super) struct Mistakes {
    pub(super) file: Arc<Path>,
    /// Where the text ends. Without the end of a line there, the parser tells of one line more.
    end: Option<At>,
    list: Vec<Mistake>,
    uncounted: usize,
}

/// A mistake just recorded, to which a hint may be added.
#[derive(Debug)]
pub struct Recorded<'r>(Option<&'r mut Mistake>);

impl Mistakes {
    pub(super) fn new(file: Arc<Path>) -> Self {
        Self { file, end: None, list: Vec::new(), uncounted: 0 }
    }

    /// Says which text they are of.
    pub(super) fn read(&mut self, text: &str) {
        self.end = Some(end(text));
    }

    pub(super) fn place(&self, at: At) -> Place {
        let at = self.end.map_or(at, |end| at.min(end));
        Place { file: Arc::clone(&self.file), line: at.line, column: at.column }
    }

    /// Every mistake so far, in the order of the file.
    pub(super) fn finish(mut self) -> Vec<Mistake> {
        self.list.sort_by(|a, b| a.place.cmp(&b.place));
        if let (1.., Some(last)) = (self.uncounted, self.list.last()) {
            let what = format!("{} more mistakes in this file", self.uncounted);
            self.list.push(Mistake::error(last.place.clone(), what));
        }
        self.list
    }

    /// Records what makes the file unusable.
    pub(super) fn error(&mut self, at: At, what: impl Into<String>) -> Recorded<'_> {
        self.record(Mistake::error(self.place(at), what))
    }

    /// Records what its author hardly meant.
    pub(super) fn warning(&mut self, at: At, what: impl Into<String>) -> Recorded<'_> {
        self.record(Mistake::warning(self.place(at), what))
    }

    fn record(&mut self, mistake: Mistake) -> Recorded<'_> {
        if self.list.len() == MISTAKES_MAX {
            self.uncounted += 1;
            return Recorded(None);
        }
        self.list.push(mistake);
        Recorded(self.list.last_mut())
    }
}

impl Recorded<'_> {
    /// Adds what would be right.
    pub fn hint(self, hint: impl Into<String>) {
        if let Some(mistake) = self.0 {
            mistake.hint = Some(hint.into());
        }
    }
}

/// The place behind the last character of a text.
fn end(text: &str) -> At {
    let count = |count| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
    let both = text.matches("\r\n").count();
    let lines = text.matches(['\n', '\r']).count() - both;
    let last = text.rsplit(['\n', '\r']).next().unwrap_or_default();
    At { line: count(lines), column: count(last.chars().count()) }
}
