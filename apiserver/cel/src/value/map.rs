//! Maps: of JSON, or made.

use super::{Text, Value, from_json, from_shaped};
use crate::escape::{escape, unescape};
use crate::fault::Fault;
use crate::schema::Shape;
use serde_json::{Map as JsonMap, Value as Json};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A map, or an object whose schema names its fields.
#[derive(Debug, Clone)]
pub enum Map<'a> {
    /// Of an object, with its schema if it has one.
    Json(&'a JsonMap<String, Json>, Option<&'a Shape>),
    /// Made by an expression.
    Made(Arc<BTreeMap<Key<'a>, Value<'a>>>),
}

/// A key of a map that an expression made.
#[derive(Debug, Clone)]
pub enum Key<'a> {
    /// `bool`.
    Bool(bool),
    /// `int`.
    Int(i64),
    /// `uint`.
    Uint(u64),
    /// `double`: can be a key, and is found by nothing else.
    Double(f64),
    /// `string`.
    String(Text<'a>),
}

impl<'a> Key<'a> {
    /// The value as a key; `None` if it cannot be one.
    #[must_use]
    pub fn of(value: &Value<'a>) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            Value::Uint(value) => Self::Uint(*value),
            Value::Double(value) => Self::Double(*value),
            Value::String(text) => Self::String(text.clone()),
            _ => return None,
        })
    }

    /// The key as a value.
    #[must_use]
    pub fn value(&self) -> Value<'a> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::Double(value) => Value::Double(*value),
            Self::String(text) => Value::String(text.clone()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Int(_) => 1,
            Self::Uint(_) => 2,
            Self::Double(_) => 3,
            Self::String(_) => 4,
        }
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Uint(a), Self::Uint(b)) => a.cmp(b),
            (Self::Double(a), Self::Double(b)) => a.total_cmp(b),
            (Self::String(a), Self::String(b)) => a.as_str().cmp(b.as_str()),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}

impl<'a> Map<'a> {
    /// A map of these.
    #[must_use]
    pub fn of(entries: BTreeMap<Key<'a>, Value<'a>>) -> Self {
        Self::Made(Arc::new(entries))
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json(map, _) => map.len(),
            Self::Made(map) => map.len(),
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The value does not fit its schema, or the key cannot be one of an object.
    pub fn find(&self, key: &Value<'a>) -> Result<Option<Value<'a>>, Fault> {
        match self {
            Self::Made(map) => Ok(find_made(map, key)),
            Self::Json(map, None) => Ok(match key {
                Value::String(name) => map.get(name.as_str()).map(from_json),
                _ => None,
            }),
            Self::Json(map, Some(shape)) => match key {
                Value::String(name) => find_shaped(map, shape, name.as_str()),
                _ => Err(Fault::no_overload()),
            },
        }
    }

    /// The value of a field of an object, or of a text key.
    pub(crate) fn field(&self, name: &str) -> Result<Option<Value<'a>>, Fault> {
        match self {
            Self::Made(map) => Ok(map.get(&Key::String(Text::Made(name.into()))).cloned()),
            Self::Json(map, None) => Ok(map.get(name).map(from_json)),
            Self::Json(map, Some(shape)) => find_shaped(map, shape, name),
        }
    }

    /// All keys; of an object those that its schema names.
    #[must_use]
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Made(map) => map.keys().map(Key::value).collect(),
            Self::Json(map, shape) => {
                map.keys().filter_map(|name| shown_key(name, *shape)).map(Value::String).collect()
            }
        }
    }
}

fn shown_key<'a>(name: &'a str, shape: Option<&Shape>) -> Option<Text<'a>> {
    let Some(properties) = shape.and_then(|shape| shape.properties.as_ref()) else {
        return shape.is_none_or(|shape| shape.items.is_some()).then_some(Text::Borrowed(name));
    };
    properties.get(name)?;
    match escape(name) {
        Some(escaped) if escaped != name => Some(Text::from(escaped)),
        _ => Some(Text::Borrowed(name)),
    }
}

fn find_made<'a>(map: &BTreeMap<Key<'a>, Value<'a>>, key: &Value<'a>) -> Option<Value<'a>> {
    if let Some(found) = map.get(&Key::of(key)?) {
        return Some(found.clone());
    }
    // Numbers of other types are found where they are the same number.
    let other = match key {
        Value::Double(number) => {
            if let Some(found) = whole(*number).and_then(|int| map.get(&Key::Int(int))) {
                return Some(found.clone());
            }
            Key::Uint(crate::number::to_uint_exact(*number)?)
        }
        Value::Int(number) => Key::Uint(u64::try_from(*number).ok()?),
        Value::Uint(number) => Key::Int(i64::try_from(*number).ok()?),
        _ => return None,
    };
    map.get(&other).cloned()
}

fn whole(number: f64) -> Option<i64> {
    crate::number::to_int_exact(number)
}

fn find_shaped<'a>(map: &'a JsonMap<String, Json>, shape: &'a Shape, name: &str) -> Result<Option<Value<'a>>, Fault> {
    let Some(properties) = &shape.properties else {
        return match (&shape.items, map.get(name)) {
            (Some(of), Some(value)) => from_shaped(value, of).map(Some),
            _ => Ok(None),
        };
    };
    let field = unescape(name);
    let Some((value, of)) = field.and_then(|field| Some((map.get(&*field)?, properties.get(&*field)?))) else {
        return Ok(None);
    };
    if value.is_null() {
        return Ok(None);
    }
    from_shaped(value, of).map(Some)
}
