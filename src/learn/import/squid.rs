//! Squid's `acl` and `http_access`: a list in which the first line that holds decides.

mod acl;
mod config;
mod regex;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use self::acl::{Holds, Why};
use self::config::{Directive, Volume};
use crate::learn::draft::{Draft, Profile};
use crate::learn::import::emit::{cells, shown};
use crate::learn::import::region::{Area, Line, Region, allowed};
use crate::learn::import::sets::Wires;
use crate::learn::import::{Imported, Remark, Weight};
use crate::mistake::{Mistake, Place};
use crate::policy::who::Who;

/// Other directives that say who may do what, or send traffic elsewhere: each is told.
const RELATED: [&str; 20] = [
    "adapted_http_access",
    "always_direct",
    "auth_param",
    "authenticate_ip_shortcircuit_access",
    "cache_peer",
    "cache_peer_access",
    "external_acl_type",
    "follow_x_forwarded_for",
    "http_access2",
    "http_reply_access",
    "icap_service",
    "miss_access",
    "never_direct",
    "reply_body_max_size",
    "request_header_access",
    "ssl_bump",
    "tcp_outgoing_address",
    "url_rewrite_access",
    "url_rewrite_program",
    "store_id_program",
];
/// More values are a list, and those are better kept as one.
const VALUES_MAX: usize = 5_000;
/// What to do about an acl that is not understood.
const HINT: &str = "write by hand what it is about";

/// What does the same as a directive, where that is in the settings or about whole profiles.
fn by_hand(directive: &str) -> &'static str {
    match directive {
        "cache_peer" | "cache_peer_access" | "never_direct" | "always_direct" => {
            "write it by hand: `parents` in exeat.yaml, `parent` in profiles and rules"
        }
        "tcp_outgoing_address" => "write it by hand: `outgoing` in profiles",
        "auth_param" => "write it by hand: `auth` in exeat.yaml",
        _ => "",
    }
}

/// An acl: the lines that make it up.
#[derive(Default)]
struct Acl {
    kind: String,
    holds: Option<Holds>,
}

struct Translation {
    acls: HashMap<String, Acl>,
    lines: Vec<Line>,
    /// The directive of each line, by its number.
    directives: Vec<Directive>,
    remarks: Vec<Remark>,
    mistakes: Vec<Mistake>,
    volume: Volume,
}

/// Translates a squid.conf and what it includes.
pub fn import(file: &Path) -> Result<Imported, Vec<Mistake>> {
    let (directives, volume) = config::read(file)?;
    let mut translation = Translation {
        acls: HashMap::new(),
        lines: Vec::new(),
        directives: Vec::new(),
        remarks: Vec::new(),
        mistakes: Vec::new(),
        volume,
    };
    for directive in directives {
        match directive.words.first().map(String::as_str) {
            Some("acl") => translation.acl(&directive),
            Some("http_access") => translation.access(directive),
            Some(word) if RELATED.contains(&word) => {
                translation.remark(
                    Weight::Lost,
                    &directive,
                    "exeat has no equal to this directive",
                    by_hand(word),
                );
            }
            _ => translation.remark(Weight::Changed, &directive, "it is not about who may go where", ""),
        }
    }
    let too_much =
        || vec![Mistake::error(Place::start(file), "its http_access lines split into too many cases")];
    if !translation.mistakes.is_empty() {
        return Err(translation.mistakes);
    }
    if translation.lines.is_empty() {
        let what = "it is no configuration of Squid: there is no `http_access` with an acl";
        return Err(vec![Mistake::error(Place::start(file), what)]);
    }
    // Nothing holds: the opposite of the last line.
    let otherwise = translation.lines.last().is_some_and(|line| !line.allow);
    let universe = Region(vec![Area { wires: Wires::readable(), ..Area::all() }]);
    let region = allowed(&translation.lines, otherwise).ok_or_else(too_much)?.and(&universe);
    let cells = cells(&region).ok_or_else(too_much)?;
    let mut profiles = Vec::new();
    for (cell, number) in cells.into_iter().zip(1..) {
        for (line, taken) in &cell.wider {
            translation.wider(*line, &shown(taken));
        }
        let clients = cell.clients.map(|networks| networks.into_iter().map(Who::Network).collect());
        let name = if clients.is_none() { "everyone".to_owned() } else { format!("clients-{number}") };
        profiles.push(Profile { name, clients, allow: cell.allow, deny: cell.deny, ..Profile::default() });
    }
    if profiles.is_empty() {
        profiles.push(Profile { name: "nobody".to_owned(), ..Profile::default() });
    }
    let head = vec![
        format!("Imported from Squid's {}.", file.display()),
        "Squid lets anything through a CONNECT. Here it has to be TLS (on other ports than 443 also HTTP) for the name that".to_owned(),
        "was asked for, and private addresses need `private` in a rule.".to_owned(),
    ];
    let mut remarks = translation.remarks;
    remarks.sort_by_key(|remark| remark.weight);
    Ok(Imported { draft: Draft { head, profiles, foot: Vec::new() }, remarks })
}

impl Translation {
    fn acl(&mut self, directive: &Directive) {
        let [_, name, kind, values @ ..] = &directive.words[..] else {
            return self.mistake(directive, "an acl has a name and a type");
        };
        let mut all = Vec::new();
        for value in values {
            match value.strip_prefix('"') {
                None => all.push(value.clone()),
                Some(path) => match self.volume.items(directive, path) {
                    Ok(items) => all.extend(items),
                    Err(mistake) => self.mistakes.push(mistake),
                },
            }
        }
        if all.len() > VALUES_MAX {
            let what = format!("the acl {name} has {} values, and {VALUES_MAX} are read", all.len());
            let hint = "name its file in `allow_file` or `deny_file` of the policy, and leave the acl out";
            return self.mistakes.push(Mistake::error(place(directive), what).hint(hint));
        }
        let holds = match kind.as_str() {
            "any-of" => all
                .iter()
                .try_fold(Holds::nowhere(), |any, name| Some(any.or(self.literal(directive, name)?))),
            "all-of" => self.all_of(directive, &all),
            kind => Some(acl::of_type(kind, &all)),
        };
        let Some(holds) = holds else { return self.mistake(directive, "it has too many cases") };
        let acl = self.acls.entry(name.clone()).or_default();
        if acl.holds.is_some() && acl.kind != *kind {
            let what = format!("the acl {name} has the type {} above", acl.kind);
            return self.mistake(directive, &what);
        }
        acl.kind.clone_from(kind);
        // Further lines of an acl add to it.
        acl.holds = Some(match acl.holds.take() {
            Some(own) => own.or(holds),
            None => holds,
        });
    }

    fn all_of(&mut self, directive: &Directive, names: &[String]) -> Option<Holds> {
        names.iter().try_fold(Holds::exactly(Region::all()), |all, name| {
            let literal = self.literal(directive, name)?;
            Some(all.and(&literal))
        })
    }

    /// Where an acl, or `!` and an acl, holds; `None` if that is too much to tell.
    fn literal(&mut self, directive: &Directive, word: &str) -> Option<Holds> {
        let name = word.strip_prefix('!').unwrap_or(word);
        let own = self.acls.get(name).and_then(|acl| acl.holds.clone()).or_else(|| acl::predefined(name));
        let holds = own.unwrap_or_else(|| {
            self.mistake(directive, &format!("there is no acl {name}"));
            Holds::nowhere()
        });
        let named = |why: Why| Why { text: format!("{name}: {}", why.text), ..why };
        let holds = Holds { why: holds.why.into_iter().map(named).collect(), ..holds };
        match word.starts_with('!') {
            true => holds.not(self.number()),
            false => Some(holds),
        }
    }

    /// The number by which the next line of http_access is known.
    fn number(&self) -> u32 {
        u32::try_from(self.directives.len() + 1).unwrap_or(u32::MAX)
    }

    fn access(&mut self, directive: Directive) {
        let [_, action, names @ ..] = &directive.words[..] else {
            return self.mistake(&directive, "http_access needs allow or deny");
        };
        let allow = match action.as_str() {
            "allow" => true,
            "deny" => false,
            _ => return self.mistake(&directive, "http_access needs allow or deny"),
        };
        if names.is_empty() {
            // Squid passes over such a line; it would mean everything here.
            return self.remark(Weight::Changed, &directive, "the line has no acl, so it means nothing", "");
        }
        let names = names.to_vec();
        let Some(holds) = self.all_of(&directive, &names) else {
            return self.mistake(&directive, "it has too many cases");
        };
        let why: Vec<&str> =
            holds.why.iter().filter(|why| why.matters(allow)).map(|why| why.text.as_str()).collect();
        if !why.is_empty() {
            let effect = match allow {
                true => "the line allows only what is certain",
                false => "the line denies all that it might mean",
            };
            let why = format!("{}; {effect}", why.join("; "));
            self.remark(Weight::Lost, &directive, &why, HINT);
        }
        let number = self.number();
        self.lines.push(Line { number, allow, region: if allow { holds.surely } else { holds.maybe } });
        self.directives.push(directive);
    }

    /// Tells that a line denies more than it did.
    fn wider(&mut self, number: u32, taken: &str) {
        let index = usize::try_from(number).unwrap_or_default().wrapping_sub(1);
        let Some(directive) = self.directives.get(index).cloned() else { return };
        let why = format!(
            "{taken} is denied here also where a line above allows some of it: in exeat the order of rules means nothing, and \
             a deny wins"
        );
        self.remark(
            Weight::Lost,
            &directive,
            &why,
            "name what the lines above allow apart from what is denied",
        );
    }

    fn remark(&mut self, weight: Weight, directive: &Directive, why: &str, advice: &str) {
        let remark = Remark {
            weight,
            file: Arc::clone(&directive.file),
            line: directive.line,
            text: directive.text.clone(),
            why: why.to_owned(),
            advice: advice.to_owned(),
        };
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    fn mistake(&mut self, directive: &Directive, what: &str) {
        self.mistakes.push(Mistake::error(place(directive), what));
    }
}

fn place(directive: &Directive) -> Place {
    Place { file: Arc::clone(&directive.file), line: directive.line, column: 1 }
}
