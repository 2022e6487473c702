//! A pod as the scheduler looks at it: read once, when the cache brings it.

use crate::amounts::{Amounts, requested_by};
use crate::selector::{Labels, Selector, labels};
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, PodResourceClaimStatus, WeightedPodAffinityTerm};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is read of a pod.
#[derive(Debug)]
pub(crate) struct PodInfo {
    pub(crate) pod: Arc<Pod>,
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) priority: i32,
    pub(crate) requests: Amounts,
    /// The same with something for containers that ask for nothing.
    pub(crate) scored: Amounts,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) affinity: Vec<Term>,
    pub(crate) anti_affinity: Vec<Term>,
    /// Weights and terms; those of anti-affinity have weights below 0.
    pub(crate) preferred: Vec<(i64, Term)>,
    pub(crate) terminating: bool,
}

/// A port of the host that a pod takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    ip: String,
    protocol: String,
    port: i32,
}

const ANY_ADDRESS: &str = "0.0.0.0";

impl HostPort {
    /// Two pods cannot have both.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let address = self.ip == other.ip || self.ip == ANY_ADDRESS || other.ip == ANY_ADDRESS;
        address && self.port == other.port && self.protocol == other.protocol
    }
}

/// A term of affinity between pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) namespaces: BTreeSet<String>,
    pub(crate) namespace_selector: Selector,
    pub(crate) selector: Selector,
    pub(crate) topology_key: String,
}

impl Term {
    fn of(term: &PodAffinityTerm, namespace: &str) -> Self {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        Self {
            namespaces,
            namespace_selector: Selector::of(term.namespace_selector.as_ref()),
            selector: Selector::of(term.label_selector.as_ref()),
            topology_key: term.topology_key.clone(),
        }
    }

    /// Whether it means `pod`, whose namespace has the labels `of_namespace`.
    pub(crate) fn means(&self, pod: &PodInfo, of_namespace: &Labels) -> bool {
        (self.namespaces.contains(&pod.namespace) || self.namespace_selector.matches(of_namespace))
            && self.selector.matches(pod.labels())
    }
}

impl PodInfo {
    pub(crate) fn new(pod: Arc<Pod>) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let namespace = text(&pod.metadata.namespace);
        let spec = pod.spec.as_ref();
        let affinity = spec.and_then(|spec| spec.affinity.as_ref());
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let terms = |terms: Option<&Vec<PodAffinityTerm>>| {
            terms.into_iter().flatten().map(|term| Term::of(term, &namespace)).collect()
        };
        let weighted = |terms: Option<&Vec<WeightedPodAffinityTerm>>, sign: i64| {
            let terms = terms.into_iter().flatten();
            terms
                .map(|one| (sign * i64::from(one.weight), Term::of(&one.pod_affinity_term, &namespace)))
                .collect::<Vec<_>>()
        };
        let required = near.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
        let forbidden = far.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
        let liked = near.and_then(|it| it.preferred_during_scheduling_ignored_during_execution.as_ref());
        let disliked = far.and_then(|it| it.preferred_during_scheduling_ignored_during_execution.as_ref());
        let mut preferred = weighted(liked, 1);
        preferred.extend(weighted(disliked, -1));
        let (requests, scored) = requested_by(&pod);
        Self {
            uid: text(&pod.metadata.uid),
            name: text(&pod.metadata.name),
            priority: spec.and_then(|spec| spec.priority).unwrap_or(0),
            requests,
            scored,
            ports: host_ports(&pod),
            affinity: terms(required),
            anti_affinity: terms(forbidden),
            preferred,
            terminating: pod.metadata.deletion_timestamp.is_some(),
            namespace,
            pod,
        }
    }

    pub(crate) fn labels(&self) -> &Labels {
        labels(&self.pod.metadata)
    }

    /// The node it is on.
    pub(crate) fn node(&self) -> Option<&str> {
        self.pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
    }

    /// The node that is being cleared for it.
    pub(crate) fn nominated(&self) -> Option<&str> {
        self.pod.status.as_ref()?.nominated_node_name.as_deref().filter(|name| !name.is_empty())
    }

    pub(crate) fn gates(&self) -> impl Iterator<Item = &str> {
        let gates = self.pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
        gates.into_iter().flatten().map(|gate| gate.name.as_str())
    }

    /// Whether it ran and does not any more.
    pub(crate) fn is_finished(&self) -> bool {
        let phase = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    pub(crate) fn has_affinity(&self) -> bool {
        !self.affinity.is_empty() || !self.anti_affinity.is_empty() || !self.preferred.is_empty()
    }

    /// Claims of devices that were made for it, by the names that it has for them.
    pub(crate) fn made_claims(&self) -> &[PodResourceClaimStatus] {
        self.pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_deref()).unwrap_or_default()
    }

    /// Its claims of devices: their names, and whether they were made for this pod. No name: none was needed; an error: it is not
    /// made yet.
    pub(crate) fn device_claims(&self) -> impl Iterator<Item = (Result<Option<String>, String>, bool)> + '_ {
        let claims = self.pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_deref()).unwrap_or_default();
        claims.iter().map(|claim| match &claim.resource_claim_name {
            Some(name) => (Ok(Some(name.clone())), false),
            None => {
                let made = self.made_claims().iter().find(|made| made.name == claim.name);
                let (namespace, name) = (&self.namespace, &self.name);
                let missing = || format!("pod \"{namespace}/{name}\": ResourceClaim not created yet");
                (made.map(|made| made.resource_claim_name.clone()).ok_or_else(missing), true)
            }
        })
    }

    /// The claims that its volumes name: name, and the volume if it is an ephemeral one.
    pub(crate) fn claims(&self) -> impl Iterator<Item = Claim> + '_ {
        let volumes = self.pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
        volumes.into_iter().flatten().filter_map(|volume| {
            if let Some(source) = &volume.persistent_volume_claim {
                return Some(Claim { name: source.claim_name.clone(), ephemeral: false });
            }
            let own = volume.ephemeral.is_some();
            own.then(|| Claim { name: format!("{}-{}", self.name, volume.name), ephemeral: true })
        })
    }
}

/// A claim that a pod's volume names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) name: String,
    /// Made for this pod, and going with it.
    pub(crate) ephemeral: bool,
}

/// Host ports of containers, and of init containers that stay.
fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let stays = spec.init_containers.iter().flatten().filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let ports = stays.chain(&spec.containers).flat_map(|container| container.ports.iter().flatten());
    let text = |text: &Option<String>, default: &str| {
        text.as_deref().filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
    };
    ports
        .filter_map(|port| Some((port, port.host_port.filter(|number| *number > 0)?)))
        .map(|(port, number)| HostPort {
            ip: text(&port.host_ip, ANY_ADDRESS),
            protocol: text(&port.protocol, "TCP"),
            port: number,
        })
        .collect()
}
