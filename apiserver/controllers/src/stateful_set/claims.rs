//! The claims of a stateful set's pods: their names, what they look like, and who they go with. No I/O.

use super::pod::ordinal;
use crate::owned::owner_reference;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

/// What becomes of claims when nobody uses them any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retention {
    /// They go with the set.
    pub(super) with_set: bool,
    /// They go with a pod that is scaled away.
    pub(super) with_pod: bool,
}

impl Retention {
    pub(super) fn of(set: &StatefulSet) -> Self {
        let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
        let deletes = |what: Option<&String>| what.is_some_and(|what| what == "Delete");
        Self {
            with_set: deletes(policy.and_then(|policy| policy.when_deleted.as_ref())),
            with_pod: deletes(policy.and_then(|policy| policy.when_scaled.as_ref())),
        }
    }
}

/// The names of the claims of the pod with this ordinal, with those of the volumes that they become.
pub(super) fn names(set: &StatefulSet, ordinal: i32) -> Vec<(String, String)> {
    let templates = set.spec.iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten());
    templates
        .map(|template| template.name_any())
        .map(|volume| {
            let claim = format!("{volume}-{}-{ordinal}", set.name_any());
            (volume, claim)
        })
        .collect()
}

/// Whether a claim of this name may be one of `set`.
pub(super) fn is_named(set: &StatefulSet, claim: &str) -> bool {
    let templates = set.spec.iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten());
    templates.into_iter().any(|template| {
        let rest = claim.strip_prefix(&format!("{}-{}-", template.name_any(), set.name_any()));
        rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// The claim called `name` of the volume `volume`, for a pod that stays.
pub(super) fn claim_of(set: &StatefulSet, volume: &str, name: &str) -> PersistentVolumeClaim {
    let spec = set.spec.as_ref();
    let mut templates = spec.into_iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten());
    let mut claim = templates.find(|template| template.name_any() == volume).cloned().unwrap_or_default();
    claim.metadata.name = Some(name.to_owned());
    claim.metadata.namespace = set.namespace();
    let labels = spec.and_then(|spec| spec.selector.match_labels.clone()).unwrap_or_default();
    claim.metadata.labels.get_or_insert_default().extend(labels);
    if Retention::of(set).with_set {
        claim.metadata.owner_references.get_or_insert_default().push(owner_reference(set));
    }
    claim.status = None;
    claim
}

/// Who a claim should belong to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Owners {
    /// Those that it has.
    AsTheyAre,
    /// These.
    Should(Vec<OwnerReference>),
}

/// Whether `reference` names `object`, of this uid or an earlier one.
fn names_it<K: Resource<DynamicType = ()>>(reference: &OwnerReference, object: &K) -> bool {
    reference.kind == K::kind(&())
        && reference.api_version == K::api_version(&())
        && reference.name == object.name_any()
}

fn has<K: Resource<DynamicType = ()>>(claim: &PersistentVolumeClaim, owner: &K) -> bool {
    claim.owner_references().iter().any(|one| Some(&one.uid) == owner.uid().as_ref())
}

/// Whether a claim still refers to an earlier object of this name, with which it will go.
pub(super) fn is_of_former<K: Resource<DynamicType = ()>>(claim: &PersistentVolumeClaim, object: &K) -> bool {
    let uid = object.uid();
    claim.owner_references().iter().any(|one| names_it(one, object) && uid.as_ref() != Some(&one.uid))
}

/// Whether another controller has the claim, so that the set's policy does not count.
pub(super) fn is_of_another(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod) -> bool {
    if Retention::of(set) == (Retention { with_set: false, with_pod: false }) {
        return false;
    }
    claim.owner_references().iter().any(|one| {
        let own = Some(&one.uid) == set.uid().as_ref() || Some(&one.uid) == pod.uid().as_ref();
        !own && (names_it(one, set) || names_it(one, pod) || one.controller == Some(true))
    })
}

/// Who `claim` should belong to by the set's policy; `scaled_away`: its pod is not wanted any more.
pub(super) fn owners(claim: &PersistentVolumeClaim, set: &StatefulSet, pod: &Pod, scaled_away: bool) -> Owners {
    if is_of_former(claim, set) || is_of_former(claim, pod) {
        return Owners::AsTheyAre;
    }
    let rest = || {
        let references = claim.owner_references().iter();
        references.filter(|one| !names_it(one, set) && !names_it(one, pod)).cloned().collect::<Vec<_>>()
    };
    if is_of_another(claim, set, pod) {
        return if has(claim, set) || has(claim, pod) { Owners::Should(rest()) } else { Owners::AsTheyAre };
    }
    let policy = Retention::of(set);
    let to_pod = policy.with_pod && scaled_away;
    let to_set = policy.with_set && !to_pod;
    let half = claim.owner_references().iter().any(|one| {
        let own = Some(&one.uid) == set.uid().as_ref() || Some(&one.uid) == pod.uid().as_ref();
        own && one.controller != Some(true)
    });
    if !half && has(claim, set) == to_set && has(claim, pod) == to_pod {
        return Owners::AsTheyAre;
    }
    let mut owners = rest();
    owners.extend(to_set.then(|| owner_reference(set)));
    owners.extend(to_pod.then(|| owner_reference(pod)));
    Owners::Should(owners)
}

/// Whether the pod's volumes are its claims.
pub(super) fn are_mounted(set: &StatefulSet, pod: &Pod) -> bool {
    let Some(ordinal) = ordinal(pod) else { return false };
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    names(set, ordinal).iter().all(|(volume, claim)| {
        let found = volumes.iter().find(|one| one.name == *volume);
        found.and_then(|one| one.persistent_volume_claim.as_ref()).is_some_and(|source| source.claim_name == *claim)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn set(deleted: &str, scaled: &str) -> StatefulSet {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "set"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}}, "template": {}, "serviceName": "web",
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled},
            "volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"own": "x"}}, "spec": {}}]}}))
        .unwrap()
    }

    fn pod() -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-1", "namespace": "n", "uid": "pod"}})).unwrap()
    }

    fn claim(owners: &[Value]) -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": {"name": "data-web-1", "ownerReferences": owners}})).unwrap()
    }

    fn of_set(uid: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": uid, "controller": true, "blockOwnerDeletion": true})
    }

    fn of_pod(uid: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "name": "web-1", "uid": uid, "controller": true, "blockOwnerDeletion": true})
    }

    fn should(deleted: &str, scaled: &str, away: bool, owners: &[Value]) -> Option<Vec<String>> {
        match super::owners(&claim(owners), &set(deleted, scaled), &pod(), away) {
            Owners::AsTheyAre => None,
            Owners::Should(owners) => Some(owners.into_iter().map(|one| one.uid).collect()),
        }
    }

    #[test]
    fn claims_go_with_whom_the_policy_says() {
        let uids = |uids: &[&str]| Some(uids.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        assert_eq!(should("Retain", "Retain", false, &[]), None);
        assert_eq!(should("Retain", "Retain", true, &[of_set("set"), of_pod("pod")]), uids(&[]));
        assert_eq!(should("Delete", "Retain", false, &[]), uids(&["set"]));
        assert_eq!(should("Delete", "Retain", true, &[of_set("set")]), None);
        assert_eq!(should("Retain", "Delete", false, &[of_pod("pod")]), uids(&[]), "scaled up again");
        assert_eq!(should("Retain", "Delete", true, &[]), uids(&["pod"]));
        assert_eq!(should("Delete", "Delete", false, &[]), uids(&["set"]));
        assert_eq!(should("Delete", "Delete", true, &[of_set("set")]), uids(&["pod"]));
    }

    /// What an earlier object of the name leaves goes with that one; what somebody else controls is left alone.
    #[test]
    fn claims_of_others_are_left() {
        assert_eq!(should("Delete", "Delete", false, &[of_set("before")]), None);
        assert_eq!(should("Retain", "Delete", true, &[of_pod("before")]), None);
        let mut other = of_set("other");
        other["name"] = "other".into();
        assert_eq!(should("Delete", "Retain", false, &[other.clone()]), None);
        assert_eq!(should("Delete", "Retain", false, &[other.clone(), of_set("set")]), Some(vec!["other".to_owned()]));
        other["controller"] = false.into();
        assert_eq!(should("Delete", "Retain", false, &[other]), Some(vec!["other".to_owned(), "set".to_owned()]));
    }

    #[test]
    fn a_claim_is_made_of_its_template() {
        let made = claim_of(&set("Delete", "Retain"), "data", "data-web-1");
        assert_eq!((made.name_any().as_str(), made.namespace().as_deref()), ("data-web-1", Some("n")));
        assert_eq!((made.labels()["app"].as_str(), made.labels()["own"].as_str()), ("web", "x"));
        assert_eq!(made.owner_references()[0].uid, "set");
        assert!(claim_of(&set("Retain", "Delete"), "data", "data-web-1").owner_references().is_empty());
        let names = ["data-web-1", "data-web-", "data-web-x", "data-other-1", "other-web-1"]
            .map(|name| is_named(&set("", ""), name));
        assert_eq!(names, [true, false, false, false, false]);
    }
}
