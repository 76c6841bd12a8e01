//! Smokescreen's ACL, v1: roles with the domains that each may reach, and lists for all of them.
//!
//! Smokescreen asks in this order: the role's `allowed_domains`, `global_deny_list`, `global_allow_list`, the role's
//! `action`. So what a role allows beats what is denied for all, where in exeat a deny wins.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use crate::learn::draft::{Draft, Profile, unused};
use crate::learn::import::emit::{Cell, cells, shown};
use crate::learn::import::places::{Place, Places};
use crate::learn::import::region::{Area, Line, Region, allowed};
use crate::learn::import::sets::{Clients, Ports, Wires};
use crate::learn::import::{Imported, Remarks};
use crate::mistake::{Mistake, Place as At};
use crate::policy::terms::Mode;
use crate::policy::who::Who;
use crate::yaml::{Node, Reader, Value, quoted};

/// The name under which clients can be given to `default`.
const DEFAULT: &str = "default";

/// What the file does not say.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The clients of each role, which Smokescreen tells by their certificates.
    pub clients: Vec<(String, Who)>,
    /// The ports that are allowed; empty: 443 and 80.
    pub ports: Vec<(u16, u16)>,
}

impl Options {
    /// The clients of a role; none where nobody has said. The default is for all others, once all others are known by
    /// their addresses: whoever is not known by a certificate can't be named.
    fn clients_of(&self, role: &Role<'_>, all_known: bool) -> Vec<Who> {
        let own =
            self.clients.iter().filter(|(name, _)| *name == role.name).map(|(_, client)| client.clone());
        let own: Vec<Who> = own.collect();
        let networks = self.clients.iter().map(|(_, client)| match client {
            Who::Network(network) => Some(*network),
            Who::Named(_) | Who::Leave(_) => None,
        });
        let networks: Option<Vec<IpNet>> = networks.collect();
        match networks.filter(|_| own.is_empty() && role.name == DEFAULT && all_known) {
            Some(others) => {
                let rest = Clients::all().without(&Clients::new(&others));
                rest.networks().iter().copied().map(Who::Network).collect()
            }
            None => own,
        }
    }
}

/// A service or the default.
struct Role<'n> {
    name: String,
    node: &'n Node,
    action: Action,
    domains: Vec<(Place, u32)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Open,
    Report,
    Enforce,
}

/// The domains for all roles.
struct Lists {
    deny: Vec<(Place, u32)>,
    allow: Vec<(Place, u32)>,
}

/// Translates an ACL.
pub fn import(file: &Path, text: &str, options: &Options) -> Result<Imported, Vec<Mistake>> {
    let mut reader = Reader::new(file.into());
    let root = reader.parse(text);
    let mistakes = reader.finish();
    let (Some(root), true) = (root, mistakes.is_empty()) else { return Err(mistakes) };
    if root.get("version").is_none_or(|version| &*version.text != "v1") {
        let place = At { file: file.into(), line: root.at.line, column: root.at.column };
        return Err(vec![Mistake::error(place, "it is no ACL of Smokescreen: there is no `version: v1`")]);
    }
    let mut source =
        Source { lines: text.lines().collect(), remarks: Remarks::new(file), mistakes: Vec::new() };
    source.unknown(&root, &["version", "services", DEFAULT, "global_deny_list", "global_allow_list"]);
    let lists = Lists {
        deny: source.domains(&root, "global_deny_list"),
        allow: source.domains(&root, "global_allow_list"),
    };
    let services = source.list(&root, "services").iter();
    let services = services.filter_map(|node| source.role(node, None)).collect::<Vec<_>>();
    let default = root.get(DEFAULT).and_then(|node| source.role(node, Some(DEFAULT)));
    if !source.mistakes.is_empty() {
        return Err(source.mistakes);
    }
    let mut taken = BTreeSet::new();
    let mut profiles = Vec::new();
    let is_known = |role: &Role<'_>| options.clients.iter().any(|(name, _)| *name == role.name);
    let all_known = services.iter().all(is_known);
    for role in services.iter().chain(&default) {
        let clients = options.clients_of(role, all_known);
        let mut profile = source.profile(role, &lists, options);
        profile.name = unused(&role.name, &mut taken);
        // An empty list is refused by `check`, should somebody take the comment for a profile.
        profile.offered = clients.is_empty();
        if clients.is_empty() {
            let (role_name, by) = (&role.name, "and import again");
            let advice = match &*role.name {
                DEFAULT => format!("say who it is: --client {DEFAULT}=10.0.1.0/24, {by}"),
                _ => format!(
                    "say who it is: --client {role_name}=cert:{role_name}, or {role_name}=10.0.1.0/24, {by}"
                ),
            };
            let why = "Smokescreen knows the role by a certificate, and a profile without clients would be for everybody: \
                       it is written as a comment";
            source.lost(role.node.at.line, why, &advice);
        }
        profile.clients = Some(clients);
        profiles.push(profile);
    }
    source.unmatched(&services, default.as_ref(), options);
    let head = vec![
        format!("Imported from Smokescreen's ACL {}.", file.display()),
        "Smokescreen lets anything through to an allowed name, on any port. Here the server name of TLS, or the".to_owned(),
        "host of each request, has to be that name, and only the ports below are open.".to_owned(),
    ];
    let draft = Draft { head, profiles, foot: Vec::new() };
    Ok(Imported { draft, remarks: source.remarks.all })
}

struct Source<'t> {
    lines: Vec<&'t str>,
    remarks: Remarks,
    mistakes: Vec<Mistake>,
}

impl Source<'_> {
    fn text(&self, line: u32) -> String {
        let index = usize::try_from(line).unwrap_or_default().saturating_sub(1);
        self.lines.get(index).copied().unwrap_or_default().to_owned()
    }

    fn lost(&mut self, line: u32, why: &str, advice: &str) {
        let text = self.text(line);
        self.remarks.lost(line, &text, why, advice);
    }

    fn changed(&mut self, line: u32, why: &str, advice: &str) {
        let text = self.text(line);
        self.remarks.changed(line, &text, why, advice);
    }

    /// Tells the keys of a map that mean nothing here.
    fn unknown(&mut self, node: &Node, known: &[&str]) {
        let Value::Map(entries) = &node.value else { return };
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&&*key.name)) {
            self.lost(key.at.line, &format!("exeat does not know the key {}", quoted(&key.name)), "");
        }
    }

    fn role<'n>(&mut self, node: &'n Node, name: Option<&str>) -> Option<Role<'n>> {
        let line = node.at.line;
        let Some(name) = name.map(str::to_owned).or_else(|| Some(node.get("name")?.text.to_string())) else {
            self.lost(line, "the role has no name", "give it one");
            return None;
        };
        self.unknown(
            node,
            &["name", "project", "action", "allowed_domains", "mitm_domains", "allowed_external_proxies"],
        );
        for (key, why) in [
            ("mitm_domains", "exeat never decrypts, so it adds no headers and logs none"),
            ("allowed_external_proxies", "a client can't choose a further proxy through exeat"),
        ] {
            if let Some(node) = node.get(key).filter(|node| !node.items().is_empty()) {
                self.lost(node.at.line, &format!("`{key}`: {why}"), "");
            }
        }
        let action = match node.get("action").map(|action| &*action.text) {
            Some("open") => Action::Open,
            Some("report") => Action::Report,
            Some("enforce") => Action::Enforce,
            other => {
                let why = format!(
                    "the action {} is none of open, report and enforce: it is taken as enforce",
                    quoted(other.unwrap_or_default())
                );
                self.lost(line, &why, "");
                Action::Enforce
            }
        };
        Some(Role { name, node, action, domains: self.domains(node, "allowed_domains") })
    }

    fn domains(&mut self, node: &Node, key: &str) -> Vec<(Place, u32)> {
        let mut places = Vec::new();
        for item in self.list(node, key) {
            match Place::parse(&item.text).filter(|place| *place != Place::Any) {
                Some(place) => places.push((place, item.at.line)),
                None => {
                    let what = format!("{} names no domain", quoted(&item.text));
                    self.mistake(item, &what, "write a name, or `*.` and a name");
                }
            }
        }
        places
    }

    fn list<'n>(&mut self, node: &'n Node, key: &str) -> &'n [Node] {
        let Some(list) = node.get(key) else { return &[] };
        if !matches!(list.value, Value::List(_) | Value::Null) {
            self.mistake(
                list,
                &format!("`{key}` is no list"),
                "write each behind a dash, in a line of its own",
            );
        }
        list.items()
    }

    fn mistake(&mut self, node: &Node, what: &str, hint: &str) {
        let place = At { file: Arc::clone(&self.remarks.file), line: node.at.line, column: node.at.column };
        let what = format!("{what}: Smokescreen refuses the file too");
        self.mistakes.push(Mistake::error(place, what).hint(hint));
    }

    fn profile(&mut self, role: &Role<'_>, lists: &Lists, options: &Options) -> Profile {
        for (place, line) in &role.domains {
            if let Some((_, deny)) = lists.deny.iter().find(|(deny, _)| deny.covers(place)) {
                let why = format!(
                    "line {deny} denies it for all, but Smokescreen asks the role first: this profile does not deny it"
                );
                self.changed(*line, &why, "if that is not meant, remove it from the role");
            }
        }
        let line = |allow, number, places: &[(Place, u32)]| {
            let places = Places::new(places.iter().map(|(place, _)| place.clone()).collect());
            let ports = match options.ports.is_empty() {
                true => Ports::new(vec![(80, 80), (443, 443)]),
                false => Ports::new(options.ports.clone()),
            };
            let area = Area { clients: Clients::all(), places, ports, wires: Wires::readable() };
            Line { number, allow, region: Region(vec![area]) }
        };
        let mut lines = vec![line(true, role.node.at.line, &role.domains)];
        lines.push(line(false, 0, &lists.deny));
        lines.push(line(true, 0, &lists.allow));
        let everything = line(true, role.node.at.line, &[(Place::Any, 0)]);
        let with_all: Vec<Line> = lines.iter().cloned().chain([everything]).collect();
        let of = |lines: &[Line]| -> Option<Cell> { cells(&allowed(lines, false)?)?.pop() };
        let (own, all) = (of(&lines), of(&with_all));
        let mut profile = Profile { comments: project(role.node), ..Profile::default() };
        // In report mode what no rule decides passes by itself, but the deny rules are needed.
        let (allow, deny) = match role.action {
            Action::Open => (all.as_ref(), all.as_ref()),
            Action::Report => (own.as_ref(), all.as_ref()),
            Action::Enforce => (own.as_ref(), own.as_ref()),
        };
        if let Some(cell) = allow {
            profile.allow.clone_from(&cell.allow);
        }
        if let Some(cell) = deny {
            profile.deny.clone_from(&cell.deny);
            for (_, taken) in &cell.wider {
                let line = lists.deny.iter().find(|(place, _)| place == taken).map_or(1, |(_, line)| *line);
                let why = format!(
                    "the role {} may reach some of what {} takes in, but a deny wins over every allow here",
                    quoted(&role.name),
                    shown(taken)
                );
                self.lost(line, &why, "replace it by narrower ones");
            }
        }
        if role.action == Action::Report {
            profile.mode = Mode::Report;
        }
        profile
    }

    /// Clients that were given to a role which is not there.
    fn unmatched(&mut self, services: &[Role<'_>], default: Option<&Role<'_>>, options: &Options) {
        let roles: Vec<&str> = services.iter().chain(default).map(|role| role.name.as_str()).collect();
        for (name, client) in &options.clients {
            if !roles.contains(&name.as_str()) {
                let why = format!("--client {name}={client} is for a role that the file does not have");
                self.remarks.lost(1, "", why, &format!("its roles are {}", roles.join(", ")));
            }
        }
    }
}

fn project(node: &Node) -> Vec<String> {
    node.get("project").map(|project| format!("project {}", project.text)).into_iter().collect()
}
