//! Many names below one become one pattern, where they have one owner.

use std::collections::BTreeMap;

use crate::host::Name;
use crate::learn::count::Count;
use crate::policy::document::has_one_owner;
use crate::policy::pattern::Pattern;

/// A pattern that stands for names which were seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Collapsed {
    pub(super) pattern: Pattern,
    pub(super) count: Count,
    /// How many names it stands for, and some of them; nothing for a name itself.
    pub(super) names: u64,
    pub(super) examples: Vec<String>,
}

/// How many names a comment shows of those that a pattern stands for.
const EXAMPLES_MAX: usize = 3;

/// A domain and what is below it; labels in order, so that the outcome does not depend on that of the names.
#[derive(Default)]
struct Node<'n> {
    own: Option<(&'n Name, Count)>,
    /// Nobody has said that this name is to be allowed: no pattern may take it in.
    barred: bool,
    below: BTreeMap<&'n str, Node<'n>>,
}

/// The names, of which `siblings` or more below one domain become `*.domain`, unless others may own some of what that
/// reaches or a barred name is there. In the order of their labels from the right.
pub(super) fn collapse<'n>(
    names: impl IntoIterator<Item = (&'n Name, Count)>,
    barred: impl IntoIterator<Item = &'n Name>,
    siblings: Option<usize>,
) -> Vec<Collapsed> {
    let mut root = Node::default();
    for (name, count) in names {
        root.at(name).own = Some((name, count));
    }
    for name in barred {
        root.at(name).barred = true;
    }
    let mut collapsed = Vec::new();
    root.walk("", siblings, &mut collapsed);
    collapsed
}

impl<'n> Node<'n> {
    fn at(&mut self, name: &'n Name) -> &mut Self {
        name.as_str().rsplit('.').fold(self, |node, label| node.below.entry(label).or_default())
    }

    /// Puts out what is here and below; says whether none of it is barred.
    fn walk(&self, domain: &str, siblings: Option<usize>, out: &mut Vec<Collapsed>) -> bool {
        if let Some((name, count)) = self.own {
            out.push(Collapsed::name(name, count));
        }
        let first = out.len();
        let mut is_free = true;
        for (label, node) in &self.below {
            let further = if domain.is_empty() { (*label).to_owned() } else { format!("{label}.{domain}") };
            is_free &= node.walk(&further, siblings, out);
        }
        // A domain that was collapsed already counts as one, like a name.
        if is_free
            && siblings.is_some_and(|siblings| out.len() - first >= siblings.max(2))
            && let Some(pattern) = wildcard(domain)
        {
            let below: Vec<Collapsed> = out.drain(first..).collect();
            out.push(Collapsed::all(pattern, &below));
        }
        is_free && !self.barred
    }
}

impl Collapsed {
    fn name(name: &Name, count: Count) -> Self {
        Self { pattern: Pattern::exact(name), count, names: 0, examples: Vec::new() }
    }

    fn all(pattern: Pattern, below: &[Self]) -> Self {
        let examples = below.iter().flat_map(|one| match one.names {
            0 => vec![one.pattern.to_string()],
            _ => one.examples.clone(),
        });
        Self {
            pattern,
            count: below.iter().map(|one| one.count).collect(),
            names: below.iter().map(|one| one.names.max(1)).sum(),
            examples: examples.take(EXAMPLES_MAX).collect(),
        }
    }
}

/// Everything below a domain, if that is one owner's.
fn wildcard(domain: &str) -> Option<Pattern> {
    let pattern = Pattern::parse(&format!("*.{domain}")).ok()?;
    has_one_owner(&pattern).then_some(pattern)
}
