//! What a person meant to type.

/// The word that a typing slip makes of `text`: a third of it may differ.
pub(super) fn nearest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    // Longer than any key: not a slip, and not worth a quadratic comparison.
    if text.len() > 40 {
        return None;
    }
    let lowered = text.to_ascii_lowercase().replace('-', "_");
    let (distance, word) = words.iter().map(|word| (distance(&lowered, word), *word)).min()?;
    (distance <= word.len().max(3) / 3).then_some(word)
}

/// Levenshtein's distance, two neighbours swapped counting as one step.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let mut steps = (last[j] + usize::from(a[i] != b[j])).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                steps = steps.min(before[j - 1] + 1);
            }
            row.push(steps);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
