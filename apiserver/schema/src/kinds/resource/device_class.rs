//! DeviceClass: devices that an administrator offers, and how they are set up.

use super::claim::CONFIGURATIONS_MOST;
use super::shared::{configuration, each, selectors};
use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::update::equal;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules { validate, generation: true, returns_deleted: true, ..Rules::PLAIN },
    ..Row::cluster(
        ["resource.k8s.io", "v1", "DeviceClass"],
        ["deviceclasses", "deviceclass"],
        "io.k8s.api.resource.v1.DeviceClass",
    )
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    selectors(spec, &path, errors);
    let stored = change.old.is_some_and(|old| equal(&spec["config"], &old["spec"]["config"]));
    each(spec, "config", CONFIGURATIONS_MOST, &path, errors, |one, path, errors| {
        configuration(one, stored, path, errors);
    });
    if let Some(name) = spec["extendedResourceName"].as_str()
        && !is_extended(name)
    {
        errors.invalid(&path.field("extendedResourceName"), name, "must be a valid extended resource name");
    }
}

/// A name with a domain that is not Kubernetes' own, short enough for a quota of it.
fn is_extended(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    !native && !name.starts_with("requests.") && Format::QualifiedName.check(&format!("requests.{name}")).is_none()
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::errors;
    use serde_json::{Value, json};

    #[test]
    fn what_is_refused() {
        let of = |spec: Value| errors(&super::ROW, &json!({"metadata": {"name": "a"}, "spec": spec}));
        assert_eq!(of(json!({"extendedResourceName": "example.com/gpu"})), [""; 0]);
        for name in ["gpu", "kubernetes.io/gpu", "requests.example.com/gpu"] {
            assert_eq!(of(json!({"extendedResourceName": name})), ["spec.extendedResourceName: Invalid"], "{name}");
        }
        assert_eq!(of(json!({"config": [{}]})), ["spec.config[0].opaque: Required"]);
        let long = json!({"opaque": {"driver": "d.example", "parameters": {"a": "x".repeat(10 << 10)}}});
        assert_eq!(of(json!({"config": [long]})), ["spec.config[0].opaque.parameters: TooLong"]);
    }
}
