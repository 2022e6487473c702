//! Room: NodeResourcesFit with its strategies, and NodeResourcesBalancedAllocation.

use super::{Counts, SCORE_MAX};
use crate::amounts::{is_extended, is_scalar};
use crate::cycle::Cycle;
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Refusal, Remedy};
use crate::pod::PodInfo;
use crate::profile::{Args, Strategy};
use std::borrow::Cow;

pub(super) fn filter(cycle: &Cycle<'_>, _: &Counts, node: &NodeInfo) -> Option<Refusal> {
    short_of(&cycle.profile.args, cycle.pod, node)
}

/// What the node has too little of. More than it has at all, no preemption can bring.
pub(crate) fn short_of(args: &Args, pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    let mut refusal = Refusal { plugin: Plugin::NodeResourcesFit, remedy: Remedy::Preemption, reasons: Vec::new() };
    if i64::try_from(node.pods.len()).unwrap_or(i64::MAX) >= node.pods_max {
        refusal.reasons.push("Too many pods".into());
    }
    let asked = &pod.requests;
    if !asked.is_nothing() {
        let mut check = |name: &str, words: Option<&'static str>, amount: i64| {
            let (has, taken) = (node.allocatable.get(name), node.requested.get(name));
            if amount > 0 && amount > has.saturating_sub(taken) {
                refusal.reasons.push(words.map_or_else(|| format!("Insufficient {name}").into(), Cow::from));
                if amount > has {
                    refusal.remedy = Remedy::None;
                }
            }
        };
        check("cpu", Some("Insufficient cpu"), asked.cpu_millis);
        check("memory", Some("Insufficient memory"), asked.memory_bytes);
        check("ephemeral-storage", Some("Insufficient ephemeral-storage"), asked.ephemeral_bytes);
        for (name, amount) in &asked.scalars {
            if !is_ignored(args, name) {
                check(name, None, *amount);
            }
        }
    }
    (!refusal.reasons.is_empty()).then_some(refusal)
}

/// What an extender looks after.
fn is_ignored(args: &Args, name: &str) -> bool {
    let group = name.split('/').next().unwrap_or_default();
    is_extended(name)
        && (args.ignored_resources.iter().any(|one| one == name) || args.ignored_groups.iter().any(|one| one == group))
}

/// Of one resource on one node: what there is, what is taken, and what is taken with the pod.
struct Share {
    has: i64,
    taken: i64,
    after: i64,
}

/// `None`: the node has nothing of it, or the pod wants none of what only some pods want.
fn share(pod: i64, name: &str, node: &NodeInfo, taken: i64) -> Option<Share> {
    let has = node.allocatable.get(name);
    let counts = has != 0 && !(pod == 0 && is_scalar(name));
    counts.then_some(Share { has, taken, after: taken + pod })
}

pub(super) fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let args = &cycle.profile.args;
    let asked = &cycle.pod.scored;
    let one = |node: &&NodeInfo| {
        let taken = |name: &str| match name {
            "cpu" => node.scored.0,
            "memory" => node.scored.1,
            name => node.requested.get(name),
        };
        let (mut sum, mut weights) = (0, 0);
        for (name, weight) in &args.fit {
            let Some(share) = share(asked.get(name), name, node, taken(name)) else { continue };
            let score = by_strategy(&args.strategy, &share);
            // A line through points may say that some use is worth nothing: then it does not count at all.
            if score > 0 || !matches!(args.strategy, Strategy::Ratio(_)) {
                sum += score * weight;
                weights += weight;
            }
        }
        match &args.strategy {
            _ if weights == 0 => 0,
            Strategy::Ratio(_) => (sum as f64 / weights as f64).round() as i64,
            _ => sum / weights,
        }
    };
    Some(nodes.iter().map(one).collect())
}

fn by_strategy(strategy: &Strategy, share: &Share) -> i64 {
    let Share { has, after, .. } = *share;
    match strategy {
        Strategy::LeastAllocated if after > has => 0,
        Strategy::LeastAllocated => portion(has - after, has),
        Strategy::MostAllocated => portion(after.min(has), has),
        Strategy::Ratio(points) => on_line(points, if after > has { 100 } else { portion(after, has) }),
    }
}

/// Hundredths; in 128 bits, since bytes times a hundred may not fit into 64.
fn portion(part: i64, of: i64) -> i64 {
    i64::try_from(i128::from(part) * i128::from(SCORE_MAX) / i128::from(of)).unwrap_or(SCORE_MAX)
}

/// The height of the line through `points` at `at`; scores of points go up to 10.
fn on_line(points: &[(i64, i64)], at: i64) -> i64 {
    let high = |score: i64| score * (SCORE_MAX / 10);
    let Some(right) = points.iter().position(|(use_, _)| at <= *use_) else {
        return points.last().map_or(0, |(_, score)| high(*score));
    };
    if right == 0 {
        return high(points[0].1);
    }
    let ((from, low), (to, top)) = (points[right - 1], points[right]);
    high(low) + (high(top) - high(low)) * (at - from) / (to - from).max(1)
}

/// How much more even the use of a node's resources becomes.
pub(super) fn balance(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let (names, asked) = (&cycle.profile.args.balanced, &cycle.pod.requests);
    if names.iter().all(|name| asked.get(name) == 0) {
        return None;
    }
    let one = |node: &&NodeInfo| {
        let shares = names.iter().filter_map(|name| share(asked.get(name), name, node, node.requested.get(name)));
        let shares: Vec<Share> = shares.collect();
        let with = evenness(shares.iter().map(|share| (share.after, share.has)));
        let without = evenness(shares.iter().map(|share| (share.taken, share.has)));
        SCORE_MAX / 2 + (SCORE_MAX / 2 + with - without) / 2
    };
    Some(nodes.iter().map(one).collect())
}

/// 100 when all are in use to the same part: less by how far they deviate.
fn evenness(shares: impl Iterator<Item = (i64, i64)>) -> i64 {
    let parts: Vec<f64> = shares.map(|(used, has)| (used as f64 / has as f64).min(1.0)).collect();
    let deviation = match parts.as_slice() {
        [] | [_] => 0.0,
        [left, right] => ((left - right) / 2.0).abs(),
        parts => {
            let mean = parts.iter().sum::<f64>() / parts.len() as f64;
            (parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / parts.len() as f64).sqrt()
        }
    };
    ((1.0 - deviation) * SCORE_MAX as f64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_lie_on_the_line() {
        let line = [(0, 0), (40, 10), (100, 5)];
        assert_eq!([0, 20, 40, 70, 100].map(|at| on_line(&line, at)), [0, 50, 100, 75, 50]);
        assert_eq!([0, 9].map(|at| on_line(&[(10, 3)], at)), [30, 30]);
        assert_eq!(on_line(&[(10, 3)], 90), 30);
    }

    #[test]
    fn strategies_like_what_they_are_named_for() {
        let share = |after| Share { has: 1000, taken: 0, after };
        let both = |after| {
            let share = share(after);
            (by_strategy(&Strategy::LeastAllocated, &share), by_strategy(&Strategy::MostAllocated, &share))
        };
        assert_eq!([both(250), both(1000), both(2000)], [(75, 25), (0, 100), (0, 100)]);
    }

    #[test]
    fn even_use_is_best() {
        assert_eq!(evenness([(1, 2), (4, 8)].into_iter()), 100);
        assert_eq!(evenness([(1, 1), (0, 8)].into_iter()), 50);
        assert_eq!(evenness([(0, 1), (0, 1), (3, 1)].into_iter()), 52);
    }
}
