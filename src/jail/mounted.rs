//! Which mounts there are, and by which other paths they lead to a file.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::jail::fault::{Fault, Step};

const LIST: &str = "/proc/self/mountinfo";

/// What a `/proc/self/mountinfo` says (proc_pid_mountinfo(5)).
#[derive(Debug)]
pub(super) struct Mounts(Vec<Mount>);

#[derive(Debug)]
pub(super) struct Mount {
    id: u64,
    /// The mount that it is on.
    parent: u64,
    /// Of its file system.
    device: Vec<u8>,
    /// What of the file system is seen there.
    root: PathBuf,
    pub(super) place: PathBuf,
    /// Of the mount, not of its file system, with commas between them.
    pub(super) options: String,
    /// The type of its file system.
    pub(super) kind: String,
}

/// A place where a look for a name has somebody outside look for it (autofs(5)).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Automatic<'a> {
    pub(super) place: &'a Path,
    /// What came of earlier looks: what is mounted below it, less what is mounted below that in turn.
    pub(super) mounted: Vec<&'a Path>,
}

impl Mounts {
    /// Those that there are now.
    pub(super) fn read() -> Result<Self, Fault> {
        fs::read(LIST).map(|list| Self::parse(&list)).map_err(Fault::at(Step::Mounts, LIST))
    }

    pub(super) fn parse(list: &[u8]) -> Self {
        Self(list.split(|&byte| byte == b'\n').filter_map(Mount::parse).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter()
    }

    /// Where something other than the root of a file system is mounted: a single file is always one of these, and what
    /// may be slow to look at (NFS, autofs) mostly none.
    pub(super) fn below_a_root(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter(|mount| mount.root != Path::new("/")).map(|mount| mount.place.as_path())
    }

    /// The places where something may yet be mounted by being looked for.
    pub(super) fn automatic(&self) -> impl Iterator<Item = Automatic<'_>> {
        // In one place the last one is seen: the others lie below it.
        let is_seen = |mount: &&Mount| {
            self.0
                .iter()
                .rfind(|other| other.place == mount.place)
                .is_some_and(|last| std::ptr::eq(last, *mount))
        };
        let automatic = self.0.iter().filter(|mount| mount.is_automatic()).filter(is_seen);
        automatic.map(move |Mount { place, .. }| {
            let below = self.0.iter().filter(|mount| mount.place != *place && mount.place.starts_with(place));
            let below: Vec<&Path> = below
                .filter(is_seen)
                .filter(|mount| !mount.is_automatic())
                .map(|mount| mount.place.as_path())
                .collect();
            let is_outer =
                |path: &&&Path| !below.iter().any(|other| other != *path && path.starts_with(other));
            Automatic { place, mounted: below.iter().filter(is_outer).copied().collect() }
        })
    }

    /// The other paths of a file, given one without links: a directory can be seen in two places (`mount --bind`), and
    /// so can a file system.
    pub(super) fn others(&self, path: &Path) -> Vec<PathBuf> {
        let Some(own) = self.seen_at(path) else { return Vec::new() };
        let other = |other: &Mount| {
            let at = moved(path, &own.place, &own.root)?;
            moved(&at, &other.root, &other.place)
        };
        let seen = self.0.iter().filter(|other| other.device == own.device);
        seen.filter_map(other).filter(|other| other != path).collect()
    }

    /// The mount that a path leads to, given one without links. As the kernel does, it is walked from one mount to the one
    /// that is on it: the longest place may be that of a mount which a later one hides.
    fn seen_at(&self, path: &Path) -> Option<&Mount> {
        let within: Vec<&Mount> = self.0.iter().filter(|mount| path.starts_with(&mount.place)).collect();
        // What the lowest one is on is not listed; or it is on itself.
        let below = |mount: &Mount| {
            let is_below = |other: &&&Mount| other.id == mount.parent && other.id != mount.id;
            within.iter().find(is_below).map(|other| other.id)
        };
        let first = |on: Option<u64>| {
            let on_it = within.iter().copied().filter(|mount| below(mount) == on);
            on_it.min_by_key(|mount| mount.place.as_os_str().len())
        };
        let mut seen = first(None)?;
        while let Some(next) = first(Some(seen.id)) {
            seen = next;
        }
        Some(seen)
    }
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|&byte| byte == b' ');
        let (id, parent) = (number(words.next()?)?, number(words.next()?)?);
        let (device, root) = (words.next()?.to_owned(), unescaped(words.next()?));
        let (place, options) = (unescaped(words.next()?), text(words.next()?));
        // Behind fields of any number, which a dash ends.
        let kind = text(words.skip_while(|word| *word != b"-").nth(1)?);
        Some(Self { id, parent, device, root, place, options, kind })
    }

    fn is_automatic(&self) -> bool {
        self.kind == "autofs"
    }
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

/// What a path below one directory is below another.
fn moved(path: &Path, from: &Path, to: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(from).ok()?;
    // To join nothing adds a slash, behind which a file is not found.
    Some(to.components().chain(rest.components()).collect())
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
    fn mounts_of_single_files_are_found_by_their_plain_paths() {
        let list = b"22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
            23 22 0:21 / /proc rw - proc proc rw\n\
            40 22 0:25 /docker.sock /srv/docker.sock rw - tmpfs tmpfs rw\n\
            41 22 8:1 /home/a\\040b /mnt/with\\040a\\134space rw - ext4 /dev/sda1 rw\n";
        let mounts = Mounts::parse(list);
        let found: Vec<&Path> = mounts.below_a_root().collect();
        assert_eq!(found, [Path::new("/srv/docker.sock"), Path::new("/mnt/with a\\space")]);
    }

    #[test]
    fn places_where_something_is_mounted_by_being_looked_for_are_found_with_what_is_there() {
        let list = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 22 0:40 / /net rw shared:4 - autofs /etc/auto.net rw,fd=6,indirect\n\
            31 30 0:41 / /net/one rw - nfs4 one:/ rw\n\
            32 31 0:42 / /net/one/deep rw - nfs4 one:/deep rw\n\
            33 30 0:43 / /net/two/a rw - autofs /etc/auto.net rw,offset\n\
            34 33 0:44 / /net/two/a rw - nfs4 two:/a rw\n\
            35 22 0:45 / /boot rw - autofs systemd-1 rw,direct\n\
            36 35 8:3 / /boot rw - vfat /dev/sda3 rw\n\
            37 22 0:46 / /efi rw - autofs systemd-1 rw,direct\n";
        let mounts = Mounts::parse(list);
        let found: Vec<Automatic<'_>> = mounts.automatic().collect();
        let net = Automatic {
            place: Path::new("/net"),
            mounted: vec![Path::new("/net/one"), Path::new("/net/two/a")],
        };
        assert_eq!(found, [net, Automatic { place: Path::new("/efi"), mounted: Vec::new() }]);
    }

    #[test]
    fn a_file_has_a_path_in_each_mount_that_shows_it() {
        let list = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            23 22 0:24 / /run rw - tmpfs tmpfs rw\n\
            24 22 8:1 /persist/home /home rw - ext4 /dev/sda1 rw\n\
            25 22 8:2 /persist /other rw - ext4 /dev/sdb1 rw\n\
            26 22 0:30 /@var /var rw - btrfs /dev/sdc1 rw\n\
            27 22 0:30 / /top rw - btrfs /dev/sdc1 rw\n\
            28 22 0:24 /bus/s /srv/one.sock rw - tmpfs tmpfs rw\n";
        let mounts = Mounts::parse(list);
        for (path, others) in [
            ("/home/u/s", &["/persist/home/u/s"][..]),
            ("/persist/home/u/s", &["/home/u/s"]),
            ("/persist/s", &[]),
            ("/persist/homes/s", &[]),
            ("/var/lib/s", &["/top/@var/lib/s"]),
            ("/top/@var/s", &["/var/s"]),
            ("/run/bus/s", &["/srv/one.sock"]),
            ("/srv/one.sock", &["/run/bus/s"]),
            ("here", &[]),
        ] {
            let found = mounts.others(Path::new(path));
            assert_eq!(found, others.iter().map(PathBuf::from).collect::<Vec<_>>(), "{path}");
        }
    }

    #[test]
    fn a_path_leads_to_the_mount_that_is_seen_there() {
        let device = |path: &str, list: &[u8]| {
            let mounts = Mounts::parse(list);
            mounts.seen_at(Path::new(path)).map(|mount| String::from_utf8_lossy(&mount.device).into_owned())
        };
        let list = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            23 22 0:24 / /a/b rw - tmpfs tmpfs rw\n\
            24 22 8:2 / /a rw - ext4 /dev/sdb1 rw\n\
            25 24 8:3 / /a/c rw - ext4 /dev/sdc1 rw\n\
            26 25 8:4 / /a/c rw - ext4 /dev/sdd1 rw\n\
            27 22 8:5 / /d rw - ext4 /dev/sde1 rw\n\
            28 27 8:6 / /d/e rw - ext4 /dev/sdf1 rw\n";
        for (path, seen) in [
            ("/s", "8:1"),
            ("/a/s", "8:2"),
            ("/a/b/s", "8:2"),
            ("/a/c/s", "8:4"),
            ("/ab", "8:1"),
            ("/d/s", "8:5"),
            ("/d/e/s", "8:6"),
        ] {
            assert_eq!(device(path, list).as_deref(), Some(seen), "{path}");
        }
        // As in a chroot, whose own mount is not listed; and a root that is on itself.
        let chroot = b"23 9 0:24 / /a/b rw - tmpfs tmpfs rw\n24 9 8:2 / /a rw - ext4 /dev/sdb1 rw\n";
        for (path, seen) in [("/a/b/s", Some("8:2")), ("/s", None)] {
            assert_eq!(device(path, chroot).as_deref(), seen, "{path}");
        }
        assert_eq!(device("/a", b"1 1 0:2 / / rw - rootfs rootfs rw\n").as_deref(), Some("0:2"));
    }
}
