//! Reads known keys with expected shapes out of a tree, and collects what is wrong.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use super::nearest::nearest;
use super::{At, Key, Node, SIZE_MAX, Value, quoted, tree};
use crate::mistake::{Mistake, Place};

/// More mistakes of one file than anyone reads; the rest is counted.
const MISTAKES_MAX: usize = 1000;

/// Collects the mistakes of one file while it is read.
#[derive(Debug)]
pub struct Reader {
    file: Arc<Path>,
    /// Where the text ends. Without the end of a line there, the parser tells of one line more.
    end: Option<At>,
    mistakes: Vec<Mistake>,
    uncounted: usize,
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

/// A mistake just recorded, to which a hint may be added.
#[derive(Debug)]
pub struct Recorded<'r>(Option<&'r mut Mistake>);

impl Reader {
    pub fn new(file: Arc<Path>) -> Self {
        Self { file, end: None, mistakes: Vec::new(), uncounted: 0 }
    }

    /// Parses the whole file; `None` if that yields no tree to read on in.
    pub fn parse(&mut self, text: &str) -> Option<Node> {
        let start = At { line: 1, column: 1 };
        if text.len() as u64 > SIZE_MAX {
            self.error(start, format!("the file is larger than {} MiB", SIZE_MAX >> 20));
            return None;
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        self.end = Some(end(text));
        tree::build(text, self)
    }

    pub fn file(&self) -> &Arc<Path> {
        &self.file
    }

    pub fn place(&self, at: At) -> Place {
        let at = self.end.map_or(at, |end| at.min(end));
        Place { file: Arc::clone(&self.file), line: at.line, column: at.column }
    }

    /// Every mistake so far, in the order of the file.
    pub fn finish(mut self) -> Vec<Mistake> {
        self.mistakes.sort_by(|a, b| a.place.cmp(&b.place));
        if let (1.., Some(last)) = (self.uncounted, self.mistakes.last()) {
            let what = format!("{} more mistakes in this file", self.uncounted);
            self.mistakes.push(Mistake::error(last.place.clone(), what));
        }
        self.mistakes
    }

    /// Records what makes the file unusable.
    pub fn error(&mut self, at: At, what: impl Into<String>) -> Recorded<'_> {
        self.record(Mistake::error(self.place(at), what))
    }

    /// Records what its author hardly meant.
    pub fn warning(&mut self, at: At, what: impl Into<String>) -> Recorded<'_> {
        self.record(Mistake::warning(self.place(at), what))
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

    fn record(&mut self, mistake: Mistake) -> Recorded<'_> {
        if self.mistakes.len() == MISTAKES_MAX {
            self.uncounted += 1;
            return Recorded(None);
        }
        self.mistakes.push(mistake);
        Recorded(self.mistakes.last_mut())
    }
}

impl Recorded<'_> {
    /// Adds what would be right.
    pub fn hint(self, hint: impl Into<String>) {
        if let Some(mistake) = self.0 {
            mistake.hint = Some(hint.into());
        }
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

/// The place behind the last character of a text.
fn end(text: &str) -> At {
    let count = |count| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
    let both = text.matches("\r\n").count();
    let lines = text.matches(['\n', '\r']).count() - both;
    let last = text.rsplit(['\n', '\r']).next().unwrap_or_default();
    At { line: count(lines), column: count(last.chars().count()) }
}
