//! What an export says of tags, whatever it is written in.

use ipnet::IpNet;

use crate::learn::import::aviatrix::Options;

/// Everything that was found in a file.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) tags: Vec<Tag>,
    /// What was not understood: line, text, why.
    pub(super) unread: Vec<(u32, String, String)>,
    pub(super) lines: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Tag {
    pub(super) name: String,
    pub(super) line: u32,
    pub(super) enabled: bool,
    pub(super) mode: Mode,
    /// How many gateways it is attached to, where that is said.
    pub(super) gateways: Option<usize>,
    pub(super) sources: Vec<IpNet>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    White,
    Black,
    /// The file does not tell.
    Unsaid,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) line: u32,
    pub(super) text: String,
    pub(super) fqdn: String,
    /// In lower case.
    pub(super) protocol: String,
    /// `None`: all.
    pub(super) ports: Option<(u16, u16)>,
    /// `None`: the base policy.
    action: Option<bool>,
    /// Why it can't be read.
    pub(super) bad: Option<String>,
}

impl Found {
    pub(super) fn text(&self, line: u32) -> &str {
        let index = usize::try_from(line).unwrap_or_default().wrapping_sub(1);
        self.lines.get(index).map_or("", String::as_str)
    }

    /// The tag of a name, made if it is not there.
    pub(super) fn tag(&mut self, name: &str, line: u32) -> &mut Tag {
        let index = match self.tags.iter().position(|tag| tag.name == name) {
            Some(index) => index,
            None => {
                self.tags.push(Tag::new(name, line));
                self.tags.len() - 1
            }
        };
        &mut self.tags[index]
    }
}

impl Tag {
    pub(super) fn new(name: &str, line: u32) -> Self {
        Self {
            name: name.to_owned(),
            line,
            enabled: true,
            mode: Mode::Unsaid,
            gateways: None,
            sources: Vec::new(),
            rules: Vec::new(),
        }
    }

    /// The clients it is for; none: all that come through the gateway.
    pub(super) fn clients(&self, options: &Options) -> Vec<IpNet> {
        let told = options.clients.iter().filter(|(name, _)| *name == self.name).map(|(_, client)| *client);
        let told: Vec<IpNet> = told.collect();
        if told.is_empty() { self.sources.clone() } else { told }
    }

    /// Takes a source; the controller adds a name behind `~~`. False if it is none.
    pub(super) fn source(&mut self, text: &str) -> bool {
        let network = text.split("~~").next().unwrap_or_default().trim();
        let network = network.parse().or_else(|_| network.parse::<std::net::IpAddr>().map(IpNet::from));
        match network {
            Ok(network) => self.sources.push(network.trunc()),
            Err(_) => return false,
        }
        true
    }
}

impl Mode {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "white" | "whitelist" => Some(Self::White),
            "black" | "blacklist" => Some(Self::Black),
            _ => None,
        }
    }
}

impl Rule {
    pub(super) fn new(line: u32, text: &str, [fqdn, protocol, port, action]: [&str; 4]) -> Self {
        let (action, bad_action) = match action.to_ascii_lowercase().as_str() {
            "" | "base policy" => (None, None),
            "allow" => (Some(true), None),
            "deny" => (Some(false), None),
            other => (None, Some(format!("the action {other:?} is none of Base Policy, Allow and Deny"))),
        };
        let protocol = protocol.to_ascii_lowercase();
        let (ports, bad_port) = match read_ports(port) {
            Some(ports) => (ports, None),
            None if protocol == "icmp" => (None, None),
            None => (None, Some(format!("the port {port:?} is none"))),
        };
        let bad = bad_action.or(bad_port);
        Self { line, text: text.to_owned(), fqdn: fqdn.trim().to_owned(), protocol, ports, action, bad }
    }

    pub(super) fn allows(&self, mode: Mode) -> bool {
        self.action.unwrap_or(mode != Mode::Black)
    }
}

/// `443`, `8000:8100`, `8000-8100`, `all`.
fn read_ports(text: &str) -> Option<Option<(u16, u16)>> {
    if text.eq_ignore_ascii_case("all") {
        return Some(None);
    }
    let (first, last) = text.split_once([':', '-']).unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (0 < first && first <= last).then_some(Some((first, last)))
}
