//! Sends every connection and DNS question of the jail to its doors, and refuses the rest at once.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::jail::addresses::{DNS_PORT, DOOR_V4, DOOR_V6, TRANSPARENT_PORT};

/// Where these programs are; the path of the caller may lead elsewhere, or not to them.
const DIRECTORIES: [&str; 6] =
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/run/current-system/sw/bin"];

/// What brings connections to the doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Redirect {
    Nft,
    Iptables,
    /// Nothing does: the doors are open on the ports of the policy, and on no other.
    Nothing,
}

/// Loads the rules by whatever program there is.
pub(super) fn load() -> Redirect {
    if feed("nft", &["-f", "-"], &nft()) {
        return Redirect::Nft;
    }
    let v4 = feed(
        "iptables-restore",
        &[],
        &iptables(&DOOR_V4.to_string(), "127.0.0.0/8", "icmp-admin-prohibited"),
    );
    if v4 {
        // What IPv6 then does without rules is to find nobody listening.
        let door = format!("[{DOOR_V6}]");
        feed("ip6tables-restore", &[], &iptables(&door, "::1/128", "icmp6-adm-prohibited"));
        return Redirect::Iptables;
    }
    Redirect::Nothing
}

/// One table for both families. Loopback is the jail's own; the doors are reached as they are.
fn nft() -> String {
    format!(
        "table inet exeat {{
  chain doors {{
    type nat hook output priority -100;
    ip daddr {{ 127.0.0.0/8, {DOOR_V4} }} return
    ip6 daddr {{ ::1, {DOOR_V6} }} return
    meta nfproto ipv4 meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {DOOR_V4}:{DNS_PORT}
    meta nfproto ipv4 meta l4proto tcp dnat ip to {DOOR_V4}:{TRANSPARENT_PORT}
    meta nfproto ipv6 meta l4proto {{ tcp, udp }} th dport 53 dnat ip6 to [{DOOR_V6}]:{DNS_PORT}
    meta nfproto ipv6 meta l4proto tcp dnat ip6 to [{DOOR_V6}]:{TRANSPARENT_PORT}
  }}
  chain rest {{
    type filter hook output priority 0;
    ip daddr {{ 127.0.0.0/8, {DOOR_V4} }} accept
    ip6 daddr {{ ::1, {DOOR_V6} }} accept
    ct state established,related accept
    reject with icmpx admin-prohibited
  }}
}}
"
    )
}

/// The same for one family.
fn iptables(door: &str, loopback: &str, refusal: &str) -> String {
    let address = door.trim_matches(['[', ']']);
    format!(
        "*nat
-A OUTPUT -d {loopback} -j RETURN
-A OUTPUT -d {address} -j RETURN
-A OUTPUT -p udp --dport 53 -j DNAT --to-destination {door}:{DNS_PORT}
-A OUTPUT -p tcp --dport 53 -j DNAT --to-destination {door}:{DNS_PORT}
-A OUTPUT -p tcp -j DNAT --to-destination {door}:{TRANSPARENT_PORT}
COMMIT
*filter
-A OUTPUT -d {loopback} -j ACCEPT
-A OUTPUT -d {address} -j ACCEPT
-A OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A OUTPUT -j REJECT --reject-with {refusal}
COMMIT
"
    )
}

/// Feeds a text to a program; whether it is there and took it.
fn feed(program: &str, arguments: &[&str], text: &str) -> bool {
    let Some(path) = find(program) else { return false };
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    // Who does not read it fails, and that is seen below.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
    child.wait().is_ok_and(|status| status.success())
}

fn find(program: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(program)).find(|path| path.exists())
}
