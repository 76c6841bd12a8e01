use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

proptest! {
    /// Texts of what YAML gives a meaning to: the parser is not ours, so this holds it to "no panic, no silence".
    #[test]
    fn any_text_is_read_or_refused(text in "([ \\t\\n]|- |: |[-?:,\\[\\]{}#&*!|>'\"%@`]|[a1.~é]|<<|---|\\.\\.\\.|\\\\x|\r){0,40}") {
        let (node, mistakes) = read(&text);
        prop_assert!(node.is_some() || !mistakes.is_empty());
    }
}

fn read(text: &str) -> (Option<Node>, Vec<String>) {
    let mut reader = Reader::new(Arc::from(Path::new("f")));
    let node = reader.parse(text);
    (node, reader.finish().iter().map(ToString::to_string).collect())
}

#[test]
fn what_is_wrong_with_the_end_has_its_place_in_the_text() {
    for (text, place) in
        [("a: {", "f:1:5: "), ("a: 1\r\nb: [1,", "f:2:7: "), ("a: {\n", "f:2:1: "), ("é: [", "f:1:5: ")]
    {
        let (node, mistakes) = read(text);
        assert!(node.is_none() && mistakes[0].starts_with(place), "{text:?}: {mistakes:?}");
    }
    // A key that stands nowhere, behind the text.
    let mut reader = Reader::new(Arc::from(Path::new("f")));
    let node = reader.parse("? ").unwrap();
    reader.map(Field::top("the file", &node), &["a"]);
    assert!(reader.finish().iter().all(|mistake| mistake.place.line == 1));
}

fn good(text: &str) -> Node {
    let (node, mistakes) = read(text);
    assert_eq!(mistakes, [""; 0], "{text}");
    node.unwrap()
}

fn sketch(node: &Node) -> String {
    let content = match &node.value {
        Value::List(items) => format!("[{}]", items.iter().map(sketch).collect::<Vec<_>>().join(" ")),
        Value::Map(entries) => {
            let sketches = entries.iter().map(|(key, node)| {
                format!("{}@{}:{}={}", key.name, key.at.line, key.at.column, sketch(node))
            });
            format!("{{{}}}", sketches.collect::<Vec<_>>().join(" "))
        }
        _ => node.text.to_string(),
    };
    format!("{content}@{}:{}", node.at.line, node.at.column)
}

#[test]
fn every_value_knows_its_place() {
    for (text, expected) in [
        ("a: 1\nb:\n  - x\n  - {c: 'd'}\n", "{a@1:1=1@1:4 b@2:1=[x@3:5 {c@4:6=d@4:9}@4:5]@3:3}@1:1"),
        ("\u{feff}a: b\r\nc: d\r\n", "{a@1:1=b@1:4 c@2:1=d@2:4}@1:1"),
        ("# one\n\na:\nb: 2\n", "{a@3:1=@3:1 b@4:1=2@4:4}@3:1"),
        ("ü: [ö, ä]", "{ü@1:1=[ö@1:5 ä@1:8]@1:4}@1:1"),
        ("[fd00::/8, 10.0.0.0/8]", "[fd00::/8@1:2 10.0.0.0/8@1:12]@1:1"),
        ("- .github.com\n- api-*.x", "[.github.com@1:3 api-*.x@2:3]@1:1"),
        ("", "@1:1"),
        ("# nothing\n", "@1:1"),
        ("---\na: b\n", "{a@2:1=b@2:4}@2:1"),
    ] {
        assert_eq!(sketch(&good(text)), expected, "{text}");
    }
}

#[test]
fn scalars_follow_the_core_schema() {
    for (text, value) in [
        ("true", Value::Bool(true)),
        ("FALSE", Value::Bool(false)),
        ("yes", Value::Text),
        ("on", Value::Text),
        ("~", Value::Null),
        ("null", Value::Null),
        ("'null'", Value::Text),
        ("\"1\"", Value::Text),
        ("0", Value::Integer(0)),
        ("-12", Value::Integer(-12)),
        ("+12", Value::Integer(12)),
        ("0080", Value::Integer(80)),
        ("0o17", Value::Integer(15)),
        ("0x1F", Value::Integer(31)),
        ("0x", Value::Text),
        ("1_000", Value::Text),
        ("99999999999999999999", Value::Number),
        ("10.0", Value::Number),
        (".5", Value::Number),
        ("1e3", Value::Number),
        ("-.inf", Value::Number),
        (".nan", Value::Number),
        ("1e", Value::Text),
        (".", Value::Text),
        ("10.0.0.1", Value::Text),
        ("2027-01-31", Value::Text),
        ("8000-8100", Value::Text),
        ("22:22", Value::Text),
        ("10s", Value::Text),
    ] {
        let node = good(text);
        assert_eq!(node.value, value, "{text}");
        assert_eq!(&*node.text, text.trim_matches(['"', '\'']), "{text}");
    }
}

#[test]
fn what_yaml_has_beyond_values_is_a_mistake_and_reading_goes_on() {
    for (text, mistakes) in [
        (
            "allow:\n  - *.crates.io\n  - { host: *.pypi.org, ports: [443] }\n  - x\n  - *.a # b\n",
            &[
                "f:2:5: error: *.crates.io without quotes is a YAML alias\n  hint: write it as \"*.crates.io\"",
                "f:3:13: error: *.pypi.org without quotes is a YAML alias\n  hint: write it as \"*.pypi.org\"",
                "f:5:5: error: *.a without quotes is a YAML alias\n  hint: write it as \"*.a\"",
            ][..],
        ),
        (
            "a: &x 1\nb: *x\n",
            &[
                "f:1:4: error: YAML anchors are not used here\n  hint: write the value out at each place; quote a text that starts with `&`",
                "f:2:4: error: *x without quotes is a YAML alias\n  hint: write it as \"*x\"",
            ],
        ),
        (
            "a: !x 1\n<<: {b: c}\n",
            &[
                "f:1:4: error: YAML tags are not used here\n  hint: leave the tag out; quote a text that starts with `!`",
                "f:2:1: error: YAML merge keys are not used here\n  hint: write the keys out at each place",
            ],
        ),
        ("a: 1\nb: 2\na: 3\n", &["f:3:1: error: the key \"a\" comes twice\n  hint: it stands in line 1 too"]),
    ] {
        let (node, found) = read(text);
        assert_eq!(found, mistakes, "{text}");
        assert!(node.is_some(), "{text}");
    }
}

#[test]
fn what_breaks_the_tree_is_one_mistake_at_its_place() {
    for (text, place, word) in [
        ("a: b\n---\nc: d\n", "f:2:1", "second document"),
        ("a:\n\t- b\n", "f:2:", "indent with spaces"),
        ("a: [b\n", "f:", "not YAML"),
        ("a: \"b\n", "f:", "not YAML"),
        ("a: b: c\n", "f:1:5", "holds `: `"),
        ("a:\n  - *\n", "f:2:5", "write it as \"*\""),
        ("a: @b\n", "f:1:4", "needs quotes"),
        ("[a]: b\n", "f:1:1", "as a key"),
        ("? {a: b}\n: c\n", "f:1:3", "as a key"),
    ] {
        let (node, mistakes) = read(text);
        assert!(node.is_none(), "{text}");
        assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
        assert!(mistakes[0].starts_with(place) && mistakes[0].contains(word), "{text}: {}", mistakes[0]);
    }
}

#[test]
fn nesting_is_bounded() {
    for deep in ["[".repeat(10_000), "- ".repeat(10_000), "{a: ".repeat(10_000)] {
        let (node, mistakes) = read(&deep);
        assert!(node.is_none());
        assert!(mistakes[0].contains("nested more than 32 deep"), "{}", mistakes[0]);
    }
}

#[test]
fn any_prefix_of_a_document_is_read_or_refused() {
    let text = "version: 1\nprofiles:\n  - name: \"a\\u00e9\"\n    allow: [*.x, {host: 'y', ports: [1, 2]}]\n  # ü\n    deny:\n    - !t &a |\n      z\n";
    for (end, _) in text.char_indices() {
        let (node, mistakes) = read(&text[..end]);
        assert!(node.is_some() || !mistakes.is_empty(), "{:?}", &text[..end]);
    }
}

#[test]
fn mistakes_are_bounded() {
    let (_, mistakes) = read(&"- *.a\n".repeat(5000));
    assert_eq!(mistakes.len(), 1001);
    assert!(mistakes[1000].ends_with("4000 more mistakes in this file"), "{}", mistakes[1000]);
}

#[test]
fn fields_are_read_by_shape() {
    let mut reader = Reader::new(Arc::from(Path::new("f")));
    let text = "name: 10.0\nport: 0\nfast: yes\nmdoe: x\nzzz: 1\nlist: a\nkind: tsl\nwait: 10x\n";
    let node = reader.parse(text).unwrap();
    let known = ["name", "port", "fast", "mode", "list", "kind", "wait"];
    let fields = reader.map(Field::top("settings", &node), &known).unwrap();
    assert_eq!(reader.text(fields.get("name").unwrap()), None);
    assert_eq!(reader.integer(fields.get("port").unwrap(), 1..=65535), None);
    assert_eq!(reader.boolean(fields.get("fast").unwrap()), None);
    assert_eq!(reader.list(fields.get("list").unwrap()).count(), 0);
    assert_eq!(reader.word(fields.get("kind").unwrap(), &[("tls", 1), ("http", 2)]), None);
    let wait = fields.get("wait").unwrap();
    assert_eq!(reader.parsed(wait, "a time like 10s", |_| Err::<(), _>("no unit `x`")), None);
    assert!(reader.required(&fields, "the settings", "mode", "fast").is_none());
    let mistakes: Vec<String> = reader.finish().iter().map(ToString::to_string).collect();
    assert_eq!(
        mistakes,
        [
            "f:1:1: error: `mode` is missing in the settings\n  hint: add it, like `mode: fast`",
            "f:1:7: error: `name` is the number 10.0\n  hint: if it is meant as a text, quote it: \"10.0\"",
            "f:2:7: error: `port` is the number 0\n  hint: it must be a whole number from 1 to 65535",
            "f:3:7: error: `fast` is the text \"yes\"\n  hint: it must be true or false",
            "f:4:1: error: `settings` has no key \"mdoe\"\n  hint: did you mean `mode`?",
            "f:5:1: error: `settings` has no key \"zzz\"\n  hint: its keys are `name`, `port`, `fast`, `mode`, `list`, `kind` and `wait`",
            "f:6:7: error: `list` is the text \"a\"\n  hint: it must be a list",
            "f:7:7: error: `kind` is the text \"tsl\"\n  hint: did you mean `tls`?",
            "f:8:7: error: `wait` is the text \"10x\": no unit `x`\n  hint: it must be a time like 10s",
        ]
    );
}
