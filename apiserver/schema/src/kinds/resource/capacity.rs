//! How much a device has of something, and how it may be shared.

use super::device::shown;
use super::shared::qualified;
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::resources::quantity;
use crate::view::{entries, list};
use serde_json::Value;
use skiff_proto::quantity::Quantity;
use std::collections::BTreeSet;

/// Most amounts that may be asked for.
const CHOICES_MOST: usize = 10;

/// What is wrong with the capacity of a device.
pub(super) fn validate(device: &Value, path: &Path<'_>, errors: &mut Errors) {
    let shared = device["allowMultipleAllocations"] == true;
    let path = path.field("capacity");
    for (key, capacity) in entries(device, "capacity") {
        qualified(key, &path, errors);
        let (key, policy) = (shown(key), &capacity["requestPolicy"]);
        let path = path.key(&key);
        if !policy.is_null() && !shared {
            errors.forbidden(&path.field("requestPolicy"), "allowMultipleAllocations must be true");
        } else if let Some(whole) = quantity(&capacity["value"]).filter(|_| !policy.is_null()) {
            self::policy(policy, whole, &path.field("requestPolicy"), errors);
        }
    }
}

fn policy(policy: &Value, whole: Quantity, path: &Path<'_>, errors: &mut Errors) {
    let (choices, range) = (list(policy, "validValues"), &policy["validRange"]);
    let (of, at) = match (choices.is_empty(), range.is_null()) {
        (true, true) => return,
        (false, false) => {
            let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            return errors.forbidden(path, detail);
        }
        (false, true) => ("validValues", path.field("validValues")),
        (true, false) => ("validRange", path.field("validRange")),
    };
    match quantity(&policy["default"]) {
        None => errors.required(&path.field("default"), &format!("required when {of} is defined")),
        Some(default) if of == "validValues" => self::choices(choices, default, whole, &at, errors),
        Some(default) => self::range(range, default, whole, &at, errors),
    }
}

fn choices(choices: &[Value], default: Quantity, whole: Quantity, path: &Path<'_>, errors: &mut Errors) {
    let amounts: Vec<_> = choices.iter().filter_map(quantity).collect();
    for (index, pair) in amounts.windows(2).enumerate() {
        if let [one, next] = pair
            && one.nanos() > next.nanos()
        {
            errors.invalid(&path.index(index + 1), next.canonical(), "values must be sorted in ascending order");
        }
    }
    if amounts.len() > CHOICES_MOST {
        errors.too_many(path, amounts.len(), CHOICES_MOST);
    } else {
        for (index, amount) in amounts.iter().enumerate().filter(|(_, amount)| amount.nanos() > whole.nanos()) {
            let detail = format!("option is larger than capacity value: {}", whole.canonical());
            errors.invalid(&path.index(index), amount.canonical(), detail);
        }
        let mut seen = BTreeSet::new();
        for (index, amount) in amounts.iter().enumerate() {
            if !seen.insert(amount.units()) {
                errors.duplicate(&path.index(index), amount.units().to_string());
            }
        }
    }
    if !amounts.iter().any(|amount| amount.nanos() == default.nanos()) {
        errors.invalid(path, default.canonical(), "default value is not valid according to the requestPolicy");
    }
}

fn range(range: &Value, default: Quantity, whole: Quantity, path: &Path<'_>, errors: &mut Errors) {
    let Some(least) = quantity(&range["min"]) else {
        return errors.required(&path.field("min"), "required when validRange is defined");
    };
    let most = quantity(&range["max"]);
    let mut not_above = |field: &str, one: Quantity, other: Quantity, shown: Quantity, what: &str| {
        if one.nanos() > other.nanos() {
            errors.invalid(&path.field(field), shown.canonical(), format!("{what}: {}", other.canonical()));
        }
    };
    not_above("min", least, whole, least, "min is larger than capacity value");
    not_above("min", least, default, default, "default is less than min");
    if let Some(most) = most {
        not_above("max", least, most, least, "min is larger than max");
        not_above("max", most, whole, most, "max is larger than capacity value");
        not_above("max", default, most, default, "default is more than max");
    }
    let Some(step) = quantity(&range["step"]) else { return };
    let at = path.field("step");
    if least.nanos() + step.nanos() > whole.nanos() {
        let detail = format!("one step is larger than capacity value: {}", whole.canonical());
        errors.invalid(&at, step.canonical(), detail);
    }
    for amount in std::iter::once(default).chain(most) {
        // A step of nothing would make kube-apiserver divide by zero; no amount is a multiple of it.
        if i128::from(amount.units() - least.units()).checked_rem(i128::from(step.units())) != Some(0) {
            let (step, least) = (step.canonical(), least.canonical());
            let detail = format!("value is not a multiple of a given step ({step}) from ({least})");
            errors.invalid(&at, amount.canonical(), detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, set};
    use serde_json::{Value, json};

    fn slice() -> Value {
        let capacity =
            json!({"m": {"value": "10", "requestPolicy": {"default": "2", "validRange": {"min": "2", "step": "2"}}}});
        let device = json!({"name": "x", "allowMultipleAllocations": true, "capacity": capacity});
        json!({"metadata": {"name": "a"}, "spec": {"driver": "d.example", "nodeName": "n", "devices": [device],
            "pool": {"name": "p", "resourceSliceCount": 1}}})
    }

    #[test]
    fn amounts_fit_the_policy() {
        let row = crate::kinds::rows().find(|row| row.kind == "ResourceSlice").expect("the kind is there");
        assert_eq!(errors(row, &slice()), [""; 0]);
        let cases = [
            ("/requestPolicy/default", json!("3"), ".requestPolicy.validRange.step: Invalid"),
            ("/requestPolicy/default", json!("0"), ".requestPolicy.validRange.min: Invalid"),
            ("/requestPolicy/default", Value::Null, ".requestPolicy.default: Required"),
            ("/requestPolicy/validValues", json!(["2"]), ".requestPolicy: Forbidden"),
            ("/requestPolicy", json!({"default": "1", "validValues": ["2"]}), ".requestPolicy.validValues: Invalid"),
            (
                "/requestPolicy",
                json!({"default": "11", "validValues": ["11"]}),
                ".requestPolicy.validValues[0]: Invalid",
            ),
        ];
        for (at, value, expected) in cases {
            let mut object = slice();
            set(&mut object, &format!("/spec/devices/0/capacity/m{at}"), value);
            assert_eq!(errors(row, &object), [format!("spec.devices[0].capacity[m]{expected}")], "{at}");
        }
        let cases = [
            ("/spec/nodeName", Value::Null, "spec: Required"),
            ("/spec/allNodes", json!(true), "spec: Invalid"),
            ("/spec/pool/resourceSliceCount", json!(0), "spec.pool.resourceSliceCount: Invalid"),
            ("/spec/devices/0/attributes", json!({"a": {}}), "spec.devices[0].attributes[a]: Invalid"),
            ("/spec/devices/0/attributes", json!({"a b": {"int": 1}}), "spec.devices[0].attributes: Invalid"),
            (
                "/spec/devices/0/allowMultipleAllocations",
                json!(false),
                "spec.devices[0].capacity[m].requestPolicy: Forbidden",
            ),
            ("/spec/devices/0/nodeName", json!("n"), "spec.devices[0]: Invalid"),
            ("/spec/devices/0/bindingConditions", json!(["c"]), "spec.devices[0].bindingFailureConditions: Invalid"),
        ];
        for (at, value, expected) in cases {
            let mut object = slice();
            set(&mut object, at, value);
            assert_eq!(errors(row, &object), [expected], "{at}");
        }
    }
}
