//! Where in a definition a rule stands: how often it may run for one object, and what its values are.

use super::written::Rule;
use serde_json::Value;
use skiff_cel::Shape;
use std::cell::OnceCell;
use std::sync::Arc;

/// A schema in a definition, seen from the root.
pub(in super::super) struct Context<'a> {
    schema: &'a Value,
    /// Whether its values have type and metadata of their own.
    whole: bool,
    /// How many such values one object has at most; `None`: nothing limits them.
    most: Option<u64>,
    shape: OnceCell<Arc<Shape>>,
}

impl<'a> Context<'a> {
    /// The schema of a version.
    pub(in super::super) fn root(schema: &'a Value) -> Self {
        Self { schema, whole: true, most: Some(1), shape: OnceCell::new() }
    }

    /// A schema in this one.
    pub(in super::super) fn child(&self, schema: &'a Value) -> Self {
        let most = match (self.most, values_most(self.schema)) {
            (Some(most), Some(times)) => Some(most.saturating_mul(times)),
            _ => None,
        };
        let whole = schema["x-kubernetes-embedded-resource"] == true;
        Self { schema, whole, most, shape: OnceCell::new() }
    }

    /// The rules at this place.
    pub(super) fn rules(&self) -> impl ExactSizeIterator<Item = Rule<'a>> + use<'a> {
        Rule::of(self.schema)
    }

    /// What its values are; `None`: expressions see no such values.
    pub(super) fn shape(&self) -> Option<&Arc<Shape>> {
        let shape = self.shape.get_or_init(|| Arc::new(Shape::of(self.schema, self.whole)));
        Some(shape).filter(|shape| shape.is_visible())
    }

    /// What an expression of this cost may cost in one object. Where nothing limits how many such values there are, the size of a request
    /// does.
    pub(super) fn cost_of(&self, cost: u64) -> u64 {
        let by_size = || self.shape().map_or(1, |shape| shape.cardinality_max());
        cost.saturating_mul(self.most.unwrap_or_else(by_size))
    }
}

/// By how much a schema multiplies the values in it; `None`: nothing limits them.
fn values_most(schema: &Value) -> Option<u64> {
    let most = |key: &str| schema[key].as_i64().map(|most| u64::try_from(most).unwrap_or(0));
    match schema["type"].as_str() {
        Some("object") if !schema["additionalProperties"].is_null() => most("maxProperties"),
        Some("array") => most("maxItems"),
        _ => Some(1),
    }
}
