//! Changed objects: which part of the new state counts.

use super::Target;
use super::object::{finalizers, is_terminating, meta, metadata_mut, name_of};
use crate::options;
use crate::request::Request;
use crate::status::Status;
use serde_json::{Map, Value};
use skiff_schema::{FieldError, FieldErrorKind, Resource};

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

/// The state after a write: of `wanted` what its path may change, everything else of `current`.
pub(super) fn placed(request: &Request, current: &Value, wanted: Value) -> Result<Value, Status> {
    check_identity(&request.target(), current, &wanted)?;
    next_state(&request.resource, request.written(), current, wanted)
}

fn next_state(resource: &Resource, part: &str, current: &Value, mut wanted: Value) -> Result<Value, Status> {
    let mut next = match part {
        "status" => {
            let mut next = current.clone();
            move_field(&mut next, &mut wanted, "status");
            // Of a custom resource a write of the status changes nothing else.
            if !resource.is_custom() {
                move_field(&mut next, &mut wanted, "metadata");
            }
            for field in resource.status_keeps() {
                copy_field(&mut next["metadata"], &current["metadata"], field);
            }
            next
        }
        "finalize" => {
            let mut next = current.clone();
            copy_field(&mut next["spec"], &wanted["spec"], "finalizers");
            move_field(&mut next, &mut wanted, "metadata");
            keep_metadata(resource, current, &mut next)?;
            return Ok(next);
        }
        // What the server itself decided about the whole object.
        "binding" => return Ok(wanted),
        _ => {
            for field in ["apiVersion", "kind"] {
                copy_field(&mut wanted, current, field);
            }
            // What another part changes, the kind's own preparation says.
            if resource.has_status() && part.is_empty() {
                copy_field(&mut wanted, current, "status");
            }
            wanted
        }
    };
    keep_metadata(resource, current, &mut next)?;
    Ok(next)
}

/// Whether what a kind takes out or restores holds for a write through `part`: not for the server's own paths.
pub(super) fn has_rules(part: &str) -> bool {
    !matches!(part, "finalize" | "binding")
}

/// Counts one more generation if `next` wants something else than `old`. The server's own paths do not count.
pub(super) fn count_generation(request: &Request, old: Option<&Value>, next: &mut Value) {
    let resource = &request.resource;
    let Some(old) = old.filter(|_| !matches!(request.written(), "status" | "finalize" | "binding")) else { return };
    if let Some(generation) = old["metadata"]["generation"].as_i64()
        && wants_other(resource, old, next)
    {
        metadata_mut(next).insert("generation".to_owned(), (generation + 1).into());
    }
}

/// Whether something differs that a generation counts: neither type nor metadata nor status; of some kinds a part of the metadata.
fn wants_other(resource: &Resource, old: &Value, next: &Value) -> bool {
    // A custom resource without a part for it has no status that means anything here.
    let counts_status = resource.is_custom() && !resource.has_status();
    let counts = |name: &str| match name {
        "apiVersion" | "kind" | "metadata" => false,
        "status" => counts_status,
        _ => true,
    };
    let names = [old, next].into_iter().filter_map(Value::as_object).flat_map(Map::keys);
    let differs = |a: &Value, b: &Value, name: &str| a.get(name) != b.get(name);
    names.into_iter().any(|name| counts(name) && differs(old, next, name))
        || resource.generation_counts().iter().any(|name| differs(&old["metadata"], &next["metadata"], name))
}

/// Puts the field of `from` into `to`, or takes it out if there is none.
fn move_field(to: &mut Value, from: &mut Value, field: &str) {
    let moved = from.as_object_mut().and_then(|from| from.remove(field)).filter(|value| !value.is_null());
    let Some(to) = to.as_object_mut() else { return };
    match moved {
        Some(value) => to.insert(field.to_owned(), value),
        None => to.remove(field),
    };
}

fn copy_field(to: &mut Value, from: &Value, field: &str) {
    let Some(to) = to.as_object_mut() else { return };
    match from.get(field) {
        // What is as it should be is not copied: a status may be most of an object.
        Some(value) if !value.is_null() && to.get(field) == Some(value) => return,
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

/// Whether nothing holds a terminating object any longer.
pub(super) fn may_vanish(resource: &Resource, object: &Value) -> bool {
    is_terminating(object)
        && finalizers(object).is_empty()
        && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !resource.is_held(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(group: &str, plural: &str) -> &'static std::sync::Arc<Resource> {
        skiff_schema::find(group, "v1", plural).expect("served")
    }

    fn update(group: &str, plural: &str) -> Request {
        Request::own("update", &Target { resource: resource(group, plural), namespace: "a", name: "x" })
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
        let mut next = next_state(resource("apps", "deployments"), "", &deployment(), wanted).expect("allowed");
        count_generation(&update("apps", "deployments"), Some(&deployment()), &mut next);
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
        let next = next_state(resource("apps", "deployments"), "status", &deployment(), wanted).expect("allowed");
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
            let next = next_state(resource(group, plural), "status", &current, wanted.clone()).expect("allowed");
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
        let next = next_state(resource("", "namespaces"), "finalize", &current, wanted).expect("allowed");
        assert_eq!((&next["metadata"]["labels"]["a"], &next["status"]["phase"]), (&"b".into(), &"Active".into()));
        assert!(next["spec"]["finalizers"].is_null());
    }

    #[test]
    fn a_terminating_object_gets_no_new_finalizers() {
        let mut current = deployment();
        current["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let mut wanted = current.clone();
        wanted["metadata"]["finalizers"] = json!(["x/y"]);
        let error = next_state(resource("apps", "deployments"), "", &current, wanted).expect_err("forbidden");
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
