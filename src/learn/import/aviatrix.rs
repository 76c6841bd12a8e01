//! Aviatrix' FQDN egress tags: Terraform (HCL, JSON, state), answers of the controller's API, and CSV.
//!
//! A tag is a white list or a black list. The base policy of a white list is to allow what it names; a rule may say
//! `Deny` instead, and the other way round in a black list. Such an exception wins over the wildcards beside it.

mod csv;
mod hcl;
mod tag;
mod tree;

use std::collections::BTreeSet;
use std::path::Path;

use ipnet::IpNet;

use self::tag::{Found, Mode, Rule, Tag};
use crate::learn::draft::{Draft, Profile, unused};
use crate::learn::import::emit::{cells, shown};
use crate::learn::import::places::{Place, Places};
use crate::learn::import::region::{Area, Line, Region, allowed};
use crate::learn::import::sets::{Clients, Methods, Ports, Wires};
use crate::learn::import::{Imported, Remarks};
use crate::mistake::{Mistake, Place as At};
use crate::policy::who::Who;

/// What the file does not say.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The clients of tags, where the file does not have them.
    pub clients: Vec<(String, IpNet)>,
    /// Whether rules without a tag, as in CSV, are a black list.
    pub black: bool,
}

/// What becomes of one rule.
enum Meaning {
    Region(Region),
    /// It has no effect on anything that passes exeat; why, and what to do.
    Nothing(&'static str, &'static str),
    /// Nobody here knows what it means, and why.
    Unread(String),
}

/// Translates an export.
pub fn import(file: &Path, text: &str, options: &Options) -> Result<Imported, Vec<Mistake>> {
    let found = read(file, text, options)?;
    let place = || At { file: file.into(), line: 1, column: 1 };
    let mut remarks = Remarks::new(file);
    for (line, text, why) in &found.unread {
        remarks.lost(*line, text, why.clone(), "");
    }
    let tags: Vec<&Tag> = found.tags.iter().filter(|tag| is_in_force(tag, options, &mut remarks)).collect();
    if found.tags.is_empty() {
        let hint = "give the export of a tag: Terraform, JSON, or CSV with fqdn,proto,port,action";
        return Err(vec![Mistake::error(place(), "it has no FQDN tag").hint(hint)]);
    }
    if let Some((name, _)) =
        options.clients.iter().find(|(name, _)| found.tags.iter().all(|tag| tag.name != *name))
    {
        // Without its clients a tag may be for everybody.
        let what = format!("--client {name}=… is for a tag that the file does not have");
        let names: Vec<&str> = found.tags.iter().map(|tag| tag.name.as_str()).collect();
        return Err(vec![Mistake::error(place(), what).hint(format!("its tags are {}", names.join(", ")))]);
    }
    let black = tags.iter().any(|tag| tag.mode == Mode::Black);
    if black && tags.iter().any(|tag| tag.mode == Mode::White) {
        let hint = "Aviatrix wants one mode for all tags of a gateway; import them one by one";
        return Err(vec![Mistake::error(place(), "it has white lists and black lists").hint(hint)]);
    }
    let lines = lines(&tags, options, &mut remarks);
    let too_much = || vec![Mistake::error(place(), "its rules split into too many cases")];
    let region = allowed(&lines, false).ok_or_else(too_much)?;
    tell_unseen(&region, &lines, &found, &mut remarks);
    let cells = cells(&region).ok_or_else(too_much)?;
    let names: Vec<&str> = tags.iter().map(|tag| tag.name.as_str()).collect();
    let mut profiles = Vec::new();
    let mut taken = BTreeSet::new();
    for cell in cells {
        for (line, place) in &cell.wider {
            let why = format!(
                "{} is denied here also where another tag allows some of it: a deny wins",
                shown(place)
            );
            let advice = "name what is to be allowed apart from what is denied";
            remarks.lost(*line, found.text(*line), why, advice);
        }
        let clients = cell.clients.map(|networks| networks.into_iter().map(Who::Network).collect());
        let name = unused(&names.join("-and-"), &mut taken);
        profiles.push(Profile { name, clients, allow: cell.allow, deny: cell.deny, ..Profile::default() });
    }
    if profiles.is_empty() {
        profiles.push(Profile { name: "nobody".to_owned(), ..Profile::default() });
    }
    let head =
        vec![format!("Imported from Aviatrix' FQDN tags in {}: {}.", file.display(), names.join(", "))];
    Ok(Imported { draft: Draft { head, profiles, foot: Vec::new() }, remarks: remarks.all })
}

/// Tells which lines allow less than they did: what is neither TLS nor HTTP passes where nobody looks, and so does all else.
fn tell_unseen(region: &Region, lines: &[Line], found: &Found, remarks: &mut Remarks) {
    let partly: Vec<&Area> =
        region.0.iter().filter(|area| area.wires.other && area.wires != Wires::all()).collect();
    let allows_it = |own: &Area| own.wires.other && partly.iter().any(|area| own.and(area).is_some());
    for line in lines.iter().filter(|line| line.allow && line.region.0.iter().any(allows_it)) {
        remarks.lost(
            line.number,
            found.text(line.number),
            "another line denies TLS or HTTP there: what is neither can't be told from them without a look, and is denied too",
            "leave the port of the other line out",
        );
    }
}

fn read(file: &Path, text: &str, options: &Options) -> Result<Found, Vec<Mistake>> {
    let own_name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut found = match text.trim_start().chars().next() {
        Some('{' | '[') => tree::read(file, text, &own_name)?,
        _ if text.contains("resource ") => hcl::read(file, text)?,
        _ => csv::read(file, text, &own_name)?,
    };
    found.lines = text.lines().map(str::to_owned).collect();
    for tag in found.tags.iter_mut().filter(|tag| tag.mode == Mode::Unsaid) {
        tag.mode = if options.black { Mode::Black } else { Mode::White };
    }
    Ok(found)
}

/// Whether a tag does something in Aviatrix, or is told to.
fn is_in_force(tag: &Tag, options: &Options, remarks: &mut Remarks) -> bool {
    if !tag.enabled {
        remarks.changed(
            tag.line,
            &tag.name,
            "the tag is disabled: it is left out",
            "enable it, and import again",
        );
        return false;
    }
    if tag.gateways == Some(0) && !options.clients.iter().any(|(name, _)| *name == tag.name) {
        let advice = format!("say whose it is: --client {}=10.0.1.0/24, and import again", tag.name);
        remarks.lost(
            tag.line,
            &tag.name,
            "the tag is attached to no gateway, so it was in force for nobody",
            &advice,
        );
        return false;
    }
    true
}

/// The tags as a list in which the first line that holds decides.
fn lines(tags: &[&Tag], options: &Options, remarks: &mut Remarks) -> Vec<Line> {
    let mut lines = Vec::new();
    // What a tag for some clients says comes before what one for all says.
    let mut order = tags.to_vec();
    order.sort_by_key(|tag| tag.clients(options, true).is_none());
    for tag in order {
        // The exceptions first.
        for exceptions in [true, false] {
            for rule in &tag.rules {
                let allow = rule.allows(tag.mode);
                if (allow == (tag.mode == Mode::Black)) == exceptions {
                    lines.extend(line(tag, rule, allow, options, remarks));
                }
            }
        }
    }
    if tags.iter().any(|tag| tag.mode == Mode::Black) {
        lines.push(Line { number: 0, allow: true, region: looked_at(&Places::all(), true) });
    }
    lines
}

fn line(tag: &Tag, rule: &Rule, allow: bool, options: &Options, remarks: &mut Remarks) -> Option<Line> {
    let clients = tag.clients(options, allow).map_or_else(Clients::all, |own| Clients::new(&own));
    let Region(areas) = match meaning(rule, allow) {
        Meaning::Region(region) => region,
        Meaning::Nothing(why, advice) => {
            remarks.lost(rule.line, &rule.text, why, advice);
            return None;
        }
        Meaning::Unread(why) if allow => {
            remarks.lost(rule.line, &rule.text, why, "");
            return None;
        }
        // Nobody knows what it denies, so it denies everything: of a name that can be read, what has that name.
        Meaning::Unread(why) => {
            let why = format!("{why}; the line denies all that it might mean");
            remarks.lost(rule.line, &rule.text, why, "write by hand what it denies, and leave the line out");
            let places = Place::parse(&rule.fqdn).map_or_else(Places::all, |place| Places::new(vec![place]));
            one(Area { places, ..Area::all() })
        }
    };
    let areas = areas.into_iter().map(|area| Area { clients: clients.clone(), ..area });
    Some(Line { number: rule.line, allow, region: Region(areas.collect()) })
}

fn one(area: Area) -> Region {
    Region(vec![area])
}

/// TLS on 443 and HTTP on 80: where Aviatrix looks at names itself. What is denied is denied on these ports whichever of
/// the two is inside.
fn looked_at(places: &Places, allow: bool) -> Region {
    let looks = [(443, Wires::tls()), (80, Wires::http(Methods::all()))].map(|(port, wires)| Area {
        places: places.clone(),
        ports: Ports::new(vec![(port, port)]),
        wires: if allow { wires } else { Wires::readable() },
        ..Area::all()
    });
    Region(looks.into())
}

fn meaning(rule: &Rule, allow: bool) -> Meaning {
    if let Some(why) = &rule.bad {
        return Meaning::Unread(why.clone());
    }
    let Some(place) = Place::parse(&rule.fqdn) else {
        return Meaning::Unread("it is no name, nor one with `*.` before it".to_owned());
    };
    let is_wildcard = matches!(place, Place::Any | Place::Below(_));
    let places = Places::new(vec![place]);
    match (rule.protocol.as_str(), &rule.ports) {
        ("udp", _) => {
            Meaning::Nothing("exeat passes no UDP", "use DNS by the DNS door, and TLS instead of QUIC")
        }
        ("icmp", _) => Meaning::Nothing("exeat passes no ICMP", ""),
        // What Aviatrix looks into is TLS on 443 and HTTP on 80; all else it knows by the addresses of a name alone.
        ("all", None) if is_wildcard => Meaning::Region(looked_at(&places, allow)),
        ("all" | "tcp", None) => Meaning::Region(one(Area { places, ..Area::all() })),
        ("tcp", Some((443, 443))) => Meaning::Region(one(Area {
            places,
            ports: Ports::new(vec![(443, 443)]),
            wires: Wires::tls(),
            ..Area::all()
        })),
        ("tcp", Some((80, 80))) => Meaning::Region(one(Area {
            places,
            ports: Ports::new(vec![(80, 80)]),
            wires: Wires::http(Methods::all()),
            ..Area::all()
        })),
        ("tcp", Some(_)) if is_wildcard => Meaning::Nothing(
            "a wildcard means something on ports 80 and 443 alone: elsewhere Aviatrix looks names up, and there is none",
            "name the hosts",
        ),
        ("tcp", Some(ports)) => {
            Meaning::Region(one(Area { places, ports: Ports::new(vec![*ports]), ..Area::all() }))
        }
        ("all", Some(_)) => {
            Meaning::Unread("the protocol \"all\" has ports, and not the port \"all\"".to_owned())
        }
        (other, _) => Meaning::Unread(format!("the protocol {other:?} is none of tcp, udp, icmp and all")),
    }
}
