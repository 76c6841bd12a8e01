//! Long lists: one pattern a line.

use std::path::Path;

use crate::file::{self, ReadError};
use crate::policy::Target;
use crate::policy::document::{report, written};
use crate::policy::terms::Action;
use crate::yaml::{At, Reader};

/// The largest list: some ten million names.
const LIST_MAX: u64 = 256 << 20;

pub(super) fn read(path: &Path) -> Result<String, ReadError> {
    file::read(path, LIST_MAX)
}

/// Hands on the pattern of each line and where it stands; blank lines and `#` comments are left out.
pub(super) fn each(reader: &mut Reader, text: &str, action: Action, mut take: impl FnMut(&Target, At)) {
    for (line, number) in text.split('\n').zip(1..) {
        let before_comment = line.split('#').next().unwrap_or_default();
        let written = before_comment.trim();
        if written.is_empty() {
            continue;
        }
        let indent = before_comment.len() - before_comment.trim_start().len();
        let column = before_comment[..indent].chars().count() + 1;
        let at = At { line: number, column: u32::try_from(column).unwrap_or(u32::MAX) };
        let pattern = match written::pattern(written) {
            Ok(pattern) => pattern,
            Err(slip) => {
                report(reader, at, slip);
                continue;
            }
        };
        if action == Action::Allow
            && let Some(slip) = written::reach(written, &pattern)
        {
            report(reader, at, slip);
        }
        if let Some(slip) = written::rewriting(written, &pattern) {
            report(reader, at, slip);
        }
        take(&Target::Name(pattern), at);
    }
}
