//! What a rule is: where it stands, what it matches, what becomes of the packet. Plain values.

use std::borrow::Cow;

use ipnet::IpNet;

/// The bit of a connection's mark that says that exeat opened it. A socket that was closed with bytes
/// still unsent has no owner any more (iptables-extensions(8), `owner`), so its last packets, and the
/// kernel's own resets, are known by their connection alone.
pub const OWN_FLOW: u32 = 0x0100_0000;

/// The word that the comment of each rule begins with.
pub const COMMENT: &str = "exeat";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// How people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The family of a network.
    pub fn of(network: &IpNet) -> Self {
        match network {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }
}

/// The tables of iptables, in the order in which they are locked: what leaves is closed before anything
/// is redirected, so that no moment is open between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    Filter,
    Nat,
    Mangle,
    /// Comes after `filter`, and hardly anybody has rules there (iptables(8)).
    Security,
}

impl Table {
    pub const ALL: [Self; 4] = [Self::Filter, Self::Nat, Self::Mangle, Self::Security];

    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Mangle => "mangle",
            Self::Security => "security",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }
}

/// Where in the path of a packet a chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Forward,
    Output,
    Postrouting,
}

impl Hook {
    /// The built-in chain of iptables.
    pub fn chain(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
            Self::Postrouting => "POSTROUTING",
        }
    }
}

/// A chain of exeat's own, and the ways into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    pub table: Table,
    pub hook: Hook,
    /// `EXEAT-…`.
    pub name: &'static str,
    /// Each way in: all of its matches must hold. A packet takes the first that fits it.
    pub entries: Vec<Entry>,
    pub rules: Vec<Rule>,
}

/// A way into a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub matches: Vec<Match>,
    pub comment: &'static str,
}

/// A rule of exeat's own chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// `None`: both.
    pub family: Option<Family>,
    /// All must hold.
    pub matches: Vec<Match>,
    pub verdict: Verdict,
    pub comment: Cow<'static, str>,
}

impl Rule {
    pub fn new(
        matches: impl Into<Vec<Match>>,
        verdict: Verdict,
        comment: impl Into<Cow<'static, str>>,
    ) -> Self {
        let matches = matches.into();
        let family = matches.iter().find_map(Match::family);
        Self { family, matches, verdict, comment: comment.into() }
    }

    /// The same for packets of one family only.
    pub fn only(self, family: Family) -> Self {
        Self { family: Some(family), ..self }
    }

    pub fn is_for(&self, family: Family) -> bool {
        self.family.is_none_or(|only| only == family)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Match {
    /// The user whose socket sends it: a name or a number.
    Owner(String),
    /// The packet's mark.
    Mark(u32),
    /// Of a connection that exeat opened.
    OwnFlow,
    /// From whoever opened the connection.
    Onward,
    /// From whoever the connection was opened to.
    Backward,
    /// It arrived by this interface; `docker+` is every one that begins so.
    From(String),
    /// It leaves by loopback, or does not.
    ToLoopback(bool),
    /// The destination is an address of this host.
    Local,
    /// An answer to its source would not leave by the interface it came by.
    Spoofed,
    Source(IpNet),
    Destination(IpNet),
    Tcp,
    Udp,
    /// ICMP, or ICMPv6.
    Icmp,
    SourcePort(u16),
    DestinationPort(u16),
    /// TCP, and not the first packet of a connection.
    NotFirst,
    /// The answering direction of a connection that conntrack(8) saw from its start.
    Reply,
    /// It tells of a connection that is known: ICMP errors.
    Related,
    /// Conntrack knows no connection for it.
    Untracked,
    /// Its destination was rewritten by a rule of this host.
    Published,
    /// A type of ICMPv6.
    Icmp6(u8),
    /// How many routers it may still pass, and it itself.
    HopLimit(u8),
    /// No more often than this.
    Rate {
        each_minute: u16,
        burst: u16,
    },
}

impl Match {
    fn family(&self) -> Option<Family> {
        match self {
            Self::Source(network) | Self::Destination(network) => Some(Family::of(network)),
            Self::Icmp6(_) => Some(Family::V6),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Counted; the next rule goes on.
    Count,
    /// Not ours to stop: the rules of others go on.
    Return,
    /// The connection is exeat's own; the next rule goes on.
    Remember,
    /// To this port of this host.
    Redirect(u16),
    /// To the socket at this port of this host, with its destination as it is (TPROXY).
    Take(u16),
    /// A line in the kernel's log with these words before it.
    Log(&'static str),
    /// A TCP reset to the sender.
    Reset,
    /// ICMP "administratively prohibited" to the sender.
    Prohibit,
    Drop,
}
