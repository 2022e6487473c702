//! Namespaces: a place must exist and stay before anything is put there (admission plugin NamespaceLifecycle).

use crate::registry::object::{is_terminating, object_at};
use crate::registry::{Registry, Target};
use crate::status::Status;
use serde_json::{Value, json};

/// Refuses creation in a namespace that does not exist or is going away.
pub(super) async fn check_open(registry: &Registry, target: &Target<'_>) -> Result<(), Status> {
    let resource = skiff_schema::find("", "v1", "namespaces").expect("the table of resources has namespaces");
    if target.namespace.is_empty() {
        return Err(Status::bad_request("an empty namespace may not be set during creation"));
    }
    let namespace = registry.get(&Target { resource, namespace: "", name: target.namespace }).await?;
    if is_terminating(&namespace.value()?) {
        return Err(Status::namespace_terminating(target.resource, target.name, target.namespace));
    }
    Ok(())
}

/// A namespace stays until the namespace controller has emptied it, and carries its name as a label (KEP-2161).
pub(super) fn hold(namespace: &mut Value) {
    let name = namespace["metadata"]["name"].clone();
    object_at(namespace, "spec").insert("finalizers".to_owned(), json!(["kubernetes"]));
    let labels = object_at(&mut namespace["metadata"], "labels");
    labels.insert("kubernetes.io/metadata.name".to_owned(), name);
}
