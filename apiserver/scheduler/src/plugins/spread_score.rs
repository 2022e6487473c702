//! PodTopologySpread: domains with fewer of the pods are better.

use super::SCORE_MAX;
use super::spread::{Constraint, constraints, has_all_keys, matching, own};
use crate::cycle::Cycle;
use crate::node::NodeInfo;
use std::collections::HashMap;

const HOSTNAME: &str = "kubernetes.io/hostname";

pub(super) fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let constraints = constraints(cycle, "ScheduleAnyway");
    if constraints.is_empty() {
        return None;
    }
    let every_key = own(cycle.pod).is_some() || !cycle.profile.args.spread_is_system;
    let counts = |node: &NodeInfo| !every_key || has_all_keys(node, &constraints);
    let pods: Vec<HashMap<&str, i64>> =
        constraints.iter().map(|constraint| in_domains(cycle, constraint, nodes, &counts)).collect();
    let candidates = nodes.iter().filter(|node| counts(node)).count();
    let weights: Vec<f64> = constraints
        .iter()
        .zip(&pods)
        .map(|(constraint, domains)| {
            // Where there are many domains one pod more makes less of a difference.
            let domains = if constraint.key == HOSTNAME { candidates } else { domains.len() };
            ((domains + 2) as f64).ln()
        })
        .collect();
    let one = |node: &&NodeInfo| {
        if !counts(node) {
            return None;
        }
        let mut sum = 0.0;
        for ((constraint, domains), weight) in constraints.iter().zip(&pods).zip(&weights) {
            let Some(value) = node.labels().get(&constraint.key) else { continue };
            let pods = if constraint.key == HOSTNAME {
                matching(node, &constraint.selector, &cycle.pod.namespace)
            } else {
                domains.get(value.as_str()).copied().unwrap_or(0)
            };
            sum += pods as f64 * weight + (constraint.max_skew - 1) as f64;
        }
        Some(sum.round() as i64)
    };
    Some(upside_down(&nodes.iter().map(one).collect::<Vec<_>>()))
}

/// The pods in each domain that one of the candidates is in.
fn in_domains<'a>(
    cycle: &Cycle<'a>,
    constraint: &Constraint,
    candidates: &[&'a NodeInfo],
    counts: &dyn Fn(&NodeInfo) -> bool,
) -> HashMap<&'a str, i64> {
    let value = |node: &'a NodeInfo| node.labels().get(&constraint.key).map_or("", String::as_str);
    let mut domains = HashMap::new();
    // Of hosts only the candidate's own pods are asked for, when it is scored.
    if constraint.key == HOSTNAME {
        return domains;
    }
    for node in candidates.iter().filter(|node| counts(node)) {
        domains.entry(value(node)).or_insert(0);
    }
    for node in cycle.cluster.nodes.iter().filter(|node| counts(node)) {
        if let Some(pods) = domains.get_mut(value(node))
            && constraint.includes(&cycle.pod.pod, node)
        {
            *pods += matching(node, &constraint.selector, &cycle.pod.namespace);
        }
    }
    domains
}

/// The least is the best; nodes without the labels are the worst.
fn upside_down(sums: &[Option<i64>]) -> Vec<i64> {
    let least = sums.iter().flatten().copied().min().unwrap_or(0);
    let most = sums.iter().flatten().copied().max().unwrap_or(0);
    let one = |sum: &Option<i64>| match sum {
        None => 0,
        Some(_) if most == 0 => SCORE_MAX,
        Some(sum) => SCORE_MAX * (most + least - sum) / most,
    };
    sums.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::upside_down;

    #[test]
    fn the_emptiest_domain_is_the_best() {
        assert_eq!(upside_down(&[Some(1), Some(4), None]), [100, 25, 0]);
        assert_eq!(upside_down(&[Some(0), Some(0)]), [100, 100]);
    }
}
