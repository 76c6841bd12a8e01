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
    /// The clients that are meant, as far as they can be read; `None`: all that come through the gateways.
    pub(super) sources: Option<Vec<IpNet>>,
    /// Whether others are meant, and nobody here knows which.
    pub(super) has_unread_sources: bool,
    pub(super) rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    White,
    Black,
    /// The file does not tell.
    Unsaid,
}

/// What becomes of what a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The base policy of its tag.
    Base,
    Allow,
    Deny,
    /// It can't be read.
    Unread,
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
    action: Action,
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
            sources: None,
            has_unread_sources: false,
            rules: Vec::new(),
        }
    }

    /// The clients it is for; `None`: all that come through the gateway. What it denies, it denies to all whom it may mean.
    pub(super) fn clients(&self, options: &Options, allow: bool) -> Option<Vec<IpNet>> {
        let told = options.clients.iter().filter(|(name, _)| *name == self.name).map(|(_, client)| *client);
        let told: Vec<IpNet> = told.collect();
        match told.is_empty() {
            false => Some(told),
            true if self.has_unread_sources && !allow => None,
            true => self.sources.clone(),
        }
    }

    /// Takes a source; the controller adds a name behind `~~`. False if it is none.
    pub(super) fn source(&mut self, text: &str) -> bool {
        let network = text.split("~~").next().unwrap_or_default().trim();
        let network = network.parse().or_else(|_| network.parse::<std::net::IpAddr>().map(IpNet::from));
        let sources = self.sources.get_or_insert_default();
        match network {
            Ok(network) => sources.push(network.trunc()),
            Err(_) => self.has_unread_sources = true,
        }
        network.is_ok()
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
            "" | "base policy" => (Action::Base, None),
            "allow" => (Action::Allow, None),
            "deny" => (Action::Deny, None),
            other => {
                (Action::Unread, Some(format!("the action {other:?} is none of Base Policy, Allow and Deny")))
            }
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
        match self.action {
            Action::Base => mode != Mode::Black,
            Action::Allow => true,
            // What can't be read may be a denial.
            Action::Deny | Action::Unread => false,
        }
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
