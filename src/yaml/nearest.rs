//! What a person meant to type.

use strsim::osa_distance;

/// The word that a typing slip makes of `text`: a third of it may differ.
pub(super) fn nearest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    // Longer than any key: not a slip, and not worth a quadratic comparison.
    if text.len() > 40 {
        return None;
    }
    let lowered = text.to_ascii_lowercase().replace('-', "_");
    let (distance, word) = words.iter().map(|word| (osa_distance(&lowered, word), *word)).min()?;
    (distance <= word.len().max(3) / 3).then_some(word)
}
