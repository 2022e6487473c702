//! States of clusters, as the answers of an API server.

use serde_json::{Value, json};
use skiff_why::{Answer, Facts, Kind, Step, Target, Told, explain};
use std::collections::BTreeMap;

/// When everything is asked.
pub(crate) const NOW: &str = "2026-05-01T12:00:00Z";

/// A moment so many seconds before [`NOW`].
pub(crate) fn ago(seconds: i64) -> String {
    let now: jiff::Timestamp = NOW.parse().unwrap();
    jiff::Timestamp::from_second(now.as_second() - seconds).unwrap().to_string()
}

/// Objects by their paths, and other answers.
#[derive(Default, Clone)]
pub(crate) struct World {
    objects: BTreeMap<String, Value>,
    answers: BTreeMap<String, Told>,
}

impl World {
    /// With an object of `group` (`v1`, `apps/v1`).
    pub(crate) fn object(mut self, group: &str, plural: &str, object: Value) -> Self {
        let root = if group == "v1" { "/api/v1".to_owned() } else { format!("/apis/{group}") };
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let path = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}/{name}"),
            None => format!("{root}/{plural}/{name}"),
        };
        self.objects.insert(path, object);
        self
    }

    pub(crate) fn pod(self, pod: Value) -> Self {
        self.object("v1", "pods", pod)
    }

    pub(crate) fn node(self, node: Value) -> Self {
        self.object("v1", "nodes", node)
    }

    /// With an answer of another kind.
    pub(crate) fn says(mut self, path: &str, value: Value) -> Self {
        self.answers.insert(path.to_owned(), Told::Is(value));
        self
    }

    /// With a path that cannot be had.
    pub(crate) fn refuses(mut self, path: &str, why: &str) -> Self {
        self.answers.insert(path.to_owned(), Told::Unknown(why.to_owned()));
        self
    }

    /// With what the kubelet of a node says.
    pub(crate) fn kubelet(self, node: &str, path: &str, value: Value) -> Self {
        self.says(&format!("/api/v1/nodes/{node}/proxy/{path}"), value)
    }

    /// With the end of a container's log.
    pub(crate) fn log(self, pod: &str, container: &str, previous: bool, text: &str) -> Self {
        let (namespace, pod) = pod.split_once('/').unwrap();
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&previous={previous}&tailLines=20&limitBytes=16384"
        );
        self.says(&path, text.into())
    }

    /// With an event about `kind namespace/name`, so many seconds ago.
    pub(crate) fn event(self, about: &str, reason: &str, message: &str, count: i64, seconds: i64) -> Self {
        let (kind, name) = about.split_once(' ').unwrap();
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        let (name, field) = name.split_once('#').unwrap_or((name, ""));
        let normal = ["Pulling", "Killing", "Pulled", "SandboxChanged"].contains(&reason);
        let number = self.objects.len();
        let event = json!({
            "metadata": {"name": format!("e{number}"), "namespace": namespace},
            "involvedObject": {"kind": kind, "name": name, "namespace": namespace, "fieldPath": format!("spec.containers{{{field}}}")},
            "type": if normal { "Normal" } else { "Warning" }, "reason": reason, "message": message, "count": count,
            "firstTimestamp": ago(seconds + 60 * (count - 1)), "lastTimestamp": ago(seconds), "source": {"component": "kubelet"},
        });
        self.object("v1", "events", event)
    }

    fn answer(&self, path: &str) -> Told {
        if let Some(told) = self.answers.get(path) {
            return told.clone();
        }
        if let Some(object) = self.objects.get(path) {
            return Told::Is(object.clone());
        }
        let folder = |of: &str| of.rsplit_once('/').map(|(folder, _)| folder.to_owned()).unwrap_or_default();
        let everywhere = |folder: &str| match folder.split_once("/namespaces/") {
            Some((root, rest)) => {
                rest.split_once('/').map_or_else(|| folder.to_owned(), |(_, plural)| format!("{root}/{plural}"))
            }
            None => folder.to_owned(),
        };
        let items = self.objects.iter().filter(|(of, _)| folder(of) == path || everywhere(&folder(of)) == path);
        let items: Vec<_> = items.map(|(_, object)| object.clone()).collect();
        if items.is_empty() { Told::Absent } else { Told::Is(json!({ "items": items })) }
    }
}

/// A state, what is asked, and the words that the answer has to hold.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) target: Target,
    pub(crate) world: World,
    pub(crate) words: &'static [&'static str],
}

impl Case {
    /// `what`: `pod shop/web`.
    pub(crate) fn new(name: &'static str, what: &str, world: World, words: &'static [&'static str]) -> Self {
        let (kind, rest) = what.split_once(' ').unwrap();
        let (rest, to) = rest.split_once(" to ").map_or((rest, None), |(rest, to)| (rest, Some(to.to_owned())));
        let (namespace, of) = rest.split_once('/').unwrap_or(("", rest));
        let target = Target { kind: Kind::named(kind).unwrap(), namespace: namespace.into(), name: of.into(), to };
        Self { name, target, world, words }
    }

    /// What is answered.
    pub(crate) fn answer(&self) -> Answer {
        self.by(|path| self.world.answer(path))
    }

    /// What is answered when nobody says anything.
    pub(crate) fn without_answers(&self) -> Answer {
        self.by(|_| Told::Unknown("no answer".to_owned()))
    }

    fn by(&self, answer: impl Fn(&str) -> Told) -> Answer {
        let mut facts = Facts::at(NOW.parse().unwrap());
        for _ in 0..12 {
            match explain(&self.target, &facts) {
                Step::Done(answer) => return answer,
                Step::Ask(paths) => paths.into_iter().for_each(|path| {
                    let told = answer(&path);
                    facts.tell(path, told);
                }),
            }
        }
        panic!("{}: it asks for ever", self.name);
    }
}

/// A node that is ready, with 4 cores and 8 GiB.
pub(crate) fn node(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": "a"}}, "spec": {},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "50Gi"}, "capacity": {"cpu": "4", "memory": "8Gi"},
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ago(86400)}],
            "nodeInfo": {"architecture": "amd64", "kubeletVersion": "v1.36.0"},
            "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "images": [
                {"names": ["reg.example/app:latest"], "sizeBytes": 52_428_800}, {"names": ["reg.example/old:1"], "sizeBytes": 1_073_741_824},
            ],
        },
    })
}

/// With `more` in place of what is at these pointers.
pub(crate) fn with(mut object: Value, more: &[(&str, Value)]) -> Value {
    for (pointer, value) in more {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}"))[field] = value.clone();
    }
    object
}

/// A pod `namespace/name` of one container that waits for a node since three minutes.
pub(crate) fn pending(full: &str) -> Value {
    let (namespace, name) = full.split_once('/').unwrap();
    json!({
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"), "labels": {"app": name}, "creationTimestamp": ago(192)},
        "spec": {"restartPolicy": "Always", "containers": [{"name": "main", "image": "reg.example/app:1"}]},
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 something.", "lastTransitionTime": ago(192)}]},
    })
}

/// The same on node `a`, with a status of its container.
pub(crate) fn placed(full: &str, phase: &str, container: Value) -> Value {
    let mut pod = pending(full);
    pod["spec"]["nodeName"] = "a".into();
    let ready = if container["ready"] == true { "True" } else { "False" };
    pod["status"] = json!({
        "phase": phase, "podIP": "10.244.0.5", "startTime": ago(180),
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": ago(180)}, {"type": "Ready", "status": ready, "lastTransitionTime": ago(120)},
            {"type": "PodReadyToStartContainers", "status": "True"},
        ],
    });
    let mut status = json!({"name": "main", "restartCount": 0, "ready": false});
    status.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    pod["status"]["containerStatuses"] = json!([status]);
    pod
}

/// A container that runs and is ready.
pub(crate) fn running() -> Value {
    json!({"ready": true, "started": true, "state": {"running": {"startedAt": ago(120)}}})
}

/// A container that waits.
pub(crate) fn waiting(reason: &str, message: &str) -> Value {
    json!({"state": {"waiting": {"reason": reason, "message": message}}})
}
