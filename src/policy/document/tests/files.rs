//! Which files are the policy, and what is told of several.

use super::*;

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

#[cfg(unix)]
#[test]
fn a_link_on_the_way_is_watched_where_it_stands() {
    let directory = Directory::new(&[("releases/1/policies/a.yaml", &profile("a"))]);
    let root = directory.0.path();
    std::os::unix::fs::symlink("releases/1", root.join("current")).unwrap();
    std::os::unix::fs::symlink("current/policies", root.join("policies")).unwrap();
    for (path, directories) in [
        ("current/policies", &["", "current/policies"][..]),
        ("current/policies/a.yaml", &["", "current/policies"]),
        ("policies/", &["", "policies"]),
    ] {
        let loaded = load(&root.join(path)).unwrap();
        assert_eq!(directory.names(loaded.watched.directories()), directories, "{path}");
    }
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
         hint: if that is meant, write { host: \"*.com\", public_suffix: true } into a policy file\n"
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
