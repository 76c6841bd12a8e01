//! The jail's own mounts: what it sees of processes, and what of the kernel's settings it must not write.

use std::fs;
use std::io;
use std::path::Path;

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

/// Makes the kernel's settings read-only: those of `/proc`, and those of `/sys` where they belong to this user.
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
    for (path, flags) in mounts.lines().filter_map(|line| writable_below(line, "/sys")) {
        mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | flags, c"").map_err(at(path))?;
    }
    Ok(())
}

/// For `map_err`: this place could not be made what it should be.
fn at<E: Into<io::Error>>(path: &str) -> impl FnOnce(E) -> Fault {
    Fault::at(Step::Mounts, path)
}

/// The path of a writable mount below a directory, and the flags that a remount has to keep: those that a more
/// powerful namespace has set are locked (mount_namespaces(7)).
fn writable_below<'a>(line: &'a str, directory: &str) -> Option<(&'a str, MountFlags)> {
    let mut words = line.split(' ');
    let (path, options) = (words.nth(4)?, words.next()?);
    if !Path::new(path).starts_with(directory) || options.split(',').any(|option| option == "ro") {
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
        let (path, flags) =
            writable_below(&line("rw,nosuid,relatime"), "/sys").map(|(p, f)| (p.to_owned(), f)).unwrap();
        assert_eq!((path.as_str(), flags), ("/sys/fs/cgroup", MountFlags::NOSUID | MountFlags::RELATIME));
        assert!(writable_below(&line("ro,nosuid"), "/sys").is_none());
        assert!(writable_below("31 23 0:28 / /system rw - tmpfs tmpfs rw", "/sys").is_none());
    }
}
