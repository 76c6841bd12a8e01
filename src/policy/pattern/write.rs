//! From what a person wrote to a pattern: the one place where a name is repaired, by UTS 46.

use std::borrow::Cow;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::{Lead, Pattern, PatternError};
use crate::host::{HostError, NAME_MAX, Name};

/// What UTS 46 takes for a dot besides the dot (UTS 46 §2.3).
const OTHER_DOTS: [char; 3] = ['\u{3002}', '\u{ff0e}', '\u{ff61}'];

pub(super) fn parse(text: &str) -> Result<Pattern, PatternError> {
    if text.is_empty() {
        return Err(PatternError::Empty);
    }
    if text == "*" {
        return Ok(Pattern { lead: Lead::Within, labels: "".into(), suffix: 0, rewritten: false });
    }
    refuse_addresses(text)?;
    refuse_characters(text)?;
    let dotted = if text.is_ascii() { Cow::Borrowed(text) } else { text.replace(OTHER_DOTS, ".").into() };
    let (lead, labels) = split_lead(&dotted);
    let plain = labels.strip_suffix('.').unwrap_or(labels);
    let (canonical, mapped) = to_ascii(plain)?;
    check_shape(lead, &canonical)?;
    let rewritten = mapped || dotted != text || plain != labels;
    let suffix = match canonical.rfind('*') {
        Some(star) => canonical[star..].find('.').map_or(canonical.len(), |dot| star + dot + 1),
        None => 0,
    };
    Ok(Pattern { lead, labels: canonical.into(), suffix, rewritten })
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

/// Addresses and networks in any notation, and what looks like a wildcard over them (`10.0.*.*`).
fn refuse_addresses(text: &str) -> Result<(), PatternError> {
    let bare = text.trim_start_matches('[').split([']', '/']).next().unwrap_or(text);
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_numbers_and_stars = bare.contains(|c: char| c.is_ascii_digit())
        && bare.split('.').all(|label| label == "*" || is_number(label));
    if bare.parse::<std::net::IpAddr>().is_ok() || is_numbers_and_stars {
        return Err(PatternError::Address);
    }
    Ok(())
}

/// ASCII that no pattern holds; what is beyond ASCII is for UTS 46 to judge.
fn refuse_characters(text: &str) -> Result<(), PatternError> {
    let is_known = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.*".contains(c);
    match text.chars().find(|&c| !is_known(c)) {
        Some(character) => Err(PatternError::Character(character)),
        None if text.contains("**") => Err(PatternError::DoubleStar),
        None => Ok(()),
    }
}

/// The labels in canonical form, and whether that changed more than the case of letters.
fn to_ascii(labels: &str) -> Result<(String, bool), PatternError> {
    if labels.is_ascii() {
        return Ok((labels.to_ascii_lowercase(), false));
    }
    let mut mapped = false;
    let mut canonical = String::with_capacity(labels.len());
    for (index, label) in labels.split('.').enumerate() {
        if index > 0 {
            canonical.push('.');
        }
        let (ascii, changed) = label_to_ascii(label)?;
        canonical.push_str(&ascii);
        mapped |= changed;
    }
    Ok((canonical, mapped))
}

fn label_to_ascii(label: &str) -> Result<(String, bool), PatternError> {
    if label.is_ascii() {
        return Ok((label.to_ascii_lowercase(), false));
    }
    if label.contains('*') {
        return Err(PatternError::StarBesideUnicode(label.to_owned()));
    }
    let refused = || PatternError::Unicode(label.to_owned());
    // The length and the characters of the outcome are for the one parser of names to judge.
    let (deny, hyphens) = (AsciiDenyList::EMPTY, Hyphens::CheckFirstLast);
    let ascii = Uts46::new()
        .to_ascii(label.as_bytes(), deny, hyphens, DnsLength::Ignore)
        .map_err(|_| refused())?
        .into_owned();
    // A label that vanishes or falls apart (U+00AD alone, U+2026) has no certain reading.
    if ascii.is_empty() || ascii.contains(['.', '*']) {
        return Err(refused());
    }
    let (shown, outcome) = Uts46::new().to_unicode(ascii.as_bytes(), deny, hyphens);
    outcome.map_err(|_| refused())?;
    let changed = shown != label.to_lowercase();
    Ok((ascii, changed))
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
