//! The settings below `parents`.

use crate::config::values::{each, path, url};
use crate::parent::{Account, PasswordSource, Resolve, Settings, Url};
use crate::policy::document::{DIRECT, NAME, is_name};
use crate::yaml::{Field, Fields, Reader, Value, quoted};

const KEYS: [&str; 6] = ["urls", "resolve", "username", "password_file", "password_env", "ca"];
/// What a URL has to be, to whoever wrote something else.
const URL: &str = "a URL of a proxy, like http://10.0.0.5:3128";

/// Reads `parents`.
pub(super) fn read(reader: &mut Reader, field: Field<'_>) -> Vec<Settings> {
    let Value::Map(entries) = &field.node.value else {
        reader
            .wrong(field, "a map from names to parents, like { corp: { urls: [\"http://10.0.0.5:3128\"] } }");
        return Vec::new();
    };
    let mut parents = Vec::new();
    for (key, node) in entries {
        if !is_name(&key.name) || &*key.name == DIRECT {
            let what = format!("the parent's name {} can't be used", quoted(&key.name));
            reader.error(key.at, what).hint(format!("{NAME}, and not `{DIRECT}`"));
        }
        parents.extend(parent(reader, Field { key: &key.name, node }));
    }
    parents
}

fn parent(reader: &mut Reader, field: Field<'_>) -> Option<Settings> {
    let fields = reader.map(field, &KEYS)?;
    let urls = reader
        .required(&fields, "a parent", "urls", r#"["http://proxy.example:3128"]"#)
        .map(|field| urls(reader, field));
    let words = [("here", Resolve::Here), ("parent", Resolve::Parent)];
    let resolve = fields.get("resolve").and_then(|field| reader.word(field, &words));
    let ca = fields.get("ca").and_then(|field| path(reader, field));
    let urls = urls.unwrap_or_default();
    if ca.is_some() && urls.iter().all(|url| !url.tls) {
        let what = "`ca` is for parents over TLS, and none of the `urls` begins with https";
        reader.error(fields.key_at("ca"), what).hint("urls: [\"https://proxy.example:3129\"]");
    }
    Some(Settings {
        name: field.key.to_owned(),
        place: reader.place(fields.at),
        urls,
        resolve: resolve.unwrap_or_default(),
        account: account(reader, &fields),
        ca,
    })
}

fn urls(reader: &mut Reader, field: Field<'_>) -> Vec<Url> {
    let mut known: Vec<Url> = Vec::new();
    let urls = each(reader, field, |reader, item| {
        let hint = format!("use `username` with `password_file` or `password_env`, and {URL}");
        let url = url(reader, item, URL, &hint, Url::parse)?;
        if known.contains(&url) {
            reader.error(item.node.at, format!("`urls` has {url} twice"));
        }
        known.push(url.clone());
        Some(url)
    });
    if matches!(&field.node.value, Value::List(items) if items.is_empty()) {
        reader.wrong(field, "a list of at least one URL");
    }
    urls
}

/// The account at the parent: a name, and where the password is.
fn account(reader: &mut Reader, fields: &Fields<'_>) -> Option<Account> {
    let (file, variable) = (fields.get("password_file"), fields.get("password_env"));
    let named = fields.get("username");
    if file.is_some() && variable.is_some() {
        reader.error(fields.key_at("password_env"), "there is both `password_file` and `password_env`");
    }
    let (source, key) = match (file, variable) {
        (Some(field), _) => (path(reader, field).map(PasswordSource::File), "password_file"),
        (None, Some(field)) => {
            (variable_name(reader, field).map(PasswordSource::Environment), "password_env")
        }
        (None, None) => (None, "username"),
    };
    match (named, key) {
        (None, "username") => return None,
        (Some(_), "username") => {
            let hint = "add `password_file` or `password_env`: a password does not stand in the settings";
            reader.error(fields.key_at("username"), "`username` without a password").hint(hint);
        }
        (None, key) => {
            reader.error(fields.key_at(key), format!("`{key}` without `username`"));
        }
        (Some(_), _) => {}
    }
    let username = username(reader, named?)?;
    Some(Account { username, password: source?, place: reader.place(fields.key_at(key)) })
}

fn variable_name(reader: &mut Reader, field: Field<'_>) -> Option<String> {
    let name = reader.text(field)?;
    if name.is_empty() || name.contains(['=', '\0']) {
        reader.wrong(field, "the name of a variable of the environment");
        return None;
    }
    Some(name.to_owned())
}

/// A colon would end the name in Basic credentials (RFC 7617 §2).
fn username(reader: &mut Reader, field: Field<'_>) -> Option<String> {
    let name = reader.text(field)?;
    if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
        reader.wrong(field, "a name without colons and control characters");
        return None;
    }
    Some(name.to_owned())
}
