mod documented;
mod files;
mod schema;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::civil::{Date, date};

use super::*;
use crate::policy::Policy;
use crate::policy::lint::lint;

const TODAY: Date = date(2026, 11, 22);

fn policies_in(directory: &str) -> Vec<PathBuf> {
    Watch::default().policies_of(Path::new(directory)).unwrap()
}

fn load(path: &Path) -> Result<Loaded, Vec<Mistake>> {
    Sources { paths: vec![path.to_owned()], allow: Vec::new() }.load()
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()
}

/// Set `BLESS=1` to write what is said now as what is expected, and read the difference.
#[test]
fn each_invalid_policy_is_refused_with_exactly_its_mistakes() {
    for path in policies_in("fixtures/policies/invalid") {
        let Err(mistakes) = load(&path) else { panic!("{} was taken", path.display()) };
        let said = lines(&mistakes);
        let expected = path.with_extension("expected");
        if env::var_os("BLESS").is_some() {
            fs::write(&expected, &said).unwrap();
        }
        assert_eq!(said, fs::read_to_string(&expected).unwrap(), "{}", path.display());
    }
}

fn failures(loaded: &Loaded, policy: &Policy) -> Vec<String> {
    let outcomes = loaded.expectations.iter().filter_map(|test| test.failure(policy, TODAY));
    outcomes.map(|failure| format!("{}: {failure}", failure.place)).collect()
}

#[test]
fn each_valid_policy_is_taken_and_passes_its_tests() {
    for path in policies_in("fixtures/policies/valid") {
        let mut loaded = load(&path).unwrap_or_else(|mistakes| panic!("{}", lines(&mistakes)));
        assert!(!loaded.expectations.is_empty(), "{}", path.display());
        let policy = std::mem::take(&mut loaded.builder).finish(1);
        assert_eq!(failures(&loaded, &policy), [""; 0], "{}", path.display());
    }
}

#[test]
fn each_shipped_policy_is_clean_and_passes_its_tests() {
    for path in policies_in("policies") {
        let mut loaded = load(&path).unwrap_or_else(|mistakes| panic!("{}", lines(&mistakes)));
        let policy = std::mem::take(&mut loaded.builder).finish(1);
        let warnings = lines(&loaded.warnings) + &lines(&lint(&policy, &loaded.columns, TODAY));
        assert_eq!(warnings, "", "{}", path.display());
        assert!(loaded.expectations.len() >= 4, "{} shows too little of itself", path.display());
        assert_eq!(failures(&loaded, &policy), [""; 0], "{}", path.display());
    }
}

#[test]
fn patterns_of_the_command_line_are_a_policy() {
    let sources = Sources { paths: Vec::new(), allow: vec!["a.example".into(), "*.b.example".into()] };
    let loaded = sources.load().unwrap();
    let policy = loaded.builder.finish(1);
    let rules: Vec<_> = policy.rules().map(|rule| rule.to_string()).collect();
    assert_eq!(rules, ["--allow:1 \"a.example\"", "--allow:2 \"*.b.example\""]);
    let wrong = Sources { paths: Vec::new(), allow: vec!["a.example".into(), "b.example:22".into()] };
    let mistakes = lines(&wrong.load().unwrap_err());
    assert!(mistakes.starts_with("--allow:2:1: error: \"b.example:22\" is no pattern"), "{mistakes}");
}

#[test]
fn what_reading_changes_in_a_name_is_a_warning() {
    let text = "version: 1\nprofiles: [{ name: a, allow: [\"exa\u{ad}mple.org\", Bücher.example] }]\n";
    let loaded = load_text(Path::new("p.yaml"), text).unwrap();
    assert_eq!(
        lines(&loaded.warnings),
        "p.yaml:2:31: warning: \"exa\\u{ad}mple.org\" is read as \"example.org\"\n  hint: write \"example.org\"\n"
    );
}

#[test]
fn a_parent_is_one_of_the_settings() {
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let text = "version: 1\nprofiles:\n  - name: a\n    parent: crop\n    allow:\n      \
                - { host: a.example, parent: direct }\n      - { host: b.example, parent: elsewhere }\n";
    fs::write(file.path(), text).unwrap();
    let sources = Sources { paths: vec![file.path().to_owned()], allow: Vec::new() };
    let told = |parents: &[&str]| {
        let known: Vec<std::sync::Arc<str>> = parents.iter().map(|name| (*name).into()).collect();
        let mistakes = sources.load_with(Some(known.into())).unwrap_err();
        lines(&mistakes).replace(file.path().to_str().unwrap(), "p.yaml")
    };
    assert_eq!(
        told(&["corp", "dmz"]),
        "p.yaml:4:13: error: `parent` is the text \"crop\"\n  hint: did you mean `corp`?\n\
         p.yaml:7:36: error: `parent` is the text \"elsewhere\"\n  hint: it is one of `direct`, `corp` and `dmz`\n"
    );
    let without = told(&[]);
    let expected = "p.yaml:4:13: error: `parent` is the text \"crop\", and the settings have no `parents`";
    assert!(without.starts_with(expected), "{without}");
    // Without settings nobody knows.
    assert!(sources.load().is_ok());
}

#[test]
fn a_profile_that_allows_nothing_has_no_connections_to_speak_of() {
    let text = "version: 1\nprofiles:\n  - name: all\n    allow: [a.example]\n  \
         - name: tenant\n    outgoing: { source: [192.0.2.7] }\n    parent: direct\n  \
         - { name: report, mode: report, outgoing: { family: ipv4 } }\n";
    let warnings = lines(&load_text(Path::new("p.yaml"), text).unwrap().warnings);
    let said = |key: &str| format!("warning: `{key}` is for what the rules of its profile allow");
    assert!(warnings.contains(&said("outgoing")) && warnings.contains(&said("parent")), "{warnings}");
    assert!(warnings.starts_with("p.yaml:6:5: ") && warnings.lines().count() == 4, "{warnings}");
}

#[test]
fn equal_terms_are_kept_once() {
    let rules = "      - { host: a.example, ports: [8443] }\n".repeat(1000);
    let text = format!("version: 1\nprofiles:\n  - name: a\n    allow:\n{rules}");
    let policy = load_text(Path::new("p.yaml"), &text).unwrap().builder.finish(1);
    assert_eq!((policy.rules.rows.len(), policy.rules.terms.len()), (1000, 1));
}

#[test]
fn any_part_of_a_policy_is_taken_or_refused() {
    let text = fs::read_to_string("fixtures/policies/valid/everything.yaml").unwrap();
    for (end, _) in text.char_indices().step_by(17) {
        if let Err(mistakes) = load_text(Path::new("p.yaml"), &text[..end]) {
            assert!(!mistakes.is_empty());
        }
    }
}
