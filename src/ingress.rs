//! The doors through which a flow can arrive.

use std::fmt;

/// The door a flow came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ingress {
    /// A CONNECT tunnel of the explicit proxy.
    Connect,
    /// A plain HTTP request forwarded by the explicit proxy.
    Forward,
    /// A connection that the firewall redirected here.
    Transparent,
    /// A DNS question.
    Dns,
}

impl Ingress {
    /// Every door, in the order of the enum, so that `ingress as usize` indexes it.
    pub const ALL: &[Ingress] = &[Self::Connect, Self::Forward, Self::Transparent, Self::Dns];

    /// The word for it in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Forward => "forward",
            Self::Transparent => "transparent",
            Self::Dns => "dns",
        }
    }
}

impl fmt::Display for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_indexed_by_the_variant() {
        for (index, ingress) in Ingress::ALL.iter().enumerate() {
            assert_eq!(*ingress as usize, index);
        }
    }
}
