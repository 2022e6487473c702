//! Variables, and what is selected of them.

use super::{Evaluator, Outcome};
use crate::fault::Fault;
use crate::plan::{Attribute, Base, Qualifier, QualifierKey};
use crate::schema::ListType;
use crate::value::{List, Map, Value, show};
use std::sync::Arc;

/// What a selection found: nothing, if it only asked.
type Found<'a> = Result<Option<Value<'a>>, Fault>;

impl<'a> Evaluator<'_, 'a> {
    /// The value of an attribute as an expression.
    pub(super) fn attribute(&mut self, attribute: &'a Attribute, test: bool) -> Outcome<'a> {
        let mut result = self.resolve(attribute);
        if matches!(result, Err(Fault::CostExceeded)) {
            return result;
        }
        if test && let Ok(Value::Optional(inner)) = &result {
            result = Ok(Value::Bool(inner.is_some()));
        }
        match &attribute.base {
            Base::Conditional { condition, yes, no } => {
                self.meter.drop(no.id());
                self.meter.drop(yes.id());
                self.meter.drop(condition.id);
            }
            _ => {
                self.meter.drop(attribute.id());
                self.meter.cost += 1;
            }
        }
        if test {
            self.meter.cost = self.meter.cost.wrapping_sub(1);
        }
        self.meter.push(attribute.id())?;
        result
    }

    /// The value, without the cost of the expression itself.
    fn resolve(&mut self, attribute: &'a Attribute) -> Outcome<'a> {
        let value = match &attribute.base {
            Base::Variable(name) => self.variable(name)?,
            Base::Local(local) => self.local(*local)?,
            Base::Value(node) => self.node(node)?,
            Base::Conditional { condition, yes, no } => {
                return match self.node(condition)? {
                    Value::Bool(true) => self.resolve(yes),
                    Value::Bool(false) => self.resolve(no),
                    _ => Err(Fault::no_overload()),
                };
            }
        };
        self.qualified(value, &attribute.qualifiers)
    }

    fn variable(&mut self, name: &str) -> Outcome<'a> {
        match self.activation.find(name) {
            Some(value) => value,
            None => Err(Fault::new(format!("no such attribute(s): {name}"))),
        }
    }

    fn qualified(&mut self, mut value: Value<'a>, qualifiers: &'a [Qualifier]) -> Outcome<'a> {
        let mut optional = false;
        if let Value::Optional(inner) = &value {
            match inner {
                None => return Ok(value),
                Some(_) if qualifiers.is_empty() => return Ok(value),
                Some(inner) => value = (**inner).clone(),
            }
            optional = true;
        }
        for qualifier in qualifiers {
            optional |= qualifier.optional;
            match self.qualify(&value, qualifier, optional)? {
                Some(found) => value = found,
                None => return Ok(Value::Optional(None)),
            }
        }
        Ok(if optional { Value::Optional(Some(Arc::new(value))) } else { value })
    }

    /// One step of a selection; `if_present` makes what is missing nothing instead of an error.
    fn qualify(&mut self, value: &Value<'a>, qualifier: &'a Qualifier, if_present: bool) -> Found<'a> {
        let asks = if_present || qualifier.test;
        let mut lone = None;
        let mut found = match &qualifier.key {
            QualifierKey::Constant(key) => self.select(value, key, asks),
            QualifierKey::Attribute(key, own) => {
                lone = (!own).then(|| key.id());
                match self.resolve(key) {
                    Ok(key) => self.select_by(value, &key, asks),
                    Err(fault) => Err(fault),
                }
            }
        };
        if matches!(found, Err(Fault::CostExceeded)) {
            return found;
        }
        if qualifier.test {
            // Upstream's test inside an optional chain yields presence without a value.
            found = found.map(|found| match (found.is_some(), if_present) {
                (present, false) => Some(Value::Bool(present)),
                (true, true) => Some(Value::Null),
                (false, true) => None,
            });
        }
        let seen = !if_present || matches!(found, Ok(Some(_)));
        if seen {
            if let Some(id) = lone {
                self.meter.drop(id);
            }
            self.meter.cost += 1;
            self.meter.push(qualifier.id)?;
        }
        found
    }

    /// Selects by a value that an expression gave.
    fn select_by(&self, value: &Value<'a>, key: &Value<'a>, asks: bool) -> Found<'a> {
        match key {
            Value::String(_) | Value::Int(_) | Value::Uint(_) | Value::Bool(_) | Value::Double(_) => {
                self.select(value, key, asks)
            }
            other => Err(Fault::new(format!("invalid qualifier type: {}", go_type(other)))),
        }
    }

    fn select(&self, value: &Value<'a>, key: &Value<'a>, asks: bool) -> Found<'a> {
        let missing = || {
            if asks { Ok(None) } else { Err(Fault::new(format!("no such key: {}", show(key)))) }
        };
        match value {
            Value::Map(map) => {
                let found = match (map, key) {
                    (Map::Json(..), Value::String(name)) => map.field(name.as_str())?,
                    _ => map.find(key)?,
                };
                found.map_or_else(missing, |found| Ok(Some(found)))
            }
            Value::List(list) => element(list, key, asks),
            Value::Object(made) => key
                .as_str()
                .and_then(|name| made.fields.get(name))
                .map_or_else(missing, |found| Ok(Some(found.clone()))),
            Value::Variables => match key.as_str().and_then(|name| self.activation.policy_variable(name)) {
                Some(found) => found.map(Some),
                None => missing(),
            },
            _ => missing(),
        }
    }
}

fn element<'a>(list: &List<'a>, key: &Value<'a>, asks: bool) -> Found<'a> {
    let unsupported = || Fault::new(format!("unsupported index value {} in list", show(key)));
    let at = match key {
        Value::Int(at) => *at,
        Value::Double(at) => crate::number::to_int_exact(*at).ok_or_else(unsupported)?,
        Value::Uint(at) => i64::try_from(*at).map_err(|_| unsupported())?,
        other => return Err(Fault::new(format!("unsupported index type '{}' in list", other.type_name()))),
    };
    match usize::try_from(at).ok().filter(|at| *at < list.len()) {
        Some(at) => list.get(at).map(Some),
        None if asks => Ok(None),
        None => Err(Fault::new(format!("index out of bounds: {}", show(key)))),
    }
}

/// How upstream names the type of a value in messages.
pub(crate) fn go_type(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "types.Null",
        Value::Bool(_) => "types.Bool",
        Value::Int(_) => "types.Int",
        Value::Uint(_) => "types.Uint",
        Value::Double(_) => "types.Double",
        Value::String(_) => "types.String",
        Value::Bytes(_) => "types.Bytes",
        Value::Timestamp(_) => "types.Timestamp",
        Value::Duration(_) => "types.Duration",
        Value::List(List::Json(_, None)) => "[]interface {}",
        Value::List(list) if list.shape().is_some() => match list.list_type() {
            ListType::Atomic => "*common.unstructuredList",
            ListType::Set => "*common.unstructuredSetList",
            ListType::Map(_) => "*common.unstructuredMapList",
        },
        Value::List(_) => "*types.baseList",
        Value::Map(Map::Json(_, None)) => "map[string]interface {}",
        Value::Map(Map::Json(_, Some(_))) => "*common.unstructuredMap",
        Value::Map(_) => "*types.baseMap",
        Value::Optional(_) => "*types.Optional",
        Value::Type(_) => "*types.Type",
        Value::Ip(_) => "cel.IP",
        Value::Cidr(..) => "cel.CIDR",
        Value::Quantity(amount) if amount.summed => "*cel.Quantity",
        Value::Quantity(_) => "cel.Quantity",
        Value::Url(_) => "cel.URL",
        Value::Semver(_) => "cel.Semver",
        Value::Format(_) => "cel.Format",
        _ => "ref.Val",
    }
}
