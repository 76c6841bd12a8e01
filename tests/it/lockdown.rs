//! `exeat lockdown` where the programs that it runs are stand-ins.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A rule and a route of TPROXY for IPv4, neither of which may be deleted; nothing for IPv6.
const IP: &str = "#!/bin/sh
case $* in
'-4 rule show pref 3129') echo '3129: from all fwmark 0x2000000/0x2000000 lookup 3129' ;;
'-4 route show table 3129') echo 'local default dev lo scope host' ;;
*' del '*) echo 'RTNETLINK answers: Operation not permitted' >&2; exit 2 ;;
esac
";

/// Removes the lockdown with the programs of one directory alone: the exit code, and what is said.
fn remove(programs: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exeat"));
    let output = command.args(["lockdown", "remove"]).env("PATH", programs).output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn what_can_not_be_removed_is_tried_and_told_to_the_last() {
    let programs = tempfile::tempdir().unwrap();
    assert_eq!(remove(programs.path()), (Some(0), "there was no lockdown\n".to_owned()));
    let ip = programs.path().join("ip");
    fs::write(&ip, IP).unwrap();
    fs::set_permissions(&ip, fs::Permissions::from_mode(0o755)).unwrap();
    let failed = "failed: RTNETLINK answers: Operation not permitted";
    let told = format!(
        "error: ip -4 rule del pref 3129 fwmark 0x2000000/0x2000000 lookup 3129 {failed}; \
         ip -4 route del local default dev lo table 3129 {failed}\n"
    );
    assert_eq!(remove(programs.path()), (Some(1), told));
}
