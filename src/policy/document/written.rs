//! Patterns, networks and dates as people write them, with what would be right where they slip.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::civil::Date;

use crate::mistake::Severity;
use crate::network::{self, NetworkError};
use crate::policy::document::suffix::{self, Reach};
use crate::policy::pattern::{Pattern, PatternError};
use crate::yaml::quoted;

/// What the text of a network has to be, where it can be nothing else.
pub(super) const NETWORK: &str = "a network like 10.0.1.0/24 or 2001:db8::/32, or an address";

/// The longest name of a profile or a parent: it is a label of metrics.
const NAME_MAX: usize = 63;

/// What [`is_name`] takes.
pub const NAME: &str = "up to 63 letters, digits, `-`, `_` and `.`, starting with a letter or digit";

/// Whether a profile or a parent can have this name.
pub fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(is_plain)
        && text.len() <= NAME_MAX
}

/// What is wrong with a text, and what would be right.
pub(super) struct Slip {
    pub(super) severity: Severity,
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

impl Slip {
    fn error(what: String, hint: impl Into<String>) -> Self {
        Self { severity: Severity::Error, what, hint: Some(hint.into()) }
    }

    fn warning(what: String, hint: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, what, hint: Some(hint.into()) }
    }
}

/// Reads a pattern over names.
pub(super) fn pattern(text: &str) -> Result<Pattern, Slip> {
    Pattern::parse(text).map_err(|error| {
        let hint = correction(text, &error).or_else(|| error.hint().map(str::to_owned));
        Slip { severity: Severity::Error, what: format!("{} is no pattern: {error}", quoted(text)), hint }
    })
}

/// What an allowed pattern reaches that its author may not have thought of.
pub(super) fn reach(text: &str, pattern: &Pattern) -> Option<Slip> {
    let reach = suffix::reach(pattern)?;
    let suffix = pattern.literal_suffix();
    let text = quoted(text);
    let hint = format!("if that is meant, write {{ host: {text}, public_suffix: true }} into a policy file");
    Some(match reach {
        Reach::PublicSuffix if suffix.is_empty() => {
            Slip::error(format!("{text} spans every public suffix: anyone may register a name there"), hint)
        }
        Reach::PublicSuffix => Slip::error(
            format!("{text} spans the public suffix {suffix}: anyone may register a name there"),
            hint,
        ),
        Reach::AbovePublicSuffix => Slip::warning(
            format!("{text} takes in public suffixes below {suffix}: anyone may register a name there"),
            hint,
        ),
        Reach::UnknownTopLevel => Slip::warning(
            format!("{text} is a whole top-level domain, and none that the public suffix list knows"),
            hint,
        ),
        Reach::Everything => Slip::warning(format!("{text} allows every name"), hint),
    })
}

/// What reading changed beyond the case of letters: the file does not say what it seems to say.
pub(super) fn rewriting(text: &str, pattern: &Pattern) -> Option<Slip> {
    let hint = format!("write \"{pattern}\"");
    let what = || format!("{} is read as \"{pattern}\"", quoted(text));
    pattern.is_rewritten().then(|| Slip::warning(what(), hint))
}

/// Reads a network, or one address as the network of it alone; `expected` is all that the text could be.
pub(super) fn network(text: &str, expected: &str) -> Result<IpNet, Slip> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let network = match (network::parse(text), bare.parse::<IpAddr>()) {
        (Ok(network), _) => network,
        (Err(NetworkError::Dressed(plain)), _) => {
            let what = format!("{text} is an IPv4 network in an IPv6 dress");
            return Err(Slip::error(what, format!("write {plain}")));
        }
        (_, Ok(address)) => {
            return Err(Slip::error(format!("{} has brackets", quoted(text)), format!("write {address}")));
        }
        _ => {
            return Err(Slip::error(
                format!("{} is no network", quoted(text)),
                format!("it must be {expected}"),
            ));
        }
    };
    if network.trunc() != network {
        let what = format!("{text} has bits set beyond its prefix");
        return Err(Slip::error(
            what,
            format!("the network is {}; the address alone is {}", network.trunc(), network.addr()),
        ));
    }
    Ok(network)
}

/// Reads a day as YYYY-MM-DD, and no other of the forms that ISO 8601 has.
pub(super) fn day(text: &str) -> Result<Date, String> {
    let shape_fits = text.len() == 10
        && text.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !shape_fits {
        return Err("it is not written as YYYY-MM-DD".to_owned());
    }
    text.parse::<Date>().map_err(|_| "there is no such day".to_owned())
}

/// The corrected text, where it is plain what was meant.
fn correction(text: &str, error: &PatternError) -> Option<String> {
    if let Ok(network) = network(text.trim_matches(['[', ']']), NETWORK) {
        return Some(format!("write {{ cidr: {network} }} for addresses"));
    }
    let after_scheme = text.split_once("://").map(|(_, rest)| rest);
    let rest = after_scheme.unwrap_or(text);
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let (host, port) =
        authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let changed = after_scheme.is_some() || path.is_some() || port.is_some();
    if !changed || Pattern::parse(host).is_err() {
        return match error {
            PatternError::Character(' ' | '\t') => Some("leave the white space out".to_owned()),
            PatternError::Character('@') => Some("write the name alone, without user information".to_owned()),
            _ => None,
        };
    }
    Some(match (port, path) {
        (_, Some(path)) if !path.is_empty() => {
            format!(
                "write the name alone, \"{host}\"; paths go into {{ host: \"{host}\", protocol: http, paths: [\"/{path}\"] }}"
            )
        }
        (Some(port), _) if port.parse::<u16>().is_ok() => {
            format!("write {{ host: \"{host}\", ports: [{port}] }}")
        }
        _ => format!("write the name alone, \"{host}\""),
    })
}
