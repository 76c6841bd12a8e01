//! Terraform's own language, as far as exports use it: resources with blocks, texts, numbers, booleans and lists.
//! It becomes the tree that JSON has. What is computed (variables, functions) is a mistake: nobody here knows its value.

use std::path::Path;

use crate::learn::import::aviatrix::tag::Found;
use crate::learn::import::aviatrix::tree;
use crate::mistake::{Mistake, Place};
use crate::yaml::{At, Key, Node, Value};

/// The deepest nesting; a tag's rules need two.
const DEPTH_MAX: usize = 32;

pub(super) fn read(file: &Path, text: &str) -> Result<Found, Vec<Mistake>> {
    let mut parser = Parser { rest: text, line: 1, depth: 0 };
    let mut found = Found::default();
    loop {
        parser.space();
        if parser.rest.is_empty() {
            return Ok(found);
        }
        let line = parser.line;
        let failed = |what: String, line| {
            let place = Place { file: file.into(), line, column: 1 };
            vec![Mistake::error(place, what).hint("`terraform show -json` has every value")]
        };
        let mut labels = Vec::new();
        while !parser.rest.starts_with('{') {
            match parser.word() {
                Some(word) => labels.push(word),
                None => {
                    return Err(failed(
                        "a block is expected, like resource \"aviatrix_fqdn\" \"name\" {".into(),
                        parser.line,
                    ));
                }
            }
            parser.space();
        }
        let is_tag =
            matches!(labels.get(1).map(String::as_str), Some("aviatrix_fqdn" | "aviatrix_fqdn_tag_rule"));
        if !is_tag || labels[0] != "resource" {
            // Other blocks are passed over as text: what they hold is no tag.
            found.unread.push((line, labels.join(" "), "it is no FQDN tag, nor a rule of one".to_owned()));
            parser.skip();
            continue;
        }
        match parser.block() {
            Ok(node) => tree::walk(&node, "", &mut found),
            Err(what) => return Err(failed(what, parser.line)),
        }
    }
}

struct Parser<'t> {
    rest: &'t str,
    line: u32,
    /// How many blocks and lists are open.
    depth: usize,
}

impl<'t> Parser<'t> {
    fn take(&mut self, length: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += u32::try_from(taken.matches('\n').count()).unwrap_or_default();
        self.rest = rest;
        taken
    }

    /// White space and comments.
    fn space(&mut self) {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            let comment = match self.rest {
                rest if rest.starts_with('#') || rest.starts_with("//") => {
                    rest.find('\n').unwrap_or(rest.len())
                }
                rest if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
                _ => return,
            };
            self.take(comment);
        }
    }

    /// An identifier or a quoted text.
    fn word(&mut self) -> Option<String> {
        if self.rest.starts_with('"') {
            return self.text().ok();
        }
        let is_part = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        (end > 0).then(|| self.take(end).to_owned())
    }

    fn text(&mut self) -> Result<String, String> {
        let bytes = self.rest.as_bytes();
        let mut end = 1;
        while bytes.get(end).is_some_and(|&byte| byte != b'"' && byte != b'\n') {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        if bytes.get(end) != Some(&b'"') {
            return Err("a text does not end".to_owned());
        }
        let quoted = self.take(end + 1);
        if quoted.contains("${") || quoted.contains("%{") {
            return Err(format!("{quoted} is computed"));
        }
        // Its escapes are those of JSON.
        serde_json::from_str(quoted).map_err(|_| format!("{quoted} is no text"))
    }

    /// `{ key = value … block { … } … }`: blocks of the same name make a list.
    fn block(&mut self) -> Result<Node, String> {
        let at = self.at();
        let mut entries: Vec<(Key, Node)> = Vec::new();
        self.enter()?;
        loop {
            self.space();
            if self.rest.starts_with('}') {
                self.leave();
                return Ok(Node { at, text: "".into(), value: Value::Map(entries) });
            }
            let at = self.at();
            let name = self.word().ok_or("a key is expected")?;
            self.space();
            let key = Key { at, name: name.clone().into() };
            if self.rest.starts_with('{') {
                let block = self.block()?;
                match entries.iter_mut().find(|(own, _)| *own.name == *name) {
                    Some((_, Node { value: Value::List(blocks), .. })) => blocks.push(block),
                    _ => entries.push((key, Node { at, text: "".into(), value: Value::List(vec![block]) })),
                }
                continue;
            }
            if !self.rest.starts_with(['=', ':']) {
                return Err(format!("`{name}` has no value"));
            }
            self.take(1);
            entries.push((key, self.value()?));
            self.space();
            if self.rest.starts_with(',') {
                self.take(1);
            }
        }
    }

    fn value(&mut self) -> Result<Node, String> {
        self.space();
        let at = self.at();
        let (text, value) = match self.rest.chars().next() {
            Some('"') => (self.text()?, Value::Text),
            Some('{') => return self.block(),
            Some('[') => (String::new(), Value::List(self.list()?)),
            _ => {
                let word = self.word().ok_or("a value is expected")?;
                let value = match word.as_str() {
                    "true" => Value::Bool(true),
                    "false" => Value::Bool(false),
                    "null" => Value::Null,
                    number if number.parse::<i64>().is_ok() => Value::Number,
                    other => return Err(format!("{other} is computed")),
                };
                (word, value)
            }
        };
        Ok(Node { at, text: text.into(), value })
    }

    fn list(&mut self) -> Result<Vec<Node>, String> {
        let mut items = Vec::new();
        self.enter()?;
        loop {
            self.space();
            if self.rest.starts_with(']') {
                self.leave();
                return Ok(items);
            }
            items.push(self.value()?);
            self.space();
            if self.rest.starts_with(',') {
                self.take(1);
            }
        }
    }

    /// Goes into a block or a list.
    fn enter(&mut self) -> Result<(), String> {
        if self.depth == DEPTH_MAX {
            return Err(format!("nested more than {DEPTH_MAX} deep"));
        }
        self.depth += 1;
        self.take(1);
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.take(1);
    }

    /// Goes behind the block whose beginning was read, whatever is in it.
    fn skip(&mut self) {
        let mut depth = 0;
        while !self.rest.is_empty() {
            self.space();
            match self.rest.chars().next() {
                Some('"') if self.text().is_ok() => continue,
                Some('{') => depth += 1,
                Some('}') => depth -= 1,
                _ => {}
            }
            let length = self.rest.chars().next().map_or(0, char::len_utf8);
            self.take(length);
            if depth == 0 {
                return;
            }
        }
    }

    fn at(&self) -> At {
        At { line: self.line, column: 1 }
    }
}
