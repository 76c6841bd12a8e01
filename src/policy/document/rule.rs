//! One entry of `allow` or `deny`: a pattern, or a map that says more.

use crate::policy::Target;
use crate::policy::document::keys::{ALLOW_ONLY, RULE};
use crate::policy::document::parent::Known;
use crate::policy::document::spec::{Spec, default_ports};
use crate::policy::document::{conditions, parent, report, written};
use crate::policy::terms::{Action, Ports, Protocol};
use crate::yaml::{Field, Fields, Reader, Value};

/// The words for `protocol`.
const PROTOCOLS: &[(&str, Protocol)] =
    &[("tls", Protocol::Tls), ("http", Protocol::Http), ("tcp", Protocol::Tcp)];

/// The words for `ech`: whether a hello with it passes by its outer name.
pub(super) const ECH: &[(&str, bool)] = &[("refuse", false), ("outer", true)];

/// What holds for all rules of a profile.
#[derive(Clone, Debug, Default)]
pub(super) struct Around {
    /// What the profile says of `ech`.
    pub(super) ech_outer: bool,
    /// The parents that may be named.
    pub(super) parents: Known,
}

/// Reads an entry of a profile.
pub(super) fn read(
    reader: &mut Reader,
    entry: Field<'_>,
    action: Action,
    around: &Around,
) -> Option<(Target, Spec)> {
    if let Value::Map(_) = entry.node.value {
        return Entry { fields: reader.map(entry, RULE)?, action, around }.read(reader);
    }
    if matches!(entry.node.value, Value::Null | Value::List(_)) {
        reader.wrong(entry, "a pattern, or a map like { host: example.com, ports: [8443] }");
        return None;
    }
    let target = host(reader, entry, action, false)?;
    Some((target, Spec::plain(action)))
}

struct Entry<'n> {
    fields: Fields<'n>,
    action: Action,
    around: &'n Around,
}

impl Entry<'_> {
    fn read(&self, reader: &mut Reader) -> Option<(Target, Spec)> {
        self.refuse_allow_only(reader);
        let target = self.target(reader);
        let spec = self.spec(reader);
        Some((target?, spec?))
    }

    fn target(&self, reader: &mut Reader) -> Option<Target> {
        let public_suffix = self.fields.get("public_suffix").and_then(|field| reader.boolean(field));
        match (self.fields.get("host"), self.fields.get("cidr")) {
            (Some(field), None) => host(reader, field, self.action, public_suffix == Some(true)),
            (None, Some(field)) => {
                self.refuse_host_only(reader);
                conditions::network(reader, field, written::NETWORK).map(Target::Cidr)
            }
            (Some(_), Some(cidr)) => {
                let hint = "write two rules: a name and an address are different destinations";
                reader.error(cidr.node.at, "the rule has both `host` and `cidr`").hint(hint);
                None
            }
            (None, None) => {
                let hint = "add `host: example.com` or `cidr: 203.0.113.0/24`";
                reader.error(self.fields.at, "the rule has neither `host` nor `cidr`").hint(hint);
                None
            }
        }
    }

    fn spec(&self, reader: &mut Reader) -> Option<Spec> {
        let get = |key| self.fields.get(key);
        let protocol = get("protocol").map(|field| reader.word(field, PROTOCOLS));
        let ports = get("ports").map(|field| conditions::ports(reader, field));
        let private = get("private").map(|field| conditions::private(reader, field));
        let until = get("until").map(|field| reader.parsed(field, "a day like 2027-01-31", written::day));
        let methods = get("methods").map(|field| conditions::methods(reader, field));
        let paths = get("paths").map(|field| conditions::paths(reader, field));
        let reason = get("reason").map(|field| reader.text(field));
        let ech = get("ech").map(|field| self.ech(reader, field));
        let way = get("parent").map(|field| parent::read(reader, field, &self.around.parents));
        // From here on a key that could not be read is a mistake already reported.
        let (protocol, ports) = (flip(protocol)?, flip(ports)?);
        self.check_protocol(reader, protocol, ports.as_ref());
        Some(Spec {
            action: self.action,
            ports: ports.unwrap_or_else(|| default_ports(self.action, protocol)),
            protocol,
            private: flip(private)?.unwrap_or_default(),
            until: flip(until)?,
            methods: flip(methods)?.unwrap_or_default(),
            paths: flip(paths)?.unwrap_or_default(),
            ech_outer: flip(ech)?.unwrap_or_default(),
            way: flip(way)?,
            reason: flip(reason)?.map(Box::from),
        })
    }

    fn ech(&self, reader: &mut Reader, field: Field<'_>) -> Option<bool> {
        let outer = reader.word(field, ECH)?;
        if self.around.ech_outer && !outer {
            let hint = "leave it out of the profile, and give `ech: outer` to the rules that need it";
            reader
                .error(field.node.at, "`ech` is \"refuse\", but the profile says \"outer\" for all rules")
                .hint(hint);
        }
        Some(outer)
    }

    /// What the protocol asks of the other keys.
    fn check_protocol(&self, reader: &mut Reader, protocol: Option<Protocol>, ports: Option<&Ports>) {
        if protocol == Some(Protocol::Tcp) && ports.is_none() {
            let hint = match self.action {
                Action::Allow => "add `ports: [22]`: a rule that does not look inside must say where",
                Action::Deny => "add `ports`, or leave `protocol` out to deny everything",
            };
            reader.error(self.fields.key_at("protocol"), "`protocol: tcp` without `ports`").hint(hint);
        }
        let sees_requests = match (self.action, protocol) {
            (_, Some(Protocol::Http)) => true,
            (Action::Allow, None) => ports.is_some_and(|ports| ports.ranges() == [(80, 80)]),
            _ => false,
        };
        for key in ["methods", "paths"] {
            if !sees_requests && self.fields.get(key).is_some() {
                let what = format!("`{key}` needs `protocol: http`");
                let hint = "exeat can't see requests inside TLS; add `protocol: http` for plain HTTP";
                reader.error(self.fields.key_at(key), what).hint(hint);
            }
        }
    }

    fn refuse_allow_only(&self, reader: &mut Reader) {
        let present = ALLOW_ONLY.iter().filter(|key| self.fields.get(key).is_some());
        for key in present.filter(|_| self.action == Action::Deny) {
            let what = format!("`{key}` means nothing in a deny rule");
            reader.error(self.fields.key_at(key), what).hint("leave it out");
        }
    }

    fn refuse_host_only(&self, reader: &mut Reader) {
        for (key, hint) in [
            ("private", "a `cidr` rule names its addresses itself; leave it out"),
            ("public_suffix", "it is about patterns in `host`; leave it out"),
        ] {
            if self.fields.get(key).is_some() {
                reader.error(self.fields.key_at(key), format!("`{key}` beside `cidr`")).hint(hint);
            }
        }
    }
}

/// Reads a pattern and reports what is odd about it.
fn host(reader: &mut Reader, field: Field<'_>, action: Action, public_suffix: bool) -> Option<Target> {
    let text = reader.text(field)?;
    let pattern = match written::pattern(text) {
        Ok(pattern) => pattern,
        Err(slip) => {
            report(reader, field.node.at, slip);
            return None;
        }
    };
    if action == Action::Allow && !public_suffix {
        written::reach(text, &pattern).into_iter().for_each(|slip| report(reader, field.node.at, slip));
    }
    written::rewriting(text, &pattern).into_iter().for_each(|slip| report(reader, field.node.at, slip));
    Some(Target::Name(pattern))
}

/// From "there, but unreadable" to one missing value for the whole.
fn flip<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}
