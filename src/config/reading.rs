//! From the text of `exeat.yaml` to its meaning.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::credentials;
use crate::config::values::{duration, each, number, path};
use crate::config::{Audit, Dns, Expose, Limits, Settings, Timeouts, listeners, parents};
use crate::dns::{Denied, Https};
use crate::host::Name;
use crate::mistake::Mistake;
use crate::policy::document::outgoing;
use crate::resolve::Server;
use crate::yaml::{Field, Reader};

/// The audit path that means the standard output.
const STDOUT: &str = "-";

/// Reads the whole text over the defaults; a text with an error is refused with all its mistakes.
pub(super) fn settings(defaults: Settings, path: &Path, text: &str) -> Result<Settings, Vec<Mistake>> {
    let mut settings = defaults;
    let mut reader = Reader::new(Arc::from(path));
    if let Some(root) = reader.parse(text).filter(|root| !root.is_null()) {
        read(&mut reader, Field::top("the settings", &root), &mut settings);
    }
    let mistakes = reader.finish();
    if mistakes.iter().any(Mistake::is_error) {
        return Err(mistakes);
    }
    Ok(settings)
}

fn read(reader: &mut Reader, top: Field<'_>, settings: &mut Settings) {
    let known = [
        "listen",
        "policy",
        "audit",
        "threads",
        "limits",
        "timeouts",
        "dns",
        "outgoing",
        "parents",
        "auth",
        "admin_expose",
        "admin_names",
    ];
    let Some(fields) = reader.map(top, &known) else { return };
    if let Some(field) = fields.get("listen") {
        listeners::listen(reader, field, &mut settings.listen);
    }
    if let Some(field) = fields.get("policy") {
        settings.policy = each(reader, field, path);
    }
    if let Some(field) = fields.get("audit") {
        audit(reader, field, &mut settings.audit);
    }
    if let Some(threads) = number(reader, &fields, "threads", 0..=1024) {
        settings.threads = Some(threads).filter(|threads| *threads > 0);
    }
    if let Some(field) = fields.get("limits") {
        limits(reader, field, &mut settings.limits);
    }
    if let Some(field) = fields.get("timeouts") {
        timeouts(reader, field, &mut settings.timeouts);
    }
    if let Some(field) = fields.get("dns") {
        dns(reader, field, &mut settings.dns);
    }
    if let Some(field) = fields.get("outgoing") {
        settings.outgoing = outgoing(reader, field).map(Arc::new);
    }
    if let Some(field) = fields.get("parents") {
        settings.parents = parents::read(reader, field);
    }
    if let Some(field) = fields.get("auth") {
        settings.auth = credentials::read(reader, field);
    }
    if let Some(field) = fields.get("admin_expose") {
        let words = [("metrics", Expose::Metrics), ("all", Expose::All)];
        set(&mut settings.admin_expose, reader.word(field, &words));
    }
    if let Some(field) = fields.get("admin_names") {
        settings.admin_names = each(reader, field, |reader, item| {
            reader.parsed(item, "a name without a port, like exeat.example", Name::parse)
        });
    }
}

fn audit(reader: &mut Reader, field: Field<'_>, audit: &mut Audit) {
    let Some(fields) = reader.map(field, &["path", "opened", "required"]) else { return };
    set(&mut audit.path, fields.get("path").and_then(|field| audit_path(reader, field)));
    set(&mut audit.opened, fields.get("opened").and_then(|field| reader.boolean(field)));
    set(&mut audit.required, fields.get("required").and_then(|field| reader.boolean(field)));
}

fn audit_path(reader: &mut Reader, field: Field<'_>) -> Option<PathBuf> {
    if &*field.node.text == STDOUT { Some(STDOUT.into()) } else { path(reader, field) }
}

fn limits(reader: &mut Reader, field: Field<'_>, limits: &mut Limits) {
    let known = ["flows", "flows_per_client", "connections", "connections_per_client", "head_bytes"];
    let Some(fields) = reader.map(field, &known) else { return };
    for (key, limit) in [
        ("flows", &mut limits.flows),
        ("flows_per_client", &mut limits.flows_per_client),
        ("connections", &mut limits.connections),
        ("connections_per_client", &mut limits.connections_per_client),
    ] {
        // 0 says "no limit" to people; the program says None.
        set(limit, number(reader, &fields, key, 0..=100_000_000).map(NonZeroUsize::new));
    }
    set(&mut limits.head_bytes, number(reader, &fields, "head_bytes", 8192..=1_048_576));
}

fn timeouts(reader: &mut Reader, field: Field<'_>, timeouts: &mut Timeouts) {
    let known = ["head", "dial", "keepalive", "idle", "half_closed", "drain"];
    let Some(fields) = reader.map(field, &known) else { return };
    set(&mut timeouts.head, duration(reader, &fields, "head"));
    set(&mut timeouts.dial, duration(reader, &fields, "dial"));
    set(&mut timeouts.keepalive, duration(reader, &fields, "keepalive"));
    set(&mut timeouts.idle, duration(reader, &fields, "idle"));
    set(&mut timeouts.half_closed, duration(reader, &fields, "half_closed"));
    set(&mut timeouts.drain, duration(reader, &fields, "drain"));
}

fn dns(reader: &mut Reader, field: Field<'_>, dns: &mut Dns) {
    let Some(fields) =
        reader.map(field, &["servers", "ca", "hosts", "min_ttl", "max_ttl", "denied", "https"])
    else {
        return;
    };
    if let Some(field) = fields.get("denied") {
        let words = [("nxdomain", Denied::NoSuchName), ("refused", Denied::Refused)];
        set(&mut dns.manners.denied, reader.word(field, &words));
    }
    if let Some(field) = fields.get("https") {
        let words = [("empty", Https::Empty), ("without_ech", Https::WithoutEch)];
        set(&mut dns.manners.https, reader.word(field, &words));
    }
    if let Some(field) = fields.get("servers") {
        dns.servers = servers(reader, field);
    }
    if let Some(field) = fields.get("ca") {
        dns.ca = path(reader, field);
        if dns.servers.iter().all(|server| server.certified.is_none()) {
            let error = reader.error(field.node.at, "`ca` is for servers over TLS, and none is listed");
            error.hint("dns: { servers: [\"tls://192.0.2.1#dns.example\"], ca: … }");
        }
    }
    set(&mut dns.hosts, fields.get("hosts").map(|field| path(reader, field)));
    set(&mut dns.min_ttl, duration(reader, &fields, "min_ttl"));
    set(&mut dns.max_ttl, duration(reader, &fields, "max_ttl"));
    if dns.min_ttl > dns.max_ttl {
        let place = fields.key_at("min_ttl");
        reader.error(place, "`min_ttl` is longer than `max_ttl`").hint("min_ttl <= max_ttl");
    }
}

fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

fn servers(reader: &mut Reader, field: Field<'_>) -> Vec<Server> {
    let mut known: Vec<SocketAddr> = Vec::new();
    each(reader, field, |reader, item| {
        let expected = "an address with or without a port, like 10.0.0.2 or [2001:db8::2]:53, or for DNS over TLS \
                        tls://10.0.0.2#dns.example";
        let server: Server = reader.parsed(item, expected, str::parse)?;
        if known.contains(&server.address) {
            reader.error(item.node.at, format!("`servers` has {} twice", server.address));
        }
        known.push(server.address);
        Some(server)
    })
}
