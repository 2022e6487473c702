//! What a revision says, which one is the present template, and which ones may go. No I/O.
//!
//! A revision keeps a template as the patch that brings it back: kubectl sends it as it is to roll back.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Tells pods which revision they are of, and revisions of daemon sets their hash.
pub(crate) const POD_LABEL: &str = "controller-revision-hash";
/// How much of its owner's name a revision's name begins with: the rest is for the hash (Kubernetes' figure).
const PREFIX_MAX: usize = 223;

/// Oldest first.
pub(crate) fn sort(revisions: &mut [Arc<ControllerRevision>]) {
    revisions.sort_by_key(|one| (one.revision, one.metadata.creation_timestamp.clone(), one.name_any()));
}

/// Which revision is the present template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Present {
    /// This one, which has the highest number already.
    Is(Arc<ControllerRevision>),
    /// This one, which has to be given `number`: somebody rolled back.
    WasBefore { revision: Arc<ControllerRevision>, number: i64 },
    /// None that there is.
    IsNew { number: i64 },
}

/// Looks for `template` among `revisions`, the oldest first.
pub(crate) fn present(revisions: &[Arc<ControllerRevision>], template: &PodTemplateSpec) -> Present {
    let found = revisions.iter().rev().find(|one| is_of(one, template));
    let others = revisions.iter().filter(|one| !is_of(one, template));
    let number = others.map(|one| one.revision).max().unwrap_or(0).saturating_add(1);
    match found {
        Some(found) if found.revision >= number => Present::Is(found.clone()),
        Some(found) => Present::WasBefore { revision: found.clone(), number },
        None => Present::IsNew { number },
    }
}

/// Whether `revision` keeps `template`. What counts is what is meant, not how it is written: another program may have written it.
pub(crate) fn is_of(revision: &ControllerRevision, template: &PodTemplateSpec) -> bool {
    template_of(revision).is_some_and(|kept| kept == bare(template))
}

/// The template that a revision keeps.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let kept = revision.data.as_ref()?.0.get("spec")?.get("template")?;
    // What is not of a template, like the word that it is to be replaced, is passed over.
    serde_json::from_value(kept.clone()).ok().map(|kept: PodTemplateSpec| bare(&kept))
}

/// A template without what no template has: older programs write an empty time.
fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let metadata = template.metadata.get_or_insert_default();
    metadata.creation_timestamp = None;
    template
}

/// What a revision of `template` keeps.
fn data(template: &PodTemplateSpec) -> Value {
    let mut kept = json!(bare(template));
    kept["$patch"] = "replace".into();
    sorted(json!({"spec": {"template": kept}}))
}

/// With the fields in the order of their names, in which Kubernetes' programs compare.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> =
                fields.into_iter().map(|(name, field)| (name, sorted(field))).collect();
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        plain => plain,
    }
}

/// What a new revision is made of.
pub(crate) struct Snapshot<'a> {
    pub(crate) owner: &'a ObjectMeta,
    pub(crate) reference: OwnerReference,
    pub(crate) template: &'a PodTemplateSpec,
    pub(crate) number: i64,
    pub(crate) hash_label: &'static str,
}

impl Snapshot<'_> {
    /// The revision; its name is another one with each of `collisions`.
    pub(crate) fn revision(&self, collisions: i32) -> ControllerRevision {
        let data = data(self.template);
        let digest = Sha256::new().chain_update(data.to_string()).chain_update(collisions.to_be_bytes()).finalize();
        let hash = hex::encode(&digest[..5]);
        let owner = self.owner.name.as_deref().unwrap_or_default();
        let prefix = owner.get(..owner.len().min(PREFIX_MAX)).unwrap_or(owner);
        let metadata = self.template.metadata.as_ref();
        let mut labels = metadata.and_then(|metadata| metadata.labels.clone()).unwrap_or_default();
        labels.insert(self.hash_label.to_owned(), hash.clone());
        ControllerRevision {
            metadata: ObjectMeta {
                name: Some(format!("{prefix}-{hash}")),
                namespace: self.owner.namespace.clone(),
                labels: Some(labels),
                // The cause of a change is among them, which `kubectl rollout history` shows.
                annotations: self.owner.annotations.clone(),
                owner_references: Some(vec![self.reference.clone()]),
                ..ObjectMeta::default()
            },
            data: Some(RawExtension(data)),
            revision: self.number,
        }
    }
}

/// Of `revisions`, the oldest first, those beyond the last `keep` that nobody is of; `live` says of which ones something is.
pub(crate) fn surplus(
    revisions: &[Arc<ControllerRevision>],
    keep: Option<i32>,
    live: impl Fn(&ControllerRevision) -> bool,
) -> Vec<Arc<ControllerRevision>> {
    let keep = usize::try_from(keep.unwrap_or(10)).unwrap_or(0);
    let dead: Vec<_> =
        revisions.iter().filter(|one| !live(one) && one.metadata.deletion_timestamp.is_none()).cloned().collect();
    let surplus = dead.len().saturating_sub(keep);
    dead.into_iter().take(surplus).collect()
}

/// The revisions that pods say they are of.
pub(crate) fn revisions_of<'a, P: ResourceExt + 'a>(pods: impl IntoIterator<Item = &'a P>) -> BTreeSet<&'a str> {
    pods.into_iter().filter_map(|pod| pod.labels().get(POD_LABEL).map(String::as_str)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": image, "resources": {}}]}}))
        .unwrap()
    }

    pub(crate) fn snapshot(template: &PodTemplateSpec, number: i64) -> Arc<ControllerRevision> {
        let owner = ObjectMeta { name: Some("web".into()), namespace: Some("n".into()), ..ObjectMeta::default() };
        let reference = OwnerReference { uid: "u".into(), controller: Some(true), ..OwnerReference::default() };
        let snapshot = Snapshot { owner: &owner, reference, template, number, hash_label: POD_LABEL };
        Arc::new(snapshot.revision(0))
    }

    #[test]
    fn a_revision_is_the_patch_that_brings_its_template_back() {
        let revision = snapshot(&template("i:1"), 1);
        let data = &revision.data.as_ref().unwrap().0;
        assert_eq!(
            data.to_string(),
            "{\"spec\":{\"template\":{\"$patch\":\"replace\",\"metadata\":{\"labels\":{\"app\":\"web\"}},\
             \"spec\":{\"containers\":[{\"image\":\"i:1\",\"name\":\"c\",\"resources\":{}}]}}}}"
        );
        assert!(is_of(&revision, &template("i:1")) && !is_of(&revision, &template("i:2")));
        let mut other = ControllerRevision::clone(&revision);
        other.data.as_mut().unwrap().0["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
        assert!(is_of(&other, &template("i:1")), "written by an older program");
        let hash = &revision.labels()[POD_LABEL];
        assert_eq!(revision.name_any(), format!("web-{hash}"));
        assert_eq!(revision.labels()["app"], "web");
    }

    #[test]
    fn names_depend_on_collisions() {
        let owner = ObjectMeta { name: Some("w".repeat(300)), ..ObjectMeta::default() };
        let (template, reference) = (template("i"), OwnerReference::default());
        let snapshot = Snapshot { owner: &owner, reference, template: &template, number: 1, hash_label: "h" };
        assert_ne!(snapshot.revision(0).name_any(), snapshot.revision(1).name_any());
        assert_eq!(snapshot.revision(0).name_any().len(), PREFIX_MAX + 11);
    }

    #[test]
    fn what_something_is_of_is_kept() {
        let all: Vec<_> = (0..5).map(|n| snapshot(&template(&format!("i:{n}")), n)).collect();
        let numbers = |keep: i32, live: &[i64]| -> Vec<i64> {
            surplus(&all, Some(keep), |one| live.contains(&one.revision)).iter().map(|one| one.revision).collect()
        };
        assert_eq!(numbers(2, &[]), [0, 1, 2]);
        assert_eq!(numbers(2, &[0, 4]), [1]);
        assert_eq!(numbers(0, &[0, 4]), [1, 2, 3]);
        assert!(numbers(10, &[]).is_empty());
    }

    proptest! {
        /// However often somebody changes a template back and forth, there is one revision for each version, and the present
        /// one has the highest number.
        #[test]
        fn one_revision_a_version(changes in proptest::collection::vec(0_usize..5, 1..30)) {
            let mut all: Vec<Arc<ControllerRevision>> = Vec::new();
            for change in &changes {
                let template = template(&format!("i:{change}"));
                match present(&all, &template) {
                    Present::Is(_) => {}
                    Present::WasBefore { revision, number } => {
                        let again = all.iter_mut().find(|one| one.name_any() == revision.name_any()).unwrap();
                        Arc::make_mut(again).revision = number;
                    }
                    Present::IsNew { number } => all.push(snapshot(&template, number)),
                }
                sort(&mut all);
                prop_assert!(is_of(all.last().unwrap(), &template));
                prop_assert!(matches!(present(&all, &template), Present::Is(_)), "a second look changes nothing");
            }
            let versions: BTreeSet<_> = changes.iter().collect();
            prop_assert_eq!(all.len(), versions.len());
            let numbers: BTreeSet<_> = all.iter().map(|one| one.revision).collect();
            prop_assert_eq!(numbers.len(), all.len());
        }
    }
}
