//! A rule added to a policy file that people keep: nothing else in it changes, and what comes of it is read before it
//! is written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::file::{self, ReadError};
use crate::policy::document::{BUILT_IN_NAME, FLAG, load_text};
use crate::policy::terms::Profile;
use crate::yaml::{At, Node, Reader, SIZE_MAX, Value};

/// Why it was not added.
#[derive(Debug, thiserror::Error)]
pub enum AdditionError {
    #[error("{}: {}", .0.display(), .1)]
    Read(PathBuf, ReadError),
    #[error("can't write {}: {}", .0.display(), .1)]
    Write(PathBuf, io::Error),
    #[error("{} is not written so that a rule can be added safely: add to `allow` of {} by hand: {}", .0.display(), .1, .2)]
    Shape(PathBuf, String, String),
}

/// Whether the profile stands in a file that could be written to.
pub fn is_file(profile: &Profile) -> bool {
    let file = &*profile.place.file;
    file != Path::new(FLAG) && file != Path::new(BUILT_IN_NAME)
}

/// Adds a rule, as an item of a list with its dash, to `allow` of a profile. Tells the line in which it stands.
pub fn add_rule(path: &Path, profile: &str, item: &str) -> Result<u32, AdditionError> {
    let text = file::read(path, SIZE_MAX).map_err(|error| AdditionError::Read(path.to_owned(), error))?;
    let added = added(path, &text, profile, item);
    let (text, line) =
        added.ok_or_else(|| AdditionError::Shape(path.to_owned(), profile.to_owned(), item.to_owned()))?;
    replace(path, &text).map_err(|error| AdditionError::Write(path.to_owned(), error))?;
    Ok(line)
}

/// The text with the rule, and its line; `None` if the text is not one that it could be added to.
fn added(path: &Path, text: &str, profile: &str, item: &str) -> Option<(String, u32)> {
    let root = Reader::new(path.into()).parse(text)?;
    let is_it = |one: &&Node| one.get("name").is_some_and(|name| &*name.text == profile);
    let allow = root.get("profiles")?.items().iter().find(is_it)?.get("allow")?;
    let Value::List(items) = &allow.value else { return None };
    let (place, line, piece) = match byte_at(text, allow.at).map(|at| (at, text.as_bytes()[at])) {
        Some((at, b'[')) => within(text, at, items.is_empty(), item)?,
        _ => below(text, items.last()?.at, item)?,
    };
    let new = format!("{}{piece}{}", &text[..place], &text[place..]);
    // One rule more, and nothing that was not there before is wrong now.
    let (before, after) = (load_text(path, text).ok()?, load_text(path, &new).ok()?);
    (after.rules == before.rules + 1 && after.warnings.len() == before.warnings.len()).then_some((new, line))
}

/// Where a list within brackets ends, and what goes there.
fn within(text: &str, open: usize, is_empty: bool, item: &str) -> Option<(usize, u32, String)> {
    let (mut depth, mut quote) = (0, None);
    for (at, byte) in text.bytes().enumerate().skip(open) {
        match (quote, byte) {
            (Some(mark), _) if byte == mark => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            // A comment may have anything in it.
            (None, b'#') => return None,
            (None, b'[' | b'{') => depth += 1,
            (None, b']' | b'}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let end = text[..at].trim_end().len();
            let rule = item.strip_prefix("- ")?;
            let separator = if is_empty || text[..end].ends_with(',') { "" } else { "," };
            let space = if is_empty { "" } else { " " };
            return Some((end, line_of(text, end), format!("{separator}{space}{rule}")));
        }
    }
    None
}

/// The place behind the last item of a list with an item a line, and what goes there.
fn below(text: &str, last: At, item: &str) -> Option<(usize, u32, String)> {
    let start = byte_at(text, At { column: 1, ..last })?;
    let first = text[start..].lines().next()?;
    let indent = first.len() - first.trim_start().len();
    if !first[indent..].starts_with("- ") {
        return None;
    }
    let end_of = |at: usize| text[at..].find('\n').map_or(text.len(), |length| at + length + 1);
    let (mut end, mut at) = (end_of(start), end_of(start));
    while at < text.len() {
        let line = &text[at..end_of(at)];
        let content = line.trim_start();
        let is_deeper = line.len() - content.len() > indent;
        at = end_of(at);
        match content.trim_end() {
            "" => {}
            comment if comment.starts_with('#') => {}
            _ if is_deeper => end = at,
            _ => break,
        }
    }
    let newline = if first.ends_with('\r') || text[..end].ends_with("\r\n") { "\r\n" } else { "\n" };
    let before = if text[..end].ends_with('\n') { "" } else { newline };
    let piece = format!("{before}{}{item}{newline}", &first[..indent]);
    Some((end, line_of(text, end) + u32::from(!before.is_empty()), piece))
}

/// Puts the text in the place of the file's, all at once: whoever reads it meanwhile reads either.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // Behind a link the link stays.
    let path = fs::canonicalize(path)?;
    let about = fs::metadata(&path)?;
    // A file that may not be written to is not to be replaced either.
    OpenOptions::new().append(true).open(&path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = write(&new, text, &about).and_then(|()| fs::rename(&new, &path));
    if written.is_err() {
        // What is half there helps nobody.
        let _ = fs::remove_file(&new);
    }
    written
}

fn write(new: &Path, text: &str, like: &fs::Metadata) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let about = file.metadata()?;
    if (about.uid(), about.gid()) != (like.uid(), like.gid()) {
        std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(like.mode()))?;
    file.write_all(text.as_bytes())?;
    File::sync_all(&file)
}

/// Where a place in the file is in its text.
fn byte_at(text: &str, at: At) -> Option<usize> {
    let line = text.split_inclusive('\n').take(usize::try_from(at.line).ok()?.checked_sub(1)?);
    let start: usize = line.map(str::len).sum();
    let column = usize::try_from(at.column).ok()?.checked_sub(1)?;
    text[start..].char_indices().nth(column).map(|(offset, _)| start + offset)
}

/// The line that a byte is in.
fn line_of(text: &str, at: usize) -> u32 {
    let before = text[..at].bytes().filter(|&byte| byte == b'\n').count();
    u32::try_from(before + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: &str = "- new.example";

    fn add(text: &str) -> Option<(String, u32)> {
        added(Path::new("policy.yaml"), text, "a", ITEM)
    }

    #[test]
    fn a_rule_goes_behind_the_last_one_and_nothing_else_changes() {
        let head =
            "# kept\nversion: 1\nprofiles:\n  - name: b\n    allow: [x.example]\n  - name: a   # mine\n";
        for (before, after, line) in [
            (
                "    allow:\n      - a.example # one\n      # two\n    deny: [b.example]\n",
                "    allow:\n      - a.example # one\n      - new.example\n      # two\n    deny: [b.example]\n",
                9,
            ),
            (
                "    allow:\n      - host: a.example\n        ports: [22]\n\n        protocol: tcp\n\n\n",
                "    allow:\n      - host: a.example\n        ports: [22]\n\n        protocol: tcp\n      \
                 - new.example\n\n\n",
                12,
            ),
            ("    allow:\n    - a.example", "    allow:\n    - a.example\n    - new.example\n", 9),
            (
                "    allow:\r\n    - a.example\r\n",
                "    allow:\r\n    - a.example\r\n    - new.example\r\n",
                9,
            ),
            ("    allow: [a.example]\n", "    allow: [a.example, new.example]\n", 7),
            ("    allow: []\n", "    allow: [new.example]\n", 7),
            (
                "    allow: [\"*.b.example\",\n      { host: 'c]d.example', ports: [1] },\n    ]\n",
                "    allow: [\"*.b.example\",\n      { host: 'c]d.example', ports: [1] },\n    ]\n",
                0,
            ),
            (
                "    allow: [\"*.b.example\",\n      { host: 'c.example', ports: [1] },\n    ]\n",
                "    allow: [\"*.b.example\",\n      { host: 'c.example', ports: [1] }, new.example\n    ]\n",
                8,
            ),
        ] {
            let added = add(&format!("{head}{before}"));
            let expected = (line > 0).then(|| (format!("{head}{after}"), line));
            assert_eq!(added, expected, "{before}");
        }
    }

    #[test]
    fn what_has_no_place_for_a_rule_is_left_alone() {
        for text in [
            "version: 1\nprofiles: [{ name: b, allow: [x.example] }]\n",
            "version: 1\nprofiles: [{ name: a, deny: [x.example] }]\n",
            "version: 1\nprofiles: [{ name: a, allow: [x.example, # y\n  z.example] }]\n",
            "not a policy: [",
        ] {
            assert_eq!(add(text), None, "{text}");
        }
        let flow = "version: 1\nprofiles: [{ name: a, allow: [x.example] }]\n";
        let expected = "version: 1\nprofiles: [{ name: a, allow: [x.example, new.example] }]\n";
        assert_eq!(add(flow), Some((expected.to_owned(), 2)));
    }

    #[test]
    fn a_file_keeps_its_mode_and_its_link() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real.yaml"), directory.path().join("link.yaml"));
        fs::write(&real, "version: 1\nprofiles: [{ name: a, allow: [x.example] }]\n").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.yaml", &link).unwrap();
        assert_eq!(add_rule(&link, "a", ITEM).unwrap(), 2);
        assert!(fs::read_to_string(&real).unwrap().contains("new.example"));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        let error = add_rule(&directory.path().join("none.yaml"), "a", ITEM).unwrap_err();
        assert!(error.to_string().contains("none.yaml"), "{error}");
        let error = add_rule(&real, "b", ITEM).unwrap_err().to_string();
        assert!(error.contains("by hand: - new.example"), "{error}");
    }
}
