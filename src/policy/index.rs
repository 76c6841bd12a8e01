//! Where rules are found: names by their literal suffix, networks by prefix. A look-up costs the labels
//! of a name, or the networks around an address, whatever the number of rules.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use crate::network;
use crate::policy::pattern::{Lead, Pattern, label_matches, split_last};

/// The rules of one place in an index, as a range of the array that holds them all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

/// Literal suffixes, and under each the rules whose patterns end in it.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// Every text, one after the other: a million strings of their own would cost 24 bytes each and the slack.
    arena: String,
    /// That of no label comes first.
    suffixes: Vec<Suffix>,
    globs: Vec<Glob>,
    /// The places of all suffixes but that of no label, which every name has: it is not looked up.
    table: HashTable<u32>,
    /// Clients choose the names that are looked up: without a key they could choose colliding ones.
    key: RandomState,
}

#[derive(Clone, Debug)]
struct Suffix {
    text: Text,
    rules: Span,
}

/// The labels of a pattern between its lead and its literal suffix.
#[derive(Clone, Debug)]
struct Glob {
    text: Text,
    suffix: u32,
}

/// A text of up to 255 bytes in the arena.
#[derive(Clone, Copy, Debug)]
struct Text {
    at: u32,
    len: u8,
}

/// The place of the suffix of no label.
const EVERY_NAME: u32 = 0;

/// Networks of both families.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks {
    networks: Vec<Network>,
    /// Of the tree only the longest match is asked: its walks over all covering prefixes allocate.
    tree: JointPrefixMap<IpNet, u32>,
}

#[derive(Clone, Debug)]
struct Network {
    network: IpNet,
    rules: Span,
    /// The next wider network that has rules.
    wider: Option<u32>,
}

impl Span {
    pub(super) fn new(range: Range<usize>) -> Self {
        Self { start: number(range.start), end: number(range.end) }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Names {
    /// The place of a pattern's literal suffix, made if it is new.
    pub(super) fn insert(&mut self, suffix: &str) -> u32 {
        if suffix.is_empty() {
            return EVERY_NAME;
        }
        let hash = self.hash(suffix);
        if let Some(known) = self.find(hash, suffix) {
            return known;
        }
        let text = self.push(suffix);
        let place = number(self.suffixes.len());
        self.suffixes.push(Suffix { text, rules: Span::default() });
        let Self { arena, suffixes, table, key, .. } = self;
        table.insert_unique(hash, place, |&other| hash_labels(key, suffixes[other as usize].text.of(arena)));
        place
    }

    /// Keeps the globs of a pattern; returns their number.
    pub(super) fn insert_globs(&mut self, pattern: &Pattern) -> u32 {
        let suffix = self.insert(pattern.literal_suffix());
        let text = self.push(pattern.globs());
        self.globs.push(Glob { text, suffix });
        number(self.globs.len() - 1)
    }

    /// Sets which rules stand at a place.
    pub(super) fn fill(&mut self, place: u32, rules: Span) {
        self.suffixes[place as usize].rules = rules;
    }

    pub(super) fn shrink(&mut self) {
        self.arena.shrink_to_fit();
        self.suffixes.shrink_to_fit();
        self.globs.shrink_to_fit();
    }

    /// Visits every suffix of the name that has rules, the shortest first, with what is left of the name there.
    pub(super) fn each(&self, name: &str, mut visit: impl FnMut(Span, &str)) {
        let mut hasher = self.key.build_hasher();
        let (mut left, mut place) = (name, Some(EVERY_NAME));
        loop {
            if let Some(place) = place {
                visit(self.suffixes[place as usize].rules, left);
            }
            if left.is_empty() {
                return;
            }
            let (further, label) = split_last(left);
            hasher.write(label.as_bytes());
            place = self.find(hasher.finish(), &name[left.len() - label.len()..]);
            left = further;
        }
    }

    /// Whether a pattern's globs match the labels to the left of its suffix.
    pub(super) fn globs_match(&self, globs: u32, lead: Lead, mut left: &str) -> bool {
        let mut globs = self.globs_text(globs);
        // Most names that don't match differ in what stands behind the last `*`.
        let mut end = left.bytes().rev();
        if !globs.bytes().rev().take_while(|&byte| byte != b'*').all(|byte| end.next() == Some(byte)) {
            return false;
        }
        while !globs.is_empty() {
            let ((more, glob), (further, label)) = (split_last(globs), split_last(left));
            if left.is_empty() || !label_matches(glob, label) {
                return false;
            }
            (globs, left) = (more, further);
        }
        lead.reaches(left)
    }

    pub(super) fn suffix_text(&self, place: u32) -> &str {
        self.suffixes[place as usize].text.of(&self.arena)
    }

    pub(super) fn globs_text(&self, globs: u32) -> &str {
        self.globs[globs as usize].text.of(&self.arena)
    }

    /// The place of the suffix that a pattern with globs ends in.
    pub(super) fn suffix_of(&self, globs: u32) -> u32 {
        self.globs[globs as usize].suffix
    }

    fn find(&self, hash: u64, suffix: &str) -> Option<u32> {
        let is_it = |&place: &u32| self.suffix_text(place) == suffix;
        self.table.find(hash, is_it).copied()
    }

    fn push(&mut self, text: &str) -> Text {
        let at = number(self.arena.len());
        self.arena.push_str(text);
        Text { at, len: text.len() as u8 }
    }

    fn hash(&self, suffix: &str) -> u64 {
        hash_labels(&self.key, suffix)
    }
}

impl Networks {
    /// The place of a network, made if it is new.
    pub(super) fn insert(&mut self, network: IpNet) -> u32 {
        let network = network::canonical(network);
        if let Some(known) = self.tree.get(&network) {
            return *known;
        }
        let place = number(self.networks.len());
        self.tree.insert(network, place);
        self.networks.push(Network { network, rules: Span::default(), wider: None });
        place
    }

    /// Sets which rules stand at a place.
    pub(super) fn fill(&mut self, place: u32, rules: Span) {
        self.networks[place as usize].rules = rules;
    }

    /// Links each network to the next wider one; call it once all are in.
    pub(super) fn link(&mut self) {
        for network in &mut self.networks {
            let wider = network.network.supernet().and_then(|wider| self.tree.get_lpm(&wider));
            network.wider = wider.map(|(_, &place)| place);
        }
    }

    /// Visits every network around the address that has rules, the longest prefix first.
    pub(super) fn each(&self, address: IpAddr, mut visit: impl FnMut(Span)) {
        // Many policies speak of names alone.
        if self.is_empty() {
            return;
        }
        let mut next = self.tree.get_lpm(&IpNet::from(address)).map(|(_, &place)| place);
        while let Some(place) = next {
            let network = &self.networks[place as usize];
            visit(network.rules);
            next = network.wider;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    pub(super) fn network(&self, place: u32) -> IpNet {
        self.networks[place as usize].network
    }
}

impl Default for Names {
    fn default() -> Self {
        let every_name = Suffix { text: Text { at: 0, len: 0 }, rules: Span::default() };
        Self {
            arena: String::new(),
            suffixes: vec![every_name],
            globs: Vec::new(),
            table: HashTable::new(),
            key: RandomState::default(),
        }
    }
}

impl Text {
    fn of(self, arena: &str) -> &str {
        let start = self.at as usize;
        &arena[start..start + usize::from(self.len)]
    }
}

/// The hash of a suffix is that of its labels from the right, so that one pass over a name gives the hash of
/// each of its suffixes.
fn hash_labels(key: &RandomState, suffix: &str) -> u64 {
    let mut hasher = key.build_hasher();
    let mut left = suffix;
    while !left.is_empty() {
        let (further, label) = split_last(left);
        hasher.write(label.as_bytes());
        left = further;
    }
    hasher.finish()
}

/// Places are counted in 32 bits: half the memory, and more than any machine's policy files hold.
pub(super) fn number(index: usize) -> u32 {
    assert!(index < u32::MAX as usize, "a policy holds fewer than 4 billion rules and bytes of names");
    index as u32
}
