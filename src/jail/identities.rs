//! Which users and groups there are in the jail's user namespace: the caller's own, as they are outside.

use std::fs;
use std::io;

use rustix::process::{getegid, geteuid};

/// Gives the user namespace of a process its identities. Root brings all that it knows itself, so that files show
/// their owners; other users may bring only themselves, and other owners show as nobody.
pub(super) fn bring(pid: u32) -> io::Result<()> {
    let write = |file: &str, text: &str| fs::write(format!("/proc/{pid}/{file}"), text);
    if geteuid().is_root() {
        let all = |file: &str| fs::read_to_string(format!("/proc/self/{file}")).map(|map| same(&map));
        if write("uid_map", &all("uid_map")?).is_ok() {
            return write("gid_map", &all("gid_map")?);
        }
    }
    // Who may not drop groups may not use a namespace to drop them (user_namespaces(7)).
    write("setgroups", "deny")?;
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    write("uid_map", &format!("{user} {user} 1"))?;
    write("gid_map", &format!("{group} {group} 1"))
}

/// A map in which everyone of the given map is who they are.
fn same(map: &str) -> String {
    let extents = map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace();
        let (inside, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(format!("{inside} {inside} {count}\n"))
    });
    extents.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_known_here_is_the_same_inside() {
        assert_eq!(same("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(same("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
    }
}
