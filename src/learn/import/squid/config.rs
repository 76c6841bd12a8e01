//! The lines of squid.conf: words, quoted files, includes, conditions.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::Glob;

use crate::file;
use crate::learn::import::SIZE_MAX;
use crate::mistake::{Mistake, Place};

/// How deep includes may go; Squid has the same bound.
const DEPTH_MAX: usize = 16;
/// How many files may be included. Squid has no bound, but where each of sixteen files includes the next one twice, the
/// last one is read 65,536 times.
const FILES_MAX: usize = 1000;

/// One line, after its continuations are joined.
#[derive(Clone, Debug)]
pub(super) struct Directive {
    pub(super) file: Arc<Path>,
    pub(super) line: u32,
    pub(super) text: String,
    pub(super) words: Vec<String>,
}

/// How much was read, of all files together.
#[derive(Debug, Default)]
pub(super) struct Volume(u64);

/// The lines of a file and of all that it includes, in order, and how much they are.
pub(super) fn read(path: &Path) -> Result<(Vec<Directive>, Volume), Vec<Mistake>> {
    let mut reading = Reading::default();
    reading.file(path, 0);
    match reading.mistakes.is_empty() {
        true => Ok((reading.directives, reading.volume)),
        false => Err(reading.mistakes),
    }
}

impl Volume {
    /// The items of a file that an acl names: one a line, up to a comment. None once it was too much.
    pub(super) fn items(&mut self, directive: &Directive, path: &str) -> Result<Vec<String>, Mistake> {
        if self.is_over() {
            return Ok(Vec::new());
        }
        let path = beside(&directive.file, path);
        let mistake = |what: String| {
            let place = Place { file: Arc::clone(&directive.file), line: directive.line, column: 1 };
            Mistake::error(place, format!("it names {}: {what}", path.display()))
        };
        let text = file::read(&path, SIZE_MAX).map_err(|error| mistake(error.to_string()))?;
        self.add(&text).map_err(mistake)?;
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    fn is_over(&self) -> bool {
        self.0 > SIZE_MAX
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        self.0 += text.len() as u64;
        match self.is_over() {
            true => Err(format!("with it the files are larger than {} MiB together", SIZE_MAX >> 20)),
            false => Ok(()),
        }
    }
}

#[derive(Default)]
struct Reading {
    directives: Vec<Directive>,
    mistakes: Vec<Mistake>,
    /// How many files were included, and how much all are.
    included: usize,
    volume: Volume,
    /// A bound was met: whatever else there is, is not read.
    is_over: bool,
}

impl Reading {
    fn file(&mut self, path: &Path, depth: usize) {
        let text = match file::read(path, SIZE_MAX) {
            Ok(text) => text,
            Err(error) => return self.mistakes.push(Mistake::error(Place::start(path), error.to_string())),
        };
        let path: Arc<Path> = path.into();
        if let Err(what) = self.volume.add(&text) {
            return self.stop(Mistake::error(Place::start(&path), what));
        }
        // Whether the lines of each open `if` count.
        let mut conditions: Vec<bool> = Vec::new();
        for (line, text) in joined(&text) {
            let words = words(&text);
            let Some(first) = words.first() else { continue };
            let place = || Place { file: Arc::clone(&path), line, column: 1 };
            match (first.as_str(), &words[1..]) {
                ("if", condition) => match holds(&condition.concat()) {
                    Some(holds) => conditions.push(holds),
                    None => {
                        let what = format!("the condition of `{}` can't be told", text.trim());
                        self.mistakes.push(Mistake::error(place(), what).hint("write true, false, or 1 = 2"));
                        conditions.push(false);
                    }
                },
                ("else", []) => conditions.iter_mut().next_back().into_iter().for_each(|last| *last = !*last),
                ("endif", []) => drop(conditions.pop()),
                _ if conditions.contains(&false) => {}
                ("include", files) => {
                    files.iter().for_each(|file| self.include(&place(), &beside(&path, file), depth));
                }
                _ => self.directives.push(Directive { file: Arc::clone(&path), line, text, words }),
            }
        }
    }

    /// Reads the files that a line of a file of this depth includes.
    fn include(&mut self, place: &Place, path: &Path, depth: usize) {
        if self.is_over {
            return;
        }
        if depth == DEPTH_MAX {
            let what = format!("includes go deeper than {DEPTH_MAX} files");
            return self.stop(Mistake::error(place.clone(), what));
        }
        let files = match found(path) {
            Ok(files) => files,
            Err(error) => {
                let what = format!("it includes {}: {error}", path.display());
                return self.mistakes.push(Mistake::error(place.clone(), what));
            }
        };
        for file in files {
            if self.is_over {
                return;
            }
            if self.included == FILES_MAX {
                let what =
                    format!("it includes {}, and {FILES_MAX} files are included before", file.display());
                return self.stop(Mistake::error(place.clone(), what));
            }
            self.included += 1;
            self.file(&file, depth + 1);
        }
    }

    fn stop(&mut self, mistake: Mistake) {
        self.is_over = true;
        self.mistakes.push(mistake);
    }
}

/// Lines without comments, a `\` at the end of one joining the next, each with the number of its first.
fn joined(text: &str) -> Vec<(u32, String)> {
    let mut lines: Vec<(u32, String)> = Vec::new();
    let mut open = false;
    for (line, number) in text.lines().zip(1..) {
        if line.trim_start().starts_with('#') {
            continue;
        }
        let (piece, goes_on) = match line.strip_suffix('\\') {
            Some(piece) => (piece, true),
            None => (line, false),
        };
        match (open, lines.last_mut()) {
            (true, Some((_, whole))) => whole.push_str(piece),
            _ => lines.push((number, piece.to_owned())),
        }
        open = goes_on;
    }
    lines
}

/// Words up to a comment; a quoted word keeps its first quote, so that it can be told.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = match rest.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) {
            Some((quoted, after)) => (format!("\"{quoted}"), after),
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    words
}

fn holds(condition: &str) -> Option<bool> {
    match condition {
        "true" => Some(true),
        "false" => Some(false),
        _ => {
            let (a, b) = condition.split_once('=')?;
            Some(a.trim().parse::<i64>().ok()? == b.trim().parse::<i64>().ok()?)
        }
    }
}

/// A path as it is meant in a file.
fn beside(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path.trim_matches('"'))
}

/// The files that an include means, `*` in its last part standing for any, in the order of their names. None is an
/// error to Squid too: what they deny would be allowed.
fn found(path: &Path) -> io::Result<Vec<PathBuf>> {
    let pattern = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![path.to_owned()]);
    }
    let glob = Glob::new(&pattern).map_err(io::Error::other)?.compile_matcher();
    let mut files = Vec::new();
    for entry in fs::read_dir(file::directory(path))? {
        let entry = entry?;
        if glob.is_match(entry.file_name()) {
            files.push(entry.path());
        }
        // More than that are refused whichever they are.
        if files.len() > FILES_MAX {
            break;
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "there is no such file")),
        false => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::learn::import::squid::import;

    fn written(files: &[(&str, &str)]) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    /// The mistakes in a squid.conf and what it includes, without the directory that they are in.
    fn mistakes(directory: &TempDir) -> Vec<String> {
        let mistakes = read(&directory.path().join("squid.conf")).err().unwrap_or_default();
        let prefix = format!("{}/", directory.path().display());
        mistakes.iter().map(|mistake| mistake.to_string().replace(&prefix, "")).collect()
    }

    #[test]
    fn a_thousand_files_may_be_included() {
        let directory = written(&[("squid.conf", "http_access deny all\ninclude *.acl\n")]);
        for number in 0..FILES_MAX {
            fs::write(directory.path().join(format!("{number}.acl")), "acl a src 192.0.2.1\n").unwrap();
        }
        let (directives, _) = read(&directory.path().join("squid.conf")).unwrap();
        assert_eq!(directives.len(), 1 + FILES_MAX);
        // One that is listed by its name, and one more of the many.
        for (name, last) in [("one.inc", "one.inc"), ("z.acl", "z.acl")] {
            fs::write(directory.path().join(name), "").unwrap();
            let text = "http_access deny all\ninclude *.acl one.inc\n";
            fs::write(directory.path().join("squid.conf"), text).unwrap();
            let told =
                format!("squid.conf:2:1: error: it includes {last}, and 1000 files are included before");
            assert_eq!(mistakes(&directory), [told]);
        }
    }

    #[test]
    fn what_includes_itself_or_others_many_times_is_refused_once() {
        let deep = "squid.conf:1:1: error: includes go deeper than 16 files";
        for text in ["include squid.conf\n", "include squid.conf squid.conf\ninclude squid.conf\n"] {
            assert_eq!(mistakes(&written(&[("squid.conf", text)])), [deep], "{text}");
        }
        // What is not deep may be as much.
        let wide = "include a.inc a.inc a.inc a.inc\n".repeat(16);
        let told = mistakes(&written(&[
            ("squid.conf", &wide),
            ("a.inc", &wide.replace("a.inc", "b.inc")),
            ("b.inc", ""),
        ]));
        assert_eq!(told, ["a.inc:7:1: error: it includes b.inc, and 1000 files are included before"]);
    }

    #[test]
    fn the_files_have_a_bound_together() {
        let half = format!("# {}\n", " ".repeat(40 << 20));
        let directory = written(&[
            ("squid.conf", "include half.inc\ninclude half.inc\ninclude none\n"),
            ("half.inc", &half),
        ]);
        let told = "half.inc:1:1: error: with it the files are larger than 64 MiB together";
        assert_eq!(mistakes(&directory), [told]);
        // Those that acls name count too, and behind the one that is too much nothing is read.
        let squid_conf = directory.path().join("squid.conf");
        fs::write(&squid_conf, "include half.inc\nacl a src \"half.inc\" \"none\"\nacl b src \"none\"\n")
            .unwrap();
        let told: Vec<String> = import(&squid_conf).unwrap_err().iter().map(ToString::to_string).collect();
        let (path, file) = (squid_conf.display(), directory.path().join("half.inc"));
        let what = "with it the files are larger than 64 MiB together";
        assert_eq!(told, [format!("{path}:2:1: error: it names {}: {what}", file.display())]);
    }
}
