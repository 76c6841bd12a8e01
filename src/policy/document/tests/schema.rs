//! The schema for editors takes what is read, and refuses what is wrong in shape.

use super::*;

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

/// What people seldom write, and exeat takes.
#[test]
fn the_schema_takes_what_is_taken() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for odd in [
        "outgoing: { mark: \"0x000000007\" }",
        "outgoing: { interface: 7 }",
        "allow: [{ host: b.example, ports: [\"80-80\"], methods: [GET] }]",
    ] {
        let rules = if odd.starts_with("allow") { "" } else { "    allow: [a.example]\n" };
        let text = format!("version: 1\nprofiles:\n  - name: a\n{rules}    {odd}\n");
        assert!(load_text(Path::new("p.yaml"), &text).is_ok(), "{odd}");
        let json = Reader::new(Path::new("p.yaml").into()).parse(&text).as_ref().map(as_json).unwrap();
        assert!(validator.is_valid(&json), "{odd}");
    }
}
