//! InterPodAffinity: how much the pods of a domain would like the pod, and the pod them.

use super::SCORE_MAX;
use super::inter_pod::resolved;
use crate::cycle::Cycle;
use crate::node::NodeInfo;
use crate::pod::{PodInfo, Term};
use crate::selector::Labels;
use std::collections::HashMap;

/// Weight of each value of a label, by its key.
type Weights = HashMap<String, HashMap<String, i64>>;

pub(super) fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let own: Vec<(i64, Term)> =
        cycle.pod.preferred.iter().map(|(weight, term)| (*weight, resolved(term, cycle.cluster))).collect();
    let args = &cycle.profile.args;
    if args.ignore_preferred_of_others && own.is_empty() {
        return None;
    }
    let mut weights = Weights::new();
    for node in &cycle.cluster.nodes {
        let others = if own.is_empty() { &node.with_affinity } else { &node.pods };
        for other in others {
            weigh(&mut weights, cycle, &own, other, node);
        }
    }
    if weights.is_empty() {
        return None;
    }
    let sum = |node: &&NodeInfo| {
        let values = weights
            .iter()
            .map(|(key, values)| node.labels().get(key).and_then(|value| values.get(value)).copied().unwrap_or(0));
        values.sum::<i64>()
    };
    let sums: Vec<i64> = nodes.iter().map(sum).collect();
    let (least, most) = (sums.iter().copied().min().unwrap_or(0), sums.iter().copied().max().unwrap_or(0));
    let stretch = |sum: i64| {
        if most == least { 0 } else { (SCORE_MAX as f64 * ((sum - least) as f64 / (most - least) as f64)) as i64 }
    };
    Some(sums.into_iter().map(stretch).collect())
}

fn weigh(weights: &mut Weights, cycle: &Cycle<'_>, own: &[(i64, Term)], other: &PodInfo, node: &NodeInfo) {
    static NONE: Labels = Labels::new();
    for (weight, term) in own {
        add(weights, term, *weight, term.means(other, &NONE), node);
    }
    let of_namespace = cycle.cluster.namespace(&cycle.pod.namespace);
    let hard = cycle.profile.args.hard_affinity_weight;
    if hard > 0 {
        for term in &other.affinity {
            add(weights, term, hard, term.means(cycle.pod, of_namespace), node);
        }
    }
    for (weight, term) in &other.preferred {
        add(weights, term, *weight, term.means(cycle.pod, of_namespace), node);
    }
}

fn add(weights: &mut Weights, term: &Term, weight: i64, meant: bool, node: &NodeInfo) {
    if let Some(value) = node.labels().get(&term.topology_key).filter(|_| meant) {
        *weights.entry(term.topology_key.clone()).or_default().entry(value.clone()).or_default() += weight;
    }
}
