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
        let warnings = lines(&loaded.warnings) + &lines(&lint(&policy, TODAY));
        assert_eq!(warnings, "", "{}", path.display());
        assert!(loaded.expectations.len() >= 4, "{} shows too little of itself", path.display());
        assert_eq!(failures(&loaded, &policy), [""; 0], "{}", path.display());
    }
}

fn keys_of(schema: &serde_json::Value, pointer: &str) -> Vec<String> {
    let properties = schema.pointer(pointer).and_then(|value| value.as_object());
    properties.unwrap_or_else(|| panic!("{pointer}")).keys().cloned().collect()
}

fn schema() -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string("docs/policy.schema.json").unwrap()).unwrap()
}

#[test]
fn the_schema_has_the_keys_that_are_read() {
    let schema = schema();
    for (pointer, keys) in [
        ("/properties", keys::FILE),
        ("/$defs/profile/properties", keys::PROFILE),
        ("/$defs/allow_rule/properties", keys::RULE),
        ("/$defs/client/properties", keys::CLIENT),
        ("/$defs/outgoing/properties", keys::OUTGOING),
        ("/$defs/test/properties", expectation::KEYS),
    ] {
        let mut keys: Vec<&str> = keys.to_vec();
        keys.sort_unstable();
        let mut described = keys_of(&schema, pointer);
        described.sort_unstable();
        assert_eq!(described, keys, "{pointer}");
    }
    let mut deny = keys_of(&schema, "/$defs/deny_rule/properties");
    deny.extend(keys::ALLOW_ONLY.iter().map(ToString::to_string));
    deny.sort_unstable();
    let mut keys: Vec<&str> = keys::RULE.to_vec();
    keys.sort_unstable();
    assert_eq!(deny, keys);
    let reasons: Vec<_> = crate::reason::Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(schema.pointer("/$defs/test/properties/reason/enum"), Some(&serde_json::json!(reasons)));
}

/// The tree as an editor's YAML plug-in hands it to the schema.
fn as_json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Integer(number) => (*number).into(),
        Value::Number => serde_json::json!(0.5),
        Value::Text => (*node.text).into(),
        Value::List(items) => items.iter().map(as_json).collect(),
        Value::Map(entries) => {
            entries.iter().map(|(key, node)| (key.name.to_string(), as_json(node))).collect()
        }
    }
}

fn tree(path: &Path) -> Option<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap();
    Reader::new(path.into()).parse(&text).as_ref().map(as_json)
}

#[test]
fn the_schema_takes_every_valid_and_shipped_policy() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for path in [policies_in("fixtures/policies/valid"), policies_in("policies")].concat() {
        let json = tree(&path).unwrap();
        let errors: Vec<_> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert_eq!(errors, [""; 0], "{}", path.display());
    }
}

#[test]
fn the_schema_refuses_what_is_wrong_in_shape() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    // Mistakes that only the names, addresses and other keys of a rule show.
    let beyond_shape = [
        "clients",
        "dates",
        "lists",
        "public_suffixes",
        "patterns",
        "profile_names",
        "yaml_features",
        "no_profile",
    ];
    for path in policies_in("fixtures/policies/invalid") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        if let Some(json) = tree(&path)
            && !beyond_shape.contains(&name)
        {
            assert!(!validator.is_valid(&json), "{name}");
        }
    }
}

struct Directory(tempfile::TempDir);

impl Directory {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(directory)
    }

    fn load(&self) -> Result<Loaded, Vec<Mistake>> {
        load(self.0.path())
    }

    /// The mistakes, without the directory's own path.
    fn mistakes(&self) -> String {
        lines(&self.load().unwrap_err()).replace(&format!("{}/", self.0.path().display()), "")
    }

    fn names<'p>(&self, paths: impl Iterator<Item = &'p Path>) -> Vec<String> {
        paths.map(|path| path.strip_prefix(self.0.path()).unwrap().display().to_string()).collect()
    }
}

fn profile(name: &str) -> String {
    format!("version: 1\nprofiles: [{{ name: {name}, allow: [{name}.example] }}]\n")
}

#[test]
fn a_directory_is_the_policies_in_it_sorted_by_name() {
    let directory = Directory::new(&[
        ("b.yaml", &profile("b")),
        ("a.yml", &profile("a")),
        ("c.yaml.bak", "not: read"),
        (".hidden.yaml", "not: read"),
        ("notes.txt", "not: read"),
        ("deeper.yaml/x.yaml", "not: read"),
    ]);
    let loaded = directory.load().unwrap();
    assert_eq!(directory.names(loaded.watched.files()), ["a.yml", "b.yaml"]);
    assert_eq!(directory.names(loaded.watched.directories()), [""]);
    assert_eq!((loaded.profiles, loaded.rules), (2, 2));
}

#[cfg(unix)]
#[test]
fn a_mounted_config_map_is_read_through_its_links_once() {
    let directory = Directory::new(&[("..2026_11_22/a.yaml", &profile("a"))]);
    std::os::unix::fs::symlink("..2026_11_22", directory.0.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/a.yaml", directory.0.path().join("a.yaml")).unwrap();
    let loaded = directory.load().unwrap();
    assert_eq!(directory.names(loaded.watched.files()), ["a.yaml"]);
    assert_eq!(directory.names(loaded.watched.directories()), ["", "..2026_11_22"]);
}

#[test]
fn mistakes_of_all_files_come_at_once() {
    let directory = Directory::new(&[
        ("a.yaml", &profile("a")),
        ("b.yaml", &profile("a")),
        ("c.yaml", "version: 1\nprofiles: [{ name: c, allow: [\"*.com\"] }]\n"),
    ]);
    assert_eq!(
        directory.mistakes(),
        "b.yaml:2:20: error: a second profile named \"a\"\n  hint: the first is at a.yaml:2:20\n\
         c.yaml:2:31: error: \"*.com\" spans the public suffix com: anyone may register a name there\n  \
         hint: if that is meant, write { host: \"*.com\", public_suffix: true }\n"
    );
}

#[test]
fn a_policy_without_rules_to_read_is_an_error() {
    let empty = Directory::new(&[("notes.txt", "")]);
    assert!(empty.mistakes().contains("the directory holds no policy"), "{}", empty.mistakes());
    let tests_only = Directory::new(&[("a.yaml", "version: 1\ntests: [{ to: a.example, expect: deny }]\n")]);
    assert!(tests_only.mistakes().contains("the policy has no profile"), "{}", tests_only.mistakes());
    let missing = load(Path::new("no/such/policy.yaml")).unwrap_err();
    assert!(
        lines(&missing).starts_with("no/such/policy.yaml:1:1: error: it can't be read: "),
        "{}",
        lines(&missing)
    );
}

#[test]
fn the_content_tells_whether_anything_changed() {
    let directory = Directory::new(&[
        ("a.yaml", "version: 1\nprofiles: [{ name: a, deny_file: [lists/d.txt] }]\n"),
        ("lists/d.txt", "a.example\n"),
    ]);
    let first = directory.load().unwrap();
    assert_eq!(directory.names(first.watched.files()), ["a.yaml", "lists/d.txt"]);
    assert_eq!(directory.names(first.watched.directories()), ["", "lists"]);
    assert_eq!(directory.load().unwrap().content, first.content);
    fs::write(directory.0.path().join("lists/d.txt"), "b.example\n").unwrap();
    assert_ne!(directory.load().unwrap().content, first.content);
}

#[test]
fn rules_keep_the_place_they_stand_at() {
    let directory = Directory::new(&[
        (
            "a.yaml",
            "version: 1\nprofiles:\n  - name: a\n    allow:\n      - a.example\n      - host: b.example\n    deny_file: [d.txt]\n",
        ),
        ("d.txt", "# one\n\nc.example\n"),
    ]);
    let policy = directory.load().unwrap().builder.finish(1);
    let rules: Vec<_> = policy.rules().map(|rule| rule.to_string()).collect();
    let shown: Vec<_> =
        rules.iter().map(|rule| rule.replace(&format!("{}/", directory.0.path().display()), "")).collect();
    assert_eq!(shown, ["a.yaml:5 \"a.example\"", "a.yaml:6 \"b.example\"", "d.txt:3 \"c.example\""]);
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

fn document() -> String {
    fs::read_to_string("docs/policy.md").unwrap()
}

#[test]
fn the_documented_example_is_taken_and_passes_its_tests() {
    let document = document();
    let example = document.split("```yaml\n").find(|block| block.starts_with("version: 1")).unwrap();
    let example = example.split("```").next().unwrap();
    let mut loaded = load_text(Path::new("example.yaml"), example).unwrap();
    let policy = std::mem::take(&mut loaded.builder).finish(1);
    assert_eq!((lines(&loaded.warnings), lines(&lint(&policy, TODAY))), (String::new(), String::new()));
    assert!(!loaded.expectations.is_empty());
    assert_eq!(failures(&loaded, &policy), [""; 0]);
}

#[test]
fn every_key_is_documented() {
    let document = document();
    let tables: String = document.lines().filter(|line| line.starts_with("| `")).collect();
    for key in
        [keys::FILE, keys::PROFILE, keys::CLIENT, keys::OUTGOING, keys::RULE, expectation::KEYS].concat()
    {
        assert!(tables.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn the_documented_table_of_patterns_is_true() {
    let document = document();
    let (_, table) = document.split_once("## Patterns over names").unwrap();
    let rows =
        table.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<&str>> = rows
        .map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    for row in &rows[2..] {
        let pattern = crate::policy::pattern::Pattern::parse(row[0]).unwrap();
        for (name, cell) in rows[0].iter().zip(row).skip(1) {
            let name = crate::host::Name::parse(name).unwrap();
            assert_eq!(pattern.matches(&name), *cell == "yes", "{} and {name}", row[0]);
        }
    }
    assert_eq!(rows.len(), 9);
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
