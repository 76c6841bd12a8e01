//! `parent`: the proxy that flows are sent through, by its name in the settings.

use std::sync::Arc;

use crate::policy::document::written::{NAME, is_name};
use crate::policy::terms::Way;
use crate::yaml::{Field, Reader, quoted};

/// The word for none.
pub const DIRECT: &str = "direct";

/// The parents of the settings; `None` where nobody has looked at any, and every name that one could have is taken.
pub type Known = Option<Arc<[Arc<str>]>>;

pub(super) fn read(reader: &mut Reader, field: Field<'_>, known: &Known) -> Option<Way> {
    let name = reader.text(field)?;
    let Some(known) = known else {
        if !is_name(name) {
            let what =
                format!("`{}` is the text {}, and no parent can have that name", field.key, quoted(name));
            reader.error(field.node.at, what).hint(NAME);
            return None;
        }
        return Some(if name == DIRECT { Way::Direct } else { Way::Parent(name.into()) });
    };
    if known.is_empty() && name != DIRECT {
        let what =
            format!("`{}` is the text {}, and the settings have no `parents`", field.key, quoted(name));
        reader
            .error(field.node.at, what)
            .hint("parents: { corp: { urls: [\"http://10.0.0.5:3128\"] } } in exeat.yaml");
        return None;
    }
    let named = known.iter().enumerate().map(|(index, name)| (&**name, Some(index)));
    let words: Vec<_> = [(DIRECT, None)].into_iter().chain(named).collect();
    Some(match reader.word(field, &words)? {
        Some(index) => Way::Parent(Arc::clone(&known[index])),
        None => Way::Direct,
    })
}
