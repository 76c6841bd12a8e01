//! What the jail's first process may do to lay everything out, and that it gives up all of it.

use std::io;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

/// For mounts, for the network and its rules, for the port of DNS, and to give up capabilities for ever.
const NEEDED: [CapabilitySet; 5] = [
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::NET_ADMIN,
    CapabilitySet::NET_RAW,
    CapabilitySet::NET_BIND_SERVICE,
    CapabilitySet::SETPCAP,
];

/// Has the programs that are started keep what this one may do in its user namespace: without that, a program of
/// any user but root starts with nothing (capabilities(7), ambient set).
pub(super) fn hand_down() -> io::Result<()> {
    let needed = NEEDED.into_iter().collect();
    set_capabilities(None, CapabilitySets { effective: needed, permitted: needed, inheritable: needed })?;
    NEEDED.into_iter().try_for_each(|one| Ok(configure_capability_in_ambient_set(one, true)?))
}

/// No capability, none that a program could bring or that root would have for being root, and no way to more.
pub(super) fn give_up() -> io::Result<()> {
    clear_ambient_capability_set()?;
    // A kernel may know more of them than this program: it says when there are no more.
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Err(Errno::INVAL) => break,
            removed => removed?,
        }
    }
    let locked = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(locked)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    set_no_new_privs(true)?;
    // The command has the same user: without this it could trace its first process, or reach into its descriptors.
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
