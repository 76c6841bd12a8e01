//! `fqdn,proto,port,action`, one rule a line; the action may be left out.

use std::path::Path;

use crate::learn::import::aviatrix::tag::{Found, Rule};
use crate::mistake::{Mistake, Place};

pub(super) fn read(file: &Path, text: &str, name: &str) -> Result<Found, Vec<Mistake>> {
    let mut found = Found::default();
    let mut mistakes = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let written = line.split('#').next().unwrap_or_default().trim();
        let fields: Vec<&str> = written.split(',').map(|field| field.trim().trim_matches('"')).collect();
        match fields[..] {
            [""] => {}
            ["fqdn" | "FQDN", ..] if found.tags.is_empty() => {}
            [fqdn, protocol, port] => push(&mut found, name, number, line, [fqdn, protocol, port, ""]),
            [fqdn, protocol, port, action] => {
                push(&mut found, name, number, line, [fqdn, protocol, port, action]);
            }
            _ => {
                let place = Place { file: file.into(), line: number, column: 1 };
                let what = format!("the line has {} fields", fields.len());
                mistakes.push(
                    Mistake::error(place, what).hint("write fqdn,proto,port or fqdn,proto,port,action"),
                );
            }
        }
    }
    if mistakes.is_empty() { Ok(found) } else { Err(mistakes) }
}

fn push(found: &mut Found, name: &str, line: u32, text: &str, fields: [&str; 4]) {
    found.tag(name, line).rules.push(Rule::new(line, text, fields));
}
