//! What a job and its pods show: which pods run, which have ended and are not counted yet, which indexes are over. No I/O.

use super::indexes::Indexes;
use super::policy::{self, Failure};
use super::{backoff, pod};
use crate::owned::{has_ended, is_active, is_going, phase};
use crate::shares::count;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A job and its pods at one moment.
pub(super) struct Look<'a> {
    pub(super) job: &'a Job,
    pub(super) spec: &'a JobSpec,
    /// As it was last written.
    pub(super) status: JobStatus,
    /// In the order of their indexes.
    pub(super) pods: Vec<&'a Pod>,
    pub(super) active: Vec<&'a Pod>,
    /// How many have been told to go and have not ended.
    pub(super) terminating: usize,
    /// Ended, and neither counted nor about to be.
    pub(super) new_succeeded: Vec<&'a Pod>,
    pub(super) new_failed: Vec<&'a Pod>,
    /// All that succeeded, those that are not counted yet among them.
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    pub(super) indexed: Option<Indexed<'a>>,
    pub(super) now: Timestamp,
}

/// The indexes of an Indexed job.
pub(super) struct Indexed<'a> {
    pub(super) completions: i32,
    /// Those that succeeded, as the status last said.
    pub(super) before: Indexes,
    /// Those that have succeeded.
    pub(super) done: Indexes,
    /// Those that have failed, where each index has a back-off limit of its own.
    pub(super) failed: Option<Indexes>,
    /// The last failed pod of each index that gets another one. It stays until that one stands, which takes over its count.
    pub(super) replaced: BTreeMap<i32, &'a Pod>,
}

impl<'a> Look<'a> {
    pub(super) fn at(job: &'a Job, spec: &'a JobSpec, pods: &'a [Arc<Pod>], now: Timestamp) -> Self {
        let mut pods: Vec<&'a Pod> = pods.iter().map(AsRef::as_ref).collect();
        pods.sort_by_key(|pod| pod::index_of(pod));
        let status = job.status.clone().unwrap_or_default();
        let mut look = Self {
            job,
            spec,
            active: pods.iter().copied().filter(|pod| is_active(pod)).collect(),
            terminating: pods.iter().filter(|pod| is_terminating(pod)).count(),
            pods,
            status,
            new_succeeded: Vec::new(),
            new_failed: Vec::new(),
            succeeded: 0,
            failed: 0,
            indexed: None,
            now,
        };
        look.sum_up();
        look.indexed = look.indexes();
        if let Some(indexed) = &look.indexed {
            look.succeeded = indexed.done.total();
        }
        look
    }

    fn sum_up(&mut self) {
        let [succeeded, failed] = uncounted(&self.status);
        let counts = |pod: &&Pod, among: &[String]| {
            let valid = completions(self.spec).is_none_or(|all| pod::index_of(pod).is_some_and(|index| index < all));
            pod::is_tracked(pod) && !has_uid(among, pod) && valid
        };
        let of = |among: &[String], ended: &dyn Fn(&Pod) -> bool| {
            self.pods.iter().copied().filter(|pod| ended(pod) && counts(pod, among)).collect::<Vec<_>>()
        };
        let new_succeeded = of(succeeded, &|pod| phase(pod) == "Succeeded");
        let new_failed = of(failed, &|pod| self.is_failed(pod));
        let counted = new_failed.iter().filter(|pod| self.failure(pod) != Failure::Ignored).count();
        self.succeeded = self.status.succeeded.unwrap_or(0) + count(new_succeeded.len() + succeeded.len());
        self.failed = self.status.failed.unwrap_or(0) + count(counted + failed.len());
        (self.new_succeeded, self.new_failed) = (new_succeeded, new_failed);
    }

    fn indexes(&self) -> Option<Indexed<'a>> {
        let completions = completions(self.spec)?;
        let of = |pods: &dyn Fn(&Pod) -> bool| -> BTreeSet<i32> {
            let tracked = self.pods.iter().filter(|pod| pod::is_tracked(pod) && pods(pod));
            tracked.filter_map(|pod| pod::index_of(pod)).filter(|index| *index < completions).collect()
        };
        let before = Indexes::parse(self.status.completed_indexes.as_deref().unwrap_or_default(), completions);
        let done = before.with(of(&|pod| phase(pod) == "Succeeded"));
        let failed = self.spec.backoff_limit_per_index.map(|limit| {
            let before = Indexes::parse(self.status.failed_indexes.as_deref().unwrap_or_default(), completions);
            before.with(of(&|pod| self.fails_index(pod, limit)))
        });
        let mut indexed = Indexed { completions, before, done, failed, replaced: BTreeMap::new() };
        if indexed.failed.is_some() {
            indexed.replaced = self.replaced(&indexed);
        }
        Some(indexed)
    }

    fn fails_index(&self, pod: &Pod, limit: i32) -> bool {
        self.is_failed(pod)
            && match self.failure(pod) {
                Failure::FailsIndex => true,
                Failure::Ignored => false,
                Failure::Counts | Failure::FailsJob(_) => pod::failures(pod).counted >= limit,
            }
    }

    fn replaced(&self, indexed: &Indexed<'a>) -> BTreeMap<i32, &'a Pod> {
        let active: BTreeSet<i32> = self.active.iter().filter_map(|pod| pod::index_of(pod)).collect();
        let over =
            |index: i32| indexed.done.has(index) || indexed.failed.as_ref().is_some_and(|failed| failed.has(index));
        let mut last = BTreeMap::<i32, &'a Pod>::new();
        for pod in self.pods.iter().copied().filter(|pod| pod::is_tracked(pod) && self.is_failed(pod)) {
            let Some(index) = pod::index_of(pod).filter(|index| *index < indexed.completions) else { continue };
            if over(index) || active.contains(&index) {
                continue;
            }
            let rank = |pod: &Pod| (pod::failures(pod).all(), backoff::finished_at(pod));
            let later = last.get(&index).is_none_or(|known| rank(pod) >= rank(known));
            if later {
                last.insert(index, pod);
            }
        }
        last
    }

    /// Whether a pod is one of those that failed: it ended so, or it was deleted before it ended, unless the job waits for
    /// the end of each pod.
    pub(super) fn is_failed(&self, pod: &Pod) -> bool {
        let leaving = pod.metadata.deletion_timestamp.is_some() && phase(pod) != "Succeeded";
        phase(pod) == "Failed" || (leaving && !self.replaces_only_failed())
    }

    /// Whether a pod is replaced only when it has ended, not as soon as it is told to go.
    pub(super) fn replaces_only_failed(&self) -> bool {
        self.spec.pod_replacement_policy.as_deref() == Some("Failed") || self.spec.pod_failure_policy.is_some()
    }

    pub(super) fn failure(&self, pod: &Pod) -> Failure {
        policy::failure(self.spec.pod_failure_policy.as_ref(), pod)
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.job.metadata.deletion_timestamp.is_some()
    }
}

/// How many indexes an Indexed job has.
pub(super) fn completions(spec: &JobSpec) -> Option<i32> {
    (spec.completion_mode.as_deref() == Some("Indexed")).then(|| spec.completions.unwrap_or(0))
}

/// The uids that stand in the status until their pods are released: succeeded and failed.
pub(super) fn uncounted(status: &JobStatus) -> [&[String]; 2] {
    let both = status.uncounted_terminated_pods.as_ref();
    let succeeded = both.and_then(|both| both.succeeded.as_deref());
    let failed = both.and_then(|both| both.failed.as_deref());
    [succeeded.unwrap_or_default(), failed.unwrap_or_default()]
}

pub(super) fn has_uid(among: &[String], pod: &Pod) -> bool {
    pod.uid().is_some_and(|uid| among.contains(&uid))
}

fn is_terminating(pod: &Pod) -> bool {
    is_going(pod) && !has_ended(pod)
}
