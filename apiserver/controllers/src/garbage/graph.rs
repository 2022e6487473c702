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
        let lost = |owner: &OwnerReference| !self.nodes.contains_key(&owner.uid);
        if !node.deleting && !node.owners.is_empty() && node.owners.iter().all(lost) {
            Verdict::Garbage
        } else {
            Verdict::Keep
        }
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
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Keep,
    /// All owners are gone, as far as the graph knows: ask the server, then delete.
    Garbage,
    /// Deleted in the foreground: these go first.
    DeleteFirst(Vec<Uid>),
    /// Nothing blocks it any more: remove the finalizer `foregroundDeletion`.
    Release,
    /// Remove the reference from each of these, then the finalizer `orphan`.
    Orphan(Vec<Uid>),
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn an_object_is_garbage_when_all_its_owners_are_gone() {
        let mut graph = Graph::default();
        graph.put("a".into(), node(&[], &[]));
        graph.put("b".into(), node(&[], &[]));
        graph.put("child".into(), node(&["a", "b"], &[]));
        assert_eq!(graph.remove("a"), ["child"]);
        assert_eq!(graph.verdict("child"), Verdict::Keep);
        graph.remove("b");
        assert_eq!(graph.verdict("child"), Verdict::Garbage);
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
