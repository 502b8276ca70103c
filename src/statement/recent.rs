//! A small cache.

use std::rc::Rc;

/// The last few results of something that is dear to work out.
pub(super) struct Recent<K, V> {
    known: Vec<(K, Rc<V>)>,
    next: usize,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            known: Vec::new(),
            next: 0,
        }
    }
}

impl<K, V> Recent<K, V> {
    const MOST: usize = 16;

    pub(super) fn get(&self, is: impl Fn(&K) -> bool) -> Option<Rc<V>> {
        self.known
            .iter()
            .find(|(key, _)| is(key))
            .map(|(_, value)| Rc::clone(value))
    }

    pub(super) fn put(&mut self, key: K, value: Rc<V>) {
        if self.known.len() < Self::MOST {
            self.known.push((key, value));
        } else {
            self.next = (self.next + 1) % Self::MOST;
            self.known[self.next] = (key, value);
        }
    }
}
