//! What of the outside's files leads out of a network namespace: unix sockets that have paths. They are masked by
//! directory and one by one, less what is shared on purpose.
//!
//! The kernel lists those that were bound in the network that exeat is in. In a container that is not where the ones were
//! bound that were mounted into it, so whatever mount is a socket is masked too.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive};

use crate::jail::addresses::DOOR_V4;
use crate::jail::channel::Layout;
use crate::jail::fault::{Fault, Step};

const MOUNTS: &str = "/proc/self/mountinfo";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where a file is kept that is to lie over another.
const KEPT: &str = "/run/exeat";
/// Nobody listens behind it.
const INERT: &str = "/dev/null";
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
        let resolv_conf = fs::canonicalize(RESOLV_CONF);
        let shared =
            self.layout.share.iter().map(|path| Shared::open(path)).collect::<Result<Vec<_>, _>>()?;
        let mut list = Vec::new();
        let list_of = Fault::at(Step::Mounts, "the list of unix sockets");
        self.unix_sockets.read_to_end(&mut list).map_err(list_of)?;
        let mounts = fs::read(MOUNTS).map_err(at(Path::new(MOUNTS)))?;
        let mounted: Vec<PathBuf> = mounted_below_a_root(&mounts).collect();

        for directory in &self.layout.empty {
            self.empty(directory)?;
        }
        for shared in shared.iter().filter(|shared| self.hides(shared.path)) {
            shared.give_back().map_err(at(shared.path))?;
        }
        let sockets = paths(&list).chain(mounted.iter().map(PathBuf::as_path));
        for socket in sockets.filter(|path| !self.hides(path)) {
            if !shared.iter().any(|shared| socket.starts_with(shared.path)) {
                mask_socket(socket)?;
            }
        }
        // A place that something lies over can't be removed or renamed either.
        for file in self.layout.masked.iter().filter(|path| !self.hides(path)) {
            mount_bind(INERT, file).map_err(at(file))?;
        }
        for device in DEVICES.map(Path::new).into_iter().filter(|device| device.exists()) {
            mount_bind(INERT, device).map_err(at(device))?;
        }
        match resolv_conf.and_then(|path| self.resolv_conf(&path)) {
            Ok(()) => Ok(Vec::new()),
            Err(error) => Ok(vec![format!("no {RESOLV_CONF} could be laid, names may not resolve: {error}")]),
        }
    }

    /// Whether a path lies in a directory that holds nothing.
    fn hides(&self, path: &Path) -> bool {
        self.layout.empty.iter().any(|directory| path.starts_with(directory))
    }

    /// Lays an empty directory over another, or makes it in one that is laid already.
    fn empty(&self, directory: &Path) -> Result<(), Fault> {
        let inside = |other: &&PathBuf| directory != other.as_path() && directory.starts_with(other);
        if self.layout.empty.iter().any(|other| inside(&other)) {
            let made = fs::create_dir_all(directory)
                .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o700)));
            return made.map_err(at(directory));
        }
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", directory, "tmpfs", flags, c"mode=0755,size=64m").map_err(at(directory))
    }

    fn resolv_conf(&self, path: &Path) -> io::Result<()> {
        let text = format!("# the DNS door of exeat\nnameserver {DOOR_V4}\n{}", self.layout.resolv_conf);
        if self.hides(path) {
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            return fs::write(path, text);
        }
        fs::create_dir_all(KEPT)?;
        let kept = Path::new(KEPT).join("resolv.conf");
        fs::write(&kept, text)?;
        Ok(mount_bind(&kept, path)?)
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

/// Lays something inert over a socket. One that this user can't get at, the command can't either.
fn mask_socket(path: &Path) -> Result<(), Fault> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let unreachable = |error: &io::Error| matches!(error.kind(), NotADirectory | NotFound | PermissionDenied);
    match fs::metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Ok(()),
        Err(error) if unreachable(&error) => return Ok(()),
        found => found.map_err(at(path))?,
    };
    match mount_bind(INERT, path).map_err(io::Error::from) {
        Err(error) if unreachable(&error) => Ok(()),
        laid => laid.map_err(at(path)),
    }
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

/// Where a `/proc/self/mountinfo` has mounts of something other than the root of a file system: a single file is always
/// one of these, and what may be slow to look at (NFS, autofs) mostly none.
fn mounted_below_a_root(list: &[u8]) -> impl Iterator<Item = PathBuf> {
    list.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut words = line.split(|&byte| byte == b' ').skip(3);
        let (root, place) = (words.next()?, words.next()?);
        (root != b"/").then(|| unescaped(place))
    })
}

/// A path without the octal escapes of proc_pid_mountinfo(5): of spaces, tabs, ends of lines and backslashes.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let octal =
            after.get(..3).filter(|_| byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsStr::from_bytes(&path))
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

    #[test]
    fn mounts_of_single_files_are_found_by_their_plain_paths() {
        let list = b"22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
            23 22 0:21 / /proc rw - proc proc rw\n\
            40 22 0:25 /docker.sock /srv/docker.sock rw - tmpfs tmpfs rw\n\
            41 22 8:1 /home/a\\040b /mnt/with\\040a\\134space rw - ext4 /dev/sda1 rw\n";
        let found: Vec<PathBuf> = mounted_below_a_root(list).collect();
        assert_eq!(found, [Path::new("/srv/docker.sock"), Path::new("/mnt/with a\\space")]);
    }
}
