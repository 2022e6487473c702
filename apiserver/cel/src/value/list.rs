//! Lists: of JSON, or made.

use super::{Value, from_json, from_shaped, to_json};
use crate::fault::Fault;
use crate::schema::{ListType, Shape};
use serde_json::Value as Json;
use std::sync::Arc;

/// A list.
#[derive(Debug, Clone)]
pub enum List<'a> {
    /// Of an object; its schema, if it has one, is that of the list.
    Json(&'a [Json], Option<&'a Shape>),
    /// Made by an expression; with a schema if it began as a list that has one.
    Made(Arc<Vec<Value<'a>>>, Option<&'a Shape>),
}

impl<'a> List<'a> {
    /// A list of these.
    #[must_use]
    pub fn of(values: Vec<Value<'a>>) -> Self {
        Self::Made(Arc::new(values), None)
    }

    /// How many elements it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items, _) => items.len(),
            Self::Made(items, _) => items.len(),
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Schema of the list.
    pub(crate) fn shape(&self) -> Option<&'a Shape> {
        match self {
            Self::Json(_, shape) | Self::Made(_, shape) => *shape,
        }
    }

    pub(crate) fn list_type(&self) -> &'a ListType {
        self.shape().map_or(&ListType::Atomic, |shape| &shape.list)
    }

    /// An element.
    ///
    /// # Errors
    /// There is none, or it does not fit its schema.
    pub fn get(&self, at: usize) -> Result<Value<'a>, Fault> {
        let missing = || Fault::new(format!("index out of bounds: {at}"));
        match self {
            Self::Made(items, _) => items.get(at).cloned().ok_or_else(missing),
            Self::Json(items, shape) => {
                let item = items.get(at).ok_or_else(missing)?;
                match shape.and_then(|shape| shape.items.as_deref()) {
                    Some(items) => from_shaped(item, items),
                    None => Ok(from_json(item)),
                }
            }
        }
    }

    /// All elements.
    pub(crate) fn values(&self) -> impl Iterator<Item = Result<Value<'a>, Fault>> + '_ {
        (0..self.len()).map(|at| self.get(at))
    }

    /// This list with another's elements after its own; sets and maps by key keep each once.
    pub(crate) fn plus(self, other: &Self) -> Result<Self, Fault> {
        let shape = self.shape();
        match shape.map(|shape| &shape.list) {
            None if self.is_empty() => return Ok(other.clone()),
            None if other.is_empty() => return Ok(self),
            None | Some(ListType::Atomic) => {
                let mut items = match self {
                    Self::Made(items, _) => items,
                    json @ Self::Json(..) => Arc::new(json.values().collect::<Result<_, _>>()?),
                };
                let all = Arc::make_mut(&mut items);
                match other {
                    Self::Made(more, _) => all.extend(more.iter().cloned()),
                    Self::Json(..) => {
                        for value in other.values() {
                            all.push(value?);
                        }
                    }
                }
                return Ok(Self::Made(items, shape));
            }
            _ => {}
        }
        let mut items: Vec<Value<'a>> = self.values().collect::<Result<_, _>>()?;
        for value in other.values() {
            let value = value?;
            let key = element_key(&value, self.list_type());
            match items.iter().position(|known| element_key(known, self.list_type()) == key) {
                Some(at) if matches!(self.list_type(), ListType::Map(_)) => items[at] = value,
                Some(_) => {}
                None => items.push(value),
            }
        }
        Ok(Self::Made(Arc::new(items), shape))
    }
}

/// What tells an element of a set or of a map by key from others.
pub(super) fn element_key(value: &Value<'_>, list: &ListType) -> Option<Json> {
    let json = to_json(value)?;
    match list {
        ListType::Map(keys) => {
            Some(Json::Array(keys.iter().map(|key| json.get(key).cloned().unwrap_or(Json::Null)).collect()))
        }
        _ => Some(json),
    }
}
