//! A policy in the making, and the one writer of policy files: what it writes is read back as the same rules.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use ipnet::IpNet;

use crate::policy::pattern::Pattern;
use crate::policy::terms::{Mode, Protocol};
use crate::policy::who::{Named, Who};
use crate::yaml;

/// Lists longer than this go one item a line.
const WIDTH_MAX: usize = 100;
/// Comments stand behind rules in one column, unless a rule is longer than this.
const COLUMN_MAX: usize = 60;
/// The longest name of a profile.
const NAME_MAX: usize = 63;

/// A policy file: comments, profiles, comments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    pub head: Vec<String>,
    pub profiles: Vec<Profile>,
    pub foot: Vec<String>,
}

/// A profile as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub name: String,
    pub comments: Vec<String>,
    /// `None`: every client.
    pub clients: Option<Vec<Who>>,
    pub mode: Mode,
    /// Written as a comment: nobody has said yet whom it is for.
    pub offered: bool,
    pub allow: Vec<Entry>,
    pub deny: Vec<Entry>,
}

/// A line of `allow` or `deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Rule {
        rule: Rule,
        comment: Option<String>,
    },
    Comment(String),
    /// A rule that somebody may want, with why it is none yet.
    Offer {
        rule: Rule,
        comment: String,
    },
}

/// A rule with what it says; what it leaves out has the policy language's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub on: On,
    /// Empty: the default ones.
    pub ports: Vec<(u16, u16)>,
    pub protocol: Option<Protocol>,
    /// The special addresses that the name may lead to.
    pub private: Vec<IpNet>,
    pub methods: Vec<String>,
    pub public_suffix: bool,
    pub reason: Option<String>,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    Name(Pattern),
    Network(IpNet),
}

impl Rule {
    /// A rule with the defaults of everything.
    pub fn new(on: On) -> Self {
        Self {
            on,
            ports: Vec::new(),
            protocol: None,
            private: Vec::new(),
            methods: Vec::new(),
            public_suffix: false,
            reason: None,
        }
    }

    fn is_plain(&self) -> bool {
        *self == Self::new(self.on.clone()) && matches!(self.on, On::Name(_))
    }
}

/// The policy file.
impl fmt::Display for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head.iter().try_for_each(|line| comment(f, "", line))?;
        f.write_str("version: 1\n")?;
        match self.profiles.iter().any(|profile| !profile.offered) {
            false => f.write_str("profiles: []\n")?,
            true => f.write_str("profiles:\n")?,
        }
        for profile in &self.profiles {
            match profile.offered {
                true => profile.to_string().lines().try_for_each(|line| writeln!(f, "# {line}"))?,
                false => profile.fmt(f)?,
            }
        }
        self.foot.iter().try_for_each(|line| comment(f, "", line))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.comments.iter().try_for_each(|line| comment(f, "  ", line))?;
        writeln!(f, "  - name: {}", yaml::scalar(&self.name))?;
        if let Some(clients) = &self.clients {
            list(f, "clients", &clients.iter().map(client).collect::<Vec<_>>())?;
        }
        if self.mode == Mode::Report {
            f.write_str("    mode: report\n")?;
        }
        entries(f, "allow", &self.allow)?;
        entries(f, "deny", &self.deny)
    }
}

/// As an entry of a list in YAML, without its dash.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, target) = match &self.on {
            On::Name(pattern) => ("host", yaml::scalar(&pattern.to_string())),
            On::Network(network) => ("cidr", yaml::scalar(&bare(network))),
        };
        if self.is_plain() {
            return f.write_str(&target);
        }
        write!(f, "{{ {key}: {target}")?;
        if !self.ports.is_empty() {
            let ports = self.ports.iter().map(|&(first, last)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            });
            write!(f, ", ports: [{}]", joined(ports))?;
        }
        match self.protocol {
            Some(Protocol::Tls) => f.write_str(", protocol: tls")?,
            Some(Protocol::Http) => f.write_str(", protocol: http")?,
            Some(Protocol::Tcp) => f.write_str(", protocol: tcp")?,
            None => {}
        }
        if !self.private.is_empty() {
            write!(
                f,
                ", private: [{}]",
                joined(self.private.iter().map(|network| yaml::scalar(&bare(network))))
            )?;
        }
        if !self.methods.is_empty() {
            write!(f, ", methods: [{}]", joined(self.methods.iter().map(|method| yaml::scalar(method))))?;
        }
        if self.public_suffix {
            f.write_str(", public_suffix: true")?;
        }
        if let Some(reason) = &self.reason {
            write!(f, ", reason: {}", yaml::scalar(reason))?;
        }
        f.write_str(" }")
    }
}

/// The name as a profile may be called, and as none is called yet.
pub fn unused(name: &str, taken: &mut BTreeSet<String>) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    let plain = plain.trim_start_matches(['-', '_', '.']);
    let plain =
        if plain.is_empty() { "profile" } else { &plain[..plain.len().min(NAME_MAX - "-new-999999".len())] };
    let numbered = (2..).map(|number| format!("{plain}-new-{number}"));
    let free = [plain.to_owned(), format!("{plain}-new")].into_iter().chain(numbered);
    let free = free.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

/// A network, or the address of one that has no more.
pub fn bare(network: &IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
    }
}

/// A client, as an item of a list.
fn client(who: &Who) -> String {
    let Named { user, group, certificate, from } = match who {
        Who::Network(network) => return yaml::scalar(&bare(network)),
        Who::Named(named) => &**named,
        // Nothing that is written down is for one flow alone.
        Who::Leave(_) => return yaml::scalar(&who.to_string()),
    };
    let names = [
        ("user", user.as_ref().map(ToString::to_string)),
        ("group", group.as_ref().map(ToString::to_string)),
        ("cert", certificate.as_ref().map(ToString::to_string)),
    ];
    let names: Vec<_> = names.into_iter().filter_map(|(key, name)| name.map(|name| (key, name))).collect();
    if let ([(key, name)], []) = (&names[..], &from[..]) {
        return yaml::scalar(&format!("{key}:{name}"));
    }
    let mut parts: Vec<_> =
        names.iter().map(|(key, name)| format!("{key}: {}", yaml::scalar(name))).collect();
    if !from.is_empty() {
        parts.push(format!("from: [{}]", joined(from.iter().map(|network| yaml::scalar(&bare(network))))));
    }
    format!("{{ {} }}", parts.join(", "))
}

/// A list within one line, or with a line for each item.
fn list(f: &mut fmt::Formatter<'_>, key: &str, items: &[String]) -> fmt::Result {
    let line = format!("    {key}: [{}]\n", joined(items.iter().cloned()));
    if line.len() <= WIDTH_MAX {
        return f.write_str(&line);
    }
    writeln!(f, "    {key}:")?;
    items.iter().try_for_each(|item| writeln!(f, "      - {item}"))
}

fn entries(f: &mut fmt::Formatter<'_>, key: &str, entries: &[Entry]) -> fmt::Result {
    if entries.is_empty() {
        return Ok(());
    }
    // A list of comments alone would be no list.
    let has_rule = entries.iter().any(|entry| matches!(entry, Entry::Rule { .. }));
    match has_rule {
        true => writeln!(f, "    {key}:")?,
        false => writeln!(f, "    # {key}:")?,
    }
    let (texts, comments): (Vec<String>, Vec<Option<&str>>) = entries
        .iter()
        .map(|entry| match entry {
            Entry::Rule { rule, comment } => (format!("- {rule}"), comment.as_deref()),
            Entry::Offer { rule, comment } => (format!("# - {rule}"), Some(comment.as_str())),
            Entry::Comment(text) => (String::new(), Some(text.as_str())),
        })
        .unzip();
    let widths = texts.iter().map(String::len).filter(|width| *width <= COLUMN_MAX);
    let column = widths.max().unwrap_or_default();
    for (text, behind) in texts.iter().zip(comments) {
        match behind {
            Some(line) if text.is_empty() => comment(f, "      ", line)?,
            Some(line) => comment(f, &format!("      {text:<column$}   "), line)?,
            None => writeln!(f, "      {text}")?,
        }
    }
    Ok(())
}

/// A comment of one line, whatever the text has in it: nothing that steers a terminal, or ends the line for some
/// reader of YAML.
fn comment(f: &mut fmt::Formatter<'_>, before: &str, text: &str) -> fmt::Result {
    if text.is_empty() {
        return writeln!(f, "{before}#");
    }
    write!(f, "{before}# ")?;
    for c in text.chars() {
        match yaml::is_hidden(c) {
            true => write!(f, "{}", c.escape_unicode())?,
            false => f.write_char(c)?,
        }
    }
    f.write_char('\n')
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}
