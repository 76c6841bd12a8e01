//! The one place where a name is repaired: people write patterns, in their own letters, so UTS 46 reads them.

use std::net::IpAddr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use crate::policy::pattern::error::PatternError;

/// What UTS 46 takes for a dot besides the dot (UTS 46 §2.3).
pub(super) const OTHER_DOTS: [char; 3] = ['\u{3002}', '\u{ff0e}', '\u{ff61}'];

/// Addresses and networks in any notation, and what looks like a wildcard over them (`10.0.*.*`).
pub(super) fn refuse_addresses(text: &str) -> Result<(), PatternError> {
    let bare = text.trim_start_matches('[').split([']', '/']).next().unwrap_or(text);
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_numbers_and_stars = bare.contains(|c: char| c.is_ascii_digit())
        && bare.split('.').all(|label| label == "*" || is_number(label));
    if bare.parse::<IpAddr>().is_ok() || is_numbers_and_stars {
        return Err(PatternError::Address);
    }
    Ok(())
}

/// ASCII that no pattern holds; what is beyond ASCII is for UTS 46 to judge.
pub(super) fn refuse_characters(text: &str) -> Result<(), PatternError> {
    let is_known = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.*".contains(c);
    match text.chars().find(|&c| !is_known(c)) {
        Some(character) => Err(PatternError::Character(character)),
        None if text.contains("**") => Err(PatternError::DoubleStar),
        None => Ok(()),
    }
}

/// The labels in canonical form, and whether that changed more than the case of letters.
pub(super) fn to_ascii(labels: &str) -> Result<(String, bool), PatternError> {
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
