//! The jail's own mounts: what it sees of processes, and what of the kernel's settings it must not write.

use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount};

use crate::jail::fault::{Fault, Step};
use crate::jail::mounted::{Mount, Mounts};

/// What no program of the jail may change, whoever it belongs to: some of it is the whole machine's, and by
/// `kernel.core_pattern` the kernel can be told to run a program outside.
const SETTINGS: [&str; 5] = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"];

/// The types of file systems by which the kernel is set, wherever they are mounted: a chroot has its own, with all that is
/// mounted below `/proc` and `/sys`.
const OF_KERNEL: [&str; 12] = [
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "efivarfs",
    "proc",
    "pstore",
    "securityfs",
    "sysfs",
    "tracefs",
];

/// Cuts the mounts off from the outside's, and shows the jail its own processes alone.
pub(super) fn begin() -> Result<(), Fault> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(at("/"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).map_err(at("/proc"))
}

/// Makes the kernel's settings read-only: those of `/proc`, and, where they belong to this user, all that is
/// mounted below `/sys` and whatever else the kernel is set by.
pub(super) fn seal(owns_sys: bool) -> Result<(), Fault> {
    for path in SETTINGS.into_iter().filter(|path| Path::new(path).exists()) {
        mount_bind(path, path).map_err(at(path))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | flags, c"").map_err(at(path))?;
    }
    if !owns_sys {
        return Ok(());
    }
    for mount in Mounts::read()?.iter().filter(|mount| is_setting(mount)) {
        let flags = MountFlags::BIND | MountFlags::RDONLY | kept(mount);
        match mount_remount(&mount.place, flags, c"") {
            // Something else lies over it, or it is out of this user's reach.
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
            sealed => sealed.map_err(Fault::at(Step::Mounts, mount.place.display()))?,
        }
    }
    Ok(())
}

/// For `map_err`: this place could not be made what it should be.
fn at<E: Into<io::Error>>(path: &str) -> impl FnOnce(E) -> Fault {
    Fault::at(Step::Mounts, path)
}

/// Whether the kernel is set by a mount that can be written to.
fn is_setting(mount: &Mount) -> bool {
    // The jail's own is what it has to be already.
    let is_own = mount.place.starts_with("/proc");
    let is_of_kernel = OF_KERNEL.contains(&mount.kind.as_str());
    let is_meant = mount.place.starts_with("/sys") || (is_of_kernel && !is_own);
    is_meant && mount.options.split(',').all(|option| option != "ro")
}

/// The flags that a remount has to keep: those that a more powerful namespace has set are locked (mount_namespaces(7)).
fn kept(mount: &Mount) -> MountFlags {
    let flags = mount.options.split(',').map(|option| match option {
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        "noatime" => MountFlags::NOATIME,
        "nodiratime" => MountFlags::NODIRATIME,
        "relatime" => MountFlags::RELATIME,
        _ => MountFlags::empty(),
    });
    flags.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_locked_is_kept_and_what_is_read_only_is_left() {
        let list = |place, options, kind| format!("31 23 0:28 / {place} {options} shared:9 - {kind} none rw");
        let is_meant = |list: &str| Mounts::parse(list.as_bytes()).iter().any(is_setting);
        let writable = list("/sys/fs/cgroup", "rw,nosuid,relatime", "tmpfs");
        let flags: Vec<_> = Mounts::parse(writable.as_bytes()).iter().map(kept).collect();
        assert_eq!(flags, [MountFlags::NOSUID | MountFlags::RELATIME]);
        assert!(is_meant(&writable));
        assert!(!is_meant(&list("/sys/fs/cgroup", "ro,nosuid", "tmpfs")));
        for (place, kind, expected) in [
            ("/system", "tmpfs", false),
            ("/chroot/sys", "sysfs", true),
            ("/chroot/proc", "proc", true),
            ("/chroot/proc/sys/fs/binfmt_misc", "binfmt_misc", true),
            ("/chroot/sys/fs/cgroup", "cgroup2", true),
            ("/chroot/dev", "devtmpfs", false),
            ("/proc", "proc", false),
            ("/proc/sys", "proc", false),
        ] {
            assert_eq!(is_meant(&list(place, "rw", kind)), expected, "{place}");
        }
    }
}
