//! What is asked for, and the chains it comes to.

use ipnet::IpNet;

use crate::lockdown::rule::Family;
use crate::lockdown::tracking;

/// A lockdown as a person asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub shape: Shape,
    /// IPv6 stays as it is.
    pub ipv4_only: bool,
    pub exit: Exit,
    /// The port of exeat's transparent door.
    pub transparent_port: u16,
    /// The port of exeat's DNS door.
    pub dns_port: u16,
    pub allowances: Vec<Allowance>,
    /// UDP ports that this place serves: what came in there is answered.
    pub served_udp: Vec<u16>,
    /// TCP ports whose connections live on though they are older than connection tracking.
    pub kept_tcp: Vec<u16>,
    /// What `nf_conntrack_tcp_loose` was before the lockdown set it to 0; noted in the rules themselves, so
    /// that their removal can put it back.
    pub loose_before: Option<bool>,
}

/// Whose traffic is locked.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// The programs of this host; the containers behind these interfaces reach exeat, others nothing.
    Instance { containers: Vec<String> },
    /// What arrives by these interfaces.
    Gateway {
        interfaces: Vec<String>,
        /// If there are any, only their addresses are let to exeat.
        subnets: Vec<IpNet>,
        /// TCP reaches exeat by TPROXY and routes of its own, not by NAT.
        tproxy: bool,
    },
}

const INSTANCE: &str = "instance";
const CONTAINERS: &str = "instance and containers";
const GATEWAY: &str = "gateway";
const TPROXY: &str = "gateway by TPROXY";

impl Shape {
    /// Whether TCP reaches exeat by TPROXY.
    pub fn takes(&self) -> bool {
        matches!(self, Self::Gateway { tproxy: true, .. })
    }

    /// The shape that the first rule of a chain tells of; names and addresses are of no concern.
    pub(super) fn of_summary(summary: &str) -> Option<Self> {
        let gateway = |tproxy| Self::Gateway { interfaces: Vec::new(), subnets: Vec::new(), tproxy };
        match summary.split(';').next()? {
            INSTANCE => Some(Self::Instance { containers: Vec::new() }),
            CONTAINERS => Some(Self::Instance { containers: vec![String::new()] }),
            GATEWAY => Some(gateway(false)),
            TPROXY => Some(gateway(true)),
            _ => None,
        }
    }

    fn summary(&self) -> &'static str {
        match self {
            Self::Instance { containers } if containers.is_empty() => INSTANCE,
            Self::Instance { .. } => CONTAINERS,
            Self::Gateway { tproxy: false, .. } => GATEWAY,
            Self::Gateway { tproxy: true, .. } => TPROXY,
        }
    }
}

/// By what exeat's own packets are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The user it runs as.
    User(String),
    /// The mark its sockets set.
    Mark(u32),
}

/// What passes without exeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Everything to these addresses, but not DNS.
    Network(IpNet),
    /// One UDP port of these addresses.
    Udp(u16, IpNet),
}

impl Plan {
    /// The plan with nothing special in it.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            ipv4_only: false,
            exit: Exit::User("exeat".to_owned()),
            transparent_port: 3129,
            dns_port: 3153,
            allowances: Vec::new(),
            served_udp: Vec::new(),
            kept_tcp: vec![22],
            loose_before: None,
        }
    }

    /// The families it locks.
    pub fn families(&self) -> &'static [Family] {
        if self.ipv4_only { &[Family::V4] } else { &Family::BOTH }
    }

    /// What the first rule says of the whole.
    pub(super) fn summary(&self) -> String {
        let shape = self.shape.summary();
        match self.loose_before {
            Some(loose) => format!("{shape}; {}{}", tracking::NOTE, u8::from(loose)),
            None => shape.to_owned(),
        }
    }
}
