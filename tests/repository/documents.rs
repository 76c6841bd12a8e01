//! The documents against the program.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use exeat::config::Settings;
use exeat::reason::Reason;
use exeat::reply;

use crate::serving::{EXEAT, Serving};
use crate::{read, root};

#[test]
fn the_readme_lists_every_reason_with_its_status_and_verdict() {
    let rows = table(&read("README.md"), "reason");
    let listed: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let known: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(listed, known);
    for (row, reason) in rows.iter().zip(Reason::ALL) {
        let (status, _) = reply::status(*reason);
        let status = if status.is_success() { String::new() } else { status.as_str().to_owned() };
        let verdict = if reason.allows() { "allow" } else { "deny" };
        assert_eq!((row[2].as_str(), row[3].as_str()), (status.as_str(), verdict), "{reason}");
    }
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let rows = table(&read("README.md"), "key");
    let listed: BTreeSet<String> = rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(listed.len(), rows.len(), "a setting stands there twice");
    assert_eq!(listed, settings_known());

    // The defaults, written out as a settings file, must change nothing. Two depend on the machine,
    // and those of `auth` and `outgoing` hold where it is set.
    let is_of = |key: &str, group: &str| key.split_once('.').is_some_and(|(of, _)| of == group);
    let changes_nothing =
        |key: &str| !["dns.hosts", "dns.ca"].contains(&key) && !is_of(key, "auth") && !is_of(key, "outgoing");
    let defaults = rows.iter().filter(|row| changes_nothing(&row[0]));
    let mut yaml = String::new();
    let mut group = "";
    for row in defaults {
        let default = &row[1];
        match row[0].split_once('.') {
            None => yaml += &format!("{}: {default}\n", row[0]),
            Some((of, key)) => {
                if of != group {
                    yaml += &format!("{of}:\n");
                }
                group = of;
                yaml += &format!("  {key}: {default}\n");
            }
        }
    }
    // A file beside which nothing is relative to.
    let settings = Settings::parse(Path::new("exeat.yaml"), &yaml);
    assert_eq!(settings, Ok(Settings::default()), "{yaml}");
}

#[test]
fn the_listeners_keys_are_all_told() {
    let listener = |text: &str| format!("listen: {{ explicit: [{{ {text} }}] }}");
    let rows = table(&read("docs/tls.md"), "key of a listener");
    let listed: BTreeSet<String> = rows.iter().map(|row| row[0].clone()).collect();
    let mut known = BTreeSet::new();
    for key in keys(&listener("qqqqqqqq: 1")) {
        match &*key {
            "tls" | "proxy_protocol" => {
                let below = keys(&listener(&format!("address: '[::1]:1', {key}: {{ qqqqqqqq: 1 }}")));
                known.extend(below.into_iter().map(|below| format!("{key}.{below}")));
            }
            _ => drop(known.insert(key)),
        }
    }
    assert_eq!(listed, known);
}

#[test]
fn the_parents_keys_are_all_told() {
    let rows = table(&read("docs/parents.md"), "key of a parent");
    let listed: Vec<String> = rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(listed, keys("parents: { a: { qqqqqqqq: 1 } }"));
}

#[test]
fn the_readme_lists_every_command() {
    let help = output(Command::new(EXEAT).arg("--help"));
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let known: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let rows = table(&read("README.md"), "command");
    let listed = rows.iter().map(|row| row[0].split(' ').nth(1).unwrap());
    let known = known.into_iter().filter(|command| *command != "help");
    assert_eq!(listed.collect::<BTreeSet<_>>(), known.collect());
}

#[test]
fn the_readme_shows_what_a_refused_client_sees() {
    let exeat = Serving::start(&[]);
    let mut curl = Command::new("curl");
    curl.env_clear().args(["-sS", "--max-time", "10", "-H", "Accept: text/plain"]);
    let seen = output(curl.args(["-x", &exeat.proxy, "http://evil.example/"]));
    let readme = read("README.md");
    for line in seen.lines().filter(|line| !line.starts_with("flow: ")) {
        assert!(readme.contains(line), "README.md does not show what curl does: {line:?}");
    }
}

#[test]
fn the_readme_shows_a_record_as_it_is() {
    let readme = read("README.md");
    let shown = readme.lines().find(|line| line.starts_with("{\"schema\"")).unwrap();
    let mut exeat = Serving::start(&[]);
    output(Command::new("curl").env_clear().args(["-sS", "-x", &exeat.proxy, "http://evil.example/"]));
    let mut record = String::new();
    BufReader::new(exeat.child.stdout.as_mut().unwrap()).read_line(&mut record).unwrap();
    // All but what differs from run to run.
    let rest = |line: &str| {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        for key in ["time", "flow", "client_port", "duration_ms"] {
            record[key].take();
        }
        record
    };
    assert_eq!(rest(shown), rest(&record));
    // In the same order too: the word before each colon.
    let keys = |line: &str| -> Vec<String> {
        let parts: Vec<&str> = line.split("\":").collect();
        parts[..parts.len() - 1].iter().map(|part| part.rsplit('"').next().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(shown), keys(&record));
}

#[test]
fn the_policy_in_the_readme_passes_its_own_tests() {
    let directory = tempfile::tempdir().unwrap();
    let readme = read("README.md");
    let policy = readme.split("```yaml\n").find(|block| block.contains("\nprofiles:\n")).unwrap();
    fs::write(directory.path().join("build.yaml"), policy.split("```").next().unwrap()).unwrap();
    let seen = output(Command::new(EXEAT).arg("check").arg(directory.path()));
    assert!(readme.contains(seen.trim()), "README.md does not show {seen:?}");
}

#[test]
fn contributing_lists_every_dependency() {
    let manifest = read("Cargo.toml");
    let section = |name: &str| -> BTreeSet<String> {
        let section = manifest.split(&format!("\n[{name}]\n")).nth(1).unwrap().split("\n[").next().unwrap();
        section.lines().filter_map(|line| Some(line.split_once(" = ")?.0.to_owned())).collect()
    };
    let (used, tested) = (section("dependencies"), section("dev-dependencies"));
    let listed: BTreeSet<String> =
        table(&read("CONTRIBUTING.md"), "crate").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(listed, used.union(&tested).cloned().collect());
}

#[test]
fn the_changelog_knows_this_version() {
    let changelog = read("CHANGELOG.md");
    let version = env!("CARGO_PKG_VERSION");
    assert!(changelog.contains("## [Unreleased]") || changelog.contains(&format!("## [{version}]")));
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link} leads nowhere", document.display());
            if !anchor.is_empty() {
                let headings = fs::read_to_string(&target).unwrap();
                let found =
                    headings.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor);
                assert!(found, "{}: {link} has no such heading", document.display());
            }
        }
    }
}

/// Every key that the settings take: what the reader of the settings says of a key that it does not know.
fn settings_known() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for key in keys("qqqqqqqq: 1") {
        let inside = format!("{key}: {{ qqqqqqqq: 1 }}");
        let is_group = Settings::parse(Path::new("exeat.yaml"), &inside)
            .is_err_and(|mistakes| mistakes.iter().any(|mistake| mistake.to_string().contains("has no key")));
        match is_group {
            true => known.extend(keys(&inside).into_iter().map(|below| format!("{key}.{below}"))),
            false => drop(known.insert(key)),
        }
    }
    known
}

/// The keys that would be right in the place of a wrong one.
fn keys(yaml: &str) -> Vec<String> {
    let mistakes = Settings::parse(Path::new("exeat.yaml"), yaml).unwrap_err();
    let hint = mistakes
        .iter()
        .filter_map(|mistake| mistake.hint.as_deref())
        .find_map(|hint| hint.strip_prefix("its keys are "));
    hint.unwrap_or_else(|| panic!("{mistakes:?}")).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The rows of the tables whose first column has this heading; each cell without its backticks.
pub(crate) fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let line = line.trim_start_matches('|').trim_end_matches('|');
        line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    let mut rows = Vec::new();
    let mut within = false;
    for line in text.lines() {
        within = line.starts_with(&format!("| {heading} |")) || within && line.starts_with('|');
        if within && !line.starts_with(&format!("| {heading} |")) && !line.starts_with("|---") {
            rows.push(cells(line));
        }
    }
    assert!(!rows.is_empty(), "no table of each {heading}");
    rows
}

fn documents() -> Vec<PathBuf> {
    let mut documents = Vec::new();
    for directory in
        [root().to_owned(), root().join("docs"), root().join("fuzz"), root().join("fixtures/hello")]
    {
        let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        documents.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    assert!(documents.len() > 5);
    documents
}

/// A heading as the anchor that links name.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: run tests/need.sh"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
