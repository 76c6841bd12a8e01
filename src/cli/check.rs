//! `exeat check`: every mistake in policies, and their own tests.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jiff::civil::Date;
use serde::Serialize;

use crate::cli::doors::DoorArgs;
use crate::cli::{DENIED, Format, USAGE, json, print};
use crate::clock::today;
use crate::config::Settings;
use crate::mistake::{Mistake, Place, Severity};
use crate::plural::plural;
use crate::policy::Policy;
use crate::policy::document::{Known, Sources};
use crate::policy::expectation::Failure;
use crate::policy::lint::lint;

/// Find every mistake in policies and run the tests in them
///
/// Prints each mistake as file:line:column with what is wrong and what would be right. Exits with 0 if the
/// policies can be used and pass their tests, with 2 if they can't be used, with 3 if a test fails.
#[derive(Args, Clone, Debug)]
#[command(
    mut_group("DoorArgs", |doors| doors.requires("config")),
    after_help = "Example:\n  exeat check /etc/exeat/policies\n  exeat check --config /etc/exeat/exeat.yaml"
)]
pub(super) struct CheckArgs {
    /// Policy files, or directories of *.yaml files, taken together as one policy
    #[arg(required_unless_present = "config", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Settings file, as for serve: its mistakes (not those in certificates, users and other files that it names) with the
    /// doors that serve is given by flags too, its policies if no PATH is given, and whether it has the parents that
    /// policies name
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub doors: DoorArgs,
    /// How to print the outcome
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Runs the command.
pub(super) fn run(args: CheckArgs) -> ExitCode {
    let report = match args.config {
        Some(config) => Report::with_settings(&config, &args.doors, args.paths, today()),
        None => Report::of(args.paths, None, today()),
    };
    let answer = match args.format {
        Format::Text => report.text(),
        Format::Json => report.json(),
    };
    print(&answer, report.exit_code())
}

/// What was found.
#[derive(Debug, Default)]
struct Report {
    mistakes: Vec<Mistake>,
    failures: Vec<Failure>,
    passed: usize,
    files: Vec<PathBuf>,
    profiles: usize,
    rules: usize,
}

impl Report {
    /// The settings with these doors, and the policies beside which they are in force.
    fn with_settings(config: &Path, doors: &DoorArgs, paths: Vec<PathBuf>, today: Date) -> Self {
        match Settings::load(config) {
            Ok(mut settings) => {
                doors.over(&mut settings.listen);
                let paths = if paths.is_empty() { settings.policy.clone() } else { paths };
                let report = Self::of(paths, settings.known_parents(), today);
                let wrong = settings.no_door(config).into_iter().chain(settings.credentials_in_the_open());
                let mut mistakes: Vec<Mistake> = wrong.collect();
                if mistakes.is_empty() {
                    return report;
                }
                mistakes.extend(report.mistakes);
                Self { mistakes, ..Self::default() }
            }
            // What the policies name can't be looked up; all else in them can.
            Err(mut mistakes) => {
                if !paths.is_empty() {
                    mistakes.extend(Self::of(paths, None, today).mistakes);
                }
                Self { mistakes, ..Self::default() }
            }
        }
    }

    fn of(paths: Vec<PathBuf>, parents: Known, today: Date) -> Self {
        let sources = Sources { paths, allow: Vec::new() };
        let knows_parents = parents.is_some();
        let loaded = match sources.load_with(parents) {
            Ok(loaded) => loaded,
            Err(mistakes) => return Self { mistakes, ..Self::default() },
        };
        let policy = loaded.builder.finish(0);
        let mut mistakes = loaded.warnings;
        mistakes.extend(unlooked(&policy).filter(|_| !knows_parents));
        mistakes.extend(lint(&policy, &loaded.columns, today));
        let failures = loaded.expectations.iter().filter_map(|test| test.failure(&policy, today));
        let failures: Vec<Failure> = failures.collect();
        Self {
            mistakes,
            passed: loaded.expectations.len() - failures.len(),
            failures,
            files: loaded.watched.files().map(PathBuf::from).collect(),
            profiles: loaded.profiles,
            rules: loaded.rules,
        }
    }

    fn count(&self, severity: Severity) -> usize {
        self.mistakes.iter().filter(|mistake| mistake.severity == severity).count()
    }

    fn exit_code(&self) -> ExitCode {
        match (self.count(Severity::Error), self.failures.len()) {
            (0, 0) => ExitCode::SUCCESS,
            (0, _) => ExitCode::from(DENIED),
            _ => ExitCode::from(USAGE),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for mistake in &self.mistakes {
            text += &format!("{mistake}\n");
        }
        for failure in &self.failures {
            text += &format!("{}: test failed: {failure}\n", failure.place);
        }
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        let mut summary = String::new();
        if errors == 0 {
            let files = plural(self.files.len(), "file");
            let (profiles, rules) = (plural(self.profiles, "profile"), plural(self.rules, "rule"));
            summary += &format!("{files}, {profiles}, {rules}: ");
        }
        summary += &format!("{}, {}", plural(errors, "error"), plural(warnings, "warning"));
        if errors == 0 {
            let passed = plural(self.passed, "test");
            // Writing to a String can't fail.
            let _ = write!(summary, ", {passed} passed, {} failed", self.failures.len());
        }
        text + &summary + "\n"
    }

    fn json(&self) -> String {
        let mistakes = self.mistakes.iter().map(|mistake| MistakeShown {
            severity: mistake.severity.as_str(),
            file: mistake.place.file.display().to_string(),
            line: mistake.place.line,
            column: mistake.place.column,
            what: &mistake.what,
            hint: mistake.hint.as_deref(),
        });
        let failures = self.failures.iter().map(|failure| FailureShown {
            file: failure.place.file.display().to_string(),
            line: failure.place.line,
            client: failure.client.to_string(),
            to: &failure.to,
            expected: &failure.expected,
            got: &failure.got,
            rule: failure.rule.as_deref(),
        });
        json(&ReportShown {
            errors: self.count(Severity::Error),
            warnings: self.count(Severity::Warning),
            mistakes: mistakes.collect(),
            tests_passed: self.passed,
            tests_failed: failures.collect(),
            files: self.files.iter().map(|file| file.display().to_string()).collect(),
            profiles: self.profiles,
            rules: self.rules,
        })
    }
}

/// Parents stand in the settings, and without them nobody can say whether a name is one.
fn unlooked(policy: &Policy) -> Option<Mistake> {
    let names: Vec<&str> = policy.parents().into_iter().collect();
    let file = policy.sources().next().filter(|_| !names.is_empty())?;
    let what = format!(
        "nobody has looked whether the settings have the parents that are named: {}",
        names.join(", ")
    );
    Some(Mistake::warning(Place::start(file), what).hint("exeat check --config exeat.yaml looks"))
}

#[derive(Serialize)]
struct ReportShown<'r> {
    errors: usize,
    warnings: usize,
    mistakes: Vec<MistakeShown<'r>>,
    tests_passed: usize,
    tests_failed: Vec<FailureShown<'r>>,
    files: Vec<String>,
    profiles: usize,
    rules: usize,
}

#[derive(Serialize)]
struct MistakeShown<'r> {
    severity: &'static str,
    file: String,
    line: u32,
    column: u32,
    what: &'r str,
    hint: Option<&'r str>,
}

#[derive(Serialize)]
struct FailureShown<'r> {
    file: String,
    line: u32,
    client: String,
    to: &'r str,
    expected: &'r str,
    got: &'r str,
    rule: Option<&'r str>,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        args: CheckArgs,
    }

    fn report(text: &str) -> (Report, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.yaml");
        fs::write(&path, text).unwrap();
        let report = Report::of(vec![path.clone()], None, jiff::civil::date(2026, 11, 22));
        let shown = report.text().replace(path.to_str().unwrap(), "p.yaml");
        (report, shown)
    }

    #[test]
    fn a_good_policy_passes_its_tests() {
        let (report, text) = report(
            "version: 1\nprofiles: [{ name: a, allow: [x.example] }]\n\
             tests: [{ to: x.example, expect: allow }, { to: \"y.example:443\", expect: deny, reason: no_rule }]\n",
        );
        assert_eq!(text, "1 file, 1 profile, 1 rule: 0 errors, 0 warnings, 2 tests passed, 0 failed\n");
        assert_eq!(report.exit_code(), ExitCode::SUCCESS);
    }

    #[test]
    fn a_failing_test_says_what_decided() {
        let (report, text) = report(
            "version: 1\nprofiles: [{ name: a, allow: [x.example] }]\ntests:\n  - { to: x.example, expect: deny }\n",
        );
        assert_eq!(
            text,
            "p.yaml:4:5: test failed: 127.0.0.1 to \"x.example\": expected deny, got allow (allowed), by p.yaml:2 \
             \"x.example\"\n1 file, 1 profile, 1 rule: 0 errors, 0 warnings, 0 tests passed, 1 failed\n"
        );
        assert_eq!(report.exit_code(), ExitCode::from(DENIED));
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["tests_failed"][0]["expected"], "deny");
    }

    #[test]
    fn doors_that_serve_would_not_open_are_mistakes_of_the_settings() {
        let directory = tempfile::tempdir().unwrap();
        let (settings, policy) = (directory.path().join("exeat.yaml"), directory.path().join("p.yaml"));
        fs::write(&policy, "version: 1\nprofiles: [{ name: a, allow: [x.example, x.example] }]\n").unwrap();
        for (text, wrong) in [
            ("listen: { explicit: [] }\n", "exeat.yaml:1:1: error: `listen` has no door"),
            (
                "listen: { explicit: [\"0.0.0.0:3128\"] }\nauth: { basic: { file: users } }\n",
                "exeat.yaml:2:7: error: `auth` lets credentials come to 0.0.0.0:3128",
            ),
        ] {
            fs::write(&settings, text).unwrap();
            let report = |flags: &[&str]| {
                let Typed { args } = Typed::parse_from([&["check", "--config", "f"], flags].concat());
                let today = jiff::civil::date(2026, 11, 22);
                Report::with_settings(&settings, &args.doors, vec![policy.clone()], today)
            };
            let alone = report(&[]);
            let shown = alone.text();
            assert!(shown.contains(wrong) && shown.ends_with("1 error, 1 warning\n"), "{shown}");
            assert_eq!(alone.exit_code(), ExitCode::from(USAGE));
            // With what serve is given they are good.
            let given = report(&["--listen", "127.0.0.1:3128"]);
            assert_eq!(given.exit_code(), ExitCode::SUCCESS, "{}", given.text());
        }
    }

    #[test]
    fn a_bad_policy_is_told_with_every_mistake() {
        let (report, text) = report("version: 2\nprofiles: [{ name: a, alow: [x.example] }]\n");
        assert_eq!(report.exit_code(), ExitCode::from(USAGE));
        assert!(text.contains("p.yaml:1:10: error: ") && text.contains("did you mean `allow`?"), "{text}");
        assert!(text.ends_with("2 errors, 0 warnings\n"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!((json["errors"].as_u64(), json["mistakes"][1]["line"].as_u64()), (Some(2), Some(2)));
    }

    #[test]
    fn doors_are_of_settings_alone() {
        let error = Typed::try_parse_from(["check", "p.yaml", "--dns", "127.0.0.1:53"]).unwrap_err();
        assert!(error.to_string().contains("--config <FILE>"), "{error}");
        for good in [&["check", "p.yaml"][..], &["check", "--config", "f", "--dns", "127.0.0.1:53"]] {
            Typed::try_parse_from(good).unwrap();
        }
    }
}
