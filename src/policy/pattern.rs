//! What people write to mean names: one name, a domain, or a shape with `*`.
//!
//! The parts of a pattern, from the left: a lead (`*.`, `.` or none), labels up to the last that holds
//! a `*`, and the literal suffix. Only the lead spans labels; every other `*` stays inside its own.

mod canonical;
mod error;

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::host::{HostError, NAME_MAX, Name};

pub use crate::policy::pattern::error::PatternError;

/// A pattern over names; it never matches an address.
#[derive(Clone, Debug)]
pub struct Pattern {
    lead: Lead,
    /// Canonical labels after the lead; empty for `*`, which is any name.
    labels: Box<str>,
    /// Where the literal suffix starts in `labels`.
    suffix: usize,
    rewritten: bool,
}

/// How far a pattern reaches to the left of its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lead {
    /// Not at all.
    This,
    /// `*.`: at least one label further.
    Below,
    /// `.`: any number of labels further.
    Within,
}

impl Pattern {
    /// Reads a pattern as people write it. Letters outside ASCII become A-labels (UTS 46).
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text == "*" {
            return Ok(Self { lead: Lead::Within, labels: "".into(), suffix: 0, rewritten: false });
        }
        canonical::refuse_addresses(text)?;
        canonical::refuse_characters(text)?;
        let dotted = if text.is_ascii() {
            Cow::Borrowed(text)
        } else {
            text.replace(canonical::OTHER_DOTS, ".").into()
        };
        let (lead, labels) = split_lead(&dotted);
        let plain = labels.strip_suffix('.').unwrap_or(labels);
        let (ascii, mapped) = canonical::to_ascii(plain)?;
        check_shape(lead, &ascii)?;
        let rewritten = mapped || dotted != text || plain != labels;
        let suffix = match ascii.rfind('*') {
            Some(star) => ascii[star..].find('.').map_or(ascii.len(), |dot| star + dot + 1),
            None => 0,
        };
        Ok(Self { lead, labels: ascii.into(), suffix, rewritten })
    }

    /// The pattern that means a name alone.
    pub fn exact(name: &Name) -> Self {
        Self { lead: Lead::This, labels: name.as_str().into(), suffix: 0, rewritten: false }
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

/// Equal patterns match the same names, however they were written.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (self.lead, &self.labels) == (other.lead, &other.labels)
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.lead, &self.labels).hash(hasher);
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

fn split_lead(text: &str) -> (Lead, &str) {
    if let Some(labels) = text.strip_prefix("*.") {
        return (Lead::Below, labels);
    }
    match text.strip_prefix('.') {
        Some(labels) => (Lead::Within, labels),
        None => (Lead::This, text),
    }
}

/// The labels must be able to make up a name: with a letter for each `*`, they are one.
fn check_shape(lead: Lead, labels: &str) -> Result<(), PatternError> {
    // The parser of names would drop one dot more.
    if labels.is_empty() || labels.ends_with('.') {
        return Err(PatternError::Name(HostError::EmptyLabel));
    }
    let name = match Name::parse(&labels.replace('*', "x")) {
        Ok(name) => name,
        Err(HostError::NotAName) => return Err(PatternError::Address),
        Err(HostError::NameTooLong) => return Err(PatternError::TooLong),
        Err(error) => return Err(PatternError::Name(error)),
    };
    let room_for_lead = if lead == Lead::Below { "x.".len() } else { 0 };
    if name.as_str().len() + room_for_lead > NAME_MAX {
        return Err(PatternError::TooLong);
    }
    Ok(())
}

/// Parts the last label from a name; an empty name has an empty one.
pub(super) fn split_last(name: &str) -> (&str, &str) {
    // Labels are short: a loop over their bytes takes a third of a search that is made for long texts.
    name.bytes().rposition(|byte| byte == b'.').map_or(("", name), |dot| (&name[..dot], &name[dot + 1..]))
}

/// Whether one label matches one label of a pattern. Each piece between two `*` is taken where it first
/// occurs, so there is nothing to go back to: the cost is the label's length, whatever the pattern.
pub(super) fn label_matches(pattern: &str, label: &str) -> bool {
    let Some(star) = pattern.bytes().position(|byte| byte == b'*') else { return pattern == label };
    let (first, others) = (&pattern[..star], &pattern[star + 1..]);
    let Some(mut left) = label.strip_prefix(first) else { return false };
    // One `*` alone is by far the most usual.
    let Some(star) = others.bytes().rposition(|byte| byte == b'*') else { return left.ends_with(others) };
    let (middle, last) = (&others[..star], &others[star + 1..]);
    for piece in middle.split('*') {
        let Some(at) = left.find(piece) else { return false };
        left = &left[at + piece.len()..];
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests;
