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
use crate::request::Request;
use crate::status::Status;
use serde_json::Value;

/// Refuses who may not be there, and adds what an author may leave out and other objects decide about.
pub(crate) async fn mutate(
    registry: &Registry,
    request: &Request,
    target: &Target<'_>,
    old: Option<&Value>,
    object: &mut Value,
) -> Result<(), Status> {
    if let Some(old) = old {
        if request.written().is_empty() && target.resource.is("", "pods") {
            pods::admit_update(old, object);
        }
        return Ok(());
    }
    if target.resource.namespaced {
        namespaces::check_open(registry, target).await?;
    }
    if target.resource.is("", "pods") {
        pods::admit(registry, target, object).await?;
    }
    Ok(())
}

/// What the server adds to the object by itself.
pub(crate) fn complete(request: &Request, old: Option<&Value>, object: &mut Value) {
    match (&*request.resource.group, &*request.resource.plural, old) {
        ("", "pods", None) => pods::complete(object),
        ("", "namespaces", None) => namespaces::hold(object),
        ("batch", "jobs", None) => jobs::select_by_uid(object),
        ("", "services", Some(old)) => services::carry_over(old, object),
        _ => {}
    }
}

/// Refuses what others forbid, and tells what they would like to be known.
pub(crate) async fn validate(
    registry: &Registry,
    request: &Request,
    old: Option<&Value>,
    object: &Value,
) -> Result<(), Status> {
    match (&*request.resource.group, &*request.resource.plural, old) {
        ("", "pods", None) => request.warn(pod_security::about_pod(registry, &request.namespace, object).await),
        ("", "namespaces", old) => {
            request.warn(pod_security::about_namespace(old.unwrap_or(&Value::Null), object));
        }
        _ => {}
    }
    Ok(())
}
