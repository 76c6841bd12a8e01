//! The jail's own mounts: what it sees of processes, and what of the kernel's settings it must not write.

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount};

use crate::jail::fault::{Fault, Step};

/// What no program of the jail may change, whoever it belongs to: some of it is the whole machine's, and by
/// `kernel.core_pattern` the kernel can be told to run a program outside.
const SETTINGS: [&str; 5] = ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"];

/// Cuts the mounts off from the outside's, and shows the jail its own processes alone.
pub(super) fn begin() -> Result<(), Fault> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(at("/"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).map_err(at("/proc"))
}

/// Makes the kernel's settings read-only: those of `/proc`, and, where they belong to this user, those of `/sys` and of every other
/// `/proc` and `/sys`.
pub(super) fn seal(owns_sys: bool) -> Result<(), Fault> {
    for path in SETTINGS.into_iter().filter(|path| Path::new(path).exists()) {
        mount_bind(path, path).map_err(at(path))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | flags, c"").map_err(at(path))?;
    }
    if !owns_sys {
        return Ok(());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(at("/proc/self/mountinfo"))?;
    for (path, flags) in mounts.lines().filter_map(settings) {
        match mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | flags, c"") {
            // Something else lies over it, or it is out of this user's reach.
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
            sealed => sealed.map_err(at(path))?,
        }
    }
    Ok(())
}

/// For `map_err`: this place could not be made what it should be.
fn at<E: Into<io::Error>>(path: &str) -> impl FnOnce(E) -> Fault {
    Fault::at(Step::Mounts, path)
}

/// The path of a writable mount by which the kernel is set: below `/sys`, or of a second `/proc` or `/sys`, as of a chroot. With
/// it the flags that a remount has to keep: those that a more powerful namespace has set are locked (mount_namespaces(7)).
fn settings(line: &str) -> Option<(&str, MountFlags)> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut words = mount.split(' ');
    let (path, options) = (words.nth(4)?, words.next()?);
    // The jail's own is what it has to be already.
    let is_own = Path::new(path).starts_with("/proc");
    let is_of_kernel = matches!(kind.split(' ').next(), Some("proc" | "sysfs"));
    let is_meant = Path::new(path).starts_with("/sys") || (is_of_kernel && !is_own);
    if !is_meant || options.split(',').any(|option| option == "ro") {
        return None;
    }
    let flags = options.split(',').map(|option| match option {
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        "noatime" => MountFlags::NOATIME,
        "nodiratime" => MountFlags::NODIRATIME,
        "relatime" => MountFlags::RELATIME,
        _ => MountFlags::empty(),
    });
    Some((path, flags.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_locked_is_kept_and_what_is_read_only_is_left() {
        let line =
            |options| format!("31 23 0:28 / /sys/fs/cgroup {options} shared:9 - tmpfs tmpfs rw,mode=755");
        let (path, flags) = settings(&line("rw,nosuid,relatime")).map(|(p, f)| (p.to_owned(), f)).unwrap();
        assert_eq!((path.as_str(), flags), ("/sys/fs/cgroup", MountFlags::NOSUID | MountFlags::RELATIME));
        assert!(settings(&line("ro,nosuid")).is_none());
        for (path, kind, is_meant) in [
            ("/system", "tmpfs", false),
            ("/chroot/sys", "sysfs", true),
            ("/chroot/proc", "proc", true),
            ("/proc", "proc", false),
            ("/proc/sys", "proc", false),
        ] {
            let line = format!("31 23 0:28 / {path} rw - {kind} none rw");
            assert_eq!(settings(&line).is_some(), is_meant, "{line}");
        }
    }
}
