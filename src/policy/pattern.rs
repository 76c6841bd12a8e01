//! What people write to mean names: one name, a domain, or a shape with `*`.
//!
//! The parts of a pattern, from the left: a lead (`*.`, `.` or none), labels up to the last that holds
//! a `*`, and the literal suffix. Only the lead spans labels; every other `*` stays inside its own.

mod write;

use std::fmt;

use crate::host::{HostError, Name};

/// A pattern over names; it never matches an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    lead: Lead,
    /// Canonical labels after the lead; empty for `*`, which is any name.
    labels: Box<str>,
    /// Where the literal suffix starts in `labels`.
    suffix: usize,
    rewritten: bool,
}

/// How far a pattern reaches to the left of its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lead {
    /// Not at all.
    This,
    /// `*.`: at least one label further.
    Below,
    /// `.`: any number of labels further.
    Within,
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("the pattern is empty")]
    Empty,
    #[error("{0:?} can't stand in a pattern")]
    Character(char),
    #[error("a pattern is about names, not addresses")]
    Address,
    #[error("two '*' stand side by side")]
    DoubleStar,
    #[error("the label {0:?} has both '*' and letters outside ASCII")]
    StarBesideUnicode(String),
    #[error("{0:?} is not a label that IDNA (UTS 46) allows")]
    Unicode(String),
    #[error("no name is short enough to match")]
    TooLong,
    #[error("{0}")]
    Name(HostError),
}

impl PatternError {
    /// What would be right.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Character(':') => Some("write the name alone; a port goes into `ports: [...]`"),
            Self::Character('/') => Some("write the name alone; a path goes into `paths: [...]`"),
            Self::Character('{' | '}' | '[' | ']' | '?' | '\\' | '!') => {
                Some("'*' is the only wildcard; write one rule for each alternative")
            }
            Self::Address => Some("write `{ cidr: 203.0.113.0/24 }` for addresses"),
            Self::DoubleStar => Some("a leading `*.` is any depth below; a leading `.` the name too"),
            Self::StarBesideUnicode(_) => Some("write that label in its `xn--` form"),
            Self::Name(HostError::EmptyLabel) => Some("only one '.' may lead; none may follow another"),
            _ => None,
        }
    }
}

impl Pattern {
    /// Reads a pattern as people write it. Letters outside ASCII become A-labels (UTS 46).
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        write::parse(text)
    }

    /// Whether the name matches: label by label, the plain way.
    pub fn matches(&self, name: &Name) -> bool {
        let mut left = name.as_str();
        for pattern in self.labels_from_right() {
            let (further, label) = split_last(left);
            if left.is_empty() || !label_matches(pattern, label) {
                return false;
            }
            left = further;
        }
        self.lead.reaches(left)
    }

    /// Whether the pattern may match more than one name.
    pub fn is_wildcard(&self) -> bool {
        self.lead != Lead::This || self.suffix > 0
    }

    /// The labels to the right of every wildcard; empty where the last label has one.
    pub fn literal_suffix(&self) -> &str {
        &self.labels[self.suffix..]
    }

    /// Whether reading it changed more than the case of letters, so that what stands in the file is not what it
    /// seems: full-width letters, other dots than '.', invisible characters, a trailing dot.
    pub fn is_rewritten(&self) -> bool {
        self.rewritten
    }

    /// Whether every name that `other` matches is certain to match this one too. May miss some.
    pub fn covers(&self, other: &Self) -> bool {
        let (own, others) = (self.depth(), other.depth());
        let fewest = others + usize::from(other.lead == Lead::Below);
        let needed = own + usize::from(self.lead == Lead::Below);
        if fewest < needed || (self.lead == Lead::This && (other.lead != Lead::This || others > own)) {
            return false;
        }
        let mut further = other.labels_from_right();
        // A `*` of the other stands for itself here: only a `*` can match it, and then matches all that it does.
        self.labels_from_right().all(|label| label_matches(label, further.next().unwrap_or("*")))
    }

    /// The number of labels, those with a `*` included, the lead not.
    pub(super) fn depth(&self) -> usize {
        self.labels_from_right().count()
    }

    pub(super) fn lead(&self) -> Lead {
        self.lead
    }

    /// The labels between the lead and the literal suffix, the last of them with a `*`.
    pub(super) fn globs(&self) -> &str {
        let globs = &self.labels[..self.suffix];
        globs.strip_suffix('.').unwrap_or(globs)
    }

    fn labels_from_right(&self) -> impl Iterator<Item = &str> {
        self.labels.rsplit('.').filter(|label| !label.is_empty())
    }
}

/// The canonical text.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.lead.written(self.labels.is_empty()))?;
        f.write_str(&self.labels)
    }
}

impl Lead {
    /// Whether what is left of a name, once the labels are matched, is within reach.
    pub(super) fn reaches(self, left: &str) -> bool {
        match self {
            Self::This => left.is_empty(),
            Self::Below => !left.is_empty(),
            Self::Within => true,
        }
    }

    /// As it is written before labels, or without any.
    pub(super) fn written(self, alone: bool) -> &'static str {
        match self {
            Self::Within if alone => "*",
            Self::This => "",
            Self::Below => "*.",
            Self::Within => ".",
        }
    }
}

/// Parts the last label from a name; an empty name has an empty one.
pub(super) fn split_last(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

/// Whether one label matches one label of a pattern. Each piece between two `*` is taken where it first
/// occurs, so there is nothing to go back to: the cost is the label's length, whatever the pattern.
pub(super) fn label_matches(pattern: &str, label: &str) -> bool {
    let Some((first, others)) = pattern.split_once('*') else { return pattern == label };
    let Some(mut left) = label.strip_prefix(first) else { return false };
    let (middle, last) = others.rsplit_once('*').unwrap_or(("", others));
    for piece in middle.split('*') {
        let Some(at) = left.find(piece) else { return false };
        left = &left[at + piece.len()..];
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests;
