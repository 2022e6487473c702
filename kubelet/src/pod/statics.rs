//! Static pods on their way to workers.
//!
//! A file that changes is another pod of the same name: it starts when its predecessor has ended. What the API server shows of static
//! pods are mirrors, which nobody runs; one whose pod is gone is taken away.

use super::dispatch::Dispatch;
use super::manifests::Change;
use super::{mirrors, static_pod};
use k8s_openapi::api::core::v1::Pod;
use std::collections::HashMap;
use std::sync::Arc;

/// A pod's namespace and name.
type Name = (Option<String>, Option<String>);

/// The static pods of the node.
#[derive(Default)]
pub(super) struct Statics {
    /// Those that files describe now.
    described: HashMap<Name, Arc<Pod>>,
    /// Those that have workers, by uid.
    running: HashMap<String, Name>,
    /// Those that wait for the ends of their predecessors.
    waiting: HashMap<Name, Arc<Pod>>,
}

fn name_of(pod: &Pod) -> Name {
    (pod.metadata.namespace.clone(), pod.metadata.name.clone())
}

impl Dispatch {
    /// A file came, changed or went.
    pub(super) fn file(&mut self, change: Change) {
        match change {
            Change::Here(pod) => {
                let name = name_of(&pod);
                if self.statics.described.contains_key(&name) {
                    tracing::warn!(pod = pod.metadata.name, "two files describe one static pod: the first one counts");
                    return;
                }
                self.statics.described.insert(name.clone(), Arc::clone(&pod));
                if self.statics.running.values().any(|running| *running == name) {
                    self.statics.waiting.insert(name, pod);
                } else {
                    self.start(name, pod);
                }
            }
            Change::Gone(pod) => {
                let name = name_of(&pod);
                if self.statics.described.get(&name).is_none_or(|known| known.metadata.uid != pod.metadata.uid) {
                    return;
                }
                self.statics.described.remove(&name);
                self.statics.waiting.remove(&name);
                self.remove(pod.metadata.uid.as_deref().unwrap_or_default());
                self.remove_mirror(&name);
            }
        }
    }

    fn start(&mut self, name: Name, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.assign(pod);
        if self.workers.contains_key(&uid) {
            self.statics.running.insert(uid, name);
        }
    }

    /// A worker has ended; if it was a static pod's, the next of its name may start.
    pub(super) fn static_ended(&mut self, uid: &str) {
        let Some(name) = self.statics.running.remove(uid) else { return };
        if let Some(next) = self.statics.waiting.remove(&name) {
            self.start(name, next);
        }
    }

    fn remove_mirror(&mut self, name: &Name) {
        let pods = self.agent.caches.chosen::<Pod>(&format!("spec.nodeName={}", self.agent.node_name));
        let (namespace, name) = (name.0.as_deref().unwrap_or_default(), name.1.as_deref().unwrap_or_default());
        if let Some(mirror) = pods.get(namespace, name).filter(|pod| static_pod::mirrored(pod).is_some()) {
            self.drop_mirror(mirror);
        }
    }

    fn drop_mirror(&mut self, mirror: Arc<Pod>) {
        let (agent, uid) = (Arc::clone(&self.agent), mirror.metadata.uid.clone().unwrap_or_default());
        self.cleanups.spawn(async move {
            mirrors::remove(agent, mirror).await;
            uid
        });
    }

    /// The API server has a pod for this node.
    pub(super) fn of_api(&mut self, mut pod: Arc<Pod>) {
        if static_pod::mirrored(&pod).is_some() {
            if !self.statics.described.contains_key(&name_of(&pod)) {
                self.drop_mirror(pod);
            }
            return;
        }
        if static_pod::claims_a_file(&pod) {
            static_pod::disclaim(Arc::make_mut(&mut pod));
        }
        self.assign(pod);
    }
}
