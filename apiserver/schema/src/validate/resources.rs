//! Resource requests and limits.

use super::errors::Errors;
use super::names::Format;
use crate::path::Path;
use crate::view::{entries, list};
use serde_json::Value;
use skiff_proto::quantity::Quantity;
use std::collections::BTreeMap;

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

/// What a pod asks for as a whole covers what its containers ask for, and none of them may have more than all of them. (Of what may not
/// be promised twice, huge pages, the limits together count too.)
pub(crate) fn whole(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    for field in ["requests", "limits"] {
        let at = path.field(field);
        let counts = |name: &str| field == "requests" || name.starts_with("hugepages-");
        for (name, together) in together(spec, field).into_iter().filter(|(name, _)| counts(name)) {
            let Some(most) = quantity(&spec["resources"][field][&name]) else { continue };
            if together.nanos() > most.nanos() {
                let together = together.canonical();
                let detail = format!("must be greater than or equal to aggregate container {field} of {together}");
                errors.invalid(&at.key(&name), most.canonical(), detail);
            }
        }
    }
    let containers = path.field("containers");
    for (index, container) in list(spec, "containers").iter().enumerate() {
        for (name, limit) in entries(&container["resources"], "limits") {
            let (Some(limit), Some(most)) = (quantity(limit), quantity(&spec["resources"]["limits"][name])) else {
                continue;
            };
            if limit.nanos() > most.nanos() {
                let detail = format!("must be less than or equal to pod limits of {}", most.canonical());
                errors.invalid(&containers.index(index).key(name).field("limits"), limit.canonical(), detail);
            }
        }
    }
}

/// What containers ask for together: those that run side by side, or, if that is more, one that runs before them beside those of the
/// earlier ones that go on (KEP-753).
fn together(spec: &Value, field: &str) -> BTreeMap<String, Quantity> {
    let mut side_by_side = Amounts::default();
    for container in list(spec, "containers") {
        side_by_side.add(container, field);
    }
    let (mut going_on, mut most_before) = (Amounts::default(), Amounts::default());
    for container in list(spec, "initContainers") {
        let stays = container["restartPolicy"] == "Always";
        let mut now = going_on.clone();
        now.add(container, field);
        if stays {
            side_by_side.add(container, field);
            going_on.clone_from(&now);
        }
        most_before.raise(&now);
    }
    side_by_side.raise(&most_before);
    side_by_side.0
}

/// Amounts by the name of the resource.
#[derive(Clone, Default)]
struct Amounts(BTreeMap<String, Quantity>);

impl Amounts {
    fn add(&mut self, container: &Value, field: &str) {
        for (name, amount) in entries(&container["resources"], field) {
            let Some(amount) = quantity(amount) else { continue };
            let sum = self.0.get(name).map_or(amount, |present| present.plus(amount));
            self.0.insert(name.to_owned(), sum);
        }
    }

    /// The larger of both, each by itself.
    fn raise(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            if self.0.get(name).is_none_or(|present| present.nanos() < amount.nanos()) {
                self.0.insert(name.clone(), *amount);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_asks_for_as_much_as_its_containers() {
        let asks = |cpu: &str, more: Value| {
            let mut container = json!({"resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}});
            container.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            container
        };
        let wrong = |cpu: &str| {
            let spec = json!({"resources": {"requests": {"cpu": cpu}, "limits": {"cpu": "3"}},
                "containers": [asks("1", json!({})), asks("2", json!({}))],
                "initContainers": [asks("1", json!({"restartPolicy": "Always"})), asks("4", json!({}))]});
            let mut errors = Errors::default();
            whole(&spec, &Path::Root.field("spec").field("resources"), &mut errors);
            errors.into_inner().iter().map(ToString::to_string).collect::<Vec<String>>()
        };
        assert_eq!(wrong("5"), [""; 0]);
        assert_eq!(
            wrong("4"),
            [
                "spec.resources.requests[cpu]: Invalid value: \"4\": must be greater than or equal to aggregate container requests of 5"
            ]
        );
    }
}
