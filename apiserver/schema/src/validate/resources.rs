//! Resource requests and limits.

use super::errors::Errors;
use super::names::Format;
use crate::path::Path;
use crate::view::entries;
use serde_json::Value;
use skiff_proto::quantity::Quantity;

/// `resources` of a container.
pub(crate) fn requirements(resources: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (limits, requests) = (path.field("limits"), path.field("requests"));
    for (name, amount) in entries(resources, "limits") {
        amount_of(name, amount, &limits.key(name), errors);
    }
    for (name, amount) in entries(resources, "requests") {
        amount_of(name, amount, &requests.key(name), errors);
        let limit = &resources["limits"][name];
        if let (Some(request), Some(most)) = (quantity(amount), quantity(limit))
            && request.nanos() > most.nanos()
        {
            let detail = format!("must be less than or equal to {name} limit of {}", most.canonical());
            errors.invalid(&requests, request.canonical(), detail);
        }
    }
}

/// An amount, if it is one.
pub(crate) fn quantity(amount: &Value) -> Option<Quantity> {
    Quantity::parse(amount.as_str()?).ok()
}

/// One amount of a named resource.
pub(crate) fn amount_of(name: &str, amount: &Value, path: &Path<'_>, errors: &mut Errors) {
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if let Some(detail) = Format::QualifiedName.check(name) {
        errors.invalid(path, name, detail);
    } else if !standard && !name.contains('/') {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
    check_amount(amount, if standard { Fractions::Allowed } else { Fractions::Refused }, path, errors);
}

/// The name of a resource that containers ask for.
pub(crate) fn container_resource_name(name: &str, path: &Path<'_>, errors: &mut Errors) {
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if let Some(detail) = Format::QualifiedName.check(name) {
        errors.invalid(path, name, detail);
    }
    if !standard && !name.contains('/') {
        errors.invalid(path, name, "must be a standard resource for containers");
    }
}

/// One amount of a node's capacity, which also counts pods.
pub(crate) fn node_amount_of(name: &str, amount: &Value, path: &Path<'_>, errors: &mut Errors) {
    match name {
        "pods" => check_amount(amount, Fractions::Refused, path, errors),
        _ => amount_of(name, amount, path, errors),
    }
}

/// Whether an amount may have a fraction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fractions {
    Allowed,
    Refused,
}

/// A quantity that may not be negative; an absent one is fine.
pub(crate) fn not_negative(amount: &Value, path: &Path<'_>, errors: &mut Errors) {
    check_amount(amount, Fractions::Allowed, path, errors);
}

fn check_amount(amount: &Value, fractions: Fractions, path: &Path<'_>, errors: &mut Errors) {
    let Some(quantity) = quantity(amount) else { return };
    if quantity.nanos() < 0 {
        errors.invalid(path, quantity.canonical(), "must be greater than or equal to 0");
    } else if fractions == Fractions::Refused && !quantity.is_whole() {
        errors.invalid(path, quantity.canonical(), "must be an integer");
    }
}
