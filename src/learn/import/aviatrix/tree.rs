//! Exports in JSON: Terraform's configuration and state, and the answers of the controller's API. JSON is YAML, so its
//! values know their lines.

use std::path::Path;

use crate::learn::import::aviatrix::tag::{Found, Mode, Rule};
use crate::mistake::Mistake;
use crate::yaml::{Node, Reader, Value};

pub(super) fn read(file: &Path, text: &str, name: &str) -> Result<Found, Vec<Mistake>> {
    let mut reader = Reader::new(file.into());
    let root = reader.parse(text);
    let mistakes = reader.finish();
    let (Some(root), true) = (root, mistakes.is_empty()) else { return Err(mistakes) };
    let mut found = Found::default();
    walk(&root, name, &mut found);
    Ok(found)
}

/// Finds tags and rules wherever they stand: each of the shapes wraps them in its own way.
pub(super) fn walk(node: &Node, name: &str, found: &mut Found) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| walk(item, name, found)),
        Value::Map(entries) => {
            // A plan repeats what will be as it was, and as a change of that.
            if let Some(planned) = node.get("planned_values") {
                return walk(planned, name, found);
            }
            if let Some(tag) = node.get("fqdn_tag") {
                let own = found.tag(&tag.text, node.at.line);
                // What Terraform is not told: it leaves a tag disabled, and attaches it to no gateway.
                (own.enabled, own.gateways) = (false, Some(0));
                return tagged(node, &tag.text, found);
            }
            if let Some(tag) = node.get("tag_name") {
                return tagged(node, &tag.text, found);
            }
            if node.get("fqdn").is_some() {
                let name = node.get("fqdn_tag_name").map_or(name, |tag| &tag.text);
                return rule(node, name, found);
            }
            for (key, value) in entries {
                // The list of tags has their modes under their names.
                if let Some(mode) = value.get("wbmode") {
                    let tag = found.tag(&key.name, key.at.line);
                    tag.mode = Mode::parse(&mode.text).unwrap_or(Mode::Unsaid);
                    tag.enabled = value.get("state").is_none_or(|state| &*state.text == "enabled");
                }
                walk(value, name, found);
            }
        }
        _ => {}
    }
}

fn tagged(node: &Node, name: &str, found: &mut Found) {
    let line = node.at.line;
    let Value::Map(entries) = &node.value else { return };
    found.tag(name, line);
    for (key, value) in entries {
        match &*key.name {
            "fqdn_tag" | "tag_name" | "id" | "manage_domain_names" => {}
            "fqdn_enabled" => found.tag(name, line).enabled = value.value == Value::Bool(true),
            "status" | "state" => found.tag(name, line).enabled = &*value.text == "enabled",
            "fqdn_mode" | "color" | "wbmode" => match Mode::parse(&value.text) {
                Some(mode) => found.tag(name, line).mode = mode,
                None => unread(found, key.at.line, &key.name, "it is neither white nor black"),
            },
            "domain_names" => walk(value, name, found),
            "gw_filter_tag_list" | "gw_name" => gateways(value, name, line, found),
            other => unread(found, key.at.line, other, "exeat does not know the key"),
        }
    }
}

/// The gateways, each with the clients behind it that are meant; one without means all of its clients.
fn gateways(node: &Node, name: &str, line: u32, found: &mut Found) {
    let mut sources = Vec::new();
    let mut all = false;
    let gateways = node.items();
    for gateway in gateways {
        let own: Vec<&Node> = gateway.get("source_ip_list").map(Node::items).into_iter().flatten().collect();
        all |= own.is_empty();
        sources.extend(own);
    }
    found.tag(name, line).gateways = Some(gateways.len());
    for source in sources.into_iter().filter(|_| !all) {
        if !found.tag(name, line).source(&source.text) {
            unread(found, source.at.line, &source.text, "it is no address");
        }
    }
}

fn rule(node: &Node, name: &str, found: &mut Found) {
    let text = |keys: &[&str]| keys.iter().find_map(|key| node.get(key)).map_or("", |node| &*node.text);
    let fields =
        [text(&["fqdn"]), text(&["proto", "protocol"]), text(&["port"]), text(&["action", "verdict"])];
    let shown = fields.join(",");
    found.tag(name, node.at.line).rules.push(Rule::new(node.at.line, &shown, fields));
}

fn unread(found: &mut Found, line: u32, text: &str, why: &str) {
    found.unread.push((line, text.to_owned(), why.to_owned()));
}
