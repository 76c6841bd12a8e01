//! A file of groups, as Apache's `AuthGroupFile` has it: `group: user user`.

use std::collections::HashMap;

use crate::client::check_name;
use crate::yaml::{At, Reader, quoted};

/// The groups of each user, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(HashMap<Box<str>, Vec<Box<str>>>);

impl Groups {
    /// Reads the text of a file; what is wrong in it goes to the reader.
    pub fn read(reader: &mut Reader, text: &str) -> Self {
        let mut groups = Self::default();
        for (line, number) in text.lines().zip(1..) {
            let at = At { line: number, column: 1 };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((group, users)) = line.split_once(':') else {
                reader.error(at, "the line has no `:`").hint("write it as `group: user user`");
                continue;
            };
            let group = group.trim();
            if let Err(error) = check_name(group) {
                reader.error(at, format!("the group {} can't be used: {error}", quoted(group)));
                continue;
            }
            for user in users.split_whitespace() {
                // Nobody is called so: the comma was to set names apart, and whoever stands before it would have no group.
                if user.ends_with(',') {
                    let what =
                        format!("the user {} of the group {} ends with a comma", quoted(user), quoted(group));
                    reader.error(at, what).hint("set names apart by spaces alone");
                    continue;
                }
                groups.0.entry(user.into()).or_default().push(group.into());
            }
        }
        for own in groups.0.values_mut() {
            own.sort_unstable();
            own.dedup();
        }
        groups
    }

    pub fn of(&self, user: &str) -> &[Box<str>] {
        self.0.get(user).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_may_be_in_several_groups() {
        let mut reader = Reader::new(std::path::Path::new("groups").into());
        let text = "# who builds\nci: alice bob\n\nadmins:bob\nci: carol bob\nnobody:\n";
        let groups = Groups::read(&mut reader, text);
        assert!(reader.finish().is_empty());
        assert_eq!(groups.of("bob"), ["admins".into(), "ci".into()]);
        assert_eq!(groups.of("carol"), ["ci".into()]);
        assert!(groups.of("mallory").is_empty());
    }

    #[test]
    fn every_line_that_is_wrong_is_told() {
        let mut reader = Reader::new(std::path::Path::new("groups").into());
        Groups::read(&mut reader, "alice\n: bob\nci: alice, bob\n");
        let mistakes: Vec<String> = reader.finish().iter().map(ToString::to_string).collect();
        assert_eq!(
            mistakes,
            [
                "groups:1:1: error: the line has no `:`\n  hint: write it as `group: user user`",
                "groups:2:1: error: the group \"\" can't be used: it is empty",
                "groups:3:1: error: the user \"alice,\" of the group \"ci\" ends with a comma\n  hint: set names apart by spaces alone",
            ]
        );
    }
}
