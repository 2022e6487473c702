//! What users have been told about an object, so that nobody hears the same again for each look at it.

use skiff_client::Key;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The last words about each object.
#[derive(Default)]
pub(super) struct Told(Mutex<HashMap<Key, String>>);

impl Told {
    /// Whether this is news about `key`.
    pub(super) fn is_new(&self, key: &Key, message: &str) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(key.clone(), message.to_owned()).is_none_or(|before| before != message)
    }

    /// The object is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
