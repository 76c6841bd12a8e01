//! Tells when files may have changed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf, absolute};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::lock::lock;

/// Editors and mounts touch files several times; reading begins when they have been quiet for this long,
pub(super) const QUIET: Duration = Duration::from_millis(200);
/// and where they never are, after this long.
const RESTLESS: Duration = Duration::from_secs(2);
/// The clock that files are stamped by runs up to 10 ms behind.
const CLOCK_LAG: Duration = Duration::from_millis(50);

/// Watches directories: what replaces a file by a new one, as editors and Kubernetes do, ends the watch
/// of the file itself.
#[derive(Debug)]
pub(super) struct Watch {
    watched: Mutex<Watched>,
    /// Something changed.
    news: Arc<Notify>,
}

/// What the kernel was asked to watch.
#[derive(Debug)]
struct Watched {
    /// `None` where the kernel grants no watch.
    watcher: Option<RecommendedWatcher>,
    known: BTreeMap<PathBuf, Identity>,
}

/// Which file or directory a path leads to: one that was put in the place of another has to be watched anew.
pub(super) type Identity = Option<(u64, u64)>;

impl Watch {
    pub(super) fn new() -> Self {
        let news = Arc::new(Notify::new());
        let watcher = watcher(Arc::clone(&news))
            .inspect_err(|error| tracing::warn!(%error, "can't watch files: changes are seen later"));
        Self { watched: Mutex::new(Watched { watcher: watcher.ok(), known: BTreeMap::new() }), news }
    }

    /// Watches these directories and no others. May wait for the file systems that they are in.
    pub(super) fn set(&self, directories: &[PathBuf]) {
        let mut watched = lock(&self.watched);
        let Watched { watcher: Some(watcher), known } = &mut *watched else { return };
        let wanted: BTreeMap<PathBuf, Identity> = directories
            .iter()
            .filter_map(|path| absolute(path).ok())
            .map(|path| (path.clone(), identity(&path)))
            .collect();
        for (gone, _) in known.iter().filter(|(path, known)| wanted.get(*path) != Some(known)) {
            // A directory that was removed has lost its watch already.
            let _ = watcher.unwatch(gone);
        }
        // One that is not there, as systemd-resolved's on most hosts, is looked for each time; who needs a file in it tells.
        let there = wanted.iter().filter(|(_, found)| found.is_some());
        for (new, _) in there.filter(|(path, found)| known.get(*path) != Some(found)) {
            if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!(%error, "can't watch {}: changes are seen later", new.display());
            }
        }
        *known = wanted;
    }

    /// Resolves when something changed. Nothing is lost when the future is dropped.
    pub(super) async fn changed(&self) {
        self.news.notified().await;
    }

    /// Waits until nothing changes any more.
    pub(super) async fn settled(&self) {
        let patience = Instant::now() + RESTLESS;
        while timeout_at(patience.min(Instant::now() + QUIET), self.changed()).await.is_ok() {}
    }
}

/// Whether one of the files or directories has changed since then. A file that is gone shows in its directory.
pub(super) fn is_newer<'a>(paths: impl Iterator<Item = &'a Path>, since: SystemTime) -> bool {
    newest(paths).is_some_and(|changed| changed + CLOCK_LAG >= since)
}

/// Whether none of them has just changed: what is being written is half a policy.
pub(super) fn is_quiet<'a>(paths: impl Iterator<Item = &'a Path>) -> bool {
    newest(paths).is_none_or(|changed| changed + QUIET <= SystemTime::now())
}

fn newest<'a>(paths: impl Iterator<Item = &'a Path>) -> Option<SystemTime> {
    paths.filter_map(|path| changed_at(path).ok()).max()
}

/// The time of change and not that of writing, which copies and archives set back.
fn changed_at(path: &Path) -> io::Result<SystemTime> {
    let found = fs::metadata(path)?;
    let seconds = u64::try_from(found.ctime()).unwrap_or(0);
    let nanos = u32::try_from(found.ctime_nsec()).unwrap_or(0);
    Ok(UNIX_EPOCH + Duration::new(seconds, nanos))
}

pub(super) fn identity(path: &Path) -> Identity {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

fn watcher(news: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<Event>| match event {
        Ok(event) if is_change(event.kind) => news.notify_one(),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "watching files failed"),
    })
}

/// Reading a file is an event too, and exeat's own reading would never end. A write counts once the file is
/// closed: until then a policy is half written, and a log beside it would never be quiet.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_)) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_in_the_place_of_another_is_watched_anew() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("policies");
        let watch = Watch::new();
        for round in 0..2 {
            fs::create_dir(&directory).unwrap();
            watch.set(std::slice::from_ref(&directory));
            fs::write(directory.join("policy.yaml"), "version: 1\n").unwrap();
            watch.changed().await;
            watch.settled().await;
            let silence = tokio::time::timeout(QUIET, watch.changed()).await;
            assert!(silence.is_err(), "{round}");
            fs::rename(&directory, parent.path().join(format!("old{round}"))).unwrap();
            watch.changed().await;
            watch.settled().await;
        }
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_says_nothing_until_it_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = fs::File::create(directory.path().join("log")).unwrap();
        let watch = Watch::new();
        watch.set(&[directory.path().to_owned()]);
        std::io::Write::write_all(&mut file, b"line\n").unwrap();
        fs::create_dir(directory.path().join("later")).unwrap();
        watch.changed().await;
        watch.settled().await;
        std::io::Write::write_all(&mut file, b"line\n").unwrap();
        let silence = tokio::time::timeout(QUIET, watch.changed()).await;
        assert!(silence.is_err());
        drop(file);
        watch.changed().await;
    }

    #[test]
    fn what_was_changed_since_is_newer_and_what_is_missing_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (file, missing) = (directory.path().join("a"), directory.path().join("b"));
        let before = SystemTime::now();
        fs::write(&file, "").unwrap();
        let paths = || [missing.as_path(), file.as_path()].into_iter();
        assert!(is_newer(paths(), before), "the clock of files lags");
        assert!(is_newer(paths(), before - Duration::from_secs(60)));
        assert!(!is_newer(paths(), SystemTime::now() + Duration::from_secs(60)));
        assert!(!is_newer([missing.as_path()].into_iter(), UNIX_EPOCH));
    }

    #[test]
    fn what_has_just_changed_is_not_quiet() {
        let directory = tempfile::tempdir().unwrap();
        let before = SystemTime::now();
        while !is_quiet([directory.path()].into_iter()) {
            assert!(before.elapsed().unwrap() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(before.elapsed().unwrap() >= QUIET - CLOCK_LAG);
        assert!(is_quiet([Path::new("/missing")].into_iter()));
    }
}
