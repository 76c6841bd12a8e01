//! System calls that the jail refuses: those that lead around its network.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// What programs may have sockets for. All else is either not of the network namespace, as AF_VSOCK, which reaches
/// the host of a virtual machine, or is nothing that a jailed command needs.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
/// Types into the terminal as if the user did, for the shell to run when the command is gone (ioctl_tty(2)).
const TERMINAL: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];
/// The numbers of x32 differ by this bit, and calls with structures have numbers of their own.
const X32: i64 = 0x4000_0000;
const X32_IOCTL: i64 = 514;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refuses them from here on, also to programs that are started. Programs of another architecture, whose calls have
/// other numbers, are killed.
pub(super) fn refuse() -> Result<(), Error> {
    let refusals = [
        (families()?, libc::EAFNOSUPPORT),
        // A ring makes sockets without a call that could be looked at. Programs do without where it does not exist.
        (rings(), libc::ENOSYS),
        (keys(), libc::ENOSYS),
        (terminal()?, libc::EPERM),
    ];
    let architecture: TargetArch = std::env::consts::ARCH.try_into()?;
    for (rules, errno) in refusals {
        let refuse = SeccompAction::Errno(errno.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?;
        let program: BpfProgram = filter.try_into()?;
        apply_filter(&program)?;
    }
    Ok(())
}

fn families() -> Result<Rules, Error> {
    let other = |family: i32| condition(0, SeccompCmpOp::Ne, u64::from(family.unsigned_abs()));
    let none_of_them = FAMILIES.map(other).into_iter().collect::<Result<Vec<_>, _>>()?;
    let rule = SeccompRule::new(none_of_them)?;
    Ok(everywhere([libc::SYS_socket, libc::SYS_socketpair], &[rule]))
}

fn rings() -> Rules {
    everywhere([libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register], &[])
}

/// To make a key that nobody has, the kernel starts `/sbin/request-key`: as root, in none of the jail's namespaces, with
/// words that the command chose. For a `dns_resolver` key that asks DNS for a name of it (request_key(2)).
///
/// The keys that somebody has belong to no network namespace and no file: the session's keyring is inherited, and whoever
/// holds it reads the tickets and passwords in it, or leaves something there for programs outside.
fn keys() -> Rules {
    everywhere([libc::SYS_request_key, libc::SYS_add_key, libc::SYS_keyctl], &[])
}

fn terminal() -> Result<Rules, Error> {
    let rule = |request| Ok(SeccompRule::new(vec![condition(1, SeccompCmpOp::Eq, request)?])?);
    let rules = TERMINAL.map(rule).into_iter().collect::<Result<Vec<_>, Error>>()?;
    Ok(everywhere([libc::SYS_ioctl, X32_IOCTL], &rules))
}

fn condition(argument: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Error> {
    // The kernel looks at 32 bits of these arguments alone.
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value)?)
}

/// The rules for these calls, and for them as x32.
fn everywhere<const N: usize>(calls: [i64; N], rules: &[SeccompRule]) -> Rules {
    let x32 = if cfg!(target_arch = "x86_64") { X32 } else { 0 };
    calls.into_iter().flat_map(|call| [call, call | x32]).map(|call| (call, rules.to_vec())).collect()
}
