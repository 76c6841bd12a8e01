//! Tells when files may have changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Watches directories: what replaces a file by a new one, as editors and Kubernetes do, ends the watch
/// of the file itself.
#[derive(Debug)]
pub(super) struct Watch {
    /// `None` where the kernel grants no watch: then only hang-ups tell of changes.
    watcher: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
    changes: mpsc::UnboundedReceiver<PathBuf>,
    /// Keeps the channel open when there is no watcher to do so.
    _sender: mpsc::UnboundedSender<PathBuf>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let (sender, changes) = mpsc::unbounded_channel();
        let watcher = watcher(sender.clone())
            .inspect_err(|error| tracing::warn!(%error, "files can't be watched: reload with SIGHUP"));
        Self { watcher: watcher.ok(), directories: BTreeSet::new(), changes, _sender: sender }
    }

    /// Watches these directories and no others.
    pub(super) fn set<'a>(&mut self, directories: impl Iterator<Item = &'a Path>) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted: BTreeSet<PathBuf> = directories.map(Path::to_owned).collect();
        for gone in self.directories.difference(&wanted) {
            // A directory that was removed has lost its watch already.
            let _ = watcher.unwatch(gone);
        }
        self.directories.retain(|known| wanted.contains(known));
        for new in wanted {
            if self.directories.contains(&new) {
                continue;
            }
            match watcher.watch(&new, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.directories.insert(new)),
                Err(error) => {
                    tracing::warn!(%error, "can't watch {}: reload with SIGHUP", new.display());
                }
            }
        }
    }

    /// Waits for the next path that changed.
    pub(super) async fn changed(&mut self) -> PathBuf {
        // The channel never closes: a sender is kept beside it.
        self.changes.recv().await.unwrap_or_default()
    }
}

fn watcher(sender: mpsc::UnboundedSender<PathBuf>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<Event>| match event {
        Ok(event) if is_change(event.kind) => {
            for path in event.paths {
                // Fails only when nobody listens any more.
                let _ = sender.send(path);
            }
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "watching files failed"),
    })
}

/// Reading a file is an event too, and exeat's own reading would never end.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}
