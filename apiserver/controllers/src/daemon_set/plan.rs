//! Which pods a daemon set makes and deletes, on which nodes, and what its status says. No I/O.
//!
//! First every node gets what belongs there. Only when nothing of that is left to do does a rollout go on, so that it counts
//! on pods that are there.

use super::fit::{Fit, fit};
use super::pod::node_of;
use crate::history::plan::POD_LABEL;
use crate::owned::{available_in, has_ended, is_available, is_going, is_ready, phase};
use crate::shares::{Round, count, resolve};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// At most this many pods are made or deleted in one reconciliation (Kubernetes' burst for daemon sets).
const BURST_PODS_MAX: usize = 250;
/// How long a failed pod is left before it is deleted: after the second failure in a row on a node, and after many.
const BACKOFF_MIN: SignedDuration = SignedDuration::from_secs(1);
const BACKOFF_MAX: SignedDuration = SignedDuration::from_mins(15);

/// What a daemon set is decided on.
pub(super) struct Seen<'a> {
    pub(super) set: &'a DaemonSet,
    /// The hashes of the revisions that are its present template: new pods get the last one.
    pub(super) hashes: Vec<String>,
    pub(super) nodes: &'a [Arc<Node>],
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) now: Timestamp,
}

/// What has to be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Plan {
    /// The nodes that get a pod.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Pods to be deleted because they ended, with the nodes they were on.
    pub(super) ended: Vec<(Arc<Pod>, String)>,
    /// When to look again though nothing happens.
    pub(super) again: Option<SignedDuration>,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.create.is_empty() && self.delete.is_empty() && self.ended.is_empty()
    }

    fn wait(&mut self, wait: SignedDuration) {
        self.again = Some(self.again.map_or(wait, |other| other.min(wait)));
    }
}

/// How long failed pods are left, by node. They are replaced for ever, but not as fast as they fail.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Backoffs(BTreeMap<String, (Timestamp, SignedDuration)>);

impl Backoffs {
    /// For how much longer the failed pod of `node` is left.
    fn left(&self, node: &str, now: Timestamp) -> Option<SignedDuration> {
        let (since, wait) = self.0.get(node)?;
        Some(*wait - now.duration_since(*since)).filter(SignedDuration::is_positive)
    }

    /// A failed pod of `node` is deleted now.
    pub(super) fn failed(&mut self, node: &str, now: Timestamp) {
        let before = self.0.get(node).filter(|(since, _)| now.duration_since(*since) <= BACKOFF_MAX * 2);
        let wait = before.map_or(BACKOFF_MIN, |(_, wait)| (*wait * 2).min(BACKOFF_MAX));
        self.0.insert(node.to_owned(), (now, wait));
    }
}

/// A node with what is on it.
pub(super) struct Place<'a> {
    name: String,
    fit: Fit,
    /// Whether such a node is there.
    known: bool,
    /// Those that ended and are being deleted are not among them: they are no more.
    pods: Vec<&'a Arc<Pod>>,
}

impl<'a> Seen<'a> {
    /// The nodes, and those that pods are on though they are gone, by name.
    pub(super) fn places(&self) -> Vec<Place<'a>> {
        let mut pods: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
        for pod in self.pods.iter().filter(|pod| !(is_going(pod) && has_ended(pod))) {
            if let Some(node) = node_of(pod) {
                pods.entry(node).or_default().push(pod);
            }
        }
        for pods in pods.values_mut() {
            pods.sort_by_key(|pod| age(pod));
        }
        let fit = fit(self.set);
        let mut places: Vec<Place<'_>> = self
            .nodes
            .iter()
            .map(|node| {
                let name = node.name_any();
                let pods = pods.remove(name.as_str()).unwrap_or_default();
                Place { fit: fit(node), known: true, pods, name }
            })
            .collect();
        let gone = pods.into_iter();
        places.extend(gone.map(|(name, pods)| Place { name: name.to_owned(), fit: Fit::Never, known: false, pods }));
        places.sort_by(|a, b| a.name.cmp(&b.name));
        places
    }

    fn is_new(&self, pod: &Pod) -> bool {
        pod.labels().get(POD_LABEL).is_some_and(|hash| self.hashes.contains(hash))
    }

    fn min_ready(&self) -> SignedDuration {
        let seconds = self.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        SignedDuration::from_secs(seconds.unwrap_or(0).into())
    }

    fn is_available(&self, pod: &Pod) -> bool {
        is_available(pod, self.min_ready(), self.now)
    }

    fn rolling(&self) -> Option<&RollingUpdateDaemonSet> {
        let strategy = self.set.spec.as_ref()?.update_strategy.as_ref()?;
        strategy.rolling_update.as_ref().filter(|_| strategy.type_.as_deref() != Some("OnDelete"))
    }

    fn surge(&self, of: i32) -> usize {
        share(self.rolling().and_then(|rolling| rolling.max_surge.as_ref()), of)
    }

    fn rolls(&self) -> bool {
        let strategy = self.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
        strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
    }
}

fn share(value: Option<&IntOrString>, of: i32) -> usize {
    value.map_or(0, |value| usize::try_from(resolve(value, of, Round::Up)).unwrap_or(0))
}

/// Bound before tied, old before young.
fn age(pod: &Pod) -> (bool, Option<Timestamp>, String) {
    let bound = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()).is_some_and(|name| !name.is_empty());
    (!bound, pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.name_any())
}

/// What is to be done next at the `places` that are seen; `backoffs` say which failed pods are left for a while.
pub(super) fn plan(seen: &Seen<'_>, places: &[Place<'_>], backoffs: &Backoffs) -> Plan {
    let mut plan = Plan::default();
    for place in places {
        settle(seen, place, backoffs, &mut plan);
    }
    if plan.is_empty() && seen.rolls() {
        let wanted = places.iter().filter(|place| place.fit == Fit::Runs).count();
        if seen.surge(count(wanted)) == 0 {
            replace(seen, places, wanted, &mut plan);
        } else {
            surge(seen, places, wanted, &mut plan);
        }
    }
    for left in seen.pods.iter().filter_map(|pod| available_in(pod, seen.min_ready(), seen.now)) {
        if left.is_positive() {
            plan.wait(left);
        }
    }
    plan.create.truncate(BURST_PODS_MAX);
    plan.delete.truncate(BURST_PODS_MAX);
    plan.ended.truncate(BURST_PODS_MAX);
    plan
}

/// Gives a node what belongs there: one pod, or two while a new one takes over from an old one.
fn settle(seen: &Seen<'_>, place: &Place<'_>, backoffs: &Backoffs, plan: &mut Plan) {
    let staying = || place.pods.iter().copied().filter(|pod| !is_going(pod));
    if !place.known {
        // Pods that are bound to a node that went are the pod collector's; the others would wait for ever.
        let tied = staying().filter(|pod| pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()));
        return plan.delete.extend(tied.cloned());
    }
    match place.fit {
        Fit::Runs if place.pods.is_empty() => return plan.create.push(place.name.clone()),
        Fit::Never => return plan.delete.extend(staying().cloned()),
        Fit::Runs | Fit::Stays => {}
    }
    for pod in staying().filter(|pod| has_ended(pod)) {
        match backoffs.left(&place.name, seen.now).filter(|_| phase(pod) == "Failed") {
            Some(left) => plan.wait(left),
            None => plan.ended.push((pod.clone(), place.name.clone())),
        }
    }
    let running: Vec<&Arc<Pod>> = staying().filter(|pod| !has_ended(pod)).collect();
    if seen.surge(1) == 0 {
        return plan.delete.extend(running.into_iter().skip(1).cloned());
    }
    if running.is_empty() && place.fit == Fit::Runs {
        plan.create.push(place.name.clone());
    }
    take_over(seen, &running, plan);
}

/// Of the pods of a node one of each version stays, until the new one can do without the old one.
fn take_over(seen: &Seen<'_>, running: &[&Arc<Pod>], plan: &mut Plan) {
    let (new, old): (Vec<_>, Vec<_>) = running.iter().copied().partition(|pod| seen.is_new(pod));
    plan.delete.extend(
        new.iter().chain(&old).filter(|pod| !is_first(pod, &new) && !is_first(pod, &old)).map(|pod| (*pod).clone()),
    );
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!is_ready(old) || seen.is_available(new))
    {
        plan.delete.push((*old).clone());
    }
}

fn is_first(pod: &Arc<Pod>, pods: &[&Arc<Pod>]) -> bool {
    pods.first().is_some_and(|first| Arc::ptr_eq(first, pod))
}

/// A pod of the present version and one of an earlier one.
type Versions<'a> = (Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>);

/// The pods of a node by version; `None`: there are several of one version, which is put right first.
fn versions<'a>(seen: &Seen<'_>, place: &Place<'a>) -> Option<Versions<'a>> {
    let staying = place.pods.iter().copied().filter(|pod| !is_going(pod));
    let (new, old): (Vec<_>, Vec<_>) = staying.partition(|pod| seen.is_new(pod));
    (new.len() < 2 && old.len() < 2).then(|| (new.first().copied(), old.first().copied()))
}

/// A rollout that deletes old pods first, as many as may be unavailable.
fn replace(seen: &Seen<'_>, places: &[Place<'_>], wanted: usize, plan: &mut Plan) {
    let limit = share(seen.rolling().and_then(|rolling| rolling.max_unavailable.as_ref()), count(wanted)).max(1);
    let (mut unavailable, mut may_go) = (0, Vec::new());
    for place in places.iter().filter(|place| place.fit == Fit::Runs || !place.pods.is_empty()) {
        match versions(seen, place) {
            Some((Some(new), None)) => unavailable += usize::from(!seen.is_available(new)),
            // What serves nobody may always be replaced.
            Some((None, Some(old))) if !seen.is_available(old) => {
                unavailable += 1;
                plan.delete.push(old.clone());
            }
            Some((None, Some(old))) => may_go.push(old),
            _ => unavailable += 1,
        }
    }
    plan.delete.extend(may_go.into_iter().take(limit.saturating_sub(unavailable)).cloned());
}

/// A rollout that makes new pods beside old ones, on as many nodes at once as the surge allows.
fn surge(seen: &Seen<'_>, places: &[Place<'_>], wanted: usize, plan: &mut Plan) {
    let (mut surging, mut available, mut next, mut leaving) = (0, 0, Vec::new(), Vec::new());
    for place in places.iter().filter(|place| place.fit == Fit::Runs || !place.pods.is_empty()) {
        let Some((new, old)) = versions(seen, place) else {
            surging += 1;
            continue;
        };
        available += usize::from(old.or(new).is_some_and(|pod| seen.is_available(pod)));
        match (new, old) {
            (_, None) => {}
            (Some(new), Some(_)) if !seen.is_available(new) => surging += 1,
            (Some(_), Some(old)) => plan.delete.push(old.clone()),
            (None, Some(old)) => match (place.fit == Fit::Runs, seen.is_available(old)) {
                (false, false) => plan.delete.push(old.clone()),
                (false, true) => leaving.push(old),
                (true, false) => plan.create.push(place.name.clone()),
                (true, true) => next.push(place.name.clone()),
            },
        }
    }
    // Old pods on nodes that get no new one go as far as enough others serve.
    plan.delete.extend(leaving.into_iter().take(available.saturating_sub(wanted)).cloned());
    plan.create.extend(next.into_iter().take(seen.surge(count(wanted)).saturating_sub(surging)));
}

/// The status to write: how it stands at the `places` that are seen.
pub(super) fn status(seen: &Seen<'_>, places: &[Place<'_>], collisions: i32) -> DaemonSetStatus {
    let before = seen.set.status.as_ref();
    let mut status = DaemonSetStatus {
        observed_generation: seen.set.metadata.generation,
        collision_count: before.and_then(|status| status.collision_count),
        conditions: before.and_then(|status| status.conditions.clone()),
        ..DaemonSetStatus::default()
    };
    if collisions > 0 {
        status.collision_count = Some(collisions);
    }
    let (mut updated, mut available) = (0, 0);
    for place in places.iter().filter(|place| place.known) {
        let first = place.pods.first();
        if place.fit != Fit::Runs {
            status.number_misscheduled += i32::from(first.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(pod) = first else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(is_ready(pod));
        available += i32::from(seen.is_available(pod));
        updated += i32::from(seen.is_new(pod));
    }
    // None of them says 0, as Kubernetes' does.
    let some = |number: i32| Some(number).filter(|number| *number != 0);
    status.updated_number_scheduled = some(updated);
    status.number_available = some(available);
    status.number_unavailable = some(status.desired_number_scheduled - available);
    status
}

/// The hashes that pods are of.
pub(super) fn live(pods: &[Arc<Pod>]) -> BTreeSet<&str> {
    crate::history::plan::revisions_of(pods.iter().map(AsRef::as_ref))
}
