//! Which files make up a policy, and which directories show that one changes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::file::directory;

/// The files that were read and the directories they stand in. A file that is replaced is only seen to change
/// by watching its directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    files: Vec<PathBuf>,
    directories: BTreeSet<PathBuf>,
}

impl Watch {
    /// Every file that was read, lists included, in the order of reading.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }

    /// Every directory to watch.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.directories.iter().map(PathBuf::as_path)
    }

    /// Notes a file, whether it can be read or not: it may appear later.
    pub(super) fn add(&mut self, file: &Path) {
        self.directories.insert(directory(file).to_owned());
        self.add_links(file);
        if file.is_symlink()
            && let Ok(real) = file.canonicalize()
        {
            // A link's target may change while the link does not.
            self.directories.insert(directory(&real).to_owned());
        }
        if !self.files.iter().any(|known| known == file) {
            self.files.push(file.to_owned());
        }
    }

    /// Notes where the links on the way to a path stand: there it shows that one is led elsewhere.
    fn add_links(&mut self, path: &Path) {
        // Without a slash at its end, behind which a link could not be told.
        let steps = path.components().as_path().ancestors();
        self.directories
            .extend(steps.filter(|step| step.is_symlink()).map(|link| directory(link).to_owned()));
    }

    /// The policies at a path: the file itself, or those of the directory sorted by name. The error completes
    /// "path: …".
    pub(super) fn policies_of(&mut self, path: &Path) -> Result<Vec<PathBuf>, String> {
        if !path.is_dir() {
            return Ok(vec![path.to_owned()]);
        }
        self.directories.insert(path.to_owned());
        self.add_links(path);
        let unreadable = |error| format!("the directory can't be read: {error}");
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if is_policy(&file) {
                files.push(file);
            }
        }
        files.sort();
        match files.is_empty() {
            true => Err("the directory holds no policy: no *.yaml or *.yml file".to_owned()),
            false => Ok(files),
        }
    }
}

/// Files by their ending; dot files are an editor's, or the versions behind a Kubernetes ConfigMap's links.
fn is_policy(path: &Path) -> bool {
    let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let is_yaml = path.extension().is_some_and(|end| end == OsStr::new("yaml") || end == OsStr::new("yml"));
    // A dangling link counts, so that it is reported; a directory does not.
    is_yaml && !is_hidden && !path.is_dir()
}
