//! How a rollout proceeds: which replica set is the new one, and how far each is scaled in this step. No I/O.
//!
//! ```text
//!  template changes ──► new set made at 0 ──► new grows by what maxSurge allows
//!        ▲                                        │ as its pods become available
//!        └── rolled back: an old set is "new"     ▼
//!                                   old sets shrink by what maxUnavailable allows
//! ```

use super::proportion::{DESIRED_REPLICAS, MAX_REPLICAS};
use crate::shares::{Round, resolve};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The label that keeps the pods of two versions apart.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";
/// Which version of the deployment a replica set is.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
/// Which versions a replica set was before, separated by commas.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Annotations that a replica set does not take over from its deployment: they are about one object, or kept otherwise.
const OWN_ANNOTATIONS: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];
/// How much longer a revision history may be (Kubernetes' limit, in characters).
const HISTORY_MAX: usize = 2000;

/// Scale `name` to `replicas`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scaling {
    pub(crate) name: String,
    pub(crate) from: i32,
    pub(crate) to: i32,
}

/// The replica set that runs the present template, if there is one: the oldest, should there be several.
pub(crate) fn newest<'a>(deployment: &Deployment, sets: &'a [Arc<ReplicaSet>]) -> Option<&'a Arc<ReplicaSet>> {
    let wanted = &deployment.spec.as_ref()?.template;
    let mut same: Vec<_> = sets.iter().filter(|set| is_template(set, wanted)).collect();
    same.sort_by_key(|set| (set.metadata.creation_timestamp.clone(), set.name_any()));
    same.first().copied()
}

fn is_template(set: &ReplicaSet, wanted: &PodTemplateSpec) -> bool {
    let Some(template) = set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else { return false };
    without_hash(template) == without_hash(wanted)
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let metadata = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut metadata.labels {
        labels.remove(HASH_LABEL);
    }
    // An absent map and an empty one mean the same.
    metadata.labels = metadata.labels.take().filter(|labels| !labels.is_empty());
    metadata.creation_timestamp = None;
    template
}

/// Ten hexadecimal digits that depend on the template (and on `collisions`, should two templates ever share them).
pub(crate) fn template_hash(template: &PodTemplateSpec, collisions: i32) -> String {
    // Serialising a typed object cannot fail, and an empty text would still give a valid, if shared, hash.
    let text = serde_json::to_vec(&without_hash(template)).unwrap_or_default();
    let digest = Sha256::new().chain_update(text).chain_update(collisions.to_be_bytes()).finalize();
    hex::encode(&digest[..5])
}

/// The revision to give to the newest set.
pub(crate) fn next_revision(newest: Option<&ReplicaSet>, sets: &[Arc<ReplicaSet>]) -> i64 {
    let others = sets.iter().filter(|set| newest.is_none_or(|newest| newest.uid() != set.uid()));
    let highest = others.map(|set| revision(set)).max().unwrap_or(0);
    newest.map_or(0, revision).max(highest + 1)
}

/// The revision a set carries; 0 if none.
pub(crate) fn revision(set: &ReplicaSet) -> i64 {
    set.annotations().get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The annotations that a set takes over from its deployment.
pub(crate) fn inherited(deployment: &Deployment) -> BTreeMap<String, String> {
    let mut annotations = deployment.annotations().clone();
    annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    annotations
}

/// What has to be patched so that the newest set is of `revision` and has what it takes over; `None`: nothing.
pub(crate) fn renewal(deployment: &Deployment, set: &ReplicaSet, to: i64) -> Option<Value> {
    let before = set.annotations();
    let mut annotations = inherited(deployment);
    if revision(set) < to {
        annotations.insert(REVISION.to_owned(), to.to_string());
        annotations.extend(before.get(REVISION).map(|old| {
            (REVISION_HISTORY.to_owned(), history(before.get(REVISION_HISTORY).map_or("", String::as_str), old))
        }));
    }
    annotations.retain(|key, value| before.get(key) != Some(value));
    let mut patch = Map::new();
    if !annotations.is_empty() {
        patch.insert("metadata".to_owned(), json!({ "annotations": annotations }));
    }
    let wait = |seconds: Option<i32>| seconds.unwrap_or(0);
    let minimum = wait(deployment.spec.as_ref()?.min_ready_seconds);
    if wait(set.spec.as_ref()?.min_ready_seconds) != minimum {
        patch.insert("spec".to_owned(), json!({ "minReadySeconds": minimum }));
    }
    Some(Value::Object(patch)).filter(|patch| *patch != json!({}))
}

/// `past` and `old` behind it, without the oldest ones if that would be too long.
fn history(past: &str, old: &str) -> String {
    let mut all: Vec<&str> = past.split(',').filter(|one| !one.is_empty()).chain([old]).collect();
    while all.len() > 1 && all.iter().map(|one| one.len() + 1).sum::<usize>() > HISTORY_MAX {
        all.remove(0);
    }
    all.join(",")
}

/// The replicas a set is asked for.
pub(crate) fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

fn existing(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

fn terminating(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or(0)
}

/// The next step of the rollout from `olds` to `new`.
pub(crate) fn scale(spec: &DeploymentSpec, new: &ReplicaSet, olds: &[&ReplicaSet]) -> Vec<Scaling> {
    let recreate = spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate");
    let target = spec.replicas.unwrap_or(1);
    if recreate { recreate_step(target, new, olds) } else { rolling_step(spec, target, new, olds) }
}

fn recreate_step(target: i32, new: &ReplicaSet, olds: &[&ReplicaSet]) -> Vec<Scaling> {
    let shrink: Vec<_> = olds.iter().filter_map(|old| change(old, 0)).collect();
    // Pods of two versions must never run at once, so the new set waits until the old pods are gone.
    if !shrink.is_empty() || olds.iter().any(|old| existing(old) + terminating(old) > 0) {
        return shrink;
    }
    change(new, target).into_iter().collect()
}

fn rolling_step(spec: &DeploymentSpec, target: i32, new: &ReplicaSet, olds: &[&ReplicaSet]) -> Vec<Scaling> {
    let (surge, unavailable) = limits(spec, target);
    let total: i32 = olds.iter().map(|old| wanted(old)).sum::<i32>() + wanted(new);
    let room = (target + surge - total).max(0);
    let grown = if wanted(new) > target { target } else { target.min(wanted(new) + room) };
    let mut steps: Vec<_> = change(new, grown).into_iter().collect();
    let minimum = target - unavailable;
    steps.extend(shrink(total, minimum, new, &oldest_first(olds)));
    steps
}

/// How far the old sets shrink: first what does not serve in any of them, as far as it and the new pods that do not serve yet are not needed for
/// the `minimum`; then what serves beyond it.
fn shrink(total: i32, minimum: i32, new: &ReplicaSet, olds: &[&ReplicaSet]) -> Vec<Scaling> {
    let serving = |set: &ReplicaSet| available(set).min(wanted(set));
    let mut idle = (total - minimum - (wanted(new) - serving(new))).max(0);
    let mut spare =
        if idle == 0 { 0 } else { olds.iter().map(|old| serving(old)).sum::<i32>() + serving(new) - minimum };
    let mut left = Vec::new();
    for old in olds {
        let cut = (wanted(old) - serving(old)).min(idle);
        idle -= cut;
        left.push(wanted(old) - cut);
    }
    for (left, old) in left.iter_mut().zip(olds) {
        let cut = (*left).min(serving(old)).min(spare.max(0));
        spare -= cut;
        *left -= cut;
    }
    olds.iter().zip(left).filter_map(|(old, left)| change(old, left)).collect()
}

fn oldest_first<'a>(olds: &[&'a ReplicaSet]) -> Vec<&'a ReplicaSet> {
    let mut olds = olds.to_vec();
    olds.sort_by_key(|set| revision(set));
    olds
}

fn change(set: &ReplicaSet, to: i32) -> Option<Scaling> {
    (wanted(set) != to).then(|| Scaling { name: set.name_any(), from: wanted(set), to })
}

/// maxSurge (rounded up) and maxUnavailable (rounded down); never both 0, or nothing could move.
pub(crate) fn limits(spec: &DeploymentSpec, target: i32) -> (i32, i32) {
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let quarter = IntOrString::String("25%".to_owned());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
    let surge = resolve(surge, target, Round::Up);
    let unavailable = resolve(unavailable, target, Round::Down).min(target);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// Old sets, scaled to 0, beyond the history that is to be kept: the oldest first.
pub(crate) fn surplus_history<'a>(spec: &DeploymentSpec, olds: &[&'a ReplicaSet]) -> Vec<&'a ReplicaSet> {
    let keep = usize::try_from(spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let done: Vec<_> = oldest_first(olds)
        .into_iter()
        .filter(|set| wanted(set) == 0 && existing(set) == 0 && set.metadata.deletion_timestamp.is_none())
        .collect();
    let surplus = done.len().saturating_sub(keep);
    done.into_iter().take(surplus).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    pub(crate) fn set(name: &str, revision: i32, wanted: i32, available: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": name, "annotations": {REVISION: revision.to_string()}},
            "spec": {"replicas": wanted, "selector": {}},
            "status": {"replicas": wanted, "availableReplicas": available}
        }))
        .unwrap()
    }

    pub(crate) fn spec(replicas: i32, surge: &str, unavailable: &str) -> DeploymentSpec {
        serde_json::from_value(json!({
            "replicas": replicas, "selector": {}, "template": {},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
        }))
        .unwrap()
    }

    #[test]
    fn percentages_round_towards_progress_and_safety() {
        assert_eq!(limits(&spec(10, "25%", "25%"), 10), (3, 2));
        assert_eq!(limits(&spec(3, "0%", "0%"), 3), (0, 1));
    }

    #[test]
    fn the_hash_ignores_itself() {
        let mut template: PodTemplateSpec =
            serde_json::from_value(json!({"metadata": {"labels": {"app": "web"}}})).unwrap();
        let before = template_hash(&template, 0);
        template.metadata.as_mut().unwrap().labels.as_mut().unwrap().insert(HASH_LABEL.into(), before.clone());
        assert_eq!(template_hash(&template, 0), before);
        assert_ne!(template_hash(&template, 1), before);
    }

    /// A set takes over what its deployment says, and remembers what it was when it comes back.
    #[test]
    fn a_set_is_renewed_when_something_differs_only() {
        let deployment: Deployment = serde_json::from_value(json!({"metadata": {"annotations":
            {"kubernetes.io/change-cause": "b", REVISION: "3"}}, "spec": {"selector": {}, "template": {}, "minReadySeconds": 4}}))
        .unwrap();
        let mut old = set("web", 1, 2, 2);
        old.annotations_mut().insert(REVISION_HISTORY.to_owned(), "0".to_owned());
        let annotations = json!({"kubernetes.io/change-cause": "b", REVISION: "4", REVISION_HISTORY: "0,1"});
        let wanted = json!({"metadata": {"annotations": annotations}, "spec": {"minReadySeconds": 4}});
        assert_eq!(renewal(&deployment, &old, 4), Some(wanted));
        old.annotations_mut().insert("kubernetes.io/change-cause".to_owned(), "b".to_owned());
        old.spec.as_mut().unwrap().min_ready_seconds = Some(4);
        assert_eq!(renewal(&deployment, &old, 1), None);
    }

    /// A rollout that is stuck is overtaken by another: what serves stays, though it is the oldest.
    #[test]
    fn what_does_not_serve_goes_before_what_does() {
        let spec = spec(1, "100%", "0%");
        let (serves, stuck, new) = (set("serves", 0, 1, 1), set("stuck", 1, 1, 0), set("new", 2, 0, 0));
        let gone = |name: &str| Scaling { name: name.to_owned(), from: 1, to: 0 };
        assert_eq!(scale(&spec, &new, &[&serves, &stuck]), [gone("stuck")]);
        let (stuck, new) = (set("stuck", 1, 0, 0), set("new", 2, 1, 0));
        assert_eq!(scale(&spec, &new, &[&serves, &stuck]), []);
        let new = set("new", 2, 1, 1);
        assert_eq!(scale(&spec, &new, &[&serves, &stuck]), [gone("serves")]);
    }

    #[test]
    fn recreate_waits_for_the_old_pods() {
        let mut spec = spec(2, "1", "1");
        spec.strategy.as_mut().unwrap().type_ = Some("Recreate".into());
        let (new, old) = (set("new", 2, 0, 0), set("old", 1, 2, 2));
        assert_eq!(scale(&spec, &new, &[&old]), vec![Scaling { name: "old".into(), from: 2, to: 0 }]);
        let mut leaving = set("old", 1, 0, 0);
        leaving.status.as_mut().unwrap().replicas = 1;
        assert_eq!(scale(&spec, &new, &[&leaving]), vec![]);
        let status = leaving.status.as_mut().unwrap();
        (status.replicas, status.terminating_replicas) = (0, Some(1));
        assert_eq!(scale(&spec, &new, &[&leaving]), vec![], "a pod that is told to go still runs");
        leaving.status.as_mut().unwrap().terminating_replicas = Some(0);
        assert_eq!(scale(&spec, &new, &[&leaving]), vec![Scaling { name: "new".into(), from: 0, to: 2 }]);
    }

    proptest! {
        /// Whatever the limits, a rollout whose pods become available ends, and on the way there are never more pods than
        /// maxSurge allows nor fewer available ones than maxUnavailable allows.
        #[test]
        fn a_rollout_ends_and_keeps_its_limits(replicas in 1_i32..12, surge in 0_i32..60, unavailable in 0_i32..60) {
            let spec = spec(replicas, &format!("{surge}%"), &format!("{unavailable}%"));
            let (surge, unavailable) = limits(&spec, replicas);
            let (mut new, mut old) = (set("new", 2, 0, 0), set("old", 0, replicas, replicas));
            let mut stuck = set("stuck", 1, surge, 0);
            for _ in 0..200 {
                for step in scale(&spec, &new, &[&old, &stuck]) {
                    let changed = match &*step.name {
                        "new" => &mut new,
                        "stuck" => &mut stuck,
                        _ => &mut old,
                    };
                    changed.spec.as_mut().unwrap().replicas = Some(step.to);
                    let status = changed.status.as_mut().unwrap();
                    status.replicas = step.to;
                    status.available_replicas = Some(available_after(status.available_replicas, step.to));
                }
                prop_assert!(wanted(&new) + wanted(&old) + wanted(&stuck) <= replicas + surge);
                prop_assert!(available(&new) + available(&old) >= replicas - unavailable);
                // One more new pod comes up.
                let up = (available(&new) + 1).min(wanted(&new));
                new.status.as_mut().unwrap().available_replicas = Some(up);
            }
            prop_assert_eq!((wanted(&new), wanted(&old), wanted(&stuck)), (replicas, 0, 0));
        }
    }

    fn available_after(before: Option<i32>, to: i32) -> i32 {
        before.unwrap_or(0).min(to)
    }
}
