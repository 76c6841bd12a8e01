//! From the parser's events to the tree.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use crate::yaml::mistakes::Mistakes;
use crate::yaml::{At, DEPTH_MAX, Key, NODES_MAX, Node, Value, quoted, scalar};

/// What the parser says of an alias without its anchor. It has consumed the alias then and can go on,
/// which matters: an unquoted `- *.example.com` is one, and hides every later mistake otherwise.
const UNKNOWN_ANCHOR: &str = "while parsing node, found unknown anchor";

/// Builds the tree of the one document in `text`; `None` where there is no whole tree. An empty
/// document is null.
pub(super) fn build(text: &str, mistakes: &mut Mistakes) -> Option<Node> {
    let mut tree = Tree { text, cursor: Cursor::default(), open: Vec::new(), root: None, nodes: 0, mistakes };
    let mut parser = Parser::new_from_str(text);
    let mut documents = 0;
    while let Some(event) = parser.next_event() {
        match event {
            Err(error) if error.info() == UNKNOWN_ANCHOR => tree.alias(*error.marker())?,
            Err(error) => return tree.syntax_error(&error),
            Ok((Event::DocumentStart(_), span)) => {
                documents += 1;
                if documents > 1 {
                    tree.mistakes
                        .error(at(span.start), "a second document in the file")
                        .hint("one file holds one document");
                    return None;
                }
            }
            Ok((event, span)) => tree.take(event, span)?,
        }
    }
    Some(tree.root.unwrap_or(Node { at: At { line: 1, column: 1 }, text: "".into(), value: Value::Null }))
}

struct Tree<'t, 'r> {
    text: &'t str,
    cursor: Cursor,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    mistakes: &'r mut Mistakes,
}

/// A list or a map whose end has not come.
struct Open {
    at: At,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, key: Option<Key> },
}

impl Tree<'_, '_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = at(span.start);
        match event {
            Event::Alias(_) => self.alias(span.start)?,
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_properties(at, anchor, tag.is_some());
                let value = if style == ScalarStyle::Plain { scalar::plain(&text) } else { Value::Text };
                self.put(Node { at, text: text.into(), value })?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_properties(at, anchor, tag.is_some());
                self.descend(at, Content::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_properties(at, anchor, tag.is_some());
                self.descend(at, Content::Map { entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { at, content } = self.open.pop()?;
                let value = match content {
                    Content::List(items) => Value::List(items),
                    Content::Map { entries, .. } => Value::Map(self.unique(entries)),
                };
                self.put(Node { at, text: "".into(), value })?;
            }
            _ => {}
        }
        Some(())
    }

    /// Hands a complete value to what it stands in.
    fn put(&mut self, mut node: Node) -> Option<()> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let hint = "put long lists of names into an allow_file or deny_file";
            self.mistakes.error(node.at, format!("more than {NODES_MAX} values in one file")).hint(hint);
            return None;
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { content: Content::List(items), .. }) => items.push(node),
            Some(Open { content: Content::Map { entries, key }, .. }) => match key.take() {
                Some(key) => {
                    // The parser places a value that was left out wherever the next token is.
                    if node.is_null() && node.text.is_empty() {
                        node.at = key.at;
                    }
                    entries.push((key, node));
                }
                None => *key = Some(Key { at: node.at, name: node.text }),
            },
        }
        Some(())
    }

    fn descend(&mut self, at: At, content: Content) -> Option<()> {
        let in_key_place =
            matches!(self.open.last(), Some(Open { content: Content::Map { key: None, .. }, .. }));
        if in_key_place {
            let hint = "a key is a text; quote it if it starts with `[` or `{`";
            self.mistakes.error(at, "a list or map as a key").hint(hint);
            return None;
        }
        if self.open.len() == DEPTH_MAX {
            return self.too_deep(at);
        }
        self.open.push(Open { at, content });
        Some(())
    }

    /// An alias is never what was meant; the text of it mostly is.
    fn alias(&mut self, mark: Marker) -> Option<()> {
        let rest = &self.text[self.cursor.seek(self.text, mark.index())..];
        let end = rest.find(|c: char| c.is_whitespace() || ",[]{}".contains(c)).unwrap_or(rest.len());
        let text = &rest[..end];
        self.mistakes
            .error(at(mark), format!("{text} without quotes is a YAML alias"))
            .hint(format!("write it as \"{text}\""));
        self.put(Node { at: at(mark), text: text.into(), value: Value::Text })
    }

    fn refuse_properties(&mut self, at: At, anchor: usize, tag: bool) {
        if anchor != 0 {
            let hint = "write the value out at each place; quote a text that starts with `&`";
            self.mistakes.error(at, "YAML anchors are not used here").hint(hint);
        }
        if tag {
            let hint = "leave the tag out; quote a text that starts with `!`";
            self.mistakes.error(at, "YAML tags are not used here").hint(hint);
        }
    }

    /// Reports keys that come twice, and keeps the first of each.
    fn unique(&mut self, entries: Vec<(Key, Node)>) -> Vec<(Key, Node)> {
        let mut first: HashMap<Box<str>, u32> = HashMap::with_capacity(entries.len());
        let mut kept = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            if &*key.name == "<<" {
                let hint = "write the keys out at each place";
                self.mistakes.error(key.at, "YAML merge keys are not used here").hint(hint);
                continue;
            }
            match first.entry(key.name.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(key.at.line);
                    kept.push((key, node));
                }
                Entry::Occupied(entry) => {
                    let what = format!("the key {} comes twice", quoted(&key.name));
                    self.mistakes.error(key.at, what).hint(format!("it stands in line {} too", entry.get()));
                }
            }
        }
        kept
    }

    fn too_deep<T>(&mut self, at: At) -> Option<T> {
        self.mistakes.error(at, format!("nested more than {DEPTH_MAX} deep"));
        None
    }

    fn syntax_error(&mut self, error: &ScanError) -> Option<Node> {
        let (at, info) = (at(*error.marker()), error.info());
        if info.contains("recursion limit") {
            return self.too_deep(at);
        }
        let offset = self.cursor.seek(self.text, error.marker().index());
        let first = self.text[offset..].chars().next();
        if first == Some('*') && info.contains("alias") {
            // `*` alone is not even an alias, and stops the parser for good.
            self.mistakes.error(at, "* without quotes is a YAML alias").hint("write it as \"*\"");
            return None;
        }
        let hint = match first {
            Some('*' | '@' | '`' | '%' | '!' | '&') => {
                "a text that starts with such a character needs quotes"
            }
            _ if info.contains("tab") => "indent with spaces",
            _ if info.contains("mapping values are not allowed") => {
                "check the indentation, and quote a text that holds `: `"
            }
            _ => "check the indentation, the quotes and the brackets before this place",
        };
        self.mistakes.error(at, format!("this is not YAML: {info}")).hint(hint);
        None
    }
}

/// Turns the parser's character counts into byte offsets; they mostly grow, so it counts on from the last.
#[derive(Default)]
struct Cursor {
    characters: usize,
    bytes: usize,
}

impl Cursor {
    fn seek(&mut self, text: &str, characters: usize) -> usize {
        if characters < self.characters {
            *self = Self::default();
        }
        let rest = &text[self.bytes..];
        let step = rest.char_indices().nth(characters - self.characters).map_or(rest.len(), |(at, _)| at);
        self.characters = characters;
        self.bytes += step;
        self.bytes
    }
}

fn at(mark: Marker) -> At {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    At { line: number(mark.line()), column: number(mark.col() + 1) }
}
