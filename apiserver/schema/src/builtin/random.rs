//! Random objects of every built-in kind, made from its schema, and the law that every form of them says the same.

use crate::node::{Node, Schema, Shape, StructId};
use crate::{cbor, protobuf, resources};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Map, Value};

/// How deep schemas that hold themselves are followed.
const DEPTH_MAX: u32 = 6;

/// Chooses by consuming random bytes: schemas are too large for strategies of their own.
pub(super) struct Dice<'a> {
    bytes: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    thrown: u64,
}

/// Dice that fall as `bytes` say.
pub(super) fn dice(bytes: &[u8]) -> Dice<'_> {
    Dice { bytes: bytes.iter().cycle(), thrown: bytes.len() as u64 }
}

impl Dice<'_> {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        let byte = u64::from(*self.bytes.next().expect("there are always bytes"));
        // The bytes come round again; what was thrown before makes the next throw another.
        self.thrown = (self.thrown.wrapping_mul(0x5851_f42d_4c95_7f2d)).wrapping_add(byte ^ 0x1405_7b7e);
        (self.thrown >> 33) % end
    }

    pub(super) fn structure(&mut self, schema: &Schema, id: StructId, depth: u32) -> Value {
        let mut object = Map::new();
        for field in &schema.get(id).fields {
            if self.below(4 + u64::from(depth)) == 0 && depth < DEPTH_MAX {
                object.insert(field.name.to_string(), self.value(schema, &field.node, depth + 1));
            }
        }
        Value::Object(object)
    }

    fn value(&mut self, schema: &Schema, node: &Node, depth: u32) -> Value {
        match &node.shape {
            Shape::String => ["", "a", "ä", "a.b/c"][self.below(4) as usize].into(),
            Shape::Int32 => [0, 1, -1, i32::MAX, i32::MIN][self.below(5) as usize].into(),
            Shape::Int64 => [0, 1, -1, i64::MAX, i64::MIN][self.below(5) as usize].into(),
            Shape::Number => [0.0, 1.5, -2.25][self.below(3) as usize].into(),
            Shape::Boolean => (self.below(2) == 1).into(),
            Shape::Bytes => ["", "AA==", "c2tpZmY="][self.below(3) as usize].into(),
            Shape::Time => ["2026-01-02T03:04:05Z", "1969-12-31T23:59:59Z"][self.below(2) as usize].into(),
            Shape::MicroTime => {
                ["2026-01-02T03:04:05.000000Z", "2026-01-02T03:04:05.123456Z"][self.below(2) as usize].into()
            }
            Shape::Quantity => ["0", "100m", "1Gi", "-5"][self.below(4) as usize].into(),
            Shape::IntOrString if self.below(2) == 0 => 80.into(),
            Shape::IntOrString => "25%".into(),
            Shape::Any => serde_json::json!({"a": [1, "x", null, {"b": 1.5}]}),
            Shape::Struct(id) => self.structure(schema, *id, depth),
            Shape::Either(id, _) if self.below(2) == 0 => self.structure(schema, *id, depth),
            Shape::Either(_, other) => self.value(schema, other, depth),
            Shape::List(element) => (0..self.below(3)).map(|_| self.value(schema, element, depth)).collect(),
            Shape::Map(values) => {
                (0..self.below(3)).map(|at| (format!("k{at}"), self.value(schema, values, depth))).collect()
            }
        }
    }
}

/// What is written as JSON, YAML or CBOR is read as it was.
fn in_text(object: &Value) -> Result<(), TestCaseError> {
    let failed = |error: &dyn std::fmt::Display| TestCaseError::fail(error.to_string());
    let json: Value = serde_json::from_str(&object.to_string()).map_err(|error| failed(&error))?;
    prop_assert_eq!(&json, object);
    let yaml = serde_norway::to_string(object).map_err(|error| failed(&error))?;
    let yaml: Value = serde_norway::from_str(&yaml).map_err(|error| failed(&error))?;
    prop_assert_eq!(&yaml, object);
    let cbor = cbor::from_json(object).map_err(|error| failed(&error))?;
    let cbor = cbor::to_json(&cbor).map_err(|error| failed(&error))?;
    prop_assert_eq!(&cbor, object);
    Ok(())
}

/// JSON, YAML, CBOR and Protobuf say the same of what decoding makes of a random object.
#[test]
fn every_kind_is_the_same_in_every_form() {
    let config = Config { cases: 40, failure_persistence: None, rng_seed: RngSeed::Random, ..Config::default() };
    for resource in resources() {
        let schema = &resource.schema;
        let mut runner = TestRunner::new(config.clone());
        let bytes = proptest::collection::vec(any::<u8>(), 1..200);
        let law = runner.run(&bytes, |bytes| {
            let mut dice = dice(&bytes);
            let mut object = dice.structure(schema, schema.root_id(), 0);
            object["apiVersion"] = resource.api_version().into();
            object["kind"] = (*resource.kind).into();
            // Protobuf carries no kind of objects in others; defaults say it of the claims of a set.
            for claim in
                object.get_mut("spec").map_or(&mut [][..], |spec| crate::view::list_mut(spec, "volumeClaimTemplates"))
            {
                claim
                    .as_object_mut()
                    .into_iter()
                    .for_each(|claim| claim.retain(|key, _| key != "apiVersion" && key != "kind"));
            }
            let decode = |value: Value| crate::decode_value(resource, value, &[], crate::FieldValidation::Strict);
            let decoded = decode(object).map_err(|error| TestCaseError::fail(error.to_string()))?.object;
            let body = protobuf::from_json(&decoded).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let read = protobuf::to_json(&body).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let read = decode(read).map_err(|error| TestCaseError::fail(error.to_string()))?.object;
            in_text(&decoded)?;
            prop_assert_eq!(nothing_empty(read), nothing_empty(decoded));
            Ok(())
        });
        if let Err(error) = law {
            panic!("{}: {error}", resource.kind);
        }
    }
}

/// Protobuf does not tell an empty list or map from none, which is null where Go writes it.
fn nothing_empty(value: Value) -> Value {
    let empty = |value: &Value| {
        value.is_null()
            || matches!(value, Value::Array(list) if list.is_empty())
            || matches!(value, Value::Object(map) if map.is_empty())
    };
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().map(|(key, value)| (key, nothing_empty(value)));
            Value::Object(kept.filter(|(_, value)| !empty(value)).collect())
        }
        Value::Array(list) => list.into_iter().map(nothing_empty).collect(),
        other => other,
    }
}
