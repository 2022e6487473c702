//! Changed objects: which part of the new state counts, and the retry when somebody else was faster.

use super::create::Owners;
use super::object::{Object, finalizers, is_terminating, meta, metadata_mut, name_of};
use super::{ATTEMPTS_MAX, Registry, Run, Target};
use crate::admission;
use crate::author;
use crate::options;
use crate::status::Status;
use serde_json::{Map, Value};
use skiff_schema::{Decoded, FieldError, FieldErrorKind, Resource, apply_defaults, settle, validate_update};

/// The answer to a write.
#[derive(Debug)]
pub(crate) struct Updated {
    pub(crate) object: Object,
    pub(crate) warnings: Vec<String>,
}

impl Registry {
    /// Replaces the object at `target` by what `change` makes of its present state; `subresource` names the part that may
    /// change (empty: everything but the status).
    pub(crate) async fn update(
        &self,
        target: &Target<'_>,
        subresource: &str,
        run: Run,
        change: impl Fn(&Value) -> Result<Decoded, Status>,
    ) -> Result<Updated, Status> {
        self.update_as(target, subresource, run, Owners::Track, change).await
    }

    pub(super) async fn update_as(
        &self,
        target: &Target<'_>,
        subresource: &str,
        run: Run,
        owners: Owners,
        change: impl Fn(&Value) -> Result<Decoded, Status>,
    ) -> Result<Updated, Status> {
        for _ in 0..ATTEMPTS_MAX {
            let current = self.get(target).await?;
            let current_value = current.value()?;
            let Decoded { object: wanted, mut warnings } = change(&current_value)?;
            check_identity(target, &current_value, &wanted)?;
            let mut next = next_state(target.resource, subresource, &current_value, &wanted)?;
            apply_defaults(target.resource, &mut next);
            own(target.resource, subresource, owners, &current_value, &wanted, &mut next);
            if subresource.is_empty() {
                admission::admit_update(target.resource, &current_value, &mut next);
            }
            if let Some(object) = self.replace(target, subresource, run, current, &current_value, &mut next).await? {
                warnings.extend(admission::warn_of_update(target.resource, &current_value, &next));
                warnings.extend(target.resource.warnings(&next, Some(&current_value), subresource));
                return Ok(Updated { object, warnings });
            }
        }
        Err(Status::modified(target.resource, target.name))
    }

    /// One attempt; `None`: the object has changed meanwhile.
    async fn replace(
        &self,
        target: &Target<'_>,
        subresource: &str,
        run: Run,
        current: Object,
        current_value: &Value,
        next: &mut Value,
    ) -> Result<Option<Object>, Status> {
        let claims = self.services().claim_for(self.backend(), target, next, Some(current_value), run).await?;
        // Only now, with all defaults in and with what the server assigns, is it known whether anything else is wanted.
        count_generation(target.resource, subresource, current_value, next);
        let subresource = Some(subresource).filter(|name| !name.is_empty());
        let errors = validate_update(target.resource, next, current_value, subresource);
        let outcome = if !errors.is_empty() {
            Err(Status::invalid(target.resource, target.name, &errors))
        } else if next == current_value && !current.is_stale {
            Ok(Some(current))
        } else if run == Run::Dry {
            Object::encode(target.resource, next, current.revision).map(Some)
        } else if may_vanish(target.resource, next) {
            let gone = self.remove(target, next, current.revision).await;
            match gone {
                Ok(Some(revision)) => Object::encode(target.resource, next, revision).map(Some),
                Ok(None) => Ok(None),
                Err(status) => Err(status),
            }
        } else {
            self.commit(target, next, current.revision).await
        };
        match &outcome {
            Ok(Some(_)) if run == Run::Real => claims.release_replaced(self.backend()).await,
            _ => claims.give_back(self.backend()).await,
        }
        outcome
    }
}

/// Writes into `next` who owns what.
fn own(resource: &Resource, part: &str, owners: Owners, current: &Value, wanted: &Value, next: &mut Value) {
    let said = wanted["metadata"].get("managedFields");
    match (owners, part) {
        // The server itself decides about the whole object.
        (_, "binding") => return,
        (Owners::Said, _) => author::put(next, said.cloned()),
        (Owners::Track, _) => author::own(resource, part, Some(current), next, said),
    }
    settle(current, next);
}

/// Refuses a new state whose name or namespace are not those of its path.
pub(crate) fn check_names(target: &Target<'_>, wanted: &Value) -> Result<(), Status> {
    let name = name_of(wanted);
    if !name.is_empty() && name != target.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    let namespace = meta(wanted, "namespace");
    // What lives in no namespace forgets the one that it is given.
    if !namespace.is_empty() && !target.namespace.is_empty() && namespace != target.namespace {
        return Err(Status::bad_request(format!(
            "the namespace of the object ({namespace}) does not match the namespace on the URL ({})",
            target.namespace
        )));
    }
    Ok(())
}

/// Refuses a new state that is about another object, or about another state of it.
fn check_identity(target: &Target<'_>, current: &Value, wanted: &Value) -> Result<(), Status> {
    check_names(target, wanted)?;
    let (uid, present) = (meta(wanted, "uid"), meta(current, "uid"));
    if !uid.is_empty() && uid != present {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {present}");
        return Err(Status::conflict(target.resource, target.name, &why));
    }
    let revision = meta(wanted, "resourceVersion");
    if revision.is_empty() && !target.resource.updates_unconditionally() {
        let error = FieldError {
            kind: FieldErrorKind::Invalid,
            field: "metadata.resourceVersion".to_owned(),
            value: Some(0.into()),
            detail: "must be specified for an update".to_owned(),
        };
        return Err(Status::invalid(target.resource, target.name, &[error]));
    }
    if !revision.is_empty() && revision != "0" && revision != meta(current, "resourceVersion") {
        return Err(Status::modified(target.resource, target.name));
    }
    Ok(())
}

/// The state after a write: of `wanted` what this path may change, everything else of `current`.
fn next_state(resource: &Resource, subresource: &str, current: &Value, wanted: &Value) -> Result<Value, Status> {
    let mut next = match subresource {
        "status" => {
            let mut next = current.clone();
            copy_field(&mut next, wanted, "status");
            copy_field(&mut next, wanted, "metadata");
            for field in resource.status_keeps() {
                copy_field(&mut next["metadata"], &current["metadata"], field);
            }
            if resource.is_custom() {
                copy_field(&mut next, current, "metadata");
            }
            keep_metadata(resource, current, &mut next)?;
            resource.prepare(&mut next, Some(current), subresource);
            return Ok(next);
        }
        "finalize" => {
            let mut next = current.clone();
            copy_field(&mut next["spec"], &wanted["spec"], "finalizers");
            copy_field(&mut next, wanted, "metadata");
            keep_metadata(resource, current, &mut next)?;
            return Ok(next);
        }
        // What the server itself decided about the whole object.
        "binding" => return Ok(wanted.clone()),
        _ => wanted.clone(),
    };
    for field in ["apiVersion", "kind"] {
        next[field] = current[field].clone();
    }
    if resource.has_status() {
        copy_field(&mut next, current, "status");
    }
    keep_metadata(resource, current, &mut next)?;
    resource.prepare(&mut next, Some(current), subresource);
    Ok(next)
}

/// Counts one more generation if `next` wants something else than `current`. The server's own paths do not count.
fn count_generation(resource: &Resource, subresource: &str, current: &Value, next: &mut Value) {
    // A custom resource without a part for it has no status that means anything here.
    let with_status = resource.is_custom() && !resource.has_status();
    if !matches!(subresource, "status" | "finalize" | "binding")
        && let Some(generation) = current["metadata"]["generation"].as_i64()
        && (desired(resource, next) != desired(resource, current) || with_status && next["status"] != current["status"])
    {
        metadata_mut(next).insert("generation".to_owned(), (generation + 1).into());
    }
}

fn copy_field(to: &mut Value, from: &Value, field: &str) {
    let Some(to) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) if !value.is_null() => to.insert(field.to_owned(), value.clone()),
        _ => to.remove(field),
    };
}

/// Restores what clients may not change in the metadata.
fn keep_metadata(resource: &Resource, current: &Value, next: &mut Value) -> Result<(), Status> {
    const KEPT: [&str; 8] = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ];
    // Who does not know of a deletion may go on without it; who speaks of another one is wrong.
    let moved = ["deletionTimestamp", "deletionGracePeriodSeconds"].into_iter().filter_map(|field| {
        let (after, before) = (&next["metadata"][field], &current["metadata"][field]);
        let differs = !after.is_null() && after != before;
        differs.then(|| options::invalid(&format!("metadata.{field}"), after.clone(), "field is immutable"))
    });
    let moved: Vec<FieldError> = moved.collect();
    if !moved.is_empty() {
        return Err(Status::invalid(resource, name_of(current), &moved));
    }
    metadata_mut(next).remove("managedFields");
    metadata_mut(next).remove("selfLink");
    for field in KEPT {
        copy_field(&mut next["metadata"], &current["metadata"], field);
    }
    let old = finalizers(current);
    let added: Vec<&str> = finalizers(next).into_iter().filter(|name| !old.contains(name)).collect();
    if is_terminating(current) && !added.is_empty() {
        let error = FieldError {
            kind: FieldErrorKind::Forbidden,
            field: "metadata.finalizers".to_owned(),
            value: None,
            detail: format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            ),
        };
        return Err(Status::invalid(resource, name_of(current), &[error]));
    }
    Ok(())
}

/// Everything that a generation counts: neither type nor metadata nor status; of some kinds a part of the metadata.
fn desired(resource: &Resource, object: &Value) -> Map<String, Value> {
    let fields = object.as_object().into_iter().flatten();
    let mut desired: Map<String, Value> = fields
        .filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    for field in resource.generation_counts() {
        if let Some(value) = object["metadata"].get(*field) {
            desired.insert(format!("metadata.{field}"), value.clone());
        }
    }
    desired
}

/// Whether nothing holds a terminating object any longer.
pub(super) fn may_vanish(resource: &Resource, object: &Value) -> bool {
    let held_by_namespace_controller =
        resource.is("", "namespaces") && object["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    is_terminating(object)
        && finalizers(object).is_empty()
        && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !held_by_namespace_controller
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(group: &str, plural: &str) -> &'static std::sync::Arc<Resource> {
        skiff_schema::find(group, "v1", plural).expect("served")
    }

    fn deployment() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "a", "uid": "u", "generation": 3, "resourceVersion": "9"},
            "spec": {"replicas": 1}, "status": {"replicas": 1}})
    }

    #[test]
    fn a_write_changes_the_spec_and_counts_it() {
        let mut wanted = deployment();
        wanted["spec"]["replicas"] = 2.into();
        wanted["status"]["replicas"] = 7.into();
        wanted["metadata"]["uid"] = "".into();
        wanted["metadata"]["labels"] = json!({"a": "b"});
        let mut next = next_state(resource("apps", "deployments"), "", &deployment(), &wanted).expect("allowed");
        count_generation(resource("apps", "deployments"), "", &deployment(), &mut next);
        assert_eq!(next["spec"]["replicas"], 2);
        assert_eq!(next["status"]["replicas"], 1, "the status has its own path");
        assert_eq!(next["metadata"]["generation"], 4);
        assert_eq!(next["metadata"]["uid"], "u");
        assert_eq!(next["metadata"]["labels"], json!({"a": "b"}));
    }

    #[test]
    fn a_status_write_changes_the_status_only() {
        let mut wanted = deployment();
        wanted["spec"]["replicas"] = 2.into();
        wanted["status"]["replicas"] = 7.into();
        let next = next_state(resource("apps", "deployments"), "status", &deployment(), &wanted).expect("allowed");
        assert_eq!((&next["spec"]["replicas"], &next["status"]["replicas"]), (&1.into(), &7.into()));
        assert_eq!(next["metadata"]["generation"], 3);
    }

    /// Fault N20: metadata of a status write counts as Kubernetes' strategies have it, kind by kind.
    #[test]
    fn a_status_write_changes_metadata_kind_by_kind() {
        let current = json!({"metadata": {"name": "x", "uid": "u", "generation": 3, "labels": {"l": "old"},
            "annotations": {"a": "old"}, "ownerReferences": [{"uid": "o"}], "finalizers": ["f/f"]}, "spec": {"s": 1}});
        let mut wanted = current.clone();
        wanted["metadata"] = json!({"name": "x", "uid": "u", "generation": 9, "labels": {"l": "new"},
            "annotations": {"a": "new"}, "ownerReferences": [], "finalizers": []});
        wanted["spec"] = json!({"s": 2});
        wanted["status"] = json!({"x": 1});
        for (group, plural, labels, owners) in [
            ("", "pods", "new", 1),
            ("", "nodes", "new", 0),
            ("", "services", "new", 0),
            ("", "namespaces", "new", 0),
            ("apps", "deployments", "old", 0),
            ("apps", "replicasets", "new", 0),
            ("batch", "jobs", "new", 0),
        ] {
            let next = next_state(resource(group, plural), "status", &current, &wanted).expect("allowed");
            let metadata = &next["metadata"];
            assert_eq!(metadata["labels"]["l"], labels, "{plural}");
            assert_eq!(metadata["annotations"]["a"], "new", "{plural}");
            assert_eq!(metadata["ownerReferences"].as_array().map(Vec::len), Some(owners), "{plural}");
            assert_eq!(metadata["finalizers"], json!([]), "{plural}");
            assert_eq!(
                (&metadata["generation"], &next["spec"]["s"], &next["status"]["x"]),
                (&3.into(), &1.into(), &1.into())
            );
        }
    }

    /// Fault N20, its sibling: so does the metadata of a finalization.
    #[test]
    fn a_finalization_changes_metadata_too() {
        let current =
            json!({"metadata": {"name": "x"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let wanted = json!({"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {}, "status": {}});
        let next = next_state(resource("", "namespaces"), "finalize", &current, &wanted).expect("allowed");
        assert_eq!((&next["metadata"]["labels"]["a"], &next["status"]["phase"]), (&"b".into(), &"Active".into()));
        assert!(next["spec"]["finalizers"].is_null());
    }

    #[test]
    fn a_terminating_object_gets_no_new_finalizers() {
        let mut current = deployment();
        current["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let mut wanted = current.clone();
        wanted["metadata"]["finalizers"] = json!(["x/y"]);
        let error = next_state(resource("apps", "deployments"), "", &current, &wanted).expect_err("forbidden");
        assert!(error.message.contains("metadata.finalizers: Forbidden: no new finalizers"), "{error}");
    }

    #[test]
    fn a_namespace_is_held_until_it_is_finalized() {
        let mut namespace = json!({"metadata": {"deletionTimestamp": "x"}, "spec": {"finalizers": ["kubernetes"]}});
        assert!(!may_vanish(resource("", "namespaces"), &namespace));
        namespace["spec"]["finalizers"] = json!([]);
        assert!(may_vanish(resource("", "namespaces"), &namespace));
    }
}
