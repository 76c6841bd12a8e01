//! Values of settings: lists, numbers, durations, paths, addresses.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

use crate::yaml::{Field, Fields, Reader};

/// What the address of a socket has to be, to whoever wrote something else.
pub const ADDRESS: &str = "an address and a port, like 127.0.0.1:3128 or [::]:3128";

/// More would be no time-out any more.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) fn address(reader: &mut Reader, field: Field<'_>) -> Option<SocketAddr> {
    reader.parsed(field, ADDRESS, str::parse)
}

/// Reads every item of a list; one that is wrong is left out, as the file is refused then.
pub(super) fn each<T>(
    reader: &mut Reader,
    field: Field<'_>,
    mut read: impl FnMut(&mut Reader, Field<'_>) -> Option<T>,
) -> Vec<T> {
    let items = reader.list(field);
    items.filter_map(|item| read(reader, item)).collect()
}

pub(super) fn number(
    reader: &mut Reader,
    fields: &Fields<'_>,
    key: &str,
    range: RangeInclusive<i64>,
) -> Option<usize> {
    let field = fields.get(key)?;
    reader.integer(field, range).and_then(|number| usize::try_from(number).ok())
}

pub(super) fn duration(reader: &mut Reader, fields: &Fields<'_>, key: &str) -> Option<Duration> {
    let field = fields.get(key)?;
    reader.parsed(field, "a duration of more than 0 and at most 30 days, like 500ms, 10s, 5m or 1h", |text| {
        match Duration::try_from(signed(text)?) {
            Ok(duration) if !duration.is_zero() && duration <= LONGEST => Ok(duration),
            _ => Err("out of range".to_owned()),
        }
    })
}

/// A duration in whole seconds, which may be none.
pub(super) fn seconds(reader: &mut Reader, fields: &Fields<'_>, key: &str, most: u64) -> Option<u64> {
    let field = fields.get(key)?;
    let expected = format!("a duration of whole seconds, from 0s to {most}s");
    reader.parsed(field, &expected, |text| {
        let seconds = Duration::try_from(signed(text)?).ok().filter(|wanted| wanted.subsec_nanos() == 0);
        let seconds = seconds.map(|wanted| wanted.as_secs()).filter(|wanted| *wanted <= most);
        seconds.ok_or_else(|| "out of range".to_owned())
    })
}

/// In words of exeat: the library's own speak of its types.
fn signed(text: &str) -> Result<SignedDuration, String> {
    text.parse().map_err(|_: jiff::Error| "not a number with a unit of time".to_owned())
}

/// Reads a URL. What was written is shown to whoever reads the log, so not where it may hold a password: `hint`
/// is what is said then.
pub(super) fn url<T, E: Display>(
    reader: &mut Reader,
    field: Field<'_>,
    expected: &str,
    hint: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Option<T> {
    if field.node.text.contains('@') && read(&field.node.text).is_err() {
        let what = format!("`{}` has credentials, which do not stand in the URL", field.key);
        reader.error(field.node.at, what).hint(hint);
        return None;
    }
    reader.parsed(field, expected, read)
}

/// Reads a path, which is relative to the file.
pub(super) fn path(reader: &mut Reader, field: Field<'_>) -> Option<PathBuf> {
    let text = reader.text(field)?;
    if text.is_empty() {
        reader.wrong(field, "a path");
        return None;
    }
    Some(reader.beside(text))
}
