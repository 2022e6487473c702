//! What is refused: rules over whole objects, after decoding and defaulting.
//!
//! The rules and their texts follow Kubernetes'. All broken rules are reported at once, in the order of the fields.

pub(crate) mod container;
mod core;
pub(crate) mod errors;
pub(crate) mod meta;
pub(crate) mod names;
pub(crate) mod pod;
mod probe;
pub(crate) mod resources;
mod service;
mod unimplemented;
pub(crate) mod update;
pub(crate) mod volume;
mod workload;

use serde_json::Value;

use self::errors::Errors;
use self::names::Format;
use crate::path::Path;
use crate::{FieldError, Resource};

/// What is wrong with a new `object` (after [`crate::apply_defaults`]); empty when it may be stored.
///
/// `metadata.namespace` must already be that of the request.
#[must_use]
pub fn validate_create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    whole(resource, object, &mut errors);
    if (resource.group, resource.kind) == ("", "Pod") {
        pod::only_on_create(object, &mut errors);
    } else if (resource.group, resource.kind) == ("batch", "Job") {
        workload::indexed_hostnames(object, &mut errors);
    }
    errors.into_inner()
}

/// What is wrong with `new` replacing `old`, written through `subresource` (`None`: the object itself).
///
/// `status`, `binding` and other subresources that leave the spec alone are checked for their metadata only.
#[must_use]
pub fn validate_update(resource: &Resource, new: &Value, old: &Value, subresource: Option<&str>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if matches!(subresource, None | Some("scale")) {
        whole(resource, new, &mut errors);
        update::immutable(resource, new, old, &mut errors);
    } else {
        meta::metadata(resource, name_format(resource), new, &mut errors);
    }
    update::metadata(new, old, &mut errors);
    errors.into_inner()
}

/// The rules for an object as it stands, new or changed.
fn whole(resource: &Resource, object: &Value, errors: &mut Errors) {
    if !resource.plural.is_empty() {
        meta::metadata(resource, name_format(resource), object, errors);
    }
    let spec = Path::Root.field("spec");
    match (resource.group, resource.kind) {
        ("", "ConfigMap") => core::config_map(object, errors),
        ("", "Endpoints") => core::endpoints(object, errors),
        ("", "Event") => core::event(object, errors),
        ("", "Node") => core::node(object, errors),
        ("", "Pod") => pod::spec(&object["spec"], &spec, errors),
        ("", "Secret") => core::secret(object, errors),
        ("", "Service") => service::spec(&object["spec"], &spec, errors),
        ("apps", "Deployment") => workload::deployment(&object["spec"], &spec, errors),
        ("apps", "ReplicaSet") => workload::replica_set(&object["spec"], &spec, errors),
        ("autoscaling", "Scale") => workload::scale(&object["spec"], &spec, errors),
        ("batch", "Job") => workload::job(&object["spec"], &spec, errors),
        ("coordination.k8s.io", "Lease") => core::lease(&object["spec"], &spec, errors),
        ("discovery.k8s.io", "EndpointSlice") => core::endpoint_slice(object, errors),
        ("", "Binding") => core::binding(object, errors),
        _ => {}
    }
}

fn name_format(resource: &Resource) -> Format {
    match (resource.group, resource.kind) {
        ("", "Namespace") => Format::Label,
        ("", "Service") => Format::Label1035,
        _ => Format::Subdomain,
    }
}

#[cfg(test)]
mod tests;
