//! The verbs on which something may be said, in the sets that rows name.

/// Shows objects, once.
const LOOKS: &[&str] = &["get", "list", "get scale"];
const WATCH: &[&str] = &["watch"];
/// Stores an object, or a part of one.
pub(super) const WRITES: &[&str] =
    &["create", "update", "patch", "update scale", "patch scale", "update status", "create binding", "create eviction"];
pub(super) const DELETES: &[&str] = &["delete", "deletecollection"];
/// Has options of a list.
pub(super) const LISTS: &[&str] = &["list", "watch", "deletecollection"];
pub(super) const PATCHES: &[&str] = &["patch", "patch scale"];
const DISCOVERY: &[&str] = &["discovery"];
/// Shows what is no object and has one form.
const DOCUMENTS: &[&str] = &["aggregated", "health", "openapi"];
/// Opens a stream in which the other end is a kubelet.
pub(super) const STREAMS: &[&str] = &["exec", "attach", "portforward"];

/// Changes what is stored, and may have a body.
pub(super) const CHANGES: &[&str] = &joined::<10>(&[WRITES, DELETES]);
/// Shows what is there, in more than one form.
pub(super) const READS: &[&str] = &joined::<4>(&[LOOKS, DISCOVERY]);
/// Is answered with a document that has more than one form.
pub(super) const FORMED: &[&str] = &joined::<14>(&[LOOKS, CHANGES, DISCOVERY]);
/// Is about objects.
pub(super) const OBJECTS: &[&str] = &joined::<14>(&[LOOKS, WATCH, CHANGES]);
pub(super) const ALL: &[&str] = &joined::<18>(&[OBJECTS, DISCOVERY, DOCUMENTS]);
pub(super) const WITHOUT_BODY: &[&str] = &joined::<8>(&[LOOKS, WATCH, DISCOVERY, DOCUMENTS]);

/// All verbs of `sets`, of which there must be `N`.
const fn joined<const N: usize>(sets: &[&[&'static str]]) -> [&'static str; N] {
    let (mut all, mut count, mut set) = ([""; N], 0, 0);
    while set < sets.len() {
        let mut at = 0;
        while at < sets[set].len() {
            all[count] = sets[set][at];
            (count, at) = (count + 1, at + 1);
        }
        set += 1;
    }
    assert!(count == N, "the sets have fewer verbs than that");
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_set_has_a_verb_twice() {
        for set in [CHANGES, READS, FORMED, OBJECTS, ALL, WITHOUT_BODY] {
            assert_eq!(set.iter().collect::<BTreeSet<_>>().len(), set.len(), "{set:?}");
        }
    }
}
