//! What kubelets may do (Kubernetes' Node authorizer): what the role `system:node` says, and of secrets, configuration, claims, volumes
//! and accounts only what pods on their node need.

mod graph; // which node has to do with what
mod references; // what a pod refers to

use crate::{Act, Attributes, Decision, Reason, Rule, User, defaults};
use graph::{Graph, Thing};
use serde_json::Value;

/// The group of kubelets.
const NODES: &str = "system:nodes";
/// A kubelet's user begins so.
const NODE: &str = "system:node:";
const LEASES: &str = "kube-node-lease";

/// The node whose kubelet `user` is. `Some("")`: a kubelet, nobody knows of which node.
#[must_use]
pub fn node_name<'a>(user: &User<'a>) -> Option<&'a str> {
    let name = user.name.strip_prefix(NODE)?;
    user.is_in(NODES).then_some(name)
}

/// Which node has to do with which objects, and what nodes may do otherwise.
#[derive(Debug)]
pub struct Nodes {
    graph: Graph,
    rules: Vec<Rule>,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { graph: Graph::default(), rules: defaults::rules_of("system:node") }
    }
}

/// What is asked of one resource.
struct Asked<'a> {
    node: &'a str,
    verb: &'a str,
    part: &'a str,
    namespace: &'a str,
    name: &'a str,
    attributes: &'a Attributes<'a>,
}

fn no(why: &str) -> Decision {
    Decision::no_opinion(Reason::text(why))
}

fn yes() -> Decision {
    Decision::allow(Reason::None)
}

impl Asked<'_> {
    /// Whether a field selector leaves only what is this node's.
    fn selects_own(&self, field: &str) -> bool {
        self.attributes.selection.fields.iter().any(|one| one.is(field, self.node))
    }
}

impl Nodes {
    /// Resources that relations come from, as group and plural.
    pub const FOLLOWED: [(&'static str, &'static str); 5] = [
        ("", "pods"),
        ("", "persistentvolumes"),
        ("storage.k8s.io", "volumeattachments"),
        ("resource.k8s.io", "resourceslices"),
        ("certificates.k8s.io", "podcertificaterequests"),
    ];

    /// Whether `part` of an object tells all that [`Self::put`] wants to know: a pod that has no node has to do with none.
    #[must_use]
    pub fn is_told(plural: &str, part: &Value) -> bool {
        plural == "pods" && part["spec"]["nodeName"].as_str().is_none_or(str::is_empty)
    }

    /// Whether pods bring the right to read objects of this resource.
    #[must_use]
    pub fn brings(plural: &str) -> bool {
        const BROUGHT: [&str; 7] = [
            "secrets",
            "configmaps",
            "persistentvolumeclaims",
            "persistentvolumes",
            "serviceaccounts",
            "resourceclaims",
            "pods",
        ];
        BROUGHT.contains(&plural)
    }

    /// Notes what an object of one of [`Self::FOLLOWED`] says.
    pub fn put(&mut self, plural: &str, object: &Value) {
        self.graph.put(plural, object);
    }

    /// Forgets what an object said.
    pub fn remove(&mut self, plural: &str, namespace: &str, name: &str) {
        self.graph.remove(plural, namespace, name);
    }

    /// Decides about requests of kubelets; of nobody else's.
    #[must_use]
    pub fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let Some(node) = node_name(&attributes.user) else { return no("") };
        if node.is_empty() {
            return no(&format!("unknown node for user {:?}", attributes.user.name));
        }
        if let Act::Resource { verb, group, resource, part, namespace, name } = attributes.act {
            let asked = Asked { node, verb, part, namespace, name, attributes };
            if let Some(decision) = self.about(group, resource, &asked) {
                return decision;
            }
        }
        if self.rules.iter().any(|rule| rule.allows(&attributes.act)) { yes() } else { no("") }
    }

    /// The decision about resources that are not every node's alike.
    fn about(&self, group: &str, resource: &str, asked: &Asked<'_>) -> Option<Decision> {
        Some(match (group, resource) {
            ("", "secrets") => self.read(Thing::Secret, asked),
            ("", "configmaps") => self.read(Thing::ConfigMap, asked),
            ("", "persistentvolumeclaims") if asked.part == "status" => match asked.verb {
                "update" | "patch" => self.related(Thing::Claim, asked),
                _ => no("can only get/update/patch this type"),
            },
            ("", "persistentvolumeclaims") => self.get(Thing::Claim, asked),
            ("", "persistentvolumes") => self.get(Thing::Volume, asked),
            ("resource.k8s.io", "resourceclaims") => self.get(Thing::ResourceClaim, asked),
            ("storage.k8s.io", "volumeattachments") => self.get(Thing::Attachment, asked),
            ("", "serviceaccounts") => self.account(asked),
            ("coordination.k8s.io", "leases") => lease(asked),
            ("storage.k8s.io", "csinodes") => csi_node(asked),
            ("resource.k8s.io", "resourceslices") => self.slice(asked),
            ("", "nodes") => own_node(asked),
            ("", "pods") => self.pod(asked),
            // PodCertificateRequest is off in Kubernetes 1.36 unless asked for, and off here.
            ("certificates.k8s.io", "podcertificaterequests") => no(""),
            _ => return None,
        })
    }

    /// Reads of single objects, lists and watches of one included.
    fn read(&self, thing: Thing, asked: &Asked<'_>) -> Decision {
        if !matches!(asked.verb, "get" | "list" | "watch") {
            return no("can only read resources of this type");
        }
        if !asked.part.is_empty() {
            return no("cannot read subresource");
        }
        if asked.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related(thing, asked)
    }

    fn get(&self, thing: Thing, asked: &Asked<'_>) -> Decision {
        if asked.verb != "get" {
            return no("can only get individual resources of this type");
        }
        if !asked.part.is_empty() {
            return no("cannot get subresource");
        }
        self.related(thing, asked)
    }

    fn related(&self, thing: Thing, asked: &Asked<'_>) -> Decision {
        if asked.name.is_empty() {
            return no("No Object name found");
        }
        match self.graph.is_related(thing, asked.namespace, asked.name, asked.node) {
            true => yes(),
            false => no(&format!("no relationship found between node '{}' and this object", asked.node)),
        }
    }

    /// Tokens for the accounts of its pods, and these accounts.
    fn account(&self, asked: &Asked<'_>) -> Decision {
        if asked.verb == "get" && asked.part.is_empty() {
            return self.read(Thing::Account, asked);
        }
        if asked.verb != "create" || asked.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if asked.part != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        self.related(Thing::Account, asked)
    }

    /// Whose slice a new one is, admission sees.
    fn slice(&self, asked: &Asked<'_>) -> Decision {
        if !asked.part.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match asked.verb {
            "create" => yes(),
            "get" | "update" | "patch" | "delete" => self.related(Thing::Slice, asked),
            "watch" | "list" | "deletecollection" if asked.selects_own("spec.nodeName") => yes(),
            "watch" | "list" | "deletecollection" => {
                no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, \
                     delete, deletecollection",
            ),
        }
    }

    /// Whose pod is written, admission sees.
    fn pod(&self, asked: &Asked<'_>) -> Decision {
        match (asked.part, asked.verb) {
            ("", "get") => self.get(Thing::Pod, asked),
            ("", "list" | "watch") if asked.selects_own("spec.nodeName") => yes(),
            ("", "list" | "watch") if !asked.name.is_empty() => self.related(Thing::Pod, asked),
            ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => yes(),
            _ => no(""),
        }
    }
}

/// Which node is written, admission sees.
fn own_node(asked: &Asked<'_>) -> Decision {
    let node = asked.node;
    match (asked.part, asked.verb, asked.name) {
        ("", "create" | "update" | "patch", _) | ("status", "update" | "patch", _) => yes(),
        ("", "get" | "list" | "watch", name) if name == node => yes(),
        ("", "get" | "list" | "watch", "") => {
            no(&format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch", name) => {
            no(&format!("node '{node}' cannot read '{name}', only its own Node object"))
        }
        _ => no(""),
    }
}

/// The name of a new lease, admission sees.
fn lease(asked: &Asked<'_>) -> Decision {
    if !matches!(asked.verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    if asked.namespace != LEASES {
        return no(&format!("can only access leases in the {LEASES:?} system namespace"));
    }
    match asked.verb == "create" || asked.name == asked.node {
        true => yes(),
        false => no("can only access node lease with the same name as the requesting node"),
    }
}

fn csi_node(asked: &Asked<'_>) -> Decision {
    if !matches!(asked.verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a CSINode");
    }
    if !asked.part.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    match asked.verb == "create" || asked.name == asked.node {
        true => yes(),
        false => no("can only access CSINode with the same name as the requesting node"),
    }
}

#[cfg(test)]
mod tests;
