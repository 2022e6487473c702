//! Counts each pod of a job once, whatever is interrupted between two writes. No I/O.
//!
//! A pod carries a finalizer until it is counted. First its uid (or its index) is written to the status, then the finalizer is
//! taken off, then the uid becomes a number. After a crash at any point the status and the finalizers together say what is
//! left to do (KEP-2307).

use super::look::{Look, has_uid, uncounted};
use super::plan::Plan;
use super::pod::{index_of, is_tracked};
use super::policy::Failure;
use super::verdict::{condition, ensure, true_one};
use crate::owned::phase;
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use std::collections::BTreeSet;

/// Uids that a status holds at most: some 20 KB (Kubernetes' `MaxUncountedPods`).
const UNCOUNTED_MAX: usize = 500;

/// Adds to `plan` what is counted now, which pods are let go of then, and how the job ends.
pub(super) fn count(look: &Look<'_>, plan: &mut Plan, end: Option<JobCondition>) {
    let tracked: Vec<&Pod> = look.pods.iter().copied().filter(|pod| is_tracked(pod)).collect();
    plan.held = tracked.iter().filter_map(|pod| pod.uid()).collect();
    number(&mut plan.status, &plan.held);
    let mut new_indexes = Vec::new();
    let mut counted = uncounted(&plan.status).iter().map(|list| list.len()).sum::<usize>();
    for pod in tracked {
        if !may_go(look, end.as_ref(), pod) {
            continue;
        }
        plan.release.push((pod.name_any(), pod.uid().unwrap_or_default()));
        counted += usize::from(note(look, plan, end.as_ref(), pod, &mut new_indexes));
        if counted >= UNCOUNTED_MAX {
            plan.counts_all = false;
            break;
        }
    }
    if let Some(indexed) = &look.indexed {
        let done = indexed.done.with(new_indexes);
        plan.status.succeeded = Some(done.total()).filter(|many| *many > 0);
        plan.status.completed_indexes = Some(done.to_string()).filter(|text| !text.is_empty());
        plan.status.failed_indexes = indexed.failed.as_ref().map(ToString::to_string);
    }
    plan.end = end.map(|end| announce(look, plan, end));
}

/// Whether a pod may be let go of.
fn may_go(look: &Look<'_>, end: Option<&JobCondition>, pod: &Pod) -> bool {
    if look.is_leaving() || end.is_some() || phase(pod) == "Succeeded" {
        return true;
    }
    let next = look.indexed.as_ref().and_then(|indexed| indexed.replaced.get(&index_of(pod)?));
    look.is_failed(pod) && next.is_none_or(|last| last.uid() != pod.uid())
}

/// Writes down that a pod ended, unless that is written already; answers whether something was added.
fn note(look: &Look<'_>, plan: &mut Plan, end: Option<&JobCondition>, pod: &Pod, new_indexes: &mut Vec<i32>) -> bool {
    let index = look.indexed.as_ref().map(|indexed| index_of(pod).filter(|index| *index < indexed.completions));
    let [succeeded, failed] = uncounted(&plan.status);
    let (known_succeeded, known_failed) = (has_uid(succeeded, pod), has_uid(failed, pod));
    let uid = pod.uid().unwrap_or_default();
    let lists = plan.status.uncounted_terminated_pods.get_or_insert_default();
    if phase(pod) == "Succeeded" && !known_failed {
        return match index {
            Some(index) => {
                let before = look.indexed.as_ref().map(|indexed| &indexed.before);
                let new = index.filter(|index| before.is_none_or(|before| !before.has(*index)));
                new_indexes.extend(new);
                new.is_some()
            }
            None if known_succeeded => false,
            None => {
                lists.succeeded.get_or_insert_default().push(uid);
                true
            }
        };
    }
    // When the job has failed, whatever did not end has failed, too.
    let failed_now = look.is_failed(pod) || end.is_some_and(|end| end.type_ != "SuccessCriteriaMet");
    let valid = index.is_none_or(|index| index.is_some());
    let new = failed_now && !known_failed && valid && look.failure(pod) != Failure::Ignored;
    if new {
        lists.failed.get_or_insert_default().push(uid);
    }
    new
}

/// Says in the status how the job is about to end; returns how it ends when all is counted.
fn announce(look: &Look<'_>, plan: &mut Plan, end: JobCondition) -> JobCondition {
    let (reason, message) = (end.reason.clone().unwrap_or_default(), end.message.clone().unwrap_or_default());
    let last = match end.type_.as_str() {
        "FailureTarget" => "Failed",
        "SuccessCriteriaMet" => "Complete",
        _ => return end,
    };
    if true_one(&plan.status, &end.type_).is_none() {
        let conditions = plan.status.conditions.get_or_insert_default();
        conditions.retain(|known| known.type_ != end.type_);
        conditions.push(end);
    }
    condition(last, "True", &reason, &message, look.now)
}

/// Turns uids whose pods are let go of into numbers; `held` are those that are not.
fn number(status: &mut JobStatus, held: &BTreeSet<String>) {
    let Some(lists) = &mut status.uncounted_terminated_pods else { return };
    let pairs = [(&mut lists.succeeded, &mut status.succeeded), (&mut lists.failed, &mut status.failed)];
    for (list, number) in pairs {
        let Some(uids) = list else { continue };
        let before = uids.len();
        uids.retain(|uid| held.contains(uid));
        let more = crate::shares::count(before - uids.len());
        if more > 0 {
            *number = Some(number.unwrap_or(0) + more);
        }
        if uids.is_empty() {
            *list = None;
        }
    }
}

/// The status after pods were let go of, all but those of `held`; and whether the job is over with it.
pub(super) fn settle(plan: &Plan, mut status: JobStatus, held: &BTreeSet<String>) -> (JobStatus, bool) {
    number(&mut status, held);
    let all = uncounted(&status).iter().all(|list| list.is_empty());
    let quiet = status.terminating.unwrap_or(0) == 0;
    let Some(end) = plan.end.as_ref().filter(|_| plan.counts_all && all && quiet) else { return (status, false) };
    if end.type_ == "Complete" {
        status.completion_time.clone_from(&end.last_transition_time);
    }
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    let time = end.last_transition_time.as_ref().map_or(jiff::Timestamp::UNIX_EPOCH, |time| time.0);
    let conditions = status.conditions.get_or_insert_default();
    ensure(conditions, &end.type_, "True", &of(&end.reason), &of(&end.message), time);
    (status, true)
}
