//! One profile: who it is for, and its rules.

use std::sync::Arc;

use crate::policy::document::keys::PROFILE;
use crate::policy::document::rule::Around;
use crate::policy::document::spec::Spec;
use crate::policy::document::written::{NAME, is_name};
use crate::policy::document::{FLAG, Loader, clients, list, outgoing, parent, rule};
use crate::policy::terms::{Action, Mode, Profile};
use crate::policy::{ProfileId, SourceId};
use crate::yaml::{At, Field, Fields, Node, Reader, Value, quoted};

const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("report", Mode::Report)];

impl Loader {
    pub(super) fn profile(&mut self, reader: &mut Reader, field: Field<'_>) {
        let Some(fields) = reader.map(Field { key: "profile", ..field }, PROFILE) else { return };
        let profile = Profile {
            name: self.name(reader, &fields).unwrap_or_default(),
            place: reader.place(fields.at),
            clients: fields.get("clients").map(|field| clients::read(reader, field)),
            mode: fields.get("mode").and_then(|field| reader.word(field, MODES)).unwrap_or_default(),
            ech_outer: fields.get("ech").and_then(|field| reader.word(field, rule::ECH)).unwrap_or_default(),
            outgoing: fields.get("outgoing").and_then(|field| outgoing(reader, field)).map(Arc::new),
            way: fields.get("parent").and_then(|field| parent::read(reader, field, &self.parents)),
        };
        if profile.mode == Mode::Enforce {
            warn_of_idle(reader, &fields);
        }
        let around = Around { ech_outer: profile.ech_outer, parents: self.parents.clone() };
        let id = self.builder.profile(profile);
        let source = self.builder.source(reader.file());
        for (key, action) in [("allow", Action::Allow), ("deny", Action::Deny)] {
            let Some(field) = fields.get(key) else { continue };
            for entry in reader.list(field) {
                let Some((target, spec)) = rule::read(reader, entry, action, &around) else { continue };
                let Some(terms) = self.terms(reader, entry.node.at, spec) else { continue };
                self.rule(id, &target, terms, source, entry.node.at);
            }
        }
        for (key, action) in [("allow_file", Action::Allow), ("deny_file", Action::Deny)] {
            let Some(field) = fields.get(key) else { continue };
            for item in reader.list(field) {
                self.list(reader, item, id, action);
            }
        }
    }

    /// The patterns of the command line, as a profile for every client.
    pub(super) fn flags(&mut self, reader: &mut Reader, patterns: &[String]) {
        // Its name can't be that of a profile in a file.
        let place = reader.place(At { line: 1, column: 1 });
        let id = self.builder.profile(Profile {
            name: FLAG.to_owned(),
            place: place.clone(),
            clients: None,
            mode: Mode::Enforce,
            ech_outer: false,
            outgoing: None,
            way: None,
        });
        let source = self.builder.source(reader.file());
        for (pattern, line) in patterns.iter().zip(1..) {
            let at = At { line, column: 1 };
            let node = Node { at, text: pattern.as_str().into(), value: Value::Text };
            let entry = Field { key: FLAG, node: &node };
            let around = Around::default();
            let Some((target, spec)) = rule::read(reader, entry, Action::Allow, &around) else { continue };
            let Some(terms) = self.terms(reader, at, spec) else { continue };
            self.rule(id, &target, terms, source, at);
        }
        self.names.insert(FLAG.to_owned(), place);
    }

    fn list(&mut self, reader: &mut Reader, field: Field<'_>, profile: ProfileId, action: Action) {
        let Some(written) = reader.text(field) else { return };
        let Some(terms) = self.terms(reader, field.node.at, Spec::plain(action)) else { return };
        let path = reader.beside(written);
        self.watched.add(&path);
        let text = match list::read(&path) {
            Ok(text) => text,
            Err(error) => {
                let what = format!("`{}` names {}: {error}", field.key, quoted(&path.to_string_lossy()));
                reader.error(field.node.at, what).hint("the path is relative to the policy file");
                return;
            }
        };
        self.content.add(&path, &text);
        let source: SourceId = self.builder.source(&path);
        let mut list = Reader::new(path.into());
        list::each(&mut list, &text, action, |target, at| {
            self.rule(profile, target, terms, source, at);
        });
        self.mistakes.extend(list.finish());
    }

    fn name(&mut self, reader: &mut Reader, fields: &Fields<'_>) -> Option<String> {
        let field = reader.required(fields, "the profile", "name", "builds")?;
        let name = reader.text(field)?;
        if !is_name(name) {
            let what = format!("the profile's name {} can't be used", quoted(name));
            reader.error(field.node.at, what).hint(NAME);
        }
        if let Some(place) = self.names.get(name) {
            let what = format!("a second profile named {}", quoted(name));
            reader.error(field.node.at, what).hint(format!("the first is at {place}"));
            return None;
        }
        self.names.insert(name.to_owned(), reader.place(field.node.at));
        Some(name.to_owned())
    }
}

/// What is said of connections is for those that the profile's own rules allow.
fn warn_of_idle(reader: &mut Reader, fields: &Fields<'_>) {
    if ["allow", "allow_file"].iter().any(|key| fields.get(key).is_some()) {
        return;
    }
    for key in ["outgoing", "parent"].into_iter().filter(|key| fields.get(key).is_some()) {
        let what = format!("`{key}` is for what the rules of its profile allow, and this one allows nothing");
        reader.warning(fields.key_at(key), what).hint("give the rules to this profile too");
    }
}
