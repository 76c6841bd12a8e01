//! Numbers of things, in words.

use std::fmt::Display;

/// `1 flow`, `2 flows`.
pub fn plural<N: Display + PartialEq + From<u8>>(count: N, thing: &str) -> String {
    let ending = if count == N::from(1) { "" } else { "s" };
    format!("{count} {thing}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_alone_has_no_s() {
        for (count, text) in [(0, "0 rules"), (1, "1 rule"), (2, "2 rules"), (11, "11 rules")] {
            assert_eq!(
                (plural(count, "rule"), plural(count as u64, "rule")),
                (text.to_owned(), text.to_owned())
            );
        }
    }
}
