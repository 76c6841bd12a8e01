//! YAML as a tree in which every value knows its line and column.
//!
//! What settings and policies need of YAML 1.2, and no more: scalars by the core schema, lists, and
//! maps with text keys. Anchors, aliases, tags, merge keys and further documents are mistakes: they
//! make a file that grants access say something other than what it seems to say. The tree is read with
//! a [`Reader`], which collects every mistake of the file.

mod mistakes;
mod nearest;
mod reader;
mod scalar;
mod tree;

pub use reader::{Field, Fields, Reader};

/// A position in a file; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub line: u32,
    pub column: u32,
}

/// A value and where it stands.
#[derive(Debug, PartialEq)]
pub struct Node {
    pub at: At,
    /// A scalar as it was written, without its quotes; empty for lists and maps.
    pub text: Box<str>,
    pub value: Value,
}

/// What a node is, by the core schema; a quoted scalar is always text.
#[derive(Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    /// A number that is no integer, or too large a one.
    Number,
    /// The node's `text`.
    Text,
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, PartialEq)]
pub struct Key {
    pub at: At,
    pub name: Box<str>,
}

/// The largest file of settings or of policy that is read.
pub const SIZE_MAX: u64 = 64 << 20;
/// The most values in a file: some twenty bytes each in the largest one.
const NODES_MAX: usize = 4 << 20;
/// The deepest nesting; policies and settings need five.
const DEPTH_MAX: usize = 32;

impl Node {
    /// Whether a value was written at all: `key:` alone is null too.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// What a map has under a key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(own, _)| &*own.name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// What a list holds; of anything else nothing.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The value as a message shows it: `the list`, `the text "abc"`.
    fn shown(&self) -> String {
        match &self.value {
            Value::Null if self.text.is_empty() => "nothing".to_owned(),
            Value::Null => "null".to_owned(),
            Value::Bool(_) => format!("the boolean {}", self.text),
            Value::Integer(_) | Value::Number => format!("the number {}", self.text),
            Value::Text => format!("the text {}", quoted(&self.text)),
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

/// A text from a file as a message quotes it: one line, bounded, nothing that steers a terminal.
pub fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A text as YAML needs it written to be read as that text, within a list or map on one line too.
pub fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/+".contains(c);
    let starts_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "._/".contains(c));
    if starts_plain && text.chars().all(is_plain) && matches!(scalar::plain(text), Value::Text) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // Every reader agrees on escapes, and none on which characters may stand there as they are.
            _ if is_hidden(c) => quoted += &format!("\\U{:08x}", u32::from(c)),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a character ends a line for some reader, turns the direction of text, or steers a terminal.
pub fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
