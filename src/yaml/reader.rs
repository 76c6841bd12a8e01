//! Reads known keys with expected shapes out of a tree, and collects what is wrong.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mistake::{Mistake, Place};
use crate::yaml::mistakes::{Mistakes, Recorded};
use crate::yaml::nearest::nearest;
use crate::yaml::{At, Key, Node, SIZE_MAX, Value, quoted, tree};

/// Reads one file, and collects its mistakes meanwhile.
#[derive(Debug)]
pub struct Reader {
    mistakes: Mistakes,
}

/// A value under its key; the items of a list keep the list's key.
#[derive(Clone, Copy, Debug)]
pub struct Field<'n> {
    pub key: &'n str,
    pub node: &'n Node,
}

/// A map whose keys are known.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'n> {
    /// Where the map begins.
    pub at: At,
    entries: &'n [(Key, Node)],
}

impl Reader {
    pub fn new(file: Arc<Path>) -> Self {
        Self { mistakes: Mistakes::new(file) }
    }

    /// Parses the whole file; `None` if that yields no tree to read on in.
    pub fn parse(&mut self, text: &str) -> Option<Node> {
        let start = At { line: 1, column: 1 };
        if text.len() as u64 > SIZE_MAX {
            self.error(start, format!("the file is larger than {} MiB", SIZE_MAX >> 20));
            return None;
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        self.mistakes.read(text);
        tree::build(text, &mut self.mistakes)
    }

    pub fn file(&self) -> &Arc<Path> {
        &self.mistakes.file
    }

    /// The path of what a text in the file names: relative to the file's directory.
    pub fn beside(&self, path: &str) -> PathBuf {
        self.file().parent().unwrap_or(Path::new("")).join(path)
    }

    pub fn place(&self, at: At) -> Place {
        self.mistakes.place(at)
    }

    /// Every mistake so far, in the order of the file.
    pub fn finish(self) -> Vec<Mistake> {
        self.mistakes.finish()
    }

    /// Records what makes the file unusable.
    pub fn error(&mut self, at: At, what: impl Into<String>) -> Recorded<'_> {
        self.mistakes.error(at, what)
    }

    /// Records what its author hardly meant.
    pub fn warning(&mut self, at: At, what: impl Into<String>) -> Recorded<'_> {
        self.mistakes.warning(at, what)
    }

    /// Reads a map and reports the keys that are not `known` there.
    pub fn map<'n>(&mut self, field: Field<'n>, known: &[&str]) -> Option<Fields<'n>> {
        let Value::Map(entries) = &field.node.value else {
            self.wrong(field, "a map of keys and values");
            return None;
        };
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&&*key.name)) {
            let what = format!("`{}` has no key {}", field.key, quoted(&key.name));
            let hint = match nearest(&key.name, known) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("its keys are {}", listed(known)),
            };
            self.error(key.at, what).hint(hint);
        }
        Some(Fields { at: field.node.at, entries })
    }

    /// Reads a key that must be there; `example` is a value that it could have.
    pub fn required<'n>(
        &mut self,
        fields: &Fields<'n>,
        of: &str,
        key: &str,
        example: &str,
    ) -> Option<Field<'n>> {
        let field = fields.get(key);
        if field.is_none() {
            let hint = format!("add it, like `{key}: {example}`");
            self.error(fields.at, format!("`{key}` is missing in {of}")).hint(hint);
        }
        field
    }

    /// Reads a list.
    pub fn list<'n>(&mut self, field: Field<'n>) -> impl Iterator<Item = Field<'n>> + use<'n> {
        let items: &[Node] = match &field.node.value {
            Value::List(items) => items,
            _ => {
                self.wrong(field, "a list");
                &[]
            }
        };
        items.iter().map(move |node| Field { key: field.key, node })
    }

    /// Reads a text. A number or boolean is not one: what was written may not be what it became.
    pub fn text<'n>(&mut self, field: Field<'n>) -> Option<&'n str> {
        match field.node.value {
            Value::Text => Some(&field.node.text),
            Value::Bool(_) | Value::Integer(_) | Value::Number => {
                let hint = format!("if it is meant as a text, quote it: \"{}\"", field.node.text);
                self.error(field.node.at, format!("`{}` is {}", field.key, field.node.shown())).hint(hint);
                None
            }
            _ => {
                self.wrong(field, "a text");
                None
            }
        }
    }

    pub fn boolean(&mut self, field: Field<'_>) -> Option<bool> {
        match field.node.value {
            Value::Bool(value) => Some(value),
            _ => {
                self.wrong(field, "true or false");
                None
            }
        }
    }

    /// Reads a whole number within a range.
    pub fn integer(&mut self, field: Field<'_>, range: RangeInclusive<i64>) -> Option<i64> {
        match field.node.value {
            Value::Integer(number) if range.contains(&number) => Some(number),
            _ => {
                self.wrong(field, &format!("a whole number from {} to {}", range.start(), range.end()));
                None
            }
        }
    }

    /// Reads one of a few words.
    pub fn word<T: Copy>(&mut self, field: Field<'_>, words: &[(&str, T)]) -> Option<T> {
        let text = &*field.node.text;
        if let (Value::Text, Some((_, value))) =
            (&field.node.value, words.iter().find(|(word, _)| *word == text))
        {
            return Some(*value);
        }
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let what = format!("`{}` is {}", field.key, field.node.shown());
        let hint = match nearest(text, &words) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("it is one of {}", listed(&words)),
        };
        self.error(field.node.at, what).hint(hint);
        None
    }

    /// Reads a text with a parser of its own; `expected` completes "it must be …".
    pub fn parsed<T, E: Display>(
        &mut self,
        field: Field<'_>,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if !matches!(field.node.value, Value::Text | Value::Integer(_) | Value::Number) {
            self.wrong(field, expected);
            return None;
        }
        match parse(&field.node.text) {
            Ok(value) => Some(value),
            Err(error) => {
                let what = format!("`{}` is {}: {error}", field.key, field.node.shown());
                self.error(field.node.at, what).hint(format!("it must be {expected}"));
                None
            }
        }
    }

    /// Records that a value is not what its key takes; `expected` completes "it must be …".
    pub fn wrong(&mut self, field: Field<'_>, expected: &str) {
        let what = format!("`{}` is {}", field.key, field.node.shown());
        self.error(field.node.at, what).hint(format!("it must be {expected}"));
    }
}

impl<'n> Field<'n> {
    /// The top of a file, which messages call `name`.
    pub fn top(name: &'n str, node: &'n Node) -> Self {
        Self { key: name, node }
    }
}

impl<'n> Fields<'n> {
    /// The value of a key, if the key is there.
    pub fn get(&self, key: &str) -> Option<Field<'n>> {
        self.entries
            .iter()
            .find(|(name, _)| &*name.name == key)
            .map(|(key, node)| Field { key: &key.name, node })
    }

    /// Where a key stands; where the map begins if it is not there.
    pub fn key_at(&self, key: &str) -> At {
        self.entries.iter().find(|(name, _)| &*name.name == key).map_or(self.at, |(key, _)| key.at)
    }
}

fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
