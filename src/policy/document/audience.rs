//! Whom a policy is loaded for: clients that are told apart by their addresses, or a jail.

use std::path::Path;

use crate::mistake::{Mistake, Place};
use crate::policy::document::{FLAG, Known, Loaded, Sources, nothing};

/// Whom the profiles are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Clients, as each profile names them.
    Clients,
    /// The command in a jail, whose address means nothing. The profiles of every client are for it, and the one of
    /// this name, whatever clients that names.
    Jail {
        profile: Option<String>,
        /// All of them are in report mode; where no policy is given there is no rule at all, rather than the built-in
        /// ones.
        report: bool,
    },
}

impl Audience {
    /// Reads everything, which may name these parents alone; on any error, every mistake and warning of every file.
    pub fn load(&self, sources: &Sources, parents: Known) -> Result<Loaded, Vec<Mistake>> {
        let Self::Jail { profile, report } = self else { return sources.load_with(parents) };
        let is_empty = *report && sources.is_built_in();
        let mut loaded = if is_empty { nothing()? } else { sources.load_with(parents)? };
        if let Some(mistake) = missing(&loaded, profile.as_deref()) {
            return Err(vec![mistake]);
        }
        loaded.builder.jail(profile.as_deref());
        if *report {
            loaded.builder.report();
        }
        Ok(loaded)
    }
}

/// A jail without a profile would reach nothing, which nobody means.
fn missing(loaded: &Loaded, profile: Option<&str>) -> Option<Mistake> {
    let profiles = loaded.builder.profiles();
    let names = profiles.iter().map(|profile| profile.name.as_str());
    // What stands on the command line is for the command anyway.
    let names: Vec<&str> = names.filter(|name| *name != FLAG).collect();
    let what = match profile {
        Some(name) if names.contains(&name) => return None,
        Some(name) => format!("no profile is named {name}"),
        None if profiles.iter().any(|profile| profile.clients.is_none()) => return None,
        None => "every profile names its clients, and a jail's command has no address of its own".to_owned(),
    };
    let file = profiles.first().map_or(Path::new("policy"), |profile| &*profile.place.file);
    let hint = match names.is_empty() {
        true => "leave --profile out: --allow makes no profile to choose".to_owned(),
        false => format!("choose one with --profile: {}", names.join(", ")),
    };
    Some(Mistake::error(Place::start(file), what).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, Origin};

    const POLICY: &str = "version: 1\nprofiles:\n  - { name: all, allow: [a.example] }\n  \
         - { name: builds, clients: [10.0.1.0/24], allow: [b.example] }\n  \
         - { name: web, clients: [127.0.0.0/8], allow: [c.example] }\n";

    fn load(policy: &str, profile: Option<&str>) -> Result<Vec<String>, String> {
        let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        std::fs::write(&file, policy).unwrap();
        let sources = Sources { paths: vec![file.path().to_owned()], allow: Vec::new() };
        let audience = Audience::Jail { profile: profile.map(str::to_owned), report: false };
        let loaded = audience.load(&sources, None).map_err(|mistakes| mistakes[0].to_string())?;
        let policy = loaded.builder.finish(1);
        let client: Client =
            Origin::Jail.client("10.0.1.9:4000".parse().unwrap(), "127.0.0.1".parse().unwrap());
        Ok(policy.subject(&client).profile_names().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_profiles_of_every_client_and_the_chosen_one_are_for_a_jail() {
        assert_eq!(load(POLICY, None).unwrap(), ["all"]);
        assert_eq!(load(POLICY, Some("builds")).unwrap(), ["all", "builds"]);
        assert_eq!(load(POLICY, Some("all")).unwrap(), ["all"]);
    }

    #[test]
    fn patterns_of_the_command_line_are_no_profile_to_choose() {
        let sources = Sources { paths: Vec::new(), allow: vec!["a.example".to_owned()] };
        let audience = Audience::Jail { profile: Some("builds".to_owned()), report: false };
        let mistake = audience.load(&sources, None).unwrap_err()[0].to_string();
        let hint =
            "no profile is named builds\n  hint: leave --profile out: --allow makes no profile to choose";
        assert!(mistake.ends_with(hint), "{mistake}");
    }

    #[test]
    fn to_report_every_profile_of_a_jail_does_and_no_rule_stands_in() {
        let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        let given = Sources { paths: vec![file.path().to_owned()], allow: vec!["d.example".to_owned()] };
        let port = POLICY.replace("allow: [a.example]", "allow: [{ host: a.example, ports: [22] }]");
        std::fs::write(&file, port).unwrap();
        let file_alone = Sources { allow: Vec::new(), ..given.clone() };
        for (sources, report, rules, ports) in [
            (&given, true, 4, &[(22, 22), (80, 80), (443, 443)][..]),
            (&given, false, 4, &[(22, 22), (80, 80), (443, 443)]),
            (&file_alone, true, 3, &[(22, 22), (80, 80), (443, 443)]),
            (&file_alone, false, 3, &[(22, 22)]),
            (&Sources { paths: Vec::new(), ..given.clone() }, true, 1, &[(80, 80), (443, 443)]),
            (&Sources::default(), true, 0, &[(80, 80), (443, 443)]),
        ] {
            let loaded = Audience::Jail { profile: None, report }.load(sources, None).unwrap();
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            assert_eq!(loaded.rules, rules, "{sources:?}");
            assert_eq!(loaded.builder.ports().ranges(), ports, "{sources:?}");
            let policy = loaded.builder.finish(1);
            let client = Origin::Jail.client("127.0.0.1:4000".parse().unwrap(), "127.0.0.1".parse().unwrap());
            assert_eq!(policy.subject(&client).reports(), report, "{sources:?}");
        }
    }

    #[test]
    fn a_jail_that_would_reach_nothing_is_refused_with_the_names_to_choose_from() {
        let error = load(POLICY, Some("build")).unwrap_err();
        assert!(error.contains("no profile is named build"), "{error}");
        assert!(error.contains("--profile: all, builds, web"), "{error}");
        let named = POLICY.replace("{ name: all,", "{ name: all, clients: [10.0.0.1],");
        let error = load(&named, None).unwrap_err();
        assert!(error.contains("names its clients") && error.contains("--profile"), "{error}");
        assert_eq!(load(&named, Some("web")).unwrap(), ["web"]);
    }
}
