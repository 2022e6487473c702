//! Random lives of jobs: pods end, fail and are deleted in any order, and the controller is killed between any two writes.
//!
//! What must hold: no more pods run than the job wants, each pod counts once, and the job comes to an end that fits.

use super::backoff::Backoff;
use super::plan::{Plan, decide, is_finished};
use super::pod::{TRACKING, is_tracked, pod_of};
use super::track;
use crate::owned::{is_active, phase};
use crate::shares::count;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

struct World {
    job: Job,
    pods: BTreeMap<String, Pod>,
    made: usize,
    now: Timestamp,
    remembered: Option<Backoff>,
    succeeded: BTreeSet<String>,
    failed: BTreeSet<String>,
}

impl World {
    fn new(spec: &Value) -> Self {
        let mut whole = json!({"metadata": {"name": "sum", "namespace": "n", "uid": "job"},
            "spec": {"template": {"spec": {"containers": [], "restartPolicy": "Never"}}}});
        whole["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Self {
            job: serde_json::from_value(whole).unwrap(),
            pods: BTreeMap::new(),
            made: 0,
            now: Timestamp::UNIX_EPOCH,
            remembered: None,
            succeeded: BTreeSet::new(),
            failed: BTreeSet::new(),
        }
    }

    /// Something happens to one of the pods.
    fn happen(&mut self, which: usize, what: u8) {
        let names: Vec<String> = self.pods.keys().cloned().collect();
        let Some(name) = names.get(which % names.len().max(1)) else { return };
        match what % 5 {
            0 => self.end(name, "Succeeded"),
            1 => self.end(name, "Failed"),
            2 => self.delete(name, !self.waits()),
            _ => self.now += SignedDuration::from_secs(i64::from(what)),
        }
        self.sweep();
    }

    /// A pod that was told to go fails.
    fn end(&mut self, name: &str, phase_now: &str) {
        let now = self.now;
        let pod = self.pods.get_mut(name).unwrap();
        if matches!(phase(pod), "Succeeded" | "Failed") {
            return;
        }
        let phase_now = if pod.metadata.deletion_timestamp.is_some() { "Failed" } else { phase_now };
        let terminated = json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1, "finishedAt": now.to_string()}}}]);
        let status = json!({"phase": phase_now, "containerStatuses": terminated});
        pod.status = Some(serde_json::from_value::<PodStatus>(status).unwrap());
        if is_tracked(pod) {
            let ended = if phase_now == "Failed" { &mut self.failed } else { &mut self.succeeded };
            ended.insert(name.to_owned());
        }
    }

    /// Whether a pod that was told to go is looked at only when it has ended.
    fn waits(&self) -> bool {
        self.job.spec.as_ref().unwrap().pod_replacement_policy.as_deref() == Some("Failed")
    }

    fn delete(&mut self, name: &str, fails: bool) {
        let now = self.now;
        let Some(pod) = self.pods.get_mut(name) else { return };
        if fails && is_active(pod) && is_tracked(pod) {
            self.failed.insert(name.to_owned());
        }
        pod.metadata.deletion_timestamp.get_or_insert(Time(now));
    }

    /// Pods that ended and are not held go, when they were told to.
    fn sweep(&mut self) {
        self.pods.retain(|_, pod| {
            let over = pod.metadata.deletion_timestamp.is_some() && matches!(phase(pod), "Succeeded" | "Failed");
            !over || is_tracked(pod)
        });
    }

    /// One look, of which the first `writes` writes come true; a controller that is killed forgets.
    fn look(&mut self, writes: usize) {
        if is_finished(&self.job) {
            return;
        }
        let pods: Vec<Arc<Pod>> = self.pods.values().cloned().map(Arc::new).collect();
        let plan = decide(&self.job, &pods, self.remembered, self.now);
        let active = pods.iter().filter(|pod| is_active(pod)).count();
        let most = self.job.spec.as_ref().unwrap().parallelism.unwrap_or(1);
        assert!(plan.create.is_empty() || count(active + plan.create.len()) <= most, "more pods than wanted");
        let mut left = writes;
        if self.act(&plan, &mut left) {
            self.remembered = Some(plan.backoff)
        } else {
            self.remembered = None
        }
        self.sweep();
    }

    fn act(&mut self, plan: &Plan, left: &mut usize) -> bool {
        let mut may = || left.checked_sub(1).map(|less| *left = less).is_some();
        for name in &plan.delete {
            if !may() {
                return false;
            }
            if plan.uncounted {
                self.release(name);
            }
            self.delete(name, !self.waits());
        }
        for wanted in &plan.create {
            if !may() {
                return false;
            }
            self.made += 1;
            let name = format!("p{}", self.made);
            let mut pod = pod_of(&self.job, wanted).unwrap();
            (pod.metadata.name, pod.metadata.uid) = (Some(name.clone()), Some(name.clone()));
            self.pods.insert(name, pod);
        }
        if !may() {
            return false;
        }
        self.job.status = Some(plan.status.clone());
        if plan.end.as_ref().is_some_and(|end| end.type_ == "Failed") {
            // When the job has failed, so has every pod that did not succeed.
            let lost = plan.release.iter().filter(|(name, _)| phase(&self.pods[name]) != "Succeeded");
            self.failed.extend(lost.map(|(name, _)| name.clone()));
        }
        let mut held = plan.held.clone();
        for (name, uid) in &plan.release {
            if !may() {
                return false;
            }
            self.release(name);
            held.remove(uid);
        }
        let whole = may();
        if whole {
            self.job.status = Some(track::settle(plan, plan.status.clone(), &held).0);
        }
        whole
    }

    fn release(&mut self, name: &str) {
        if let Some(pod) = self.pods.get_mut(name) {
            pod.metadata.finalizers.as_mut().unwrap().retain(|finalizer| finalizer != TRACKING);
        }
    }

    /// From now on every pod succeeds, and nobody is killed.
    fn come_to_an_end(&mut self) {
        for _ in 0..60 {
            for name in self.pods.keys().cloned().collect::<Vec<_>>() {
                self.end(&name, "Succeeded");
            }
            self.sweep();
            self.now += SignedDuration::from_secs(700);
            self.look(usize::MAX);
        }
        assert!(is_finished(&self.job), "no end: {}", json!(self.job.status));
        let held: Vec<_> = self.pods.iter().filter(|(_, pod)| is_tracked(pod)).map(|(name, _)| name).collect();
        assert!(held.is_empty(), "pods nobody will count: {held:?}");
        self.check_counts();
    }

    fn check_counts(&self) {
        let (spec, status) = (self.job.spec.as_ref().unwrap(), self.job.status.as_ref().unwrap());
        let shown = json!(status);
        assert_eq!(status.failed.unwrap_or(0), count(self.failed.len()), "{shown}");
        assert!(status.terminating.unwrap_or(0) == 0 && status.active.is_none(), "{shown}");
        let complete = status.completion_time.is_some();
        let indexed = spec.completion_mode.as_deref() == Some("Indexed");
        if !indexed {
            assert_eq!(status.succeeded.unwrap_or(0), count(self.succeeded.len()), "{shown}");
        }
        if complete {
            assert!(status.succeeded >= spec.completions || spec.completions.is_none(), "{shown}");
        } else if spec.backoff_limit_per_index.is_none() {
            assert!(status.failed > spec.backoff_limit, "{shown}");
        }
    }
}

fn spec() -> impl Strategy<Value = Value> {
    let numbers = (1_i32..6, 1_i32..5, 0_i32..4);
    (numbers, 0_u8..4, any::<bool>()).prop_map(|((completions, parallelism, limit), kind, wait)| {
        let mut spec = json!({"completions": completions, "parallelism": parallelism, "backoffLimit": limit,
            "podReplacementPolicy": if wait { "Failed" } else { "TerminatingOrFailed" }});
        match kind {
            0 => spec["completions"] = Value::Null,
            1 => spec["completionMode"] = json!("Indexed"),
            2 => {
                spec["completionMode"] = json!("Indexed");
                spec["backoffLimitPerIndex"] = json!(limit);
                spec["backoffLimit"] = json!(i32::MAX);
            }
            _ => {}
        }
        spec
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_pod_counts_once_and_the_job_ends(spec in spec(), steps in proptest::collection::vec((any::<usize>(), any::<u8>(), 0_usize..12), 0..60)) {
        let mut world = World::new(&spec);
        for (which, what, writes) in steps {
            world.look(writes);
            world.happen(which, what);
        }
        world.come_to_an_end();
    }
}

#[test]
fn a_suspended_job_has_no_pods_and_its_time_stands() {
    let mut world = World::new(&json!({"completions": 2, "parallelism": 2, "activeDeadlineSeconds": 60}));
    world.look(usize::MAX);
    assert_eq!(world.pods.len(), 2);
    world.job.spec.as_mut().unwrap().suspend = Some(true);
    world.look(usize::MAX);
    let status = world.job.status.clone().unwrap();
    assert_eq!((status.active, status.start_time), (None, None));
    assert_eq!(status.conditions.unwrap()[0].reason.as_deref(), Some("JobSuspended"));
    world.now += SignedDuration::from_secs(1000);
    world.job.spec.as_mut().unwrap().suspend = Some(false);
    world.look(usize::MAX);
    let status = world.job.status.clone().unwrap();
    assert_eq!(status.start_time, Some(Time(world.now)));
    world.now += SignedDuration::from_secs(60);
    world.look(usize::MAX);
    let conditions = world.job.status.clone().unwrap().conditions.unwrap();
    let target = conditions.iter().find(|one| one.type_ == "FailureTarget").unwrap();
    assert_eq!(target.reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn a_failed_pod_is_replaced_after_the_back_off() {
    let mut world = World::new(&json!({"completions": 1, "parallelism": 1, "backoffLimit": 1}));
    world.look(usize::MAX);
    world.end("p1", "Failed");
    world.look(usize::MAX);
    assert_eq!((world.made, world.job.status.as_ref().unwrap().failed), (1, Some(1)));
    world.remembered = None;
    world.now += SignedDuration::from_secs(4);
    world.look(usize::MAX);
    assert_eq!(world.made, 1, "a controller that starts anew waits, too");
    world.now += SignedDuration::from_secs(6);
    world.look(usize::MAX);
    assert_eq!(world.made, 2);
}

#[test]
fn an_index_fails_at_once_where_the_policy_says_so() {
    let policy = json!({"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [1]}}]});
    let mut world = World::new(&json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed",
        "backoffLimitPerIndex": 5, "backoffLimit": i32::MAX, "podFailurePolicy": policy}));
    world.look(usize::MAX);
    world.end("p1", "Failed");
    world.look(usize::MAX);
    assert_eq!(world.job.status.as_ref().unwrap().failed_indexes.as_deref(), Some("0"));
    world.end("p2", "Succeeded");
    world.look(usize::MAX);
    let status = world.job.status.clone().unwrap();
    assert_eq!(status.completed_indexes.as_deref(), Some("1"));
    let failed = status.conditions.unwrap().into_iter().find(|one| one.type_ == "Failed").unwrap();
    assert_eq!(failed.reason.as_deref(), Some("FailedIndexes"));
    assert_eq!(world.made, 2);
}
