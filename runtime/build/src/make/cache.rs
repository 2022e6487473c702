//! Steps that were done before, by what they were made of.

use serde_json::Value;
use sha2::{Digest, Sha256};
use skiff_image::{ImageError, ImageStore, Packing};
use std::collections::BTreeMap;

/// How the comment of a step in an image's history begins.
const COMMENT: &str = "skiff.build ";

/// Everything that a step's result depends on, as one digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(String);

impl Key {
    /// Before the first step.
    pub(super) fn of_base(image: Option<&str>, packing: Packing) -> Self {
        Self(String::new()).then(image.unwrap_or("scratch"), Some(&format!("{packing:?}")))
    }

    /// After one more.
    pub(super) fn then(&self, said: &str, content: Option<&str>) -> Self {
        let mut hash = Sha256::new();
        for part in [self.0.as_str(), said, content.unwrap_or_default()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hex::encode(hash.finalize()))
    }

    /// As it stands in the history.
    pub(super) fn comment(&self) -> String {
        format!("{COMMENT}{}", self.0)
    }
}

/// An image up to one of its steps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) layers: Vec<Value>,
    pub(super) history: Vec<Value>,
}

/// All steps of all images.
#[derive(Debug, Default)]
pub(super) struct Cache {
    known: BTreeMap<Key, Known>,
}

impl Cache {
    /// Looks at every image of the store.
    pub(super) fn of(store: &ImageStore) -> Result<Self, ImageError> {
        let mut cache = Self::default();
        for image in store.list()? {
            // One that was removed meanwhile has no steps.
            if let Ok(document) = store.document(&image.id) {
                cache.learn(&document);
            }
        }
        Ok(cache)
    }

    fn learn(&mut self, document: &Value) {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let (history, layers) = (list(&document["history"]), list(&document["rootfs"]["diff_ids"]));
        let mut above = 0;
        for (place, entry) in history.iter().enumerate().rev() {
            let Some(key) = entry["comment"].as_str().and_then(|comment| comment.strip_prefix(COMMENT)) else { break };
            let Some(below) = layers.len().checked_sub(above) else { break };
            let known = Known { layers: layers[..below].to_vec(), history: history[..=place].to_vec() };
            self.known.entry(Key(key.to_owned())).or_insert(known);
            above += usize::from(entry["empty_layer"].as_bool() != Some(true));
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Known> {
        self.known.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_step_is_found_with_the_layers_up_to_it() {
        let keys: Vec<Key> = ["a", "b", "c"].iter().map(|said| Key(String::new()).then(said, None)).collect();
        let entry = |place: usize, empty: bool| json!({"comment": keys[place].comment(), "empty_layer": empty});
        let history = json!([{"created_by": "base"}, entry(0, false), entry(1, true), entry(2, false)]);
        let mut cache = Cache::default();
        cache.learn(&json!({"history": history, "rootfs": {"diff_ids": ["base", "one", "two"]}}));
        let layers = |place: usize| cache.get(&keys[place]).map(|known| (known.layers.len(), known.history.len()));
        assert_eq!([layers(0), layers(1), layers(2)], [Some((2, 2)), Some((2, 3)), Some((3, 4))]);
    }
}
