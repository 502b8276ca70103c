//! What is made when it is first asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

type Slot<T> = Arc<OnceLock<Arc<T>>>;

/// One of each key, made once; while one is made, others can be made beside it.
pub struct OncePer<K, T>(Mutex<BTreeMap<K, Slot<T>>>);

impl<K: Ord, T> OncePer<K, T> {
    pub const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, Slot<T>>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn get(&self, key: K, make: impl FnOnce() -> T) -> Arc<T> {
        let slot = Arc::clone(self.lock().entry(key).or_default());
        Arc::clone(slot.get_or_init(|| Arc::new(make())))
    }

    /// Those that were made.
    pub fn all(&self) -> Vec<Arc<T>> {
        let slots = self.lock();
        slots
            .values()
            .filter_map(|slot| slot.get().cloned())
            .collect()
    }
}

impl<K: Ord, T> Default for OncePer<K, T> {
    fn default() -> Self {
        Self::new()
    }
}
