//! What the server adds to objects, and what it refuses although the schema allows it.
//!
//! Two stages of a creation: before the defaults (who may be made where, fields that decide which defaults apply) and after
//! them (fields that are computed from the whole object). Addresses and ports of services are claimed last, because
//! claiming writes.

pub(crate) mod bootstrap; // what every cluster has
pub(crate) mod services; // addresses and ports that belong to one service at a time

mod jobs; // selectors nobody has to write
mod namespaces; // is this place open
mod network; // addresses of a network
mod pod_security; // labels that have no effect yet
mod pods; // what a pod gets before anybody schedules it

pub(crate) use network::Network;

use crate::registry::{Registry, Target};
use crate::status::Status;
use serde_json::Value;
use skiff_schema::Resource;

/// Before the defaults.
pub(crate) async fn admit_create(registry: &Registry, target: &Target<'_>, object: &mut Value) -> Result<(), Status> {
    if target.resource.namespaced {
        namespaces::check_open(registry, target).await?;
    }
    match (&*target.resource.group, &*target.resource.plural) {
        ("", "pods") => pods::admit(registry, target, object).await,
        ("", "namespaces") => {
            namespaces::hold(object);
            Ok(())
        }
        ("batch", "jobs") => {
            jobs::select_by_uid(object);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// After the defaults.
pub(crate) fn complete_create(resource: &Resource, object: &mut Value) {
    if resource.is("", "pods") {
        pods::complete(object);
    }
}

/// What the server adds to a changed object, or keeps although the client left it out.
pub(crate) fn admit_update(resource: &Resource, old: &Value, object: &mut Value) {
    if resource.is("", "pods") {
        pods::admit_update(old, object);
    }
}

/// What the maker of `object` should know.
pub(crate) async fn warn_of_create(
    registry: &Registry,
    resource: &Resource,
    namespace: &str,
    object: &Value,
) -> Vec<String> {
    match (&*resource.group, &*resource.plural) {
        ("", "pods") => pod_security::about_pod(registry, namespace, object).await,
        ("", "namespaces") => pod_security::about_namespace(&Value::Null, object),
        _ => Vec::new(),
    }
}

/// What the changer of an object should know.
pub(crate) fn warn_of_update(resource: &Resource, old: &Value, object: &Value) -> Vec<String> {
    match (&*resource.group, &*resource.plural) {
        ("", "namespaces") => pod_security::about_namespace(old, object),
        _ => Vec::new(),
    }
}
