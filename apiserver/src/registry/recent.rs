//! Objects that were written a moment ago, as values: whoever writes one again neither parses nor copies it.
//!
//! A value costs some twelve times its text, and a write needs two of them, the state before and the one after. So both are kept: the
//! newest state, and the one before it, which becomes a copy of the newest by changing what differs.
//!
//! ```text
//!  kept:   state 7, spare (state 6) ──taken──► present = 7, copy = 6 made equal to 7 ──► patched ──► committed as 8
//!    ▲                                                                                                    │
//!    └────────────────────────── kept: state 8, spare (state 7) ◄─────────────────────────────────────────┘
//! ```
//!
//! Only one writer has them at a time; whoever comes meanwhile, or finds another revision in the store, parses.

use super::object::metadata_mut;
use bytes::Bytes;
use serde_json::Value;
use skiff_schema::Resource;
use skiff_store::backend::Revision;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Text of all that is kept. As values, twice, it is twenty-four times as much: three megabytes.
const KEPT_BYTES_MAX: usize = 128 << 10;
/// Of one object: larger ones would push out all others.
const OBJECT_BYTES_MAX: usize = 32 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    /// The one that was written last stands last.
    rows: VecDeque<Row>,
    bytes: usize,
}

#[derive(Debug)]
struct Row {
    resource: Arc<Resource>,
    key: Bytes,
    revision: Revision,
    size: usize,
    pair: Pair,
    /// Whether somebody has looked since it was written.
    is_old: bool,
}

/// A state, and the one before it, if that is known.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) value: Value,
    pub(super) spare: Spare,
}

/// Something that is nearly what a copy of the present state would be.
#[derive(Debug, Default)]
pub(crate) struct Spare(Option<Value>);

impl Spare {
    pub(super) fn of(value: Value) -> Self {
        Self(Some(value))
    }

    /// A copy of `of`.
    pub(crate) fn copy(self, of: &Value) -> Value {
        match self.0 {
            Some(mut value) => {
                assign(&mut value, of);
                value
            }
            None => of.clone(),
        }
    }
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of an object that the store has at `revision`.
    pub(super) fn take(&self, resource: &Arc<Resource>, key: &Bytes, revision: Revision) -> Option<Pair> {
        let mut rows = self.lock();
        let at = rows.rows.iter().rposition(|row| row.key == *key)?;
        let row = rows.rows.remove(at)?;
        rows.bytes -= row.size;
        let is_it = row.revision == revision && Arc::ptr_eq(&row.resource, resource);
        is_it.then_some(row.pair)
    }

    /// Keeps a state that the store has at `revision` as `size` bytes, in the form in which `resource` serves it.
    pub(super) fn keep(
        &self,
        resource: &Arc<Resource>,
        key: Bytes,
        (revision, size): (Revision, usize),
        mut pair: Pair,
    ) {
        if size > OBJECT_BYTES_MAX || resource.is_converted() || resource.conversion_webhook().is_some() {
            return;
        }
        metadata_mut(&mut pair.value).insert("resourceVersion".to_owned(), revision.to_string().into());
        let mut rows = self.lock();
        // Somebody may have been faster, and slower to say so.
        if let Some(at) = rows.rows.iter().rposition(|row| row.key == key) {
            if rows.rows[at].revision > revision {
                return;
            }
            rows.forget(at);
        }
        rows.bytes += size;
        rows.rows.push_back(Row { resource: Arc::clone(resource), key, revision, size, pair, is_old: false });
        while rows.bytes > KEPT_BYTES_MAX {
            rows.forget(0);
        }
    }

    /// Forgets what was not written since the last time.
    pub(super) fn look(&self) {
        let mut rows = self.lock();
        rows.rows.retain_mut(|row| !std::mem::replace(&mut row.is_old, true));
        rows.bytes = rows.rows.iter().map(|row| row.size).sum();
    }
}

impl Rows {
    fn forget(&mut self, at: usize) {
        self.bytes -= self.rows.remove(at).map_or(0, |row| row.size);
    }
}

/// Makes `into` equal to `of`, and leaves what is equal already.
fn assign(into: &mut Value, of: &Value) {
    match (into, of) {
        (Value::Object(into), Value::Object(of)) => {
            if into.len() != of.len() || into.keys().ne(of.keys()) {
                into.retain(|name, _| of.contains_key(name));
            }
            for (name, value) in of {
                match into.get_mut(name) {
                    Some(slot) => assign(slot, value),
                    None => drop(into.insert(name.clone(), value.clone())),
                }
            }
        }
        (Value::Array(into), Value::Array(of)) => {
            into.truncate(of.len());
            into.iter_mut().zip(of).for_each(|(slot, value)| assign(slot, value));
            let more = of.get(into.len()..).unwrap_or_default();
            into.extend_from_slice(more);
        }
        (Value::String(into), Value::String(of)) => into.clone_from(of),
        (into, of) => into.clone_from(of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3i64).prop_map(Value::from),
            "[a-c]{0,3}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect()))
            ]
        })
    }

    proptest! {
        #[test]
        fn a_spare_becomes_a_copy(spare in any_value(), of in any_value()) {
            prop_assert_eq!(Spare::of(spare).copy(&of), of.clone());
            prop_assert_eq!(Spare::default().copy(&of), of);
        }
    }

    fn pods() -> &'static Arc<Resource> {
        skiff_schema::find("", "v1", "pods").expect("served")
    }

    fn pair(text: &str) -> Pair {
        Pair { value: json!({"metadata": {"name": text}}), spare: Spare::default() }
    }

    #[test]
    fn a_state_is_taken_once_and_only_at_its_revision() {
        let recent = Recent::default();
        let key = Bytes::from("/registry/pods/a/b");
        recent.keep(pods(), key.clone(), (7, 100), pair("b"));
        let taken = recent.take(pods(), &key, 7).expect("it was kept");
        assert_eq!(taken.value["metadata"]["resourceVersion"], "7");
        assert!(recent.take(pods(), &key, 7).is_none());
        recent.keep(pods(), key.clone(), (8, 100), pair("b"));
        recent.keep(pods(), key.clone(), (7, 100), pair("late"));
        assert!(recent.take(pods(), &key, 9).is_none(), "another state is stored");
        assert!(recent.take(pods(), &key, 8).is_none(), "what is not the newest is forgotten");
        assert_eq!(recent.lock().bytes, 0);
    }

    #[test]
    fn what_is_too_much_or_old_is_forgotten() {
        let recent = Recent::default();
        let key = |number: usize| Bytes::from(format!("/registry/pods/a/{number}"));
        for number in 0..10 {
            recent.keep(pods(), key(number), (1, 20 << 10), pair("b"));
        }
        recent.keep(pods(), key(10), (1, OBJECT_BYTES_MAX + 1), pair("large"));
        assert!(recent.take(pods(), &key(0), 1).is_none() && recent.take(pods(), &key(10), 1).is_none());
        assert!(recent.take(pods(), &key(9), 1).is_some());
        recent.look();
        recent.keep(pods(), key(9), (2, 10), pair("b"));
        recent.look();
        assert!(recent.take(pods(), &key(8), 1).is_none());
        assert!(recent.take(pods(), &key(9), 2).is_some());
        assert_eq!(recent.lock().bytes, 0);
    }
}
