//! The objects of one cache, and the questions that are answered without looking at all of them. No I/O.
//!
//! One table of hashed terms stands for all indexes: what an object is found by (name, namespace, owner, node, label) is
//! hashed, and the table has the slots of the objects with that hash. Whoever asks looks at those slots only and compares,
//! so that two terms of one hash cost a comparison and never give a wrong answer.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

/// An object of any kind, as caches hold it.
pub(super) trait Object: Any + Send + Sync {
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;

    /// The node it is on; pods have one.
    fn node(&self) -> Option<&str>;
}

impl<K: kube::Resource + Any + Send + Sync> Object for K {
    fn meta(&self) -> &ObjectMeta {
        kube::Resource::meta(self)
    }

    fn node(&self) -> Option<&str> {
        let pod: &Pod = (self as &dyn Any).downcast_ref()?;
        pod.spec.as_ref()?.node_name.as_deref()
    }
}

pub(super) type Shown = Arc<dyn Object>;

/// What objects are found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Term<'a> {
    /// Namespace (empty for those without) and name.
    Name(&'a str, &'a str),
    Namespace(&'a str),
    /// The uid of an owner.
    Owner(&'a str),
    /// The name of a node.
    Node(&'a str),
    /// Namespace, key, value.
    Label(&'a str, &'a str, &'a str),
}

impl Term<'_> {
    /// Whether `object` is found by it.
    fn fits(&self, object: &dyn Object) -> bool {
        let meta = object.meta();
        let within = |namespace: &str| namespace_of(meta) == namespace;
        match *self {
            Self::Name(namespace, name) => within(namespace) && name_of(meta) == name,
            Self::Namespace(namespace) => within(namespace),
            Self::Owner(uid) => meta.owner_references.iter().flatten().any(|owner| owner.uid == uid),
            Self::Node(node) => object.node() == Some(node),
            Self::Label(namespace, key, value) => {
                within(namespace)
                    && meta.labels.as_ref().and_then(|labels| labels.get(key)).is_some_and(|is| is == value)
            }
        }
    }
}

fn name_of(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

fn namespace_of(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

/// All that `object` is found by.
fn terms(object: &dyn Object) -> Vec<Term<'_>> {
    let meta = object.meta();
    let namespace = namespace_of(meta);
    let mut terms = vec![Term::Name(namespace, name_of(meta)), Term::Namespace(namespace)];
    terms.extend(meta.owner_references.iter().flatten().map(|owner| Term::Owner(&owner.uid)));
    terms.extend(object.node().map(Term::Node));
    terms.extend(meta.labels.iter().flatten().map(|(key, value)| Term::Label(namespace, key, value)));
    terms
}

/// What became of one object; at least one side is there.
#[derive(Clone)]
pub(super) struct Turn {
    pub(super) before: Option<Shown>,
    pub(super) now: Option<Shown>,
}

/// The objects.
#[derive(Default)]
pub(super) struct Store {
    slots: Vec<Option<Shown>>,
    free: Vec<u32>,
    /// By a term's hash: the slots of objects with it, in order.
    index: HashMap<u64, Vec<u32>>,
    hashes: RandomState,
}

impl Store {
    /// Takes the present state of an object in. An object of the same name and another uid is another object: the old one
    /// went, the new one came.
    pub(super) fn put(&mut self, object: Shown) -> Vec<Turn> {
        let meta = object.meta();
        let slot = self.slot_of(Term::Name(namespace_of(meta), name_of(meta)));
        let before = slot.and_then(|slot| self.clear(slot));
        self.fill(Arc::clone(&object));
        match before {
            Some(before) if before.meta().uid != object.meta().uid => {
                vec![Turn { before: Some(before), now: None }, Turn { before: None, now: Some(object) }]
            }
            before => vec![Turn { before, now: Some(object) }],
        }
    }

    /// Lets an object go. `last` is its last state, in which it says its name.
    pub(super) fn remove(&mut self, last: &dyn Object) -> Vec<Turn> {
        let meta = last.meta();
        let slot = self.slot_of(Term::Name(namespace_of(meta), name_of(meta)));
        slot.and_then(|slot| self.clear(slot))
            .map(|before| Turn { before: Some(before), now: None })
            .into_iter()
            .collect()
    }

    /// Holds exactly `all` from now on; objects of the same version did not change.
    pub(super) fn replace(&mut self, all: Vec<Shown>) -> Vec<Turn> {
        let mut old = std::mem::take(self);
        let mut turns = Vec::new();
        for object in all {
            let meta = object.meta();
            let slot = old.slot_of(Term::Name(namespace_of(meta), name_of(meta)));
            let before = slot.and_then(|slot| old.clear(slot));
            let same = |before: &Shown| {
                let was = before.meta();
                was.uid == meta.uid && was.resource_version == meta.resource_version
            };
            match before {
                // The copy that others may hold stays the only one.
                Some(before) if same(&before) => self.fill(before),
                before => {
                    let other = before.as_ref().is_some_and(|before| before.meta().uid != meta.uid);
                    let (gone, before) = if other { (before, None) } else { (None, before) };
                    turns.extend(gone.map(|gone| Turn { before: Some(gone), now: None }));
                    self.fill(Arc::clone(&object));
                    turns.push(Turn { before, now: Some(object) });
                }
            }
        }
        turns.extend(old.slots.into_iter().flatten().map(|before| Turn { before: Some(before), now: None }));
        turns
    }

    /// The object of that name.
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Shown> {
        self.slot_of(Term::Name(namespace, name)).and_then(|slot| self.slots.get(slot as usize)?.clone())
    }

    /// Those that are found by `term`.
    pub(super) fn by(&self, term: Term<'_>) -> Vec<Shown> {
        let slots = self.index.get(&self.hashes.hash_one(term)).map(Vec::as_slice).unwrap_or_default();
        let objects = slots.iter().filter_map(|slot| self.slots.get(*slot as usize)?.as_ref());
        objects.filter(|object| term.fits(&***object)).cloned().collect()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Shown> {
        self.slots.iter().flatten().cloned().collect()
    }

    fn slot_of(&self, term: Term<'_>) -> Option<u32> {
        let slots = self.index.get(&self.hashes.hash_one(term))?;
        let fits = |slot: &&u32| {
            self.slots.get(**slot as usize).is_some_and(|one| one.as_ref().is_some_and(|one| term.fits(&**one)))
        };
        slots.iter().find(fits).copied()
    }

    fn fill(&mut self, object: Shown) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        for term in terms(&*object) {
            let slots = self.index.entry(self.hashes.hash_one(term)).or_default();
            if let Err(at) = slots.binary_search(&slot) {
                slots.insert(at, slot);
            }
        }
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(object);
        }
    }

    fn clear(&mut self, slot: u32) -> Option<Shown> {
        let object = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        for term in terms(&*object) {
            let hash = self.hashes.hash_one(term);
            let Some(slots) = self.index.get_mut(&hash) else { continue };
            if let Ok(at) = slots.binary_search(&slot) {
                slots.remove(at);
            }
            if slots.is_empty() {
                self.index.remove(&hash);
            }
        }
        Some(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    /// Name, namespace, uid, version, label, owner, node: small numbers, so that they meet.
    type Facts = (u8, u8, u8, u32, u8, u8, u8);

    fn pod((name, namespace, uid, version, label, owner, node): Facts) -> Shown {
        let owners = json!([{"apiVersion": "v1", "kind": "K", "name": "o", "uid": format!("o{owner}")}]);
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": format!("p{name}"), "namespace": format!("n{namespace}"), "uid": format!("u{uid}"),
                "resourceVersion": version.to_string(), "labels": {"app": format!("a{label}")}, "ownerReferences": owners},
            "spec": {"containers": [], "nodeName": format!("m{node}")}}))
        .unwrap();
        Arc::new(pod)
    }

    fn facts() -> impl Strategy<Value = Facts> {
        (0..4_u8, 0..3_u8, 0..3_u8, 1..5_u32, 0..3_u8, 0..3_u8, 0..3_u8)
    }

    #[derive(Debug, Clone)]
    enum Act {
        Put(Facts),
        Remove(Facts),
        Replace(Vec<Facts>),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => facts().prop_map(Act::Put),
            2 => facts().prop_map(Act::Remove),
            1 => proptest::collection::vec(facts(), 0..8).prop_map(Act::Replace),
        ]
    }

    type Model = BTreeMap<(u8, u8), Facts>;

    fn key(facts: &Facts) -> (u8, u8) {
        (facts.1, facts.0)
    }

    fn agrees(store: &Store, model: &Model) -> Result<(), TestCaseError> {
        prop_assert_eq!(store.slots.len() - store.free.len(), model.len());
        let uids = |found: Vec<Shown>| {
            let mut all: Vec<_> = found
                .iter()
                .map(|one| {
                    (one.meta().namespace.clone().unwrap_or_default(), one.meta().name.clone().unwrap_or_default())
                })
                .collect();
            all.sort();
            all
        };
        let wanted = |fits: &dyn Fn(&Facts) -> bool| {
            model
                .values()
                .filter(|one| fits(one))
                .map(|one| (format!("n{}", one.1), format!("p{}", one.0)))
                .collect::<Vec<_>>()
        };
        prop_assert_eq!(uids(store.all()), wanted(&|_| true));
        for number in 0..3_u8 {
            let (namespace, owner) = (format!("n{number}"), format!("o{number}"));
            prop_assert_eq!(uids(store.by(Term::Namespace(&namespace))), wanted(&|one| one.1 == number));
            prop_assert_eq!(uids(store.by(Term::Owner(&owner))), wanted(&|one| one.5 == number));
            prop_assert_eq!(uids(store.by(Term::Node(&format!("m{number}")))), wanted(&|one| one.6 == number));
            let label = format!("a{number}");
            let found = store.by(Term::Label("n1", "app", &label));
            prop_assert_eq!(uids(found), wanted(&|one| one.1 == 1 && one.4 == number));
        }
        Ok(())
    }

    proptest! {
        /// Whatever comes and goes, every question is answered as a look at all objects would, and who follows the turns
        /// holds the same objects.
        #[test]
        fn indexes_agree_with_a_look_at_everything(acts in proptest::collection::vec(act(), 0..30)) {
            let (mut store, mut model) = (Store::default(), Model::new());
            let mut followed: BTreeMap<String, String> = BTreeMap::new();
            for act in acts {
                let turns = match act {
                    Act::Put(facts) => {
                        model.insert(key(&facts), facts);
                        store.put(pod(facts))
                    }
                    Act::Remove(facts) => {
                        model.remove(&key(&facts));
                        store.remove(&*pod(facts))
                    }
                    Act::Replace(all) => {
                        let all: Model = all.into_iter().map(|facts| (key(&facts), facts)).collect();
                        model = all.iter().map(|(key, new)| {
                            // Two states of one version are one state.
                            let old = model.get(key).filter(|old| (old.2, old.3) == (new.2, new.3));
                            (*key, *old.unwrap_or(new))
                        }).collect();
                        store.replace(all.into_values().map(pod).collect())
                    }
                };
                for Turn { before, now } in turns {
                    let place = |one: &Shown| format!("{:?}/{:?}", one.meta().namespace, one.meta().name);
                    let uid = |one: &Shown| one.meta().uid.clone().unwrap();
                    if let Some(before) = &before {
                        prop_assert_eq!(followed.remove(&place(before)), Some(uid(before)));
                    }
                    if let Some(now) = &now {
                        prop_assert_eq!(followed.insert(place(now), uid(now)), None);
                    }
                }
                agrees(&store, &model)?;
                prop_assert_eq!(followed.len(), model.len());
            }
        }
    }

    #[test]
    fn a_new_list_tells_what_changed_only() {
        let mut store = Store::default();
        let first = pod((1, 1, 1, 1, 0, 0, 0));
        store.put(Arc::clone(&first));
        store.put(pod((2, 1, 2, 1, 0, 0, 0)));
        let turns = store.replace(vec![pod((1, 1, 1, 1, 0, 0, 0)), pod((3, 1, 3, 1, 0, 0, 0))]);
        let names: Vec<_> = turns.iter().map(|turn| (turn.before.is_some(), turn.now.is_some())).collect();
        assert_eq!(names, [(false, true), (true, false)]);
        assert!(Arc::ptr_eq(&store.get("n1", "p1").unwrap(), &first), "an object is held once");
    }
}
