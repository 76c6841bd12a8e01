//! The rules of other programs as policies. What has no equal is told line by line, and fails closed: what can't be
//! read in a line that allows does not allow, and in a line that denies it denies whatever else the line says.

pub mod aviatrix;
mod emit;
mod places;
mod region;
mod sets;
pub mod smokescreen;
pub mod squid;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::learn::draft::Draft;
use crate::yaml::is_hidden;

/// The largest file that is read.
pub const SIZE_MAX: u64 = 64 << 20;

/// What became of another program's rules.
#[derive(Debug, Default)]
pub struct Imported {
    pub draft: Draft,
    pub remarks: Vec<Remark>,
}

/// Something that a reader of the policy has to know about a line of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub weight: Weight,
    pub file: Arc<Path>,
    pub line: u32,
    /// The line as it stands there.
    pub text: String,
    /// Why it is told.
    pub why: String,
    /// What to do.
    pub advice: String,
}

/// How much a remark weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It has no equal, and the policy does less, or allows less.
    Lost,
    /// It is translated, and something is different.
    Changed,
}

impl Imported {
    /// Whether something has no equal.
    pub fn lost(&self) -> usize {
        self.remarks.iter().filter(|remark| remark.weight == Weight::Lost).count()
    }

    /// The policy file, with the remarks as comments.
    pub fn policy(&self) -> String {
        let mut draft = self.draft.clone();
        if !self.remarks.is_empty() {
            draft.foot.push(String::new());
            draft
                .foot
                .push("What the source says and this policy does not, or does in another way:".to_owned());
        }
        for remark in &self.remarks {
            draft.foot.extend(remark.to_string().lines().map(str::to_owned));
        }
        draft.to_string()
    }
}

/// `file:line: lost: text`, and below it why and what to do.
impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { weight, file, line, text, why, advice } = self;
        let weight = match weight {
            Weight::Lost => "no equal",
            Weight::Changed => "differs",
        };
        // A line of a file may hold anything; what is shown is one line of what can be seen.
        let spaced = text.trim().chars().map(|c| if c.is_whitespace() { ' ' } else { c });
        let shown: String = spaced.filter(|c| !is_hidden(*c)).take(160).collect();
        write!(f, "{}:{line}: {weight}: {shown}\n  {why}", file.display())?;
        match advice.is_empty() {
            true => Ok(()),
            false => write!(f, "\n  hint: {advice}"),
        }
    }
}

/// Remarks of one file.
#[derive(Debug)]
struct Remarks {
    file: Arc<Path>,
    all: Vec<Remark>,
}

impl Remarks {
    fn new(file: &Path) -> Self {
        Self { file: file.into(), all: Vec::new() }
    }

    fn lost(&mut self, line: u32, text: &str, why: impl Into<String>, advice: &str) {
        self.push(Weight::Lost, line, text, why.into(), advice);
    }

    fn changed(&mut self, line: u32, text: &str, why: impl Into<String>, advice: &str) {
        self.push(Weight::Changed, line, text, why.into(), advice);
    }

    fn push(&mut self, weight: Weight, line: u32, text: &str, why: String, advice: &str) {
        let file = Arc::clone(&self.file);
        let (text, advice) = (text.to_owned(), advice.to_owned());
        self.all.push(Remark { weight, file, line, text, why, advice });
    }
}

#[cfg(test)]
mod tests;
