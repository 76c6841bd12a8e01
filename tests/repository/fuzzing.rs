//! The targets for fuzzing, which nothing here builds: `make lint` compiles them. Each is built by `make fuzz`, told of and
//! seeded, and fuzzes what is released.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::{read, root};

#[test]
fn each_target_is_built_told_of_and_seeded() {
    let sources: BTreeSet<String> = entries("fuzz/fuzz_targets")
        .into_iter()
        .map(|file| file.strip_suffix(".rs").expect("a target is a source file").to_owned())
        .collect();
    let manifest = read("fuzz/Cargo.toml");
    let built = manifest.split("[[bin]]").skip(1);
    let built = built.map(|bin| bin.split('"').nth(1).unwrap().to_owned()).collect();
    assert_eq!(sources, built, "fuzz/Cargo.toml");
    assert_eq!(sources, entries("fuzz/seeds"), "fuzz/seeds");
    let rows = read("fuzz/README.md");
    let rows = rows.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let told: BTreeSet<String> =
        rows.flat_map(|names| names.split(", ")).map(|name| name.replace('`', "")).collect();
    assert_eq!(sources, told, "fuzz/README.md");
    for target in sources {
        assert!(!entries(&format!("fuzz/seeds/{target}")).is_empty(), "{target}");
    }
}

#[test]
fn what_is_fuzzed_is_what_is_released() {
    let (released, fuzzed) = (versions("Cargo.lock"), versions("fuzz/Cargo.lock"));
    for (name, versions) in &fuzzed {
        if let Some(released) = released.get(name) {
            let hint = "copy Cargo.lock over fuzz/Cargo.lock, then run cargo +nightly metadata in fuzz";
            assert!(versions.is_subset(released), "{name} {versions:?}, not {released:?}: {hint}");
        }
    }
    assert!(fuzzed.len() > 100);
}

/// The names in a directory.
fn entries(directory: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(directory)).unwrap_or_else(|error| panic!("{directory}: {error}"));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The packages of a lock with their versions.
fn versions(lock: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut versions = BTreeMap::<String, BTreeSet<String>>::new();
    for package in read(lock).split("[[package]]").skip(1) {
        let mut quoted = package.split('"').skip(1).step_by(2);
        let (name, version) = (quoted.next().unwrap(), quoted.next().unwrap());
        versions.entry(name.to_owned()).or_default().insert(version.to_owned());
    }
    versions
}
