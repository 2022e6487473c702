//! On which nodes a volume has to be attached, and from which it may go. Pure.

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// A volume that has to be attached before a node can use it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Attachable {
    pub(super) driver: String,
    pub(super) handle: String,
    /// Whether several nodes may use it at once.
    pub(super) shared: bool,
}

impl Attachable {
    /// What a node calls it in its status.
    pub(super) fn on_node(&self) -> String {
        format!("kubernetes.io/csi/{}^{}", self.driver, self.handle)
    }
}

/// An attachment that there is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Attachment {
    pub(super) name: String,
    pub(super) node: String,
    pub(super) going: bool,
}

/// What has to be done about one volume.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    /// Nodes that get an attachment.
    pub(super) attach: Vec<String>,
    /// Names of attachments that go.
    pub(super) detach: Vec<String>,
    /// Nodes that have to wait for another one.
    pub(super) waiting: Vec<String>,
}

/// The name of an attachment: the same whoever makes it, so that none is made twice.
pub(super) fn name(volume: &Attachable, node: &str) -> String {
    let digest = Sha256::digest(format!("{}{}{node}", volume.handle, volume.driver));
    format!("csi-{}", hex::encode(digest))
}

/// `needed`: nodes with a pod that uses the volume; `mounted`: nodes that say they still have it mounted.
pub(super) fn plan(
    volume: Option<&Attachable>,
    needed: &BTreeSet<String>,
    mounted: &BTreeSet<String>,
    present: &[Attachment],
) -> Plan {
    let mut plan = Plan::default();
    // Of a volume that is not there nobody knows whose its attachments are.
    let Some(volume) = volume else { return plan };
    for one in present.iter().filter(|one| !one.going && !needed.contains(&one.node)) {
        let ours = one.name == name(volume, &one.node);
        // A mounted volume that is detached loses what was not written yet.
        if ours && !mounted.contains(&one.node) {
            plan.detach.push(one.name.clone());
        }
    }
    let attached: BTreeMap<_, _> = present.iter().map(|one| (one.node.as_str(), one)).collect();
    let mut taken = !present.is_empty();
    for node in needed.iter().filter(|node| !attached.contains_key(node.as_str())) {
        if taken && !volume.shared {
            plan.waiting.push(node.clone());
        } else {
            plan.attach.push(node.clone());
            taken = true;
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn volume(shared: bool) -> Attachable {
        Attachable { driver: "d".to_owned(), handle: "h".to_owned(), shared }
    }

    fn present(node: &str) -> Attachment {
        Attachment { name: name(&volume(false), node), node: node.to_owned(), going: false }
    }

    #[test]
    fn one_node_after_the_other_unless_it_is_shared() {
        let none = set(&[]);
        let first = plan(Some(&volume(false)), &set(&["a", "b"]), &none, &[]);
        assert_eq!((first.attach, first.waiting), (vec!["a".to_owned()], vec!["b".to_owned()]));
        let both = plan(Some(&volume(true)), &set(&["a", "b"]), &none, &[]);
        assert_eq!(both.attach, ["a", "b"]);
        let moved = plan(Some(&volume(false)), &set(&["b"]), &none, &[present("a")]);
        assert_eq!((moved.detach, moved.waiting), (vec![present("a").name], vec!["b".to_owned()]));
    }

    #[test]
    fn what_is_mounted_is_not_detached() {
        let kept = plan(Some(&volume(false)), &set(&[]), &set(&["a"]), &[present("a")]);
        assert_eq!(kept, Plan::default());
        assert_eq!(plan(None, &set(&["a"]), &set(&[]), &[present("a")]), Plan::default(), "whose it is nobody knows");
        let foreign = Attachment { name: "mine".to_owned(), ..present("a") };
        assert_eq!(plan(Some(&volume(false)), &set(&[]), &set(&[]), &[foreign]), Plan::default(), "not ours to take");
    }

    #[test]
    fn a_name_says_which_volume_on_which_node() {
        assert_eq!(name(&volume(false), "a"), name(&volume(true), "a"));
        assert_ne!(name(&volume(false), "a"), name(&volume(false), "b"));
        assert_eq!(name(&volume(false), "a").len(), 4 + 64);
    }
}
