//! Who is chosen by a policy: selectors over pods and namespaces. No I/O.

use crate::pods::{Labels, PodFacts};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use std::collections::BTreeMap;

/// Pods, and the labels of the namespaces that they are in.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) pods: &'a [PodFacts],
    pub(crate) namespaces: &'a BTreeMap<String, Labels>,
}

/// Which way packets go, seen from the pod that a policy is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub(crate) const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// Whether a policy says anything about this direction: what it does not name stays open.
pub(crate) fn covers(policy: &NetworkPolicy, direction: Direction) -> bool {
    let Some(spec) = &policy.spec else { return false };
    match (&spec.policy_types, direction) {
        (Some(types), Direction::Ingress) if !types.is_empty() => types.iter().any(|one| one == "Ingress"),
        (Some(types), Direction::Egress) if !types.is_empty() => types.iter().any(|one| one == "Egress"),
        (_, Direction::Ingress) => true,
        (_, Direction::Egress) => spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
    }
}

impl<'a> Scene<'a> {
    /// The pods that a policy is about.
    pub(crate) fn subjects(self, policy: &NetworkPolicy) -> Vec<&'a PodFacts> {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        let chosen = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
        let everybody = LabelSelector::default();
        let Some(selector) = parsed(chosen.unwrap_or(&everybody)) else { return Vec::new() };
        let pods = self.pods.iter().filter(|pod| pod.namespace == namespace);
        pods.filter(|pod| selector.matches(&pod.labels)).collect()
    }

    /// The pods that a peer of a policy in `namespace` means. A peer that is a block of addresses means none.
    pub(crate) fn peers(self, peer: &NetworkPolicyPeer, namespace: &str) -> Vec<&'a PodFacts> {
        if peer.ip_block.is_some() {
            return Vec::new();
        }
        let everybody = LabelSelector::default();
        let pods = parsed(peer.pod_selector.as_ref().unwrap_or(&everybody));
        let spaces = peer.namespace_selector.as_ref().map(parsed);
        let (Some(pods), Some(spaces)) = (pods, spaces.map_or(Some(None), |spaces| spaces.map(Some))) else {
            return Vec::new();
        };
        let none = Labels::new();
        let is_in = |pod: &PodFacts| match &spaces {
            None => pod.namespace == namespace,
            Some(selector) => selector.matches(self.namespaces.get(&pod.namespace).unwrap_or(&none)),
        };
        self.pods.iter().filter(|pod| is_in(pod) && pods.matches(&pod.labels)).collect()
    }
}

/// A selector that does not parse chooses nobody; the API takes no such.
fn parsed(selector: &LabelSelector) -> Option<Selector> {
    Selector::try_from(selector.clone()).ok()
}
