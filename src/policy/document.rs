//! Policy files: from what people wrote to rules, with every mistake of every file at once.

mod addition;
mod audience;
mod clients;
mod conditions;
mod files;
mod keys;
mod list;
mod outgoing;
mod parent;
mod profile;
mod rule;
mod spec;
mod suffix;
mod written;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};

use foldhash::fast::{FixedState, FoldHasher};

use crate::file;
use crate::mistake::{Mistake, Place, Severity};
use crate::policy::expectation::{self, Expectation};
use crate::policy::{Builder, ProfileId, SourceId, Target, TermsId};
use crate::yaml::{At, Field, Node, Reader, SIZE_MAX, Value};

use self::spec::Spec;
use self::written::Slip;

pub use self::addition::{AdditionError, add_rule, is_file};
pub use self::audience::Audience;
pub use self::conditions::networks;
pub use self::files::Watch;
pub use self::outgoing::{mark, outgoing};
pub use self::parent::{DIRECT, Known};
pub use self::suffix::has_one_owner;
pub use self::written::{NAME, is_name};

/// The policy of a program that is given none: package registries and source forges.
const BUILT_IN: &str = include_str!("../../policies/default.yaml");
/// How the built-in policy is shown.
pub(super) const BUILT_IN_NAME: &str = "policies/default.yaml (built in)";
/// How patterns given on the command line are shown; the line is the position among them.
pub(super) const FLAG: &str = "--allow";

/// Where a policy comes from: files, directories of `*.yaml`, and patterns of the command line. With
/// neither it is the built-in one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    pub paths: Vec<PathBuf>,
    pub allow: Vec<String>,
}

/// A policy as loaded.
#[derive(Debug)]
pub struct Loaded {
    /// Every profile and rule; [`Builder::finish`] makes the policy.
    pub builder: Builder,
    /// What the files' `tests` expect of it.
    pub expectations: Vec<Expectation>,
    pub warnings: Vec<Mistake>,
    /// What to watch for changes.
    pub watched: Watch,
    /// The same for the same text in the same files, so that a reload without a change can be told.
    pub content: u64,
    pub profiles: usize,
    pub rules: usize,
    /// In which column each rule starts, in file order: rules themselves know their lines alone, as there may be a million.
    pub columns: Vec<u32>,
}

impl Sources {
    /// Whether nothing was given, so that the built-in policy stands in.
    pub fn is_built_in(&self) -> bool {
        self.paths.is_empty() && self.allow.is_empty()
    }

    /// Reads everything, whatever parents it names; on any error, every mistake and warning of every file.
    pub fn load(&self) -> Result<Loaded, Vec<Mistake>> {
        self.load_with(None)
    }

    /// The same, where it may name these parents alone.
    pub fn load_with(&self, parents: Known) -> Result<Loaded, Vec<Mistake>> {
        let mut loader = Loader { parents, ..Loader::default() };
        if self.is_built_in() {
            loader.read(Path::new(BUILT_IN_NAME), BUILT_IN);
        }
        if !self.allow.is_empty() {
            loader.allow(&self.allow);
        }
        for path in &self.paths {
            loader.path(path);
        }
        loader.finish()
    }
}

/// Reads one policy from its text, as if it stood in a file of that name.
pub fn load_text(name: &Path, text: &str) -> Result<Loaded, Vec<Mistake>> {
    let mut loader = Loader::default();
    loader.read(name, text);
    loader.finish()
}

/// The policy of no rule, for every client.
fn nothing() -> Result<Loaded, Vec<Mistake>> {
    let mut loader = Loader::default();
    loader.allow(&[]);
    loader.finish()
}

/// What has been read so far.
#[derive(Default)]
struct Loader {
    builder: Builder,
    terms: HashMap<Spec, TermsId>,
    /// What `parent` may be.
    parents: Known,
    /// Where each profile's name was given.
    names: HashMap<String, Place>,
    expectations: Vec<Expectation>,
    mistakes: Vec<Mistake>,
    watched: Watch,
    content: Content,
    /// Of every rule, in file order.
    columns: Vec<u32>,
}

struct Content(FoldHasher<'static>);

impl Loader {
    /// Reads a file, or every policy of a directory.
    fn path(&mut self, path: &Path) {
        match self.watched.policies_of(path) {
            Ok(files) => files.iter().for_each(|file| self.file(file)),
            Err(what) => self.mistakes.push(Mistake::error(Place::start(path), what)),
        }
    }

    fn file(&mut self, path: &Path) {
        self.watched.add(path);
        match file::read(path, SIZE_MAX) {
            Ok(text) => self.read(path, &text),
            Err(error) => self.mistakes.push(Mistake::error(Place::start(path), error.to_string())),
        }
    }

    fn read(&mut self, path: &Path, text: &str) {
        self.content.add(path, text);
        let mut reader = Reader::new(path.into());
        if let Some(root) = reader.parse(text) {
            self.document(&mut reader, &root);
        }
        self.mistakes.extend(reader.finish());
    }

    fn document(&mut self, reader: &mut Reader, root: &Node) {
        const SHAPE: &str = "add `version: 1`";
        if root.is_null() {
            reader
                .error(root.at, "the file is empty")
                .hint("a policy starts with `version: 1` and has `profiles`");
            return;
        }
        let Some(fields) = reader.map(Field::top("policy", root), keys::FILE) else { return };
        match fields.get("version") {
            Some(Field { node: Node { value: Value::Integer(1), .. }, .. }) => {}
            Some(field) => reader.wrong(field, "the number 1: this exeat knows no other version"),
            None => reader.error(fields.at, "`version` is missing").hint(SHAPE),
        }
        if let Some(profiles) = fields.get("profiles") {
            for profile in reader.list(profiles) {
                self.profile(reader, profile);
            }
        }
        if let Some(tests) = fields.get("tests") {
            let expectations = reader.list(tests).filter_map(|test| expectation::read(reader, test));
            self.expectations.extend(expectations.collect::<Vec<_>>());
        }
    }

    fn allow(&mut self, patterns: &[String]) {
        let mut reader = Reader::new(Path::new(FLAG).into());
        for pattern in patterns {
            self.content.add(Path::new(FLAG), pattern);
        }
        self.flags(&mut reader, patterns);
        self.mistakes.extend(reader.finish());
    }

    /// The number of terms, given once for equal ones.
    fn terms(&mut self, reader: &mut Reader, at: At, spec: Spec) -> Option<TermsId> {
        if let Some(known) = self.terms.get(&spec) {
            return Some(*known);
        }
        match spec.compile() {
            Ok(terms) => {
                let id = self.builder.terms(terms);
                self.terms.insert(spec, id);
                Some(id)
            }
            Err(error) => {
                reader.error(at, format!("the paths can't be compiled: {error}"));
                None
            }
        }
    }

    fn rule(&mut self, profile: ProfileId, target: &Target, terms: TermsId, source: SourceId, at: At) {
        self.builder.rule(profile, target, terms, source, at.line);
        self.columns.push(at.column);
    }

    fn finish(mut self) -> Result<Loaded, Vec<Mistake>> {
        if self.names.is_empty() && self.mistakes.is_empty() {
            let place = Place::start(self.watched.files().next().unwrap_or(Path::new("policy")));
            let hint = "add `profiles` with a `name` and `allow` to one of the policy's files";
            self.mistakes.push(Mistake::error(place, "the policy has no profile").hint(hint));
        }
        if self.mistakes.iter().any(Mistake::is_error) {
            return Err(self.mistakes);
        }
        Ok(Loaded {
            builder: self.builder,
            expectations: self.expectations,
            warnings: self.mistakes,
            watched: self.watched,
            content: self.content.0.finish(),
            profiles: self.names.len(),
            rules: self.columns.len(),
            columns: self.columns,
        })
    }
}

impl Content {
    fn add(&mut self, path: &Path, text: &str) {
        for part in [path.as_os_str().as_encoded_bytes(), text.as_bytes()] {
            self.0.write_usize(part.len());
            self.0.write(part);
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self(FixedState::with_seed(0).build_hasher())
    }
}

/// Records a slip at its place.
fn report(reader: &mut Reader, at: At, slip: Slip) {
    let recorded = match slip.severity {
        Severity::Error => reader.error(at, slip.what),
        Severity::Warning => reader.warning(at, slip.what),
    };
    if let Some(hint) = slip.hint {
        recorded.hint(hint);
    }
}

#[cfg(test)]
mod tests;
