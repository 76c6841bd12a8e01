//! The values of a rule's keys: ports, networks, days, methods and paths.

use ipnet::IpNet;

use crate::policy::document::report;
use crate::policy::document::written::{self, NETWORK};
use crate::policy::method;
use crate::policy::terms::{Ports, Private};
use crate::sniff::plain_path;
use crate::yaml::{Field, Reader, Value, quoted};

/// Reads `ports: [22, 8000-8100]`.
pub(super) fn ports(reader: &mut Reader, field: Field<'_>) -> Option<Ports> {
    const EXPECTED: &str = "a port from 1 to 65535, or a range like 8000-8100";
    if !matches!(field.node.value, Value::List(_)) {
        reader.wrong(field, "a list of ports, like [443, 8000-8100]");
        return None;
    }
    let items: Vec<_> = reader.list(field).collect();
    if items.is_empty() {
        reader
            .error(field.node.at, "`ports` is an empty list: the rule could never match")
            .hint("name a port");
        return None;
    }
    let ranges: Vec<_> =
        items.iter().map(|item| reader.parsed(*item, EXPECTED, port_range)).collect::<Vec<_>>();
    ranges.into_iter().collect::<Option<Vec<_>>>().map(Ports::new)
}

/// Reads `private: true` or `private: [10.20.0.0/16]`.
pub(super) fn private(reader: &mut Reader, field: Field<'_>) -> Option<Private> {
    match field.node.value {
        Value::Bool(true) => Some(Private::Any),
        Value::Bool(false) => Some(Private::No),
        Value::List(_) => networks(reader, field, "the rule could never use it").map(Private::Networks),
        _ => {
            reader.wrong(field, "true, or a list of networks like [10.20.0.0/16]");
            None
        }
    }
}

/// Reads a list of networks that must not be empty.
pub fn networks(reader: &mut Reader, field: Field<'_>, if_empty: &str) -> Option<Vec<IpNet>> {
    let is_list = matches!(field.node.value, Value::List(_));
    let items: Vec<_> = reader.list(field).collect();
    if is_list && items.is_empty() {
        reader
            .error(field.node.at, format!("`{}` is an empty list: {if_empty}", field.key))
            .hint("leave the key out");
    }
    let networks: Vec<_> = items.iter().map(|item| network(reader, *item, NETWORK)).collect();
    networks.into_iter().collect::<Option<Vec<_>>>().filter(|networks| !networks.is_empty())
}

/// Reads a network or an address; `expected` is all that could stand there.
pub(super) fn network(reader: &mut Reader, field: Field<'_>, expected: &str) -> Option<IpNet> {
    // An address is text in YAML; `10.0` and `10` are numbers, and no addresses either.
    if !matches!(field.node.value, Value::Text | Value::Integer(_) | Value::Number) {
        reader.wrong(field, expected);
        return None;
    }
    match written::network(&field.node.text, expected) {
        Ok(network) => Some(network),
        Err(slip) => {
            report(reader, field.node.at, slip);
            None
        }
    }
}

/// Reads `methods: [GET, HEAD]`.
pub(super) fn methods(reader: &mut Reader, field: Field<'_>) -> Option<Vec<String>> {
    texts(reader, field, method::check)
}

/// Reads `paths: ["/pub/**"]`.
pub(super) fn paths(reader: &mut Reader, field: Field<'_>) -> Option<Vec<String>> {
    texts(reader, field, |text| {
        check_path(text)
            .map_err(|(what, hint)| (format!("the path {} {what}", quoted(text)), hint.to_owned()))
    })
}

/// Reads texts of which none may be wrong; `check` says what is wrong with one, and what would be right.
fn texts(
    reader: &mut Reader,
    field: Field<'_>,
    check: impl Fn(&str) -> Result<(), (String, String)>,
) -> Option<Vec<String>> {
    let is_list = matches!(field.node.value, Value::List(_));
    let items: Vec<_> = reader.list(field).collect();
    if is_list && items.is_empty() {
        let what = format!("`{}` is an empty list: the rule could never match", field.key);
        reader.error(field.node.at, what).hint("leave the key out for any");
    }
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        let Some(text) = reader.text(item) else { continue };
        match check(text) {
            Ok(()) => texts.push(text.to_owned()),
            Err((what, hint)) => reader.error(item.node.at, what).hint(hint),
        }
    }
    (!texts.is_empty()).then_some(texts)
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let Some((first, last)) = text.split_once('-') else {
        return port(text).map(|port| (port, port));
    };
    if first.is_empty() || last.is_empty() {
        return Err(format!("{} is no port", quoted(text)));
    }
    let (first, last) = (port(first)?, port(last)?);
    match first <= last {
        true => Ok((first, last)),
        false => Err(format!("the range is reversed, {last}-{first} would be right")),
    }
}

/// Only plain decimal: `0080` and `0x50` are numbers to YAML, and slips to us.
fn port(text: &str) -> Result<u16, String> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{} is no port", quoted(text)));
    }
    match text.parse() {
        Ok(0) => Err("there is no port 0".to_owned()),
        Ok(_) if text.starts_with('0') => Err("a port has no leading zeros".to_owned()),
        Ok(port) => Ok(port),
        Err(_) => Err("the highest port is 65535".to_owned()),
    }
}

/// A path pattern must be one that a request's path, as it passes the gate, can match.
fn check_path(text: &str) -> Result<(), (&'static str, &'static str)> {
    if !text.starts_with('/') {
        return Err(("does not start with `/`", "write \"/…\", or \"/**\" for any path"));
    }
    if text.contains('?') {
        return Err(("has a `?`", "paths are matched without their query; leave it out"));
    }
    if let Some(bad) = text.chars().find(|c| "{}[]\\".contains(*c)) {
        return Err(match bad {
            '\\' => ("has a `\\`", "requests with it are refused; leave it out"),
            _ => (
                "has a character for alternatives",
                "`*` and `**` are the only wildcards; write one path for each",
            ),
        });
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()*+,=:@/".contains(c);
    if !text.chars().all(is_plain) {
        return Err((
            "has a character that no path has",
            "write it percent-encoded, as in %20; leave `;` and `#` out",
        ));
    }
    if text.contains("//") {
        return Err(("has `//`", "requests with it are refused; write one `/`"));
    }
    for segment in text.split('/') {
        if segment == "." || segment == ".." {
            return Err(("has a dot segment", "requests with it are refused; write the path it stands for"));
        }
        if segment.contains("**") && segment != "**" {
            return Err((
                "has `**` inside a segment",
                "write `*` within a segment, `**` as a segment of its own",
            ));
        }
    }
    check_escapes(text)?;
    plain_path(text).map(|_| ()).map_err(|what| (what, "requests with it are refused; leave it out"))
}

/// Escapes must be in the one form in which they pass the gate.
fn check_escapes(text: &str) -> Result<(), (&'static str, &'static str)> {
    let mut rest = text;
    while let Some((_, escape)) = rest.split_once('%') {
        let digits = escape.as_bytes().get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let Some(code) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return Err(("has a `%` without two hexadecimal digits", "write %25 for the character itself"));
        };
        if b"./\\;".contains(&code) || code.is_ascii_control() {
            return Err((
                "has an escape that origins read differently",
                "requests with it are refused; leave it out",
            ));
        }
        if code.is_ascii_alphanumeric() || b"-_~".contains(&code) {
            return Err(("escapes a character that needs none", "write the character itself"));
        }
        rest = escape;
    }
    Ok(())
}
