//! The settings below `auth`.

use crate::auth::{KeySource, KeyUrl, PasswordFiles, Required, Settings, TokenSettings};
use crate::config::values::{duration, each, path, seconds, url};
use crate::identity::{Algorithm, TokenRules};
use crate::policy::document::networks;
use crate::yaml::{Field, Key, Node, Reader, Value};

const KEYS: &[&str] = &["realm", "required", "allow_plaintext_auth", "basic", "jwt"];
const JWT_KEYS: &[&str] =
    &["jwks", "issuer", "audience", "algorithms", "user_claim", "groups_claim", "leeway", "refresh", "ca"];
/// Clocks that differ by more are wrong (RFC 7519 §4.1.4: "no more than a few minutes").
const LEEWAY_MAX: u64 = 300;
const LEEWAY: u64 = 30;
const REFRESH: std::time::Duration = std::time::Duration::from_secs(3600);

/// Reads `auth`.
pub(super) fn read(reader: &mut Reader, field: Field<'_>) -> Option<Settings> {
    let fields = reader.map(field, KEYS)?;
    let settings = Settings {
        place: reader.place(fields.at),
        realm: fields
            .get("realm")
            .and_then(|field| realm(reader, field))
            .unwrap_or_else(|| "exeat".to_owned()),
        required: fields
            .get("required")
            .and_then(|field| required(reader, field))
            .unwrap_or(Required::Everyone),
        allow_plaintext: fields
            .get("allow_plaintext_auth")
            .and_then(|field| reader.boolean(field))
            .unwrap_or_default(),
        passwords: fields.get("basic").and_then(|field| basic(reader, field)),
        tokens: fields.get("jwt").and_then(|field| jwt(reader, field)),
    };
    let is_known = |entries: &[(Key, Node)]| entries.iter().all(|(key, _)| KEYS.contains(&&*key.name));
    let is_whole = matches!(&field.node.value, Value::Map(entries) if is_known(entries));
    if is_whole && fields.get("basic").is_none() && fields.get("jwt").is_none() {
        let hint = "add `basic: { file: … }`, or `jwt` with `jwks`, `issuer` and `audience`";
        reader.error(fields.at, "`auth` says of no credentials that they are taken").hint(hint);
    }
    Some(settings)
}

/// A realm goes into a quoted text of a header.
fn realm(reader: &mut Reader, field: Field<'_>) -> Option<String> {
    let text = reader.text(field)?;
    let is_plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !"\"\\".contains(c);
    if text.is_empty() || text.len() > 100 || !text.chars().all(is_plain) {
        reader.wrong(field, "up to 100 ASCII characters other than `\"` and `\\`");
        return None;
    }
    Some(text.to_owned())
}

/// Reads `required: true`, or the networks from where they are required.
fn required(reader: &mut Reader, field: Field<'_>) -> Option<Required> {
    match field.node.value {
        Value::Bool(true) => Some(Required::Everyone),
        Value::Bool(false) => Some(Required::Nobody),
        Value::List(_) => networks(reader, field, "nobody would have to say who it is").map(Required::From),
        _ => {
            reader.wrong(field, "true, false, or a list of networks like [10.0.2.0/24]");
            None
        }
    }
}

fn basic(reader: &mut Reader, field: Field<'_>) -> Option<PasswordFiles> {
    let fields = reader.map(field, &["file", "groups"])?;
    let users =
        reader.required(&fields, "`basic`", "file", "users.htpasswd").and_then(|field| path(reader, field));
    let groups = fields.get("groups").and_then(|field| path(reader, field));
    Some(PasswordFiles { users: users?, groups })
}

fn jwt(reader: &mut Reader, field: Field<'_>) -> Option<TokenSettings> {
    let fields = reader.map(field, JWT_KEYS)?;
    let text = |reader: &mut Reader, key: &str| fields.get(key).and_then(|field| named(reader, field));
    let ca = fields.get("ca").and_then(|field| path(reader, field));
    let refresh = duration(reader, &fields, "refresh").unwrap_or(REFRESH);
    let keys = reader.required(&fields, "`jwt`", "jwks", "https://issuer.example/jwks").and_then(|field| {
        if !field.node.text.contains("://") {
            return path(reader, field).map(KeySource::File);
        }
        let expected = "a file, or a URL like https://issuer.example/jwks";
        let hint = "leave them out: whoever asks an issuer for its keys needs none";
        let url = url(reader, field, expected, hint, KeyUrl::parse)?;
        Some(KeySource::Url { url, ca: ca.clone(), refresh })
    });
    if let Some(KeySource::File(_)) = keys {
        for key in ["ca", "refresh"].into_iter().filter(|key| fields.get(key).is_some()) {
            let what = format!("`{key}` is about keys that come from a URL, and `jwks` is a file");
            reader.error(fields.key_at(key), what).hint("leave it out");
        }
    }
    reader.required(&fields, "`jwt`", "issuer", "https://issuer.example");
    let audience =
        reader.required(&fields, "`jwt`", "audience", "exeat").map(|field| audience(reader, field));
    let rules = TokenRules {
        issuer: text(reader, "issuer").unwrap_or_default(),
        audience: audience.unwrap_or_default(),
        algorithms: fields.get("algorithms").map_or_else(
            || Algorithm::ALL.iter().map(|(_, algorithm)| *algorithm).collect(),
            |field| algorithms(reader, field),
        ),
        user_claim: text(reader, "user_claim").unwrap_or_else(|| "sub".to_owned()),
        groups_claim: text(reader, "groups_claim"),
        leeway: seconds(reader, &fields, "leeway", LEEWAY_MAX).unwrap_or(LEEWAY),
    };
    Some(TokenSettings { rules, keys: keys? })
}

/// A token is meant for someone: a text, or a list of some.
fn audience(reader: &mut Reader, field: Field<'_>) -> Vec<String> {
    if !matches!(field.node.value, Value::List(_)) {
        return named(reader, field).into_iter().collect();
    }
    let audience = each(reader, field, named);
    if audience.is_empty() {
        reader
            .error(field.node.at, "`audience` is an empty list: no token could be for exeat")
            .hint("name one");
    }
    audience
}

fn algorithms(reader: &mut Reader, field: Field<'_>) -> Vec<Algorithm> {
    let algorithms = each(reader, field, |reader, item| reader.word(item, &Algorithm::ALL));
    if matches!(&field.node.value, Value::List(items) if items.is_empty()) {
        let what = "`algorithms` is an empty list: no token could be taken";
        reader.error(field.node.at, what).hint("leave the key out for RS256, ES256 and EdDSA");
    }
    algorithms
}

fn named(reader: &mut Reader, field: Field<'_>) -> Option<String> {
    let text = reader.text(field)?;
    if text.is_empty() {
        reader.wrong(field, "a text that is not empty");
        return None;
    }
    Some(text.to_owned())
}
