//! How connections are to leave this host: `outgoing` of a profile, and of the settings.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use crate::families::Families;
use crate::policy::document::keys::OUTGOING;
use crate::policy::outgoing::Outgoing;
use crate::sys::TAKEN;
use crate::yaml::{Field, Reader, Value};

/// The longest name of an interface (IFNAMSIZ without its end).
const INTERFACE_MAX: usize = 15;

/// Reads `outgoing: { source: [198.51.100.7], interface: eth1, mark: 0x7, family: prefer_ipv4 }`.
pub fn outgoing(reader: &mut Reader, field: Field<'_>) -> Option<Outgoing> {
    let fields = reader.map(field, OUTGOING)?;
    let mut outgoing = Outgoing::default();
    if let Some(field) = fields.get("source") {
        sources(reader, field, &mut outgoing);
    }
    if let Some(field) = fields.get("interface") {
        let expected = "the name of an interface, like eth1";
        outgoing.interface = reader.parsed(field, expected, interface);
    }
    if let Some(field) = fields.get("mark") {
        let expected =
            format!("a mark from 1 to 0xffffffff without the bit {TAKEN:#x}, in decimal or hexadecimal");
        outgoing.mark = reader.parsed(field, &expected, mark);
    }
    if let Some(field) = fields.get("family") {
        outgoing.families = reader.word(field, &Families::ALL)?;
        let sources = [outgoing.source_v4.map(IpAddr::V4), outgoing.source_v6.map(IpAddr::V6)];
        if let Some(idle) = sources.into_iter().flatten().find(|source| !outgoing.families.have(*source)) {
            let what = format!("`family` leaves out the family of {idle}, which is a `source`");
            reader.error(field.node.at, what).hint("leave one of the two out");
        }
    }
    Some(outgoing)
}

/// Reads one source address of each family at most.
fn sources(reader: &mut Reader, field: Field<'_>, outgoing: &mut Outgoing) {
    if matches!(&field.node.value, Value::List(items) if items.is_empty()) {
        let what = "`source` is an empty list: nothing could be dialled";
        reader.error(field.node.at, what).hint("leave the key out for the kernel's choice");
    }
    let items: Vec<_> = reader.list(field).collect();
    for item in items {
        let expected = "an address of this host, like 198.51.100.7 or 2001:db8::7";
        let is_second = match reader.parsed(item, expected, source) {
            Some(IpAddr::V4(address)) => outgoing.source_v4.replace(address).is_some(),
            Some(IpAddr::V6(address)) => outgoing.source_v6.replace(address).is_some(),
            None => continue,
        };
        if is_second {
            let what = format!("`source` has a second address of the family of {}", item.node.text);
            reader.error(item.node.at, what).hint("one of IPv4 and one of IPv6 at most");
        }
    }
}

fn source(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "it is no address".to_owned())?;
    let is_link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    match address.to_canonical() {
        v4 if v4 != address => Err(format!("write {v4}")),
        _ if is_link_local => Err("an address of one link alone reaches no upstream".to_owned()),
        address if address.is_unspecified() || address.is_multicast() || address == Ipv4Addr::BROADCAST => {
            Err("no connection can come from it".to_owned())
        }
        address => Ok(address),
    }
}

fn interface(text: &str) -> Result<Box<str>, &'static str> {
    let is_name = |c: char| !c.is_whitespace() && !c.is_control() && !"/:".contains(c);
    match text {
        "" | "." | ".." => Err("it is no name"),
        _ if text.len() > INTERFACE_MAX => Err("it has more than 15 bytes"),
        _ if !text.chars().all(is_name) => Err("it has a character that no interface has"),
        _ => Ok(text.into()),
    }
}

/// Reads a mark that a socket can have, and TPROXY does not set.
pub fn mark(text: &str) -> Result<NonZeroU32, String> {
    if text.contains('/') {
        return Err("a socket's mark is whole, it has no mask".to_owned());
    }
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err("it is no mark".to_owned());
    }
    let number = u32::from_str_radix(digits, radix);
    let mark = number.ok().and_then(NonZeroU32::new).ok_or("out of range")?;
    match mark.get() & TAKEN {
        0 => Ok(mark),
        _ => {
            Err(format!("with the bit {TAKEN:#x}, `exeat lockdown --tproxy` leads its packets back to exeat"))
        }
    }
}
