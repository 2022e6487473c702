//! Which node has to do with which objects:
//!
//! ```text
//!  node ◄── pod ◄── secret, configmap, account, claim of devices
//!            ▲
//!            └── claim ◄── volume ◄── secret          node ◄── attachment, slice of devices
//! ```

use super::references::{Reference, of_pod, of_volume};
use crate::objects::text;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// What kind of object an arrow begins at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Thing {
    Secret,
    ConfigMap,
    Claim,
    Volume,
    ResourceClaim,
    Attachment,
    Account,
    Slice,
    Pod,
}

/// An object, by kind, namespace and name.
type Key = (Thing, String, String);

/// Nodes that need an object, and by how many arrows.
type Needed = HashMap<String, usize>;

/// All arrows.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Through pods, or of the object's own saying.
    needed: HashMap<Key, Needed>,
    /// What a pod, an attachment or a slice has added: its node, and the objects.
    said: HashMap<Key, (String, Vec<Key>)>,
    /// The claim of each volume, and its secrets.
    volumes: HashMap<String, (Key, Vec<Key>)>,
    /// The volumes that need each secret.
    of_secrets: HashMap<Key, HashSet<String>>,
}

impl Graph {
    pub(super) fn put(&mut self, plural: &str, object: &Value) {
        let (metadata, spec) = (&object["metadata"], &object["spec"]);
        let (namespace, name) = (text(metadata, "namespace"), text(metadata, "name"));
        match plural {
            "pods" => {
                self.say((Thing::Pod, namespace.to_owned(), name.to_owned()), text(spec, "nodeName"), of_pod(object))
            }
            "volumeattachments" => {
                self.say((Thing::Attachment, String::new(), name.to_owned()), text(spec, "nodeName"), Vec::new())
            }
            "resourceslices" => {
                self.say((Thing::Slice, String::new(), name.to_owned()), text(spec, "nodeName"), Vec::new())
            }
            "persistentvolumes" => self.put_volume(name, object),
            _ => {}
        }
    }

    pub(super) fn remove(&mut self, plural: &str, namespace: &str, name: &str) {
        let thing = match plural {
            "pods" => Thing::Pod,
            "volumeattachments" => Thing::Attachment,
            "resourceslices" => Thing::Slice,
            "persistentvolumes" => return self.forget_volume(name),
            _ => return,
        };
        self.unsay(&(thing, namespace.to_owned(), name.to_owned()));
    }

    /// What `key` says: that it and `more` are `node`'s. Without a node it says nothing.
    fn say(&mut self, key: Key, node: &str, more: Vec<Reference>) {
        let mut keys: Vec<Key> = vec![key.clone()];
        keys.extend(more.into_iter().map(|(thing, name)| (thing, key.1.clone(), name)));
        if self.said.get(&key).is_some_and(|(was, said)| was == node && *said == keys) {
            return;
        }
        self.unsay(&key);
        if node.is_empty() {
            return;
        }
        for one in &keys {
            *self.needed.entry(one.clone()).or_default().entry(node.to_owned()).or_default() += 1;
        }
        self.said.insert(key, (node.to_owned(), keys));
    }

    fn unsay(&mut self, key: &Key) {
        let Some((node, keys)) = self.said.remove(key) else { return };
        for one in keys {
            let Some(needed) = self.needed.get_mut(&one) else { continue };
            if let Some(count) = needed.get_mut(&node) {
                *count -= 1;
                if *count == 0 {
                    needed.remove(&node);
                }
            }
            if needed.is_empty() {
                self.needed.remove(&one);
            }
        }
    }

    fn put_volume(&mut self, name: &str, volume: &Value) {
        self.forget_volume(name);
        let claim = &volume["spec"]["claimRef"];
        if claim.is_null() {
            return;
        }
        let claim = (Thing::Claim, text(claim, "namespace").to_owned(), text(claim, "name").to_owned());
        let secrets = of_volume(volume).into_iter().map(|(namespace, name)| (Thing::Secret, namespace, name));
        let secrets: Vec<Key> = secrets.collect();
        for secret in &secrets {
            self.of_secrets.entry(secret.clone()).or_default().insert(name.to_owned());
        }
        self.volumes.insert(name.to_owned(), (claim, secrets));
    }

    fn forget_volume(&mut self, name: &str) {
        let Some((_, secrets)) = self.volumes.remove(name) else { return };
        for secret in secrets {
            if let Some(volumes) = self.of_secrets.get_mut(&secret) {
                volumes.remove(name);
                if volumes.is_empty() {
                    self.of_secrets.remove(&secret);
                }
            }
        }
    }

    /// Whether arrows lead from the object to the node.
    pub(super) fn is_related(&self, thing: Thing, namespace: &str, name: &str, node: &str) -> bool {
        if thing == Thing::Volume {
            return self.volume_is(name, node);
        }
        let key = (thing, namespace.to_owned(), name.to_owned());
        self.is_needed(&key, node)
            || self.of_secrets.get(&key).into_iter().flatten().any(|volume| self.volume_is(volume, node))
    }

    fn volume_is(&self, name: &str, node: &str) -> bool {
        self.volumes.get(name).is_some_and(|(claim, _)| self.is_needed(claim, node))
    }

    fn is_needed(&self, key: &Key, node: &str) -> bool {
        self.needed.get(key).is_some_and(|nodes| nodes.contains_key(node))
    }
}
