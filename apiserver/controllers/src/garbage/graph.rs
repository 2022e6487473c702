//! Who owns whom. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::{BTreeSet, HashMap};

/// An object's uid.
pub(crate) type Uid = String;

/// What the collector remembers of an object.
#[derive(Debug, Clone)]
pub(crate) struct Tracked {
    /// Index of its resource in the collector's list.
    pub(crate) resource: usize,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) owners: Vec<OwnerReference>,
    pub(crate) finalizers: Vec<String>,
    pub(crate) deleting: bool,
}

impl Tracked {
    pub(crate) fn new(resource: usize, metadata: &ObjectMeta) -> Option<(Uid, Self)> {
        let node = Self {
            resource,
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone()?,
            owners: metadata.owner_references.clone().unwrap_or_default(),
            finalizers: metadata.finalizers.clone().unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
        };
        Some((metadata.uid.clone()?, node))
    }

    /// Waits for its dependents to go first.
    pub(crate) fn is_foreground(&self) -> bool {
        self.deleting && self.finalizers.iter().any(|finalizer| finalizer == "foregroundDeletion")
    }

    /// Waits until its dependents no longer refer to it.
    pub(crate) fn is_orphaning(&self) -> bool {
        self.deleting && self.finalizers.iter().any(|finalizer| finalizer == "orphan")
    }
}

/// All objects by uid, and for each owner the uids of those it owns.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: HashMap<Uid, Tracked>,
    dependents: HashMap<Uid, BTreeSet<Uid>>,
}

impl Graph {
    pub(crate) fn get(&self, uid: &str) -> Option<&Tracked> {
        self.nodes.get(uid)
    }

    /// Uids owned by `owner`, whether or not the owner exists.
    pub(crate) fn dependents(&self, owner: &str) -> Vec<Uid> {
        self.dependents.get(owner).into_iter().flatten().cloned().collect()
    }

    /// Adds or replaces an object; returns the uids that have to be looked at.
    pub(crate) fn put(&mut self, uid: Uid, node: Tracked) -> Vec<Uid> {
        self.unlink(&uid);
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        let owners = node.owners.iter().map(|owner| owner.uid.clone());
        let touched = owners.chain([uid.clone()]).collect();
        self.nodes.insert(uid, node);
        touched
    }

    /// Forgets an object; returns the uids that have to be looked at: those it owned, and its owners, who may wait for it.
    pub(crate) fn remove(&mut self, uid: &str) -> Vec<Uid> {
        self.unlink(uid);
        let owners = self.nodes.remove(uid).map(|node| node.owners).unwrap_or_default();
        let mut touched = self.dependents(uid);
        touched.extend(owners.into_iter().map(|owner| owner.uid));
        touched
    }

    fn unlink(&mut self, uid: &str) {
        let owners = self.nodes.get(uid).map(|node| node.owners.clone()).unwrap_or_default();
        for owner in owners {
            if let Some(set) = self.dependents.get_mut(&owner.uid) {
                set.remove(uid);
                if set.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }

    /// What is to be done about an object.
    pub(crate) fn verdict(&self, uid: &str) -> Verdict {
        let Some(node) = self.nodes.get(uid) else { return Verdict::Keep };
        if node.is_orphaning() {
            return Verdict::Orphan(self.dependents(uid));
        }
        if node.is_foreground() {
            let blocking = self.blocking(uid);
            return if blocking.is_empty() { Verdict::Release } else { Verdict::DeleteFirst(blocking) };
        }
        let unsettled = |owner: &OwnerReference| match self.nodes.get(&owner.uid) {
            // A reference does not reach into another namespace: what it means there is not this object.
            Some(known) => known.is_foreground() || (known.namespace.is_some() && known.namespace != node.namespace),
            None => true,
        };
        if !node.deleting && node.owners.iter().any(unsettled) { Verdict::Settle } else { Verdict::Keep }
    }

    /// Whether anything that `owner` owns waits for what it owns itself, so that both may wait for each other.
    pub(crate) fn may_be_circle(&self, owner: &str) -> bool {
        let nodes = self.dependents(owner);
        nodes.iter().filter_map(|uid| self.nodes.get(uid)).any(Tracked::is_foreground)
    }

    fn blocking(&self, uid: &str) -> Vec<Uid> {
        let blocks = |dependent: &Uid| {
            let node = self.nodes.get(dependent)?;
            node.owners.iter().find(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
        };
        self.dependents(uid).into_iter().filter(|dependent| blocks(dependent).is_some()).collect()
    }
}

/// What the collector does about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Keep,
    /// An owner is gone or waits for it, as far as the graph knows: ask the server which owners there are.
    Settle,
    /// Deleted in the foreground: these go first, unless others own them.
    DeleteFirst(Vec<Uid>),
    /// Nothing blocks it any more: remove the finalizer `foregroundDeletion`.
    Release,
    /// Remove the reference from each of these, then the finalizer `orphan`.
    Orphan(Vec<Uid>),
}

/// What an owner turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It is there and stays, or is none of ours to judge.
    Solid,
    /// It is not there.
    Gone,
    /// It is deleted in the foreground.
    Waiting,
}

/// What is done with an object once it is known what its owners are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Keep,
    /// Somebody else owns it: these references go.
    Disown(Vec<Uid>),
    /// What it owns goes first.
    DeleteForeground {
        /// Its references stop blocking their owners before: they may wait for each other.
        unblock: bool,
    },
    /// It goes, with the policy that its finalizers say.
    Delete,
}

/// Decides about an object with these owners; `has_dependents`: it owns others; `circle`: one of those waits.
pub(crate) fn end(owners: &[(Uid, Owner)], has_dependents: bool, circle: bool) -> End {
    let of = |wanted: Owner| owners.iter().filter(move |(_, owner)| *owner == wanted).map(|(uid, _)| uid.clone());
    let not_solid: Vec<Uid> = of(Owner::Gone).chain(of(Owner::Waiting)).collect();
    match () {
        () if not_solid.is_empty() => End::Keep,
        () if of(Owner::Solid).next().is_some() => End::Disown(not_solid),
        () if of(Owner::Waiting).next().is_some() && has_dependents => End::DeleteForeground { unblock: circle },
        () => End::Delete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(owners: &[&str], finalizers: &[&str]) -> Tracked {
        let owner = |uid: &&str| OwnerReference {
            uid: (*uid).to_owned(),
            block_owner_deletion: Some(true),
            ..OwnerReference::default()
        };
        Tracked {
            resource: 0,
            namespace: None,
            name: "x".into(),
            owners: owners.iter().map(owner).collect(),
            finalizers: finalizers.iter().map(|text| (*text).to_owned()).collect(),
            deleting: !finalizers.is_empty(),
        }
    }

    #[test]
    fn an_object_is_looked_at_when_an_owner_goes() {
        let mut graph = Graph::default();
        graph.put("a".into(), node(&[], &[]));
        graph.put("b".into(), node(&[], &[]));
        graph.put("child".into(), node(&["a", "b"], &[]));
        assert_eq!(graph.verdict("child"), Verdict::Keep);
        assert_eq!(graph.remove("a"), ["child"]);
        assert_eq!(graph.verdict("child"), Verdict::Settle);
        graph.put("a".into(), node(&[], &[]));
        assert_eq!(graph.verdict("child"), Verdict::Keep);
        graph.put("a".into(), node(&[], &["foregroundDeletion"]));
        assert_eq!(graph.verdict("child"), Verdict::Settle);
    }

    #[test]
    fn an_owner_in_another_namespace_is_none() {
        let of = |namespace: Option<&str>, node: Tracked| Tracked { namespace: namespace.map(str::to_owned), ..node };
        let mut graph = Graph::default();
        graph.put("a".into(), of(Some("one"), node(&[], &[])));
        graph.put("b".into(), of(Some("two"), node(&["a"], &[])));
        graph.put("c".into(), of(Some("one"), node(&["a"], &[])));
        assert_eq!((graph.verdict("b"), graph.verdict("c")), (Verdict::Settle, Verdict::Keep));
        graph.put("cluster".into(), node(&[], &[]));
        graph.put("d".into(), of(Some("two"), node(&["cluster"], &[])));
        assert_eq!(graph.verdict("d"), Verdict::Keep);
    }

    #[test]
    fn an_object_goes_when_no_owner_is_left() {
        let of = |owners: &[Owner], dependents, circle| {
            let owners: Vec<_> = owners.iter().enumerate().map(|(at, owner)| (at.to_string(), *owner)).collect();
            end(&owners, dependents, circle)
        };
        use Owner::{Gone, Solid, Waiting};
        assert_eq!(of(&[], true, false), End::Keep);
        assert_eq!(of(&[Solid], true, false), End::Keep);
        assert_eq!(of(&[Solid, Gone, Waiting], true, false), End::Disown(vec!["1".into(), "2".into()]));
        assert_eq!(of(&[Gone, Waiting], true, true), End::DeleteForeground { unblock: true });
        assert_eq!(of(&[Waiting], false, false), End::Delete);
        assert_eq!(of(&[Gone], true, false), End::Delete);
    }

    /// A small state of the graph: for each object its owners, and how it is deleted.
    fn states() -> impl Strategy<Value = Vec<(usize, Vec<usize>, usize)>> {
        proptest::collection::vec((0_usize..6, proptest::collection::vec(0_usize..6, 0..3), 0_usize..4), 0..40)
    }

    proptest! {
        /// Events in any order: what is decided depends on what there is, not on how it came, and nothing is left of what goes.
        #[test]
        fn history_does_not_matter(events in states()) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let made = |owners: &[usize], how: usize| {
                let owners: Vec<&str> = owners.iter().map(|at| names[*at]).collect();
                node(&owners, [&[][..], &["foregroundDeletion"], &["orphan"], &[]][how])
            };
            let (mut graph, mut last) = (Graph::default(), std::collections::BTreeMap::new());
            for (name, owners, how) in &events {
                if *how == 3 {
                    graph.remove(names[*name]);
                    last.remove(name);
                } else {
                    graph.put(names[*name].to_owned(), made(owners, *how));
                    last.insert(*name, (owners.clone(), *how));
                }
            }
            let mut fresh = Graph::default();
            for (name, (owners, how)) in last.iter().rev() {
                fresh.put(names[*name].to_owned(), made(owners, *how));
            }
            for name in names {
                prop_assert_eq!(graph.verdict(name), fresh.verdict(name));
                prop_assert_eq!(graph.may_be_circle(name), fresh.may_be_circle(name));
            }
            for name in names {
                graph.remove(name);
            }
            prop_assert!(graph.nodes.is_empty() && graph.dependents.is_empty());
        }
    }

    #[test]
    fn a_foreground_owner_waits_for_what_blocks_it() {
        let mut graph = Graph::default();
        graph.put("child".into(), node(&["owner"], &[]));
        graph.put("owner".into(), node(&[], &["foregroundDeletion"]));
        assert_eq!(graph.verdict("owner"), Verdict::DeleteFirst(vec!["child".into()]));
        assert_eq!(graph.remove("child"), ["owner"]);
        assert_eq!(graph.verdict("owner"), Verdict::Release);
    }

    #[test]
    fn an_orphaning_owner_frees_its_dependents() {
        let mut graph = Graph::default();
        graph.put("owner".into(), node(&[], &["orphan"]));
        graph.put("child".into(), node(&["owner"], &[]));
        assert_eq!(graph.verdict("owner"), Verdict::Orphan(vec!["child".into()]));
    }
}
