//! What a stateful set does next, pod by pod. No I/O.
//!
//! ```text
//!  ordinals wanted, from the lowest:  ended? delete · missing? make, claims first · not available? wait (OrderedReady)
//!  then those no longer wanted, from the highest:  claims to whom they go with · delete, one at a time (OrderedReady)
//!  then those of an old version, from the highest down to the partition:  delete one, wait until it is available again
//! ```

use super::claims::{Owners, Retention, are_mounted, claim_of, is_of_another, is_of_former, names, owners};
use super::pod::{has_identity, ordinal, pod_of, repair};
use crate::history::plan::POD_LABEL;
use crate::owned::{available_in, has_ended, is_available, is_going, is_ready, phase};
use crate::shares::{Round, count, resolve};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Make a claim for the pod of this name.
    Claim {
        claim: Box<PersistentVolumeClaim>,
        pod: String,
    },
    /// Change whom a claim goes with.
    Own {
        claim: String,
        owners: Vec<OwnerReference>,
    },
    Create(Box<Pod>),
    /// Bring a pod in line.
    Update {
        pod: String,
        patch: Value,
    },
    Delete(Arc<Pod>),
    /// What is needed cannot be had now; the user is told, and it is tried again.
    Refuse {
        pod: String,
        why: String,
    },
    /// The user is told that another controller has this claim.
    Conflict {
        claim: String,
    },
}

/// What has to be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Plan {
    /// One after another, unless `parallel`; the steps of a chain always: the first that fails is the last of its chain.
    pub(super) chains: Vec<Vec<Step>>,
    pub(super) parallel: bool,
    pub(super) status: StatefulSetStatus,
    pub(super) again: Option<SignedDuration>,
}

/// A version of the template, and the name of the revision that keeps it.
pub(super) struct Version {
    pub(super) name: String,
    pub(super) template: PodTemplateSpec,
}

/// What a stateful set is decided on.
pub(super) struct Seen<'a> {
    pub(super) set: &'a StatefulSet,
    /// What pods below the partition are of, until all are of `update`.
    pub(super) current: &'a Version,
    pub(super) update: &'a Version,
    pub(super) collisions: i32,
    pub(super) pods: &'a [Arc<Pod>],
    /// The claim of that name.
    pub(super) claim: &'a (dyn Fn(&str) -> Option<Arc<PersistentVolumeClaim>> + Sync),
    pub(super) now: Timestamp,
}

/// A pod that is there or has to be made.
struct Replica<'a> {
    pod: Cow<'a, Arc<Pod>>,
    ordinal: i32,
    is_there: bool,
}

/// Whether the plan goes on to the next pod.
#[derive(PartialEq)]
enum Go {
    On,
    NoFurther,
}

impl<'a> Seen<'a> {
    fn start(&self) -> i32 {
        self.set.spec.as_ref().and_then(|spec| spec.ordinals.as_ref()).and_then(|ordinals| ordinals.start).unwrap_or(0)
    }

    fn wanted(&self) -> i32 {
        self.set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn is_wanted(&self, ordinal: i32) -> bool {
        (self.start()..self.start().saturating_add(self.wanted())).contains(&ordinal)
    }

    fn min_ready(&self) -> SignedDuration {
        let seconds = self.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        SignedDuration::from_secs(seconds.unwrap_or(0).into())
    }

    fn is_parallel(&self) -> bool {
        let policy = self.set.spec.as_ref().and_then(|spec| spec.pod_management_policy.as_deref());
        policy == Some("Parallel")
    }

    fn is_rolling(&self) -> bool {
        let strategy = self.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
        strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
    }

    fn rolling(&self) -> Option<&'a RollingUpdateStatefulSetStrategy> {
        self.set.spec.as_ref()?.update_strategy.as_ref()?.rolling_update.as_ref()
    }

    fn partition(&self) -> i32 {
        self.rolling().and_then(|rolling| rolling.partition).unwrap_or(0)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        !is_going(pod) && phase(pod) == "Running" && is_available(pod, self.min_ready(), self.now)
    }

    /// The version that a pod of this ordinal is made of.
    fn version(&self, ordinal: i32) -> &'a Version {
        let place = ordinal - self.start();
        let current = self.set.status.as_ref().and_then(|status| status.current_replicas).unwrap_or(0);
        let is_of_current = match self.rolling() {
            None => self.is_rolling() && place < current,
            Some(_) => place < self.partition(),
        };
        if is_of_current { self.current } else { self.update }
    }

    fn is_updated(&self, pod: &Pod) -> bool {
        revision(pod) == Some(&self.update.name)
    }

    /// The pods that are wanted, from the lowest, made up where they are missing; and the others, from the highest.
    fn replicas(&self) -> (Vec<Replica<'a>>, Vec<Replica<'a>>) {
        let numbered = self.pods.iter().filter_map(|pod| Some((ordinal(pod)?, pod)));
        let there = numbered.map(|(ordinal, pod)| Replica { pod: Cow::Borrowed(pod), ordinal, is_there: true });
        let (mut wanted, mut condemned): (Vec<_>, Vec<_>) = there.partition(|one| self.is_wanted(one.ordinal));
        let first = self.start();
        for ordinal in first..first.saturating_add(self.wanted()) {
            if wanted.iter().all(|one| one.ordinal != ordinal) {
                let version = self.version(ordinal);
                let pod = pod_of(self.set, &version.template, &version.name, ordinal);
                wanted.push(Replica { pod: Cow::Owned(Arc::new(pod)), ordinal, is_there: false });
            }
        }
        wanted.sort_by_key(|one| one.ordinal);
        condemned.sort_by_key(|one| std::cmp::Reverse(one.ordinal));
        (wanted, condemned)
    }
}

/// The revision that a pod is of.
fn revision(pod: &Pod) -> Option<&String> {
    pod.labels().get(POD_LABEL)
}

/// What is to be done next, and the status to write.
pub(super) fn plan(seen: &Seen<'_>) -> Plan {
    let mut plan = Plan { parallel: seen.is_parallel(), status: status(seen), ..Plan::default() };
    let (wanted, condemned) = seen.replicas();
    if proceed(seen, &wanted, &condemned, &mut plan.chains) == Go::On && seen.is_rolling() {
        let going = roll(seen, &wanted);
        // Each that goes is a replica of the current revision less.
        plan.status.current_replicas = plan.status.current_replicas.map(|number| (number - count(going.len())).max(0));
        plan.chains.extend(going.into_iter().map(|pod| vec![Step::Delete(pod)]));
    }
    complete(seen, &mut plan.status);
    let waits = seen.pods.iter().filter_map(|pod| available_in(pod, seen.min_ready(), seen.now));
    plan.again = waits.filter(SignedDuration::is_positive).min();
    plan.chains.retain(|chain| !chain.is_empty());
    plan
}

fn proceed(seen: &Seen<'_>, wanted: &[Replica<'_>], condemned: &[Replica<'_>], chains: &mut Vec<Vec<Step>>) -> Go {
    let in_order = !seen.is_parallel();
    for replica in wanted {
        let (steps, go) = keep(seen, replica);
        chains.push(steps);
        if in_order && go == Go::NoFurther {
            return Go::NoFurther;
        }
    }
    // The claims of a pod are given away before it goes: afterwards nobody would know whose they were.
    let mut leaving: Vec<Vec<Step>> = condemned.iter().map(|replica| entrust(seen, replica)).collect();
    let go = scale_away(seen, wanted, condemned, &mut leaving);
    chains.extend(leaving);
    go
}

/// Which of the pods that are not wanted go now.
fn scale_away(seen: &Seen<'_>, wanted: &[Replica<'_>], condemned: &[Replica<'_>], chains: &mut [Vec<Step>]) -> Go {
    let in_order = !seen.is_parallel();
    // Those that wait to serve keep the others waiting, but for the lowest of them; those that ended will not serve any more.
    let mut from_lowest = wanted.iter().chain(condemned.iter().rev());
    let unwell = from_lowest.find(|one| !seen.is_available(&one.pod)).map(|one| one.ordinal);
    for (replica, chain) in condemned.iter().zip(chains) {
        let lives = !seen.is_available(&replica.pod) && !has_ended(&replica.pod);
        let waits = lives && unwell != Some(replica.ordinal);
        if !(is_going(&replica.pod) || in_order && waits) {
            chain.push(Step::Delete(Arc::clone(&replica.pod)));
        }
        if in_order {
            return Go::NoFurther;
        }
    }
    Go::On
}

/// What a pod that is wanted needs.
fn keep(seen: &Seen<'_>, replica: &Replica<'_>) -> (Vec<Step>, Go) {
    let pod: &Pod = &replica.pod;
    if has_ended(pod) {
        let steps = if is_going(pod) { Vec::new() } else { vec![Step::Delete(Arc::clone(&replica.pod))] };
        return (steps, Go::NoFurther);
    }
    if !replica.is_there {
        return (make(seen, replica), Go::NoFurther);
    }
    let mut steps = Vec::new();
    if phase(pod) == "Pending" {
        steps.extend(claims(seen, replica).into_iter().filter(|step| matches!(step, Step::Claim { .. })));
    }
    if !seen.is_parallel() && !seen.is_available(pod) {
        return (steps, Go::NoFurther);
    }
    steps.extend(entrust(seen, replica));
    let mounted = are_mounted(seen.set, pod);
    if !(is_going(pod) || has_identity(pod) && mounted) {
        if !mounted {
            steps.extend(claims(seen, replica));
        }
        steps.push(Step::Update { pod: pod.name_any(), patch: repair(seen.set, pod, mounted) });
    }
    (steps, Go::On)
}

/// A new pod, with its claims before it.
fn make(seen: &Seen<'_>, replica: &Replica<'_>) -> Vec<Step> {
    // A claim that still belongs to the former pod of this name goes with that one, and a new pod must not begin with it.
    let pod: &Pod = &replica.pod;
    let mut names = names(seen.set, replica.ordinal).into_iter();
    let stale = names.any(|(_, name)| (seen.claim)(&name).is_some_and(|claim| is_of_former(&claim, pod)));
    if stale && Retention::of(seen.set).with_pod {
        return Vec::new();
    }
    let mut steps = claims(seen, replica);
    if steps.iter().any(|step| matches!(step, Step::Refuse { .. })) {
        return steps;
    }
    steps.extend(entrust(seen, replica));
    steps.push(Step::Create(Box::new(pod.clone())));
    steps
}

/// The claims of a pod that are not there.
fn claims(seen: &Seen<'_>, replica: &Replica<'_>) -> Vec<Step> {
    let pod = replica.pod.name_any();
    let missing = names(seen.set, replica.ordinal).into_iter().filter_map(|(volume, name)| match (seen.claim)(&name) {
        None => {
            let claim = Box::new(claim_of(seen.set, &volume, &name));
            Some(Step::Claim { claim, pod: pod.clone() })
        }
        Some(claim) if claim.metadata.deletion_timestamp.is_some() => {
            Some(Step::Refuse { pod: pod.clone(), why: format!("pvc {name} is being deleted") })
        }
        Some(_) => None,
    });
    missing.collect()
}

/// Gives the claims of a pod to whom they go with.
fn entrust(seen: &Seen<'_>, replica: &Replica<'_>) -> Vec<Step> {
    let (pod, away): (&Pod, _) = (&replica.pod, !seen.is_wanted(replica.ordinal));
    let mut steps = Vec::new();
    for (_, name) in names(seen.set, replica.ordinal) {
        let Some(claim) = (seen.claim)(&name) else { continue };
        if let Owners::Should(owners) = owners(&claim, seen.set, pod, away) {
            if is_of_another(&claim, seen.set, pod) {
                steps.push(Step::Conflict { claim: name.clone() });
            }
            steps.push(Step::Own { claim: name, owners });
        }
    }
    steps
}

/// Which pods of an old version go now.
fn roll(seen: &Seen<'_>, wanted: &[Replica<'_>]) -> Vec<Arc<Pod>> {
    let from = usize::try_from(seen.partition()).unwrap_or(0);
    let targets = wanted.iter().skip(from).rev();
    // Those that ended go anyway.
    let is_old = |one: &&Replica<'_>| !seen.is_updated(&one.pod) && !is_going(&one.pod) && !has_ended(&one.pod);
    let Some(limit) = seen.rolling().and_then(|rolling| rolling.max_unavailable.as_ref()) else {
        // The highest that is old goes; nothing does below one that is not available.
        let mut targets = targets;
        let next = targets.find(|one| is_old(one) || !seen.is_available(&one.pod));
        return next.filter(is_old).map(|one| Arc::clone(&one.pod)).into_iter().collect();
    };
    let limit = usize::try_from(resolve(limit, seen.wanted(), Round::Down)).unwrap_or(0).max(1);
    let unavailable = wanted.iter().filter(|one| !seen.is_available(&one.pod)).count();
    targets.filter(is_old).take(limit.saturating_sub(unavailable)).map(|one| Arc::clone(&one.pod)).collect()
}

fn status(seen: &Seen<'_>) -> StatefulSetStatus {
    let count_of =
        |is: &dyn Fn(&Pod) -> bool| count(seen.pods.iter().filter(|pod| ordinal(pod).is_some() && is(pod)).count());
    let is_there = |pod: &Pod| !phase(pod).is_empty();
    let is_running = |pod: &Pod| phase(pod) == "Running" && is_ready(pod);
    let is_of = |pod: &Pod, name: &String| is_there(pod) && !is_going(pod) && revision(pod) == Some(name);
    StatefulSetStatus {
        observed_generation: seen.set.metadata.generation,
        replicas: count_of(&is_there),
        ready_replicas: Some(count_of(&is_running)),
        available_replicas: Some(count_of(&|pod| is_running(pod) && is_available(pod, seen.min_ready(), seen.now))),
        current_replicas: Some(count_of(&|pod| is_of(pod, &seen.current.name))),
        updated_replicas: Some(count_of(&|pod| is_of(pod, &seen.update.name))),
        current_revision: Some(seen.current.name.clone()),
        update_revision: Some(seen.update.name.clone()),
        collision_count: Some(seen.collisions),
        conditions: seen.set.status.as_ref().and_then(|status| status.conditions.clone()),
    }
}

/// When all pods are of the new version, that is the current one.
fn complete(seen: &Seen<'_>, status: &mut StatefulSetStatus) {
    let all = Some(seen.wanted());
    let done = (status.updated_replicas, status.ready_replicas, Some(status.replicas)) == (all, all, all);
    if seen.is_rolling() && done {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
}
