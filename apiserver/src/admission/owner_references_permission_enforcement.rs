//! OwnerReferencesPermissionEnforcement: nobody has an object deleted with another who may not delete it, and nobody holds up the deletion
//! of an owner who may not set its finalizers.

use super::reading::{items, text};
use super::{Admitted, Attributes, Operation, Plugin, known, later};
use crate::auth::{Act, user};
use crate::status::Status;
use serde_json::Value;
use skiff_authz::{Attributes as Asked, Decision};

pub(super) const PLUGIN: Plugin = Plugin {
    name: "OwnerReferencesPermissionEnforcement",
    handles: &[Operation::Create, Operation::Update],
    mutate: None,
    validate: Some(validate),
};

fn validate<'a>(seen: &'a Attributes<'a>, object: &'a Value) -> Admitted<'a> {
    let is_status = seen.request.resource.is("", "pods") && seen.request.part == "status";
    let before = seen.before().unwrap_or(&Value::Null);
    if is_status || owners(object) == owners(before) {
        return known(Ok(()));
    }
    later(async move {
        if seen.operation != Operation::Create {
            may_delete(seen).await?;
        }
        let blocking = blocking(object, before);
        let anything =
            Act::Resource { verb: "update", group: "*", resource: "*", part: "finalizers", namespace: "", name: "*" };
        if blocking.is_empty() || decide(seen, anything).await.is_allowed() {
            return Ok(());
        }
        for owner in blocking {
            may_block(seen, owner).await?;
        }
        Ok(())
    })
}

fn owners(object: &Value) -> &[Value] {
    items(&object["metadata"], "ownerReferences")
}

/// References that hold up a deletion, and did not before.
fn blocking<'a>(object: &'a Value, before: &Value) -> Vec<&'a Value> {
    let blocks = |owner: &&Value| owner["blockOwnerDeletion"] == true;
    let did = |owner: &Value| owners(before).iter().filter(blocks).any(|old| old["uid"] == owner["uid"]);
    owners(object).iter().filter(blocks).filter(|owner| !did(owner)).collect()
}

async fn decide(seen: &Attributes<'_>, act: Act<'_>) -> Decision {
    seen.setting.authority.decide(&Asked::new(user(&seen.request.who), act)).await
}

/// What is decided, as Go prints it.
fn said(decision: &Decision) -> String {
    let error = if decision.error.is_empty() { "<nil>" } else { &decision.error };
    format!("{}, {error}", decision.reason)
}

async fn may_delete(seen: &Attributes<'_>) -> Result<(), Status> {
    let request = seen.request;
    let act = Act::Resource {
        verb: "delete",
        group: &request.resource.group,
        resource: &request.resource.plural,
        part: &request.part,
        namespace: &request.namespace,
        name: seen.name,
    };
    let decision = decide(seen, act).await;
    if decision.is_allowed() {
        return Ok(());
    }
    Err(seen.forbidden(&format!("cannot set an ownerRef on a resource you can't delete: {}", said(&decision))))
}

async fn may_block(seen: &Attributes<'_>, owner: &Value) -> Result<(), Status> {
    let (version, kind) = (text(owner, "apiVersion"), text(owner, "kind"));
    let Some(resource) = seen.setting.catalog.find_kind(version, kind) else {
        return Err(seen.forbidden(&format!(
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {version} Kind {kind}: no \
             matches for kind {kind:?} in version {version:?}"
        )));
    };
    let namespace = if resource.namespaced { seen.request.namespace.as_str() } else { "" };
    let act = Act::Resource {
        verb: "update",
        group: &resource.group,
        resource: &resource.plural,
        part: "finalizers",
        namespace,
        name: text(owner, "name"),
    };
    let decision = decide(seen, act).await;
    if decision.is_allowed() {
        return Ok(());
    }
    let why = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
    Err(seen.forbidden(&format!("{why}: {}", said(&decision))))
}
