//! What a record says of rules and errors, within bounds.

use std::fmt::Write as _;

use crate::error::Error;
use crate::policy::Rule;
use crate::record::clip;

/// Longest text of an error in a record.
const ERROR_MAX: usize = 256;
/// Longest text of a rule in a record.
const RULE_MAX: usize = 512;

/// A rule in words, written once into one buffer: its label for people, then its pattern.
pub(super) struct Words {
    text: String,
    label: usize,
}

impl Words {
    pub(super) fn new(rule: Rule<'_>) -> Self {
        let mut text = String::with_capacity(128);
        // Writing to a String can't fail.
        let _ = write!(text, "{rule}");
        let label = text.len();
        let _ = write!(text, "{}", rule.pattern());
        Self { text, label }
    }

    pub(super) fn label(&self) -> &str {
        clip(&self.text[..self.label], RULE_MAX)
    }

    pub(super) fn pattern(&self) -> &str {
        &self.text[self.label..]
    }
}

/// What a record says of an error; nothing if the reason says it all.
pub(super) fn words(error: &Error) -> Option<Box<str>> {
    if matches!(error, Error::Denied(_)) {
        return None;
    }
    Some(clip(&error.to_string(), ERROR_MAX).into())
}
