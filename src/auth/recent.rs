//! What was used of late: a map of bounded size that forgets what has not been asked for the longest.

use std::collections::HashMap;
use std::hash::Hash;

/// Two generations: what is asked for moves to the younger one, and when that is full the older one goes. So
/// between one and two times its room of what was used last is there, at the cost of a look-up or two.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    room: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(room: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), room }
    }

    pub(super) fn find(&mut self, key: &K) -> Option<&V> {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.room && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_size_is_bounded() {
        let mut recent = Recent::new(10);
        for number in 0..1000 {
            recent.insert(number, number);
            assert_eq!(recent.find(&0), Some(&0), "{number}");
            assert!(recent.young.len() + recent.old.len() <= 20);
        }
        assert_eq!(recent.find(&5), None);
        recent.remove(&0);
        assert_eq!(recent.find(&0), None);
    }
}
