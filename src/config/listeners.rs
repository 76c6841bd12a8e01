//! Where exeat listens, and what comes before the first request there.

use ipnet::IpNet;

use crate::config::values::{address, each, path};
use crate::config::{Listen, Listener};
use crate::network;
use crate::tls::{Clients, Files, NameFrom};
use crate::yaml::{Field, Reader, Value};

/// What can be said of a listener for TLS.
const TLS: [&str; 6] = ["certificate", "key", "client_ca", "client_auth", "name_from", "crl"];

pub(super) fn listen(reader: &mut Reader, field: Field<'_>, listen: &mut Listen) {
    let Some(fields) = reader.map(field, &["explicit", "transparent", "dns", "admin"]) else { return };
    if let Some(field) = fields.get("explicit") {
        let known = ["address", "tls", "proxy_protocol"];
        listen.explicit = each(reader, field, |reader, item| listener(reader, item, &known));
    }
    let known = ["address", "proxy_protocol"];
    if let Some(field) = fields.get("transparent") {
        listen.transparent = each(reader, field, |reader, item| listener(reader, item, &known));
    }
    if let Some(field) = fields.get("dns") {
        listen.dns = each(reader, field, |reader, item| listener(reader, item, &known));
    }
    if let Some(field) = fields.get("admin") {
        listen.admin = match field.node.is_null() {
            true => None,
            false => address(reader, field).or(listen.admin),
        };
    }
}

/// An address, or a map with an address and more.
fn listener(reader: &mut Reader, item: Field<'_>, known: &[&str]) -> Option<Listener> {
    if !matches!(item.node.value, Value::Map(_)) {
        return address(reader, item).map(Listener::from);
    }
    let fields = reader.map(item, known)?;
    let place = reader.required(&fields, "a listener", "address", r#""127.0.0.1:3128""#);
    let senders = fields.get("proxy_protocol").and_then(|field| senders(reader, field));
    let wants_tls = fields.get("tls");
    let tls = wants_tls.and_then(|field| files(reader, field));
    let address = address(reader, Field { key: "address", ..place? })?;
    Some(Listener { address, senders: senders.unwrap_or_default(), tls })
}

/// Who sends PROXY headers. An empty list would take none from anyone, which is what no list does.
fn senders(reader: &mut Reader, field: Field<'_>) -> Option<Vec<IpNet>> {
    let fields = reader.map(field, &["from"])?;
    let from = reader.required(&fields, "`proxy_protocol`", "from", "[10.0.0.0/28]")?;
    if matches!(&from.node.value, Value::List(items) if items.is_empty()) {
        reader.wrong(from, "a list of the load balancers' networks, like [10.0.0.0/28]");
    }
    Some(each(reader, from, |reader, item| reader.parsed(item, "a network or an address", network::parse)))
}

fn files(reader: &mut Reader, field: Field<'_>) -> Option<Files> {
    let fields = reader.map(field, &TLS)?;
    let certificate =
        reader.required(&fields, "`tls`", "certificate", "tls.crt").map(|field| path(reader, field));
    let key = reader.required(&fields, "`tls`", "key", "tls.key").map(|field| path(reader, field));
    let ca = fields.get("client_ca").map(|field| path(reader, field));
    let required = fields
        .get("client_auth")
        .map(|field| reader.word(field, &[("required", true), ("optional", false)]).unwrap_or(true));
    let crl = fields.get("crl").map(|field| match field.node.value {
        Value::List(_) => each(reader, field, path),
        _ => path(reader, field).into_iter().collect(),
    });
    let kinds = [("uri", NameFrom::Uri), ("dns", NameFrom::Dns), ("cn", NameFrom::CommonName)];
    let name_from = fields.get("name_from").and_then(|field| reader.word(field, &kinds));
    for key in ["client_auth", "name_from", "crl"] {
        if fields.get(key).is_some() && ca.is_none() {
            let what = format!("`{key}` says nothing without `client_ca`");
            reader
                .error(fields.key_at(key), what)
                .hint("client_ca: the certificates that may sign those of clients");
        }
    }
    let clients = ca.flatten().map(|ca| Clients {
        ca,
        required: required.unwrap_or(true),
        crl: crl.unwrap_or_default(),
        name_from,
    });
    Some(Files { certificate: certificate??, key: key??, clients })
}
