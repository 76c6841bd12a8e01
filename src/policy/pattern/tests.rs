use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn each_kind_matches_its_names_and_no_others() {
    for (text, matching, others) in [
        ("crates.io", &["crates.io"][..], &["static.crates.io", "crates.i", "xcrates.io", "io"][..]),
        ("*.crates.io", &["a.crates.io", "a.b.crates.io"], &["crates.io", "acrates.io", "a.crates.io.x"]),
        (".github.com", &["github.com", "a.github.com", "a.b.github.com"], &["agithub.com", "com"]),
        ("*", &["com", "a.b.c.d", "localhost"], &[]),
        (
            "api-*.eu.example.com",
            &["api-1.eu.example.com", "api-1-2.eu.example.com"],
            &["api-1.x.eu.example.com", "x.api-1.eu.example.com", "api.eu.example.com", "eu.example.com"],
        ),
        ("api*.example", &["api.example", "api9.example"], &["ap.example", "xapi.example"]),
        ("*-api.example", &["eu-api.example"], &["a.eu-api.example", "api.example"]),
        ("a*b*c.example", &["abc.example", "a-b-c.example", "axbbc.example"], &["ac.example", "ab.example"]),
        ("a*a.example", &["aa.example", "aba.example"], &["a.example"]),
        ("a.*.example.com", &["a.b.example.com"], &["a.example.com", "a.b.c.example.com", "x.b.example.com"]),
        ("*.*.example", &["a.b.example", "a.b.c.example"], &["a.example", "example"]),
        (".*.example", &["b.example", "a.b.example"], &["example"]),
        ("*.api-*.example", &["x.api-1.example", "y.x.api-1.example"], &["api-1.example", "x.api.example"]),
        (".api-*.example", &["api-1.example", "x.api-1.example"], &["api.example", "x.example"]),
        ("*.*", &["a.b", "a.b.c"], &["a"]),
        ("a.*", &["a.b"], &["a", "a.b.c"]),
        ("_dmarc.example", &["_dmarc.example"], &["dmarc.example"]),
    ] {
        let pattern = pattern(text);
        assert_eq!(pattern.to_string(), text);
        for matching in matching {
            assert!(pattern.matches(&name(matching)), "{text} misses {matching}");
        }
        for other in others {
            assert!(!pattern.matches(&name(other)), "{text} matches {other}");
        }
    }
}

#[test]
fn patterns_have_one_canonical_form_and_say_when_they_were_rewritten() {
    for (text, canonical, rewritten) in [
        ("Crates.IO", "crates.io", false),
        ("*.CRATES.io", "*.crates.io", false),
        ("b\u{fc}cher.example", "xn--bcher-kva.example", false),
        ("*.B\u{dc}CHER.example", "*.xn--bcher-kva.example", false),
        ("api-*.b\u{fc}cher.example", "api-*.xn--bcher-kva.example", false),
        ("stra\u{df}e.example", "xn--strae-oqa.example", false),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", false),
        ("bu\u{308}cher.example", "xn--bcher-kva.example", true),
        ("crates.io.", "crates.io", true),
        ("crates\u{3002}io", "crates.io", true),
        ("crates\u{ff0e}io", "crates.io", true),
        ("*\u{ff61}crates.io", "*.crates.io", true),
        ("\u{ff43}rates.io", "crates.io", true),
        ("cra\u{200b}tes.io", "crates.io", true),
        ("cra\u{ad}tes.io", "crates.io", true),
    ] {
        let pattern = pattern(text);
        assert_eq!(
            (pattern.to_string(), pattern.is_rewritten()),
            (canonical.to_owned(), rewritten),
            "{text:?}"
        );
    }
}

#[test]
fn what_is_no_pattern_is_refused_with_its_reason() {
    use PatternError as E;
    let long_label = format!("{}.example", "a".repeat(64));
    let long_name = format!("{}example", "abcdefg.".repeat(31));
    let too_long_below = format!("*.{}abcd", "abcdefg.".repeat(31));
    for (text, error) in [
        ("", E::Empty),
        (".", E::Name(HostError::EmptyLabel)),
        ("..", E::Name(HostError::EmptyLabel)),
        ("*.", E::Name(HostError::EmptyLabel)),
        ("*..", E::Name(HostError::EmptyLabel)),
        ("..example", E::Name(HostError::EmptyLabel)),
        ("*..example", E::Name(HostError::EmptyLabel)),
        ("a..example", E::Name(HostError::EmptyLabel)),
        ("example..", E::Name(HostError::EmptyLabel)),
        ("a.*..", E::Name(HostError::EmptyLabel)),
        ("**", E::DoubleStar),
        ("**.example", E::DoubleStar),
        ("a**b.example", E::DoubleStar),
        ("{a,b}.example", E::Character('{')),
        ("[ab].example", E::Character('[')),
        ("a?.example", E::Character('?')),
        ("a\\.example", E::Character('\\')),
        ("!a.example", E::Character('!')),
        ("a b.example", E::Character(' ')),
        ("a.example\n", E::Character('\n')),
        ("example.com:443", E::Character(':')),
        ("https://example.com", E::Character(':')),
        ("example.com/path", E::Character('/')),
        ("user@example.com", E::Character('@')),
        ("a%2eb.example", E::Character('%')),
        ("-a.example", E::Name(HostError::BadHyphen)),
        ("a-.example", E::Name(HostError::BadHyphen)),
        ("-*.example", E::Name(HostError::BadHyphen)),
        (&long_label, E::Name(HostError::LabelTooLong)),
        (&long_name, E::TooLong),
        (&too_long_below, E::TooLong),
        ("b\u{fc}*.example", E::StarBesideUnicode("b\u{fc}*".to_owned())),
        ("\u{ff0a}.example", E::Unicode("\u{ff0a}".to_owned())),
        ("\u{ad}.example", E::Unicode("\u{ad}".to_owned())),
        ("a\u{2026}b.example", E::Unicode("a\u{2026}b".to_owned())),
        ("a\u{200d}b.example", E::Unicode("a\u{200d}b".to_owned())),
        ("a\u{ff0f}b.example", E::Name(HostError::BadCharacter)),
    ] {
        assert_eq!(Pattern::parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn an_address_is_no_pattern_however_it_is_written() {
    for text in [
        "192.0.2.1",
        "192.0.2.0/24",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "10.0.*.*",
        "10.*",
        "*.0.0.1",
        ".0.0.1",
        "192.0.2.1.",
        "::1",
        "[::1]",
        "2001:db8::/32",
        "\u{ff11}\u{ff12}\u{ff17}.1",
    ] {
        assert_eq!(Pattern::parse(text), Err(PatternError::Address), "{text:?}");
    }
}

#[test]
fn the_literal_suffix_is_right_of_every_wildcard() {
    for (text, suffix, wildcard) in [
        ("crates.io", "crates.io", false),
        ("*.crates.io", "crates.io", true),
        (".com", "com", true),
        ("*", "", true),
        ("api-*.eu.example", "eu.example", true),
        ("a.*.example", "example", true),
        ("a.b-*", "", true),
    ] {
        let pattern = pattern(text);
        assert_eq!((pattern.literal_suffix(), pattern.is_wildcard()), (suffix, wildcard), "{text}");
    }
}

#[test]
fn wider_patterns_cover_narrower_ones() {
    for (wide, narrow) in [
        ("*", "crates.io"),
        ("*", "*"),
        ("*", "*.com"),
        ("*.crates.io", "a.crates.io"),
        ("*.crates.io", "*.a.crates.io"),
        ("*.crates.io", ".a.crates.io"),
        (".crates.io", "*.crates.io"),
        (".crates.io", "crates.io"),
        ("api-*.example", "api-1.example"),
        ("api-*.example", "api-1*.example"),
        ("*.example", "api-*.example"),
        ("a.*.example", "a.b-*.example"),
        (".*.example", "*.example"),
        ("*.*.example", "a.*.example"),
        ("*.*.example", "*.a.example"),
    ] {
        assert!(pattern(wide).covers(&pattern(narrow)), "{wide} covers {narrow}");
    }
    for (one, other) in [
        ("crates.io", "*.crates.io"),
        ("*.crates.io", ".crates.io"),
        ("*.crates.io", "crates.io"),
        ("api-1*.example", "api-*.example"),
        ("a.*.example", "*.example"),
        ("a.*.example", "*.*.example"),
        ("a*.example", "*.example"),
        ("*.a.example", "*.example"),
        ("*.*.example", "*.example"),
        ("*.com", "*"),
    ] {
        assert!(!pattern(one).covers(&pattern(other)), "{one} does not cover {other}");
    }
}

/// Label by label with every way to spread the `*`, as slow as it is plain.
fn naive_label(pattern: &[u8], label: &[u8]) -> bool {
    match pattern.split_first() {
        None => label.is_empty(),
        Some((b'*', rest)) => (0..=label.len()).any(|taken| naive_label(rest, &label[taken..])),
        Some((letter, rest)) => label.first() == Some(letter) && naive_label(rest, &label[1..]),
    }
}

proptest! {
    #[test]
    fn labels_match_as_every_way_to_spread_the_stars_says(pattern in "[ab*]{1,8}", label in "[ab]{1,10}") {
        prop_assume!(!pattern.contains("**"));
        prop_assert_eq!(
            label_matches(&pattern, &label),
            naive_label(pattern.as_bytes(), label.as_bytes())
        );
    }

    #[test]
    fn a_covered_pattern_matches_nothing_more(
        wide in "(\\*\\.|\\.)?[ab*](\\.[ab*]{1,2}){0,2}",
        narrow in "(\\*\\.|\\.)?[ab*](\\.[ab*]{1,2}){0,2}",
        names in prop::collection::vec("[ab]{1,2}(\\.[ab]{1,2}){0,3}", 40),
    ) {
        let (Ok(wide), Ok(narrow)) = (Pattern::parse(&wide), Pattern::parse(&narrow)) else { return Ok(()) };
        prop_assume!(wide.covers(&narrow));
        for text in names {
            let name = name(&text);
            prop_assert!(!narrow.matches(&name) || wide.matches(&name), "{} {} {}", wide, narrow, name);
        }
    }

    #[test]
    fn canonical_text_reads_back_as_itself(text in "(\\*\\.|\\.)?[a-c*\u{fc}\u{3002}-]{1,4}(\\.[a-c*-]{1,3}){0,2}\\.?") {
        if let Ok(pattern) = Pattern::parse(&text) {
            let again = Pattern::parse(&pattern.to_string());
            prop_assert_eq!(again.as_ref().map(ToString::to_string), Ok(pattern.to_string()));
            prop_assert!(!again.is_ok_and(|again| again.is_rewritten()));
        }
    }
}

#[test]
fn a_name_is_a_pattern_as_if_it_had_been_written() {
    for text in [
        "example.com",
        "localhost",
        "_dmarc.example.com",
        "xn--0.example",
        "xn--bcher-kva.example",
        "0xy.com",
    ] {
        let name = Name::parse(text).unwrap();
        let exact = Pattern::exact(&name);
        assert_eq!(Pattern::parse(text), Ok(exact.clone()), "{text}");
        assert!(exact.matches(&name) && !exact.is_wildcard() && !exact.is_rewritten());
    }
}
