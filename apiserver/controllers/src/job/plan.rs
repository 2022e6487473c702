//! What a job needs next: pods to make, pods to stop, and its status. No I/O.
//!
//! ```text
//!  Running ──enough succeeded──► SuccessCriteriaMet ──all pods ended and counted──► Complete
//!     └──too many failures, or too late──► FailureTarget ──all pods ended and counted──► Failed
//! ```

use super::backoff::{self, Backoff};
use super::look::{Indexed, Look};
use super::pod::{Failures, Wanted, failures, index_of};
use super::track;
use super::verdict::{completed, ensure, verdict};
use crate::context::EventKind;
use crate::owned::is_ready;
use crate::replica_set::worth;
use crate::shares::count;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Pods that are made or deleted at one look (Kubernetes' `MaxPodCreateDeletePerSync`).
const BURST_PODS_MAX: usize = 500;

/// What to do now, in this order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Names of pods to delete.
    pub(super) delete: Vec<String>,
    /// Whether those are let go of before: nobody will count them.
    pub(super) uncounted: bool,
    /// Pods to make.
    pub(super) create: Vec<Wanted>,
    /// The status to write, if all that has come true.
    pub(super) status: JobStatus,
    /// Names and uids of pods to let go of, once the status says that they are counted.
    pub(super) release: Vec<(String, String)>,
    /// Uids of all pods that the job holds.
    pub(super) held: BTreeSet<String>,
    /// How the job ends, when everything is counted.
    pub(super) end: Option<JobCondition>,
    /// Whether `release` names all that there is to count.
    pub(super) counts_all: bool,
    /// When to look again though nothing happened.
    pub(super) again: Option<SignedDuration>,
    pub(super) backoff: Backoff,
    /// Events: reason and message.
    pub(super) told: Vec<(EventKind, &'static str, &'static str)>,
    active: usize,
    ready: usize,
    terminating: usize,
}

/// Decides for `job`, which owns `pods`; `known` are the failures before those that are not counted yet,
/// `None` if nobody remembers.
pub(super) fn decide(job: &Job, pods: &[Arc<Pod>], known: Option<Backoff>, now: Timestamp) -> Plan {
    let Some(spec) = &job.spec else { return Plan::default() };
    let look = Look::at(job, spec, pods, now);
    let mut plan = Plan::of(&look, known);
    if plan.status.start_time.is_none() && !look.is_suspended() {
        plan.status.start_time = Some(Time(now));
    }
    let start = plan.status.start_time.clone();
    let mut end = verdict(&look, start.as_ref());
    if end.is_some() {
        plan.stop(&look.active);
    } else {
        plan.sooner(deadline_left(spec, start.as_ref(), now));
        if !look.is_leaving() {
            manage(&look, &mut plan);
        }
        end = completed(&look, plan.active);
        if end.is_none() && !look.is_leaving() {
            say_suspended(&look, &mut plan);
        }
    }
    plan.write_counts();
    track::count(&look, &mut plan, end);
    plan
}

impl Plan {
    fn of(look: &Look<'_>, known: Option<Backoff>) -> Self {
        let mut status = look.status.clone();
        status.uncounted_terminated_pods.get_or_insert_default();
        Self {
            status,
            active: look.active.len(),
            ready: look.active.iter().filter(|pod| is_ready(pod)).count(),
            terminating: look.terminating,
            backoff: known.unwrap_or_else(|| remembered(look)).after(&look.new_succeeded, &look.new_failed),
            counts_all: true,
            ..Self::default()
        }
    }

    fn sooner(&mut self, wait: Option<SignedDuration>) {
        self.again = [self.again, wait].into_iter().flatten().min();
    }

    fn stop(&mut self, pods: &[&Pod]) {
        self.delete = pods.iter().map(|pod| pod.name_any()).collect();
        self.active -= pods.len();
        self.terminating += pods.len();
        self.ready -= pods.iter().filter(|pod| is_ready(pod)).count();
    }

    fn write_counts(&mut self) {
        self.status.active = Some(count(self.active)).filter(|many| *many > 0);
        self.status.ready = Some(count(self.ready));
        self.status.terminating = Some(count(self.terminating));
    }

    /// `missing` of the pods to make could not be made.
    pub(super) fn without(&mut self, missing: usize) {
        self.active -= missing.min(self.active);
        self.write_counts();
    }
}

/// The failures that the pods show which are counted.
fn remembered(look: &Look<'_>) -> Backoff {
    let old = |phase: &str, new: &[&Pod]| -> Vec<&Pod> {
        let ended = look.pods.iter().copied().filter(|pod| crate::owned::phase(pod) == phase);
        ended.filter(|pod| new.iter().all(|new| new.uid() != pod.uid())).collect()
    };
    Backoff::default().after(&old("Succeeded", &look.new_succeeded), &old("Failed", &look.new_failed))
}

/// Makes or stops pods; never both at one look.
fn manage(look: &Look<'_>, plan: &mut Plan) {
    let active = look.active.len();
    let wanted = if look.is_suspended() { 0 } else { wanted(look) };
    let mut going = surplus(look, active.saturating_sub(wanted));
    going.truncate(if look.is_suspended() { usize::MAX } else { BURST_PODS_MAX });
    if !going.is_empty() || look.is_suspended() {
        plan.uncounted = true;
        return plan.stop(&going);
    }
    let waiting = if look.replaces_only_failed() { look.terminating } else { 0 };
    let missing = wanted.saturating_sub(active + waiting).min(BURST_PODS_MAX);
    if missing == 0 {
        return;
    }
    let each = look.spec.backoff_limit_per_index.is_some();
    if let Some(left) = plan.backoff.left(look.now).filter(|_| !each) {
        return plan.sooner(Some(left));
    }
    let Some(indexed) = &look.indexed else {
        plan.create = vec![Wanted::Any; missing];
        plan.active += missing;
        return;
    };
    let (create, left) = of_indexes(look, indexed, missing);
    plan.active += create.len();
    plan.create = create;
    plan.sooner(left);
}

/// How many pods should run.
fn wanted(look: &Look<'_>) -> usize {
    let parallelism = look.spec.parallelism.unwrap_or(1);
    let wanted = match look.spec.completions {
        Some(completions) => (completions - look.succeeded).min(parallelism),
        // Without a number of completions (a work queue) nothing is begun any more after the first success.
        None if look.succeeded > 0 => return look.active.len(),
        None => parallelism,
    };
    usize::try_from(wanted).unwrap_or(0)
}

/// Pods for the first free indexes; or, if all of them still wait, how long the next one does.
fn of_indexes(look: &Look<'_>, indexed: &Indexed<'_>, missing: usize) -> (Vec<Wanted>, Option<SignedDuration>) {
    let mut taken: Vec<i32> = look.active.iter().filter_map(|pod| index_of(pod)).collect();
    if look.replaces_only_failed() {
        let going = look.pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some() && !look.is_failed(pod));
        taken.extend(going.filter_map(|pod| index_of(pod)));
    }
    let mut over = indexed.done.with(taken);
    let Some(failed) = &indexed.failed else {
        let free = over.free(missing, indexed.completions);
        return (free.into_iter().map(|index| Wanted::Index(index, None)).collect(), None);
    };
    over = over.merged(failed);
    let (mut create, mut wait) = (Vec::new(), None::<SignedDuration>);
    for index in over.free(missing, indexed.completions) {
        match indexed.replaced.get(&index) {
            None => create.push(Wanted::Index(index, Some(Failures::default()))),
            Some(last) => {
                let before = failures(last);
                let many = usize::try_from(before.all()).unwrap_or(0) + 1;
                let left = backoff::finished_at(last).and_then(|at| backoff::left(many, at, look.now));
                match left {
                    Some(left) => wait = Some(wait.map_or(left, |least| least.min(left))),
                    None => create.push(Wanted::Index(index, Some(before.and(&look.failure(last))))),
                }
            }
        }
    }
    // Those that wait are looked at again when the ones that are made now show.
    let wait = if create.is_empty() { wait } else { None };
    (create, wait)
}

/// The pods to stop: those of an index that is none or has another pod, and at least so many.
fn surplus<'a>(look: &Look<'a>, at_least: usize) -> Vec<&'a Pod> {
    let (mut going, mut staying) = (Vec::new(), Vec::new());
    match &look.indexed {
        None => staying.clone_from(&look.active),
        Some(indexed) => {
            let mut of_index = BTreeMap::<i32, Vec<&Pod>>::new();
            for &pod in &look.active {
                match index_of(pod).filter(|index| *index < indexed.completions) {
                    Some(index) => of_index.entry(index).or_default().push(pod),
                    None => going.push(pod),
                }
            }
            for mut pods in of_index.into_values() {
                pods.sort_by_key(|pod| worth(pod));
                staying.extend(pods.pop());
                going.extend(pods);
            }
        }
    }
    staying.sort_by_key(|pod| worth(pod));
    let more = at_least.saturating_sub(going.len());
    going.extend(staying.into_iter().take(more));
    going
}

/// The condition Suspended, and the time from which the deadline counts.
fn say_suspended(look: &Look<'_>, plan: &mut Plan) {
    let conditions = plan.status.conditions.get_or_insert_default();
    if look.is_suspended() {
        if ensure(conditions, "Suspended", "True", "JobSuspended", "Job suspended", look.now) {
            plan.status.start_time = None;
            plan.told.push((EventKind::Normal, "Suspended", "Job suspended"));
        }
    } else if ensure(conditions, "Suspended", "False", "JobResumed", "Job resumed", look.now) {
        plan.status.start_time = Some(Time(look.now));
        plan.told.push((EventKind::Normal, "Resumed", "Job resumed"));
    }
}

/// Whether the job is over: nothing is decided about it any more.
pub(super) fn is_finished(job: &Job) -> bool {
    end_of(job).is_some()
}

/// The condition that says that the job is over, if it is.
pub(crate) fn end_of(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True")
}

/// When the job was over, if it is.
pub(crate) fn finished_at(job: &Job) -> Option<Timestamp> {
    let end = end_of(job)?;
    Some(end.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

/// What is left of the time that the job may take.
pub(super) fn deadline_left(spec: &JobSpec, start: Option<&Time>, now: Timestamp) -> Option<SignedDuration> {
    let (seconds, start) = spec.active_deadline_seconds.filter(|_| spec.suspend != Some(true)).zip(start)?;
    Some(SignedDuration::from_secs(seconds) - now.duration_since(start.0))
}
