//! What docs/policy.md says is true.

use super::*;

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
    let warnings = lines(&loaded.warnings) + &lines(&lint(&policy, &loaded.columns, TODAY));
    assert_eq!(warnings, "");
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
