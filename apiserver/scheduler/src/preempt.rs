//! DefaultPreemption: which pods of lower priority would have to go, and on which node. No I/O.

use crate::cycle::{Cycle, Found, histogram};
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Refusal, Remedy};
use crate::plugins::Counts;
use crate::pod::PodInfo;
use crate::selector::Selector;
use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use std::cmp::Reverse;
use std::sync::Arc;

/// What has to be done so that a pod gets a node.
#[derive(Debug, Clone)]
pub(crate) struct Preemption {
    pub(crate) node: String,
    /// The most important first.
    pub(crate) victims: Vec<Arc<PodInfo>>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// These pods make room.
    Victims(Preemption),
    /// The pod may not remove others now; whatever node is being cleared for it stays.
    NotEligible(&'static str),
    /// On no node it would help.
    Nowhere(String),
}

/// A node, with who would have to go.
#[derive(Debug)]
struct Candidate {
    at: usize,
    victims: Vec<Arc<PodInfo>>,
    /// How many victims a budget protects.
    violations: usize,
}

/// Looks for a node on which `pod` would fit if pods of lower priority went. `counts` is `None` if no node was looked at;
/// `now` is when pods without a start are taken to have started.
pub(crate) fn preempt(cycle: &Cycle<'_>, counts: Option<&Counts>, found: &Found, now: Timestamp) -> Outcome {
    if let Some(reason) = why_not(cycle, found) {
        return Outcome::NotEligible(reason);
    }
    let nodes = &cycle.cluster.nodes;
    let helped = |(_, refusal): &&(usize, Refusal)| refusal.remedy == Remedy::Preemption;
    let potential: Vec<usize> = found.refused.iter().filter(helped).map(|(at, _)| *at).collect();
    let enough = enough(cycle, potential.len());
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut said = Found::default();
    for at in potential {
        let Some(counts) = counts else { break };
        match victims_on(cycle, counts.clone(), nodes[at].clone(), now) {
            Ok((victims, violations)) => candidates.push(Candidate { at, victims, violations }),
            Err(refusal) => said.refused.push((at, refusal)),
        }
        if candidates.len() >= enough && candidates.iter().any(|one| one.violations == 0) {
            break;
        }
    }
    match best(candidates, now) {
        Some(best) => Outcome::Victims(Preemption { node: nodes[best.at].name.clone(), victims: best.victims }),
        None => {
            let reason = "Preemption is not helpful for scheduling";
            said.others = Some(Refusal::lasting(Plugin::DefaultPreemption, reason));
            Outcome::Nowhere(histogram(nodes.len(), &said))
        }
    }
}

fn enough(cycle: &Cycle<'_>, nodes: usize) -> usize {
    let args = &cycle.profile.args;
    let share = i64::try_from(nodes).unwrap_or(i64::MAX).saturating_mul(args.candidates_percentage) / 100;
    usize::try_from(share.max(args.candidates_min)).unwrap_or(nodes).min(nodes)
}

fn why_not(cycle: &Cycle<'_>, found: &Found) -> Option<&'static str> {
    let pod = cycle.pod;
    let policy = pod.pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref());
    if policy == Some("Never") {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let name = pod.nominated()?;
    let node = cycle.cluster.node(name)?;
    let said = found.refused.iter().find(|(at, _)| cycle.cluster.nodes[*at].name == name);
    // Where it cannot go any more, nobody is waited for.
    if said.is_none_or(|(_, refusal)| refusal.remedy == Remedy::None) {
        return None;
    }
    let leaving = |other: &&Arc<PodInfo>| other.priority < pod.priority && is_leaving_for_another(other);
    node.pods.iter().find(leaving).map(|_| "not eligible due to a terminating pod on the nominated node.")
}

/// Whether the pod is being removed so that another gets its room.
fn is_leaving_for_another(pod: &PodInfo) -> bool {
    let conditions = pod.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let target = conditions.iter().find(|one| one.type_ == "DisruptionTarget");
    pod.terminating
        && target.is_some_and(|one| one.status == "True" && one.reason.as_deref() == Some("PreemptionByScheduler"))
}

/// Takes off all pods of lower priority, then puts back those that may stay: first those that budgets protect, the more
/// important first.
fn victims_on(
    cycle: &Cycle<'_>,
    mut counts: Counts,
    mut node: NodeInfo,
    now: Timestamp,
) -> Result<(Vec<Arc<PodInfo>>, usize), Refusal> {
    let lower = node.pods.iter().filter(|other| other.priority < cycle.pod.priority);
    let mut potential: Vec<Arc<PodInfo>> = lower.cloned().collect();
    if potential.is_empty() {
        let reason = "No preemption victims found for incoming pod";
        return Err(Refusal::lasting(Plugin::DefaultPreemption, reason));
    }
    for other in &potential {
        node.remove(&other.uid);
        cycle.count(&mut counts, other, &node, -1);
    }
    if let Some(refusal) = cycle.obstacle(&counts, &node) {
        return Err(refusal);
    }
    potential.sort_by_cached_key(|other| importance(other, now));
    let (protected, free) = by_budgets(cycle, &potential);
    let (mut victims, mut violations) = (Vec::new(), 0);
    for (other, is_protected) in protected.iter().map(|it| (it, true)).chain(free.iter().map(|it| (it, false))) {
        node.add(Arc::clone(other));
        cycle.count(&mut counts, other, &node, 1);
        if cycle.obstacle(&counts, &node).is_some() {
            node.remove(&other.uid);
            cycle.count(&mut counts, other, &node, -1);
            victims.push(Arc::clone(other));
            violations += usize::from(is_protected);
        }
    }
    victims.sort_by_cached_key(|other| importance(other, now));
    Ok((victims, violations))
}

/// Sorts the more important first: higher priority, then the older; the uid only makes one order of it.
fn importance(pod: &PodInfo, now: Timestamp) -> (Reverse<i32>, Timestamp, String) {
    (Reverse(pod.priority), started(pod, now), pod.uid.clone())
}

fn started(pod: &PodInfo, now: Timestamp) -> Timestamp {
    let start = pod.pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    start.map_or(now, |time| time.0)
}

type Pods = Vec<Arc<PodInfo>>;

/// Those whose removal a budget does not allow, and the others.
fn by_budgets(cycle: &Cycle<'_>, pods: &[Arc<PodInfo>]) -> (Pods, Pods) {
    let budgets = cycle.cluster.budgets.values();
    let mut left: Vec<(&PodDisruptionBudget, Selector, i32)> = budgets
        .map(|budget| {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let allowed = budget.status.as_ref().map_or(0, |status| status.disruptions_allowed.unwrap_or(0));
            (&**budget, Selector::of(selector), allowed)
        })
        .collect();
    let mut is_protected = |pod: &PodInfo| {
        let mut protected = false;
        for (budget, selector, allowed) in &mut left {
            let disrupted = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
            let counted = disrupted.is_some_and(|pods| pods.contains_key(&pod.name));
            let own = budget.metadata.namespace.as_deref() == Some(&pod.namespace);
            if own && !counted && !pod.labels().is_empty() && !selector.is_empty() && selector.matches(pod.labels()) {
                *allowed -= 1;
                protected |= *allowed < 0;
            }
        }
        protected
    };
    pods.iter().cloned().partition(|pod| is_protected(pod))
}

/// The fewest broken budgets, then the least important victims, then the fewest, then the youngest.
fn best(candidates: Vec<Candidate>, now: Timestamp) -> Option<Candidate> {
    candidates.into_iter().min_by_key(|one| {
        let top = one.victims.first().map_or(i32::MIN, |pod| pod.priority);
        let sum: i64 = one.victims.iter().map(|pod| i64::from(pod.priority) + i64::from(i32::MAX) + 1).sum();
        let most_important = one.victims.iter().filter(|pod| pod.priority == top);
        let oldest = most_important.map(|pod| started(pod, now)).min().unwrap_or(now);
        (one.violations, top, sum, one.victims.len(), Reverse(oldest))
    })
}
