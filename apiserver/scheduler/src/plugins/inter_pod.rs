//! InterPodAffinity: nodes whose domain has the pods that are asked for, and none that is not wanted.

use crate::cluster::Cluster;
use crate::cycle::Cycle;
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Refusal};
use crate::pod::{PodInfo, Term};
use crate::selector::{Labels, Selector};
use std::collections::HashMap;
use std::sync::Arc;

/// Value of a label, by its key: how many pods count there. Nothing stands at 0.
type Domains = HashMap<String, HashMap<String, i64>>;

#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// The pod's own terms, with the namespaces that their selectors choose.
    near: Arc<Vec<Term>>,
    far: Arc<Vec<Term>>,
    /// Pods that do not want this one near.
    unwelcome: Domains,
    /// Pods that this one wants near: those that all its terms mean.
    wanted: Domains,
    /// Pods that this one does not want near.
    unwanted: Domains,
}

/// A term with the namespaces by name that its selector chooses.
pub(super) fn resolved(term: &Term, cluster: &Cluster) -> Term {
    // One that chooses all namespaces stays as it is: it means those too that come later.
    if term.namespace_selector.is_empty() || term.namespace_selector == Selector::Nothing {
        return term.clone();
    }
    let mut term = term.clone();
    term.namespaces.extend(cluster.namespaces(&term.namespace_selector).cloned());
    term.namespace_selector = Selector::Nothing;
    term
}

/// Whether all the terms mean `pod`; without terms: no.
pub(crate) fn means_all(terms: &[Term], pod: &PodInfo) -> bool {
    static NONE: Labels = Labels::new();
    !terms.is_empty() && terms.iter().all(|term| term.means(pod, &NONE))
}

pub(super) fn before(cycle: &Cycle<'_>, counts: &mut super::Counts) -> Result<(), Refusal> {
    let own = |terms: &[Term]| Arc::new(terms.iter().map(|term| resolved(term, cycle.cluster)).collect::<Vec<_>>());
    let counts = &mut counts.inter_pod;
    counts.near = own(&cycle.pod.affinity);
    counts.far = own(&cycle.pod.anti_affinity);
    let alone = counts.near.is_empty() && counts.far.is_empty();
    for node in &cycle.cluster.nodes {
        for other in &node.with_anti_affinity {
            counts.count_unwelcome(cycle, other, node, 1);
        }
        if !alone {
            for other in &node.pods {
                counts.count_own(other, node, 1);
            }
        }
    }
    Ok(())
}

impl Counts {
    pub(super) fn follow(&mut self, cycle: &Cycle<'_>, other: &PodInfo, node: &NodeInfo, by: i64) {
        self.count_unwelcome(cycle, other, node, by);
        self.count_own(other, node, by);
    }

    fn count_unwelcome(&mut self, cycle: &Cycle<'_>, other: &PodInfo, node: &NodeInfo, by: i64) {
        if other.anti_affinity.is_empty() {
            return;
        }
        let of_namespace = cycle.cluster.namespace(&cycle.pod.namespace);
        for term in &other.anti_affinity {
            if term.means(cycle.pod, of_namespace) {
                add(&mut self.unwelcome, term, node, by);
            }
        }
    }

    fn count_own(&mut self, other: &PodInfo, node: &NodeInfo, by: i64) {
        static NONE: Labels = Labels::new();
        if means_all(&self.near, other) {
            for term in &*Arc::clone(&self.near) {
                add(&mut self.wanted, term, node, by);
            }
        }
        for term in &*Arc::clone(&self.far) {
            if term.means(other, &NONE) {
                add(&mut self.unwanted, term, node, by);
            }
        }
    }

    fn has_all_wanted(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let mut there = true;
        for term in &*self.near {
            match node.labels().get(&term.topology_key) {
                Some(value) => there &= at(&self.wanted, &term.topology_key, value) > 0,
                None => return false,
            }
        }
        // The first of a group that wants to be together has nobody to be near.
        there || self.wanted.is_empty() && means_all(&self.near, pod)
    }

    fn has_unwanted(&self, node: &NodeInfo) -> bool {
        let there = |term: &Term| {
            let value = node.labels().get(&term.topology_key);
            value.is_some_and(|value| at(&self.unwanted, &term.topology_key, value) > 0)
        };
        !self.unwanted.is_empty() && self.far.iter().any(there)
    }

    fn is_unwelcome(&self, node: &NodeInfo) -> bool {
        self.unwelcome.iter().any(|(key, domains)| {
            let value = node.labels().get(key);
            value.is_some_and(|value| domains.get(value).is_some_and(|pods| *pods > 0))
        })
    }
}

fn add(domains: &mut Domains, term: &Term, node: &NodeInfo, by: i64) {
    let key = &term.topology_key;
    let Some(value) = node.labels().get(key) else { return };
    if !domains.contains_key(key) {
        domains.insert(key.clone(), HashMap::new());
    }
    let Some(values) = domains.get_mut(key) else { return };
    match values.get_mut(value) {
        Some(pods) => *pods += by,
        None => drop(values.insert(value.clone(), by)),
    }
    if values.get(value) == Some(&0) {
        values.remove(value);
    }
    if values.is_empty() {
        domains.remove(key);
    }
}

fn at(domains: &Domains, key: &str, value: &str) -> i64 {
    domains.get(key).and_then(|values| values.get(value)).copied().unwrap_or(0)
}

pub(super) fn filter(cycle: &Cycle<'_>, counts: &super::Counts, node: &NodeInfo) -> Option<Refusal> {
    let counts = &counts.inter_pod;
    if !counts.near.is_empty() && !counts.has_all_wanted(cycle.pod, node) {
        return Some(Refusal::lasting(Plugin::InterPodAffinity, "node(s) didn't match pod affinity rules"));
    }
    if counts.has_unwanted(node) {
        return Some(Refusal::by_pods(Plugin::InterPodAffinity, "node(s) didn't match pod anti-affinity rules"));
    }
    counts
        .is_unwelcome(node)
        .then(|| Refusal::by_pods(Plugin::InterPodAffinity, "node(s) didn't satisfy existing pods anti-affinity rules"))
}
