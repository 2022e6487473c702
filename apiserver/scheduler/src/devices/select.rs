//! Which devices a request means: expressions over a device, and taints. No I/O.

use serde_json::Value as Json;
use skiff_cel::{Activation, Amount, Declarations, Key, Map as CelMap, Program, Text, Type, Value};
use skiff_proto::quantity::Quantity;
use std::collections::BTreeMap;

/// What the evaluation of one expression may cost (resource.k8s.io, `CELSelectorExpressionMaxCost`).
const COST_MAX: u64 = 1_000_000;

/// A compiled expression over `device`.
#[derive(Debug)]
pub(super) struct Selector {
    program: Program,
    /// Domains that it looks attributes up by: one that a device does not have is there and has nothing in it.
    domains: Vec<String>,
}

impl Selector {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What the compiler says.
    pub(super) fn compile(expression: &str) -> Result<Self, String> {
        let map = |of: Type| Type::map(Type::String, Type::map(Type::String, of));
        let fields = [
            ("driver", Type::String),
            ("attributes", map(Type::Dyn)),
            ("capacity", map(Type::object("kubernetes.Quantity"))),
            ("allowMultipleAllocations", Type::Bool),
        ];
        let declarations =
            Declarations::new().object("DRADevice", &fields).variable("device", Type::object("DRADevice"));
        let program = skiff_cel::compile(&declarations, expression)
            .map_err(|error| format!("CEL compile error: compilation failed: {error}"))?;
        if !matches!(program.output(), Type::Bool | Type::Dyn) {
            return Err(format!(
                "CEL compile error: must evaluate to bool or the unknown type, not {}",
                program.output()
            ));
        }
        Ok(Self { program, domains: looked_up(expression) })
    }

    /// Whether it means a device of `driver`.
    ///
    /// # Errors
    /// It looks for what the device does not have, or costs too much.
    pub(super) fn means(&self, driver: &str, device: &Json) -> Result<bool, String> {
        let activation = Activation::new().with("device", self.value(driver, device)?);
        match self.program.evaluate(&activation, COST_MAX).result {
            Ok(Value::Bool(means)) => Ok(means),
            Ok(other) => Err(format!("CEL runtime error: result of {other} is not a bool")),
            Err(fault) => Err(format!("CEL runtime error: {fault}")),
        }
    }

    fn value<'a>(&'a self, driver: &'a str, device: &'a Json) -> Result<Value<'a>, String> {
        let attributes = self.by_domain(driver, &device["attributes"], attribute)?;
        let capacity = self.by_domain(driver, &device["capacity"], |capacity| {
            let quantity = Quantity::parse(capacity["value"].as_str()?).ok()?;
            Some(Value::Quantity(Amount { quantity, summed: false }))
        })?;
        let shared = device["allowMultipleAllocations"] == true;
        let fields = [
            ("driver", Value::String(Text::Borrowed(driver))),
            ("attributes", attributes),
            ("capacity", capacity),
            ("allowMultipleAllocations", Value::Bool(shared)),
        ];
        Ok(map(fields.into_iter().map(|(name, value)| (name.to_owned(), value))))
    }

    /// Entries by domain and identifier; one without a domain is in its driver's.
    fn by_domain<'a>(
        &self,
        driver: &str,
        entries: &'a Json,
        value: impl Fn(&'a Json) -> Option<Value<'a>>,
    ) -> Result<Value<'a>, String> {
        let mut domains: BTreeMap<String, Vec<(String, Value<'a>)>> =
            self.domains.iter().map(|domain| (domain.clone(), Vec::new())).collect();
        for (name, entry) in entries.as_object().into_iter().flatten() {
            let (domain, id) = name.split_once('/').unwrap_or((driver, name.as_str()));
            let made = value(entry).ok_or_else(|| format!("attribute {name}: unsupported attribute value"))?;
            domains.entry(domain.to_owned()).or_default().push((id.to_owned(), made));
        }
        Ok(map(domains.into_iter().map(|(domain, entries)| (domain, map(entries.into_iter())))))
    }
}

fn map<'a>(entries: impl Iterator<Item = (String, Value<'a>)>) -> Value<'a> {
    Value::Map(CelMap::of(entries.map(|(name, value)| (Key::String(name.into()), value)).collect()))
}

fn attribute(entry: &Json) -> Option<Value<'_>> {
    if let Some(text) = entry["version"].as_str() {
        return Value::semver(text);
    }
    match (&entry["bool"], entry["int"].as_i64(), entry["string"].as_str()) {
        (Json::Bool(flag), _, _) => Some(Value::Bool(*flag)),
        (_, Some(number), _) => Some(Value::Int(number)),
        (_, _, Some(text)) => Some(Value::String(Text::Borrowed(text))),
        _ => None,
    }
}

/// Texts of an expression that stand in brackets: `device.attributes["domain"]`.
fn looked_up(expression: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in expression.split('[').skip(1) {
        let part = part.trim_start().trim_start_matches('?').trim_start();
        let Some(quote) = part.chars().next().filter(|quote| matches!(quote, '"' | '\'')) else { continue };
        if let Some((domain, _)) = part[1..].split_once(quote) {
            found.push(domain.to_owned());
        }
    }
    found
}

/// Whether a request may have a device in spite of its taints (`NoSchedule`, `NoExecute`).
pub(super) fn tolerates(tolerations: &Json, taints: &Json) -> bool {
    let list = |value: &'_ Json| value.as_array().cloned().unwrap_or_default();
    let tolerations = list(tolerations);
    list(taints).iter().filter(|taint| matches!(taint["effect"].as_str(), Some("NoSchedule" | "NoExecute"))).all(
        |taint| {
            tolerations.iter().any(|one| {
                let same =
                    |field: &str| one[field].as_str().unwrap_or_default() == taint[field].as_str().unwrap_or_default();
                let any = |field: &str| one[field].as_str().unwrap_or_default().is_empty();
                let exists = one["operator"] == "Exists";
                (any("effect") || same("effect")) && (exists && any("key") || same("key")) && (exists || same("value"))
            })
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn means(expression: &str) -> Result<bool, String> {
        let device = json!({
            "name": "gpu-0",
            "attributes": {"model": {"string": "a100"}, "dra.example.com/numa": {"int": 1}, "ok": {"bool": true},
                "driverVersion": {"version": "1.2.3"}},
            "capacity": {"memory": {"value": "40Gi"}},
        });
        Selector::compile(expression)?.means("gpu.example.com", &device)
    }

    #[test]
    fn a_device_is_seen_as_in_kubernetes() {
        for expression in [
            "device.driver == 'gpu.example.com'",
            "device.attributes['gpu.example.com'].model == 'a100'",
            "device.attributes[\"dra.example.com\"].numa == 1 && device.attributes['gpu.example.com'].ok",
            "device.attributes['gpu.example.com'].ok",
            "device.capacity['gpu.example.com'].memory.compareTo(quantity('30Gi')) > 0",
            "device.attributes['gpu.example.com'].driverVersion.isGreaterThan(semver('1.0.0'))",
            "!('none.example.com' in device.attributes)",
            "!has(device.attributes['none.example.com'].x)",
            "!device.allowMultipleAllocations",
        ] {
            assert_eq!(means(expression), Ok(true), "{expression}");
        }
        assert_eq!(means("device.driver == 'other'"), Ok(false));
    }

    #[test]
    fn what_is_wrong_with_an_expression_is_told() {
        assert!(means("device.nope").unwrap_err().starts_with("CEL compile error: compilation failed: "));
        assert!(means("1").unwrap_err().contains("must evaluate to bool"));
        let missing = means("device.attributes['gpu.example.com'].none == 1").unwrap_err();
        assert_eq!(missing, "CEL runtime error: no such key: none");
    }

    #[test]
    fn taints_are_tolerated_by_key_value_and_effect() {
        let taints = json!([{"key": "a", "value": "1", "effect": "NoSchedule"}, {"key": "b", "effect": "None"}]);
        for (tolerations, expected) in [
            (json!([]), false),
            (json!([{"operator": "Exists"}]), true),
            (json!([{"key": "a", "operator": "Equal", "value": "1"}]), true),
            (json!([{"key": "a", "operator": "Equal", "value": "2"}]), false),
            (json!([{"key": "a", "operator": "Exists", "effect": "NoExecute"}]), false),
        ] {
            assert_eq!(tolerates(&tolerations, &taints), expected, "{tolerations}");
        }
    }
}
