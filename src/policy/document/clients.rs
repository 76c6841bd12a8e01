//! Whom a profile is for: the entries of `clients`.

use ipnet::IpNet;

use crate::client::check_name;
use crate::policy::document::conditions;
use crate::policy::document::keys::CLIENT;
use crate::policy::document::written::NETWORK;
use crate::policy::who::{CertificatePattern, Named, UserPattern, Who};
use crate::yaml::{Field, Reader, Value, quoted};

/// What an entry can be, but for a map.
const ENTRY: &str =
    "a network like 10.0.1.0/24 or 2001:db8::/32, an address, or user:NAME, group:NAME or cert:PATTERN";

/// Reads `clients: [10.0.1.0/24, user:alice, { group: ci, from: 10.0.0.0/8 }]`.
pub(super) fn read(reader: &mut Reader, field: Field<'_>) -> Vec<Who> {
    if matches!(&field.node.value, Value::List(items) if items.is_empty()) {
        let what = "`clients` is an empty list: the profile would be for nobody";
        reader.error(field.node.at, what).hint("leave the key out");
    }
    let entries: Vec<_> = reader.list(field).collect();
    entries.into_iter().flat_map(|entry| one(reader, entry)).collect()
}

/// An entry, which may be for several networks.
fn one(reader: &mut Reader, entry: Field<'_>) -> Vec<Who> {
    let Value::Map(_) = entry.node.value else { return word(reader, entry).into_iter().collect() };
    match conjunction(reader, entry) {
        // Where it comes from is all that is asked of a client: it need not prove anything.
        Some(Named { user: None, group: None, certificate: None, from }) => {
            from.into_iter().map(Who::Network).collect()
        }
        named => named.map(|named| Who::Named(Box::new(named))).into_iter().collect(),
    }
}

fn word(reader: &mut Reader, entry: Field<'_>) -> Option<Who> {
    let text = &*entry.node.text;
    let named = match text.split_once(':') {
        Some(("user", name)) => Named { user: user(reader, entry, name), ..Named::default() },
        Some(("group", name)) => Named { group: group(reader, entry, name), ..Named::default() },
        Some(("cert", name)) => Named { certificate: certificate(reader, entry, name), ..Named::default() },
        _ => return conditions::network(reader, entry, ENTRY).map(Who::Network),
    };
    (named != Named::default()).then(|| Who::Named(Box::new(named)))
}

/// Reads `{ user: alice, from: [10.0.0.0/8] }`: all of it has to hold.
fn conjunction(reader: &mut Reader, entry: Field<'_>) -> Option<Named> {
    if matches!(&entry.node.value, Value::Map(keys) if keys.is_empty()) {
        reader
            .error(entry.node.at, "the client is an empty map: it would be anyone")
            .hint("leave `clients` out for that");
        return None;
    }
    let fields = reader.map(Field { key: "client", ..entry }, CLIENT)?;
    let mut part = |key: &str| {
        let field = fields.get(key)?;
        reader.text(field).map(|text| (field, text))
    };
    let (user_text, group_text, certificate_text) = (part("user"), part("group"), part("cert"));
    let named = Named {
        user: user_text.and_then(|(field, text)| user(reader, field, text)),
        group: group_text.and_then(|(field, text)| group(reader, field, text)),
        certificate: certificate_text.and_then(|(field, text)| certificate(reader, field, text)),
        from: fields.get("from").map(|field| from(reader, field)).unwrap_or_default(),
    };
    Some(named)
}

fn user(reader: &mut Reader, field: Field<'_>, text: &str) -> Option<UserPattern> {
    let name = name(reader, field, "user", text)?;
    if name != "*" && name.contains('*') {
        let what = format!("the user {} has a `*`: users are named whole", quoted(name));
        reader
            .error(field.node.at, what)
            .hint("name each, use a group, or \"*\" for anyone who has credentials");
        return None;
    }
    Some(UserPattern::new(name))
}

fn group(reader: &mut Reader, field: Field<'_>, text: &str) -> Option<Box<str>> {
    let name = name(reader, field, "group", text)?;
    if name.contains('*') {
        let what = format!("the group {} has a `*`: groups are named whole", quoted(name));
        reader.error(field.node.at, what).hint("name each");
        return None;
    }
    Some(name.into())
}

fn certificate(reader: &mut Reader, field: Field<'_>, text: &str) -> Option<CertificatePattern> {
    match CertificatePattern::parse(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let what = format!("the certificate {} can't be used: {error}", quoted(text));
            reader
                .error(field.node.at, what)
                .hint("write it like cert:spiffe://corp/ci/* or \"cert:*.corp.example\"");
            None
        }
    }
}

fn name<'t>(reader: &mut Reader, field: Field<'_>, kind: &str, text: &'t str) -> Option<&'t str> {
    match check_name(text) {
        Ok(()) => Some(text),
        Err(error) => {
            let what = format!("the {kind} {} can't be used: {error}", quoted(text));
            reader.error(field.node.at, what).hint(format!("write it like {kind}:name"));
            None
        }
    }
}

/// Reads a network, or a list of some.
fn from(reader: &mut Reader, field: Field<'_>) -> Vec<IpNet> {
    match field.node.value {
        Value::List(_) => {
            conditions::networks(reader, field, "the client could come from nowhere").unwrap_or_default()
        }
        _ => conditions::network(reader, field, NETWORK).into_iter().collect(),
    }
}
