//! What of the outside's files leads out of a network namespace: unix sockets that have paths. They are masked by
//! directory and one by one, less what is shared on purpose.
//!
//! The kernel lists those that were bound in the network that exeat is in. In a container that is not where the ones were
//! bound that were mounted into it, so whatever mount is a socket is masked too.
//!
//! The places of automounters lead out too: programs outside are told each name that is looked for there.

use std::ffi::OsStr;
use std::fs::{self, File, FileType, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstatfs};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, unmount};

use crate::jail::addresses::DOOR_V4;
use crate::jail::channel::Layout;
use crate::jail::fault::{Fault, Step};
use crate::jail::mounted::{Automatic, Mounts};
use crate::resolve::RESOLV_CONF;

/// What lies over it for a moment keeps a file that is to lie over another: it is there in every jail.
const KEEPER: &str = "/proc";
const KEPT: &str = "/proc/resolv.conf";
/// Nobody listens behind it.
const INERT: &str = "/dev/null";
/// The type of the file system of automounters (statfs(2)).
const AUTOMATIC: u64 = 0x0187;
/// Ways of virtual machines to each other and to their host.
const DEVICES: [&str; 2] = ["/dev/vsock", "/dev/vhost-vsock"];

/// What is to be masked.
#[derive(Debug)]
pub(super) struct Masks<'a> {
    pub(super) layout: &'a Layout,
    /// The outside's `/proc/net/unix`.
    pub(super) unix_sockets: File,
}

/// A place that stays what it is outside.
struct Shared<'a> {
    path: &'a Path,
    /// Opened before anything lies over it.
    place: OwnedFd,
}

impl Masks<'_> {
    /// Lays them all; returns what the caller should know.
    pub(super) fn lay(mut self) -> Result<Vec<String>, Fault> {
        let resolv_conf = fs::canonicalize(RESOLV_CONF).and_then(|path| match path.is_file() {
            // What a link leads to has another use: to lie over it would change /dev/null for all.
            false if path != Path::new(RESOLV_CONF) => Err(io::Error::other("it leads to no file")),
            _ => Ok(path),
        });
        let shared =
            self.layout.share.iter().map(|path| Shared::open(path)).collect::<Result<Vec<_>, _>>()?;
        let mut list = Vec::new();
        let list_of = Fault::at(Step::Mounts, "the list of unix sockets");
        self.unix_sockets.read_to_end(&mut list).map_err(list_of)?;
        let mounts = Mounts::read()?;
        // Before anything lies over what their paths lead through.
        let sockets: Vec<PathBuf> = paths(&list).flat_map(|path| every_path(path, &mounts)).collect();
        let records = self.layout.masked.iter().flat_map(|path| every_path(path, &mounts));
        let records: Vec<PathBuf> = records.collect();

        for directory in self.emptied() {
            self.empty(directory)?;
        }
        for shared in shared.iter().filter(|shared| self.is_emptied(shared.path)) {
            shared.give_back().map_err(at(shared.path))?;
        }
        let is_left = |path: &Path| !self.is_emptied(path) && !self.shares(path);
        for automatic in mounts.automatic().filter(|automatic| is_left(automatic.place)) {
            silence(&automatic)?;
        }
        let sockets = sockets.iter().map(PathBuf::as_path).chain(mounts.below_a_root());
        for socket in sockets.filter(|path| is_left(path)) {
            mask(socket, FileTypeExt::is_socket)?;
        }
        // What is shared is shared without them. A place that something lies over can't be removed or renamed either.
        for file in &records {
            mask(file, |found| found.is_file() || found.is_fifo())?;
        }
        for device in DEVICES.map(Path::new).into_iter().filter(|device| device.exists()) {
            mount_bind(INERT, device).map_err(at(device))?;
        }
        let laid = match resolv_conf {
            Ok(path) => self.resolv_conf(&path)?,
            Err(error) => Err(error),
        };
        match laid {
            Ok(()) => Ok(Vec::new()),
            Err(error) => Ok(vec![format!("no {RESOLV_CONF} could be laid, names may not resolve: {error}")]),
        }
    }

    /// The directories that hold nothing but what is shared of them; one that is shared itself is none.
    fn emptied(&self) -> impl Iterator<Item = &PathBuf> {
        self.layout.empty.iter().filter(|directory| !self.shares(directory))
    }

    fn is_emptied(&self, path: &Path) -> bool {
        self.emptied().any(|directory| path.starts_with(directory))
    }

    /// Whether a path is inside what it is outside.
    fn shares(&self, path: &Path) -> bool {
        self.layout.share.iter().any(|shared| path.starts_with(shared))
    }

    /// Lays an empty directory over another, or makes it in one that is laid already.
    fn empty(&self, directory: &Path) -> Result<(), Fault> {
        let inside = |other: &&PathBuf| directory != other.as_path() && directory.starts_with(other);
        if self.emptied().any(|other| inside(&other)) {
            let made = fs::create_dir_all(directory)
                .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o700)));
            return made.map_err(at(directory));
        }
        lay_nothing(directory)
    }

    /// Names the DNS door, in a file that lies over another or stands where nothing else does: what is shared is not written
    /// to.
    fn resolv_conf(&self, path: &Path) -> Result<io::Result<()>, Fault> {
        let text = format!("# the DNS door of exeat\nnameserver {DOOR_V4}\n{}", self.layout.resolv_conf);
        if self.is_emptied(path) && !self.shares(path) {
            let parent = path.parent().unwrap_or(Path::new("/"));
            return Ok(fs::create_dir_all(parent).and_then(|()| fs::write(path, text)));
        }
        lay_nothing(Path::new(KEEPER))?;
        let laid = fs::write(KEPT, text).and_then(|()| Ok(mount_bind(KEPT, path)?));
        unmount(KEEPER, UnmountFlags::DETACH).map_err(at(Path::new(KEEPER)))?;
        Ok(laid)
    }
}

impl<'a> Shared<'a> {
    fn open(path: &'a Path) -> Result<Self, Fault> {
        let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        Ok(Self { path, place: place.map_err(at(path))? })
    }

    /// Puts it where it was, in what now lies over it.
    fn give_back(&self) -> io::Result<()> {
        let source = format!("/proc/self/fd/{}", self.place.as_raw_fd());
        if fs::metadata(&source)?.is_dir() {
            fs::create_dir_all(self.path)?;
        } else {
            fs::create_dir_all(self.path.parent().unwrap_or(Path::new("/")))?;
            File::create(self.path)?;
        }
        Ok(mount_bind_recursive(source, self.path)?)
    }
}

/// For `map_err`: this place could not be laid as it should.
fn at<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> Fault {
    Fault::at(Step::Mounts, path.display())
}

/// Lays something inert over what is of this type. One that this user can't get at, the command can't either.
fn mask(path: &Path, is_meant: fn(&FileType) -> bool) -> Result<(), Fault> {
    match fs::metadata(path) {
        Ok(found) if !is_meant(&found.file_type()) => return Ok(()),
        Err(error) if is_out_of_reach(&error) => return Ok(()),
        found => found.map_err(at(path))?,
    };
    match mount_bind(INERT, path).map_err(io::Error::from) {
        Err(error) if is_out_of_reach(&error) => Ok(()),
        laid => laid.map_err(at(path)),
    }
}

fn is_out_of_reach(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotADirectory | NotFound | PermissionDenied)
}

/// Lays an empty directory over a place where a look for a name would have somebody outside look for it, who may ask DNS. What is
/// mounted there already stays.
fn silence(automatic: &Automatic<'_>) -> Result<(), Fault> {
    let Automatic { place, ref mounted } = *automatic;
    // To open a path alone looks for nothing (open(2), O_PATH).
    let opened = rustix::fs::open(place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let opened = match opened.map_err(io::Error::from) {
        Err(error) if is_out_of_reach(&error) => return Ok(()),
        opened => opened.map_err(at(place))?,
    };
    // Something else may lie over it.
    if u64::try_from(fstatfs(&opened).map_err(at(place))?.f_type) != Ok(AUTOMATIC) {
        return Ok(());
    }
    let mounted: Vec<Shared<'_>> = mounted.iter().filter_map(|path| Shared::open(path).ok()).collect();
    lay_nothing(Path::new(&format!("/proc/self/fd/{}", opened.as_raw_fd())))?;
    mounted.iter().try_for_each(|kept| kept.give_back().map_err(at(kept.path)))
}

/// Lays an empty directory over another.
fn lay_nothing(directory: &Path) -> Result<(), Fault> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", directory, "tmpfs", flags, c"mode=0755,size=64m").map_err(at(directory))
}

/// The paths by which something is found. The one that a socket was bound by may lead through links: out of a directory that
/// is to hold nothing, say.
fn every_path(bound: &Path, mounts: &Mounts) -> Vec<PathBuf> {
    // Where this user finds nothing by it, it may by another path.
    let path = fs::canonicalize(bound).unwrap_or_else(|_| bound.to_owned());
    let mut all = mounts.others(&path);
    all.push(path);
    all
}

/// The paths of a `/proc/net/unix`: what follows seven columns, unless it is abstract or relative.
fn paths(list: &[u8]) -> impl Iterator<Item = &Path> {
    list.split(|&byte| byte == b'\n').skip(1).filter_map(|line| {
        let mut rest = line;
        for _ in 0..7 {
            let start = rest.iter().position(|&byte| byte != b' ')?;
            let end = rest[start..].iter().position(|&byte| byte == b' ')?;
            rest = &rest[start + end..];
        }
        let path = Path::new(OsStr::from_bytes(rest.get(1..)?));
        path.is_absolute().then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_and_abstract_names_are_not() {
        let list = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 18405 /tmp/a socket\n\
            0000000000000000: 00000002 00000000 00000000 0002 01    77 /run/log\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 18406\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 18407 @/tmp/.X11-unix/X0\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 18408 here\n";
        let found: Vec<&Path> = paths(list).collect();
        assert_eq!(found, [Path::new("/tmp/a socket"), Path::new("/run/log")]);
    }
}
