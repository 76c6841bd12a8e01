//! Files that are followed: how it shows that they changed, and what becomes of that.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::watch::Receiver;
use tokio::time::{MissedTickBehavior, interval};

use crate::file::directory;
use crate::lock::lock;
use crate::reload::apart::apart;
use crate::reload::watch::{Identity, QUIET, Watch, identity, is_newer, is_quiet};

/// How often files are looked at, for there are changes that no watch sees: in a file that is mounted by itself, behind a
/// link, over a network, in a directory that was replaced.
const GLANCE: Duration = Duration::from_secs(30);

/// Why files are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    HangUp,
    Change,
    Glance,
}

/// A kind of files. Each of these may wait for a file system, so none is for an event loop.
pub(super) trait Kind: Debug + Send {
    /// Those that are read.
    fn files(&self) -> Vec<PathBuf>;

    /// Where to watch: a file that is replaced is only seen to change by watching its directory.
    fn directories(&self) -> Vec<PathBuf> {
        self.files().iter().map(|file| directory(file).to_owned()).collect()
    }

    /// Whether they were refused. What is missing may have come to a place where nobody looks, so they are read at every
    /// glance.
    fn are_refused(&self) -> bool {
        false
    }

    /// Reads them again, and puts in force what they say. With a mistake, what they said before stays in force.
    fn reload(&mut self, cause: Cause);

    /// Counts that this broke off.
    fn broke_off(&self) {}
}

/// One kind of files as it is followed, by itself: a file system that does not answer holds up no other kind.
#[derive(Debug)]
pub(super) struct Followed {
    name: &'static str,
    kind: Arc<Mutex<dyn Kind>>,
    /// When the files were last read.
    read: SystemTime,
    /// What was found then at the paths of the files and of their directories: where a link is led elsewhere, what it leads
    /// to may be older.
    found: Found,
    /// What broke off may be done in part, so it is tried again.
    broke_off: bool,
}

type Found = BTreeMap<PathBuf, Identity>;

/// What a glance at files has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    New,
    /// What is new has only just changed: it may be half of it.
    TooNew,
}

impl Followed {
    /// Files that were read not before `read`.
    pub(super) fn new(name: &'static str, kind: impl Kind + 'static, read: SystemTime) -> Self {
        let found = find(&kind);
        Self { name, kind: Arc::new(Mutex::new(kind)), read, found, broke_off: false }
    }

    /// Reads them again whenever they change or somebody hangs up.
    pub(super) async fn follow(mut self, mut hangups: Receiver<()>) {
        let watch = Arc::new(Watch::new());
        // The first glance is now: something may have changed before the watch stood.
        let mut glances = interval(GLANCE);
        glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let watching = Arc::clone(&watch);
            self.apart("watching", move |kind| watching.set(&kind.directories())).await;
            tokio::select! {
                () = watch.changed() => {
                    watch.settled().await;
                    self.reload(Cause::Change).await;
                }
                hangup = hangups.changed() => {
                    if hangup.is_err() {
                        return;
                    }
                    self.reload(Cause::HangUp).await;
                }
                _ = glances.tick() => match self.glance().await {
                    Seen::Nothing => {}
                    Seen::New => self.reload(Cause::Glance).await,
                    Seen::TooNew => glances.reset_after(QUIET),
                },
            }
        }
    }

    /// Looks whether something has changed without the watch seeing it.
    async fn glance(&mut self) -> Seen {
        let (since, broke_off, before) = (self.read, self.broke_off, self.found.clone());
        let glance = self.apart("looking at", move |kind| {
            // A file that comes, goes or is swapped by a link shows in its directory alone.
            let now = find(kind);
            let is_other = before.iter().any(|(path, before)| now.get(path).is_some_and(|now| now != before));
            let signs = || now.keys().map(PathBuf::as_path);
            let seen = match broke_off || kind.are_refused() || is_other || is_newer(signs(), since) {
                true if is_quiet(signs()) => Seen::New,
                true => Seen::TooNew,
                false => Seen::Nothing,
            };
            (seen, now)
        });
        let Some((seen, now)) = glance.await else { return Seen::Nothing };
        if seen == Seen::Nothing {
            // What is read may be other files since.
            self.found = now;
        }
        seen
    }

    /// Reads them again.
    async fn reload(&mut self, cause: Cause) {
        self.read = SystemTime::now();
        let reading = self.apart("reading", move |kind| {
            let found = find(kind);
            kind.reload(cause);
            found
        });
        let found = reading.await;
        self.broke_off = found.is_none();
        self.found = found.unwrap_or_default();
        if self.broke_off {
            tracing::error!(
                "until {} can be read again, what was said there before may stay in force",
                self.name
            );
            lock(&self.kind).broke_off();
        }
    }

    async fn apart<T, F>(&self, doing: &str, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Kind) -> T + Send + 'static,
    {
        let kind = Arc::clone(&self.kind);
        apart(&format!("{doing} {}", self.name), move || work(&mut *lock(&kind))).await
    }
}

/// What is there at the paths of the files and of their directories.
fn find(kind: &dyn Kind) -> Found {
    let paths = kind.files().into_iter().chain(kind.directories());
    paths.map(|path| (path.clone(), identity(&path))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;

    /// A file that is read twice in vain: first that breaks off, then it is refused.
    #[derive(Debug)]
    struct Fragile {
        directory: TempDir,
        reads: Arc<Mutex<Vec<Cause>>>,
    }

    impl Kind for Fragile {
        fn files(&self) -> Vec<PathBuf> {
            vec![self.directory.path().join("file")]
        }

        /// None: it has only just been made.
        fn directories(&self) -> Vec<PathBuf> {
            Vec::new()
        }

        fn are_refused(&self) -> bool {
            lock(&self.reads).len() == 2
        }

        fn reload(&mut self, cause: Cause) {
            lock(&self.reads).push(cause);
            assert!(lock(&self.reads).len() > 1, "broken on purpose");
        }
    }

    /// A file that is a link.
    #[derive(Debug)]
    struct Linked(PathBuf);

    impl Kind for Linked {
        fn files(&self) -> Vec<PathBuf> {
            vec![self.0.clone()]
        }

        fn reload(&mut self, _: Cause) {}
    }

    #[tokio::test]
    async fn a_link_that_leads_to_an_older_file_is_seen_at_a_glance() {
        let directory = tempfile::tempdir().unwrap();
        let [file, next] = ["file", "next"].map(|name| directory.path().join(name));
        for name in ["one", "other"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        symlink("one", &file).unwrap();
        let read = SystemTime::now() + Duration::from_secs(1);
        let mut followed = Followed::new("the link", Linked(file.clone()), read);
        assert_eq!(followed.glance().await, Seen::Nothing);
        let swapped = async {
            while followed.glance().await == Seen::Nothing {
                symlink("other", &next).unwrap();
                fs::rename(&next, &file).unwrap();
            }
        };
        timeout(Duration::from_secs(20), swapped).await.unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_leads_to_an_older_one_is_seen_at_a_glance() {
        let directory = tempfile::tempdir().unwrap();
        let [link, next] = ["link", "next"].map(|name| directory.path().join(name));
        for name in ["one", "other"] {
            fs::create_dir(directory.path().join(name)).unwrap();
            fs::write(directory.path().join(name).join("file"), "").unwrap();
        }
        symlink("one", &link).unwrap();
        let read = SystemTime::now() + Duration::from_secs(60);
        let mut followed = Followed::new("the directory", Linked(link.join("file")), read);
        assert_eq!(followed.glance().await, Seen::Nothing);
        symlink("other", &next).unwrap();
        fs::rename(&next, &link).unwrap();
        let seen = async { while followed.glance().await != Seen::New {} };
        timeout(Duration::from_secs(20), seen).await.unwrap();
        followed.reload(Cause::Glance).await;
        followed.read = read;
        assert_eq!(followed.glance().await, Seen::Nothing);
    }

    #[tokio::test]
    async fn what_broke_off_or_was_refused_is_read_again_at_a_glance() {
        let (directory, reads) = (tempfile::tempdir().unwrap(), Arc::default());
        let kind = Fragile { directory, reads: Arc::clone(&reads) };
        let mut followed = Followed::new("the file", kind, SystemTime::now());
        assert_eq!(followed.glance().await, Seen::Nothing);
        followed.reload(Cause::Change).await;
        for seen in [Seen::New, Seen::New, Seen::Nothing] {
            assert_eq!(followed.glance().await, seen);
            followed.reload(Cause::Glance).await;
        }
        assert_eq!(lock(&reads)[..2], [Cause::Change, Cause::Glance]);
    }

    #[tokio::test]
    async fn what_has_only_just_changed_is_too_new() {
        let kind = Fragile { directory: tempfile::tempdir().unwrap(), reads: Arc::default() };
        let file = kind.files().remove(0);
        let mut followed = Followed::new("the file", kind, SystemTime::now());
        fs::write(file, "").unwrap();
        let written = SystemTime::now();
        let seen = followed.glance().await;
        // Unless the machine took a nap here.
        assert!(seen == Seen::TooNew || written.elapsed().unwrap() >= QUIET, "{seen:?}");
        let quiet = async { while followed.glance().await != Seen::New {} };
        timeout(Duration::from_secs(20), quiet).await.unwrap();
    }
}
