//! JSON text to a value, remembering which keys stood twice in one object. The last one wins, as in Kubernetes.
//!
//! A value does not remember the order of its keys. Complaints come in that order, so a text that has something to complain
//! about is read once more, for its keys alone.

use crate::path::Path;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;

/// A key of an object in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// Its path.
    pub(crate) path: String,
    /// Whether its object had it already.
    pub(crate) again: bool,
}

/// Which keys are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remember {
    Repeated,
    All,
}

/// Reads `body`, and the paths of keys that were repeated.
pub(crate) fn parse(body: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let (value, keys) = read(body, Remember::Repeated)?;
    Ok((value, keys.into_iter().map(|key| key.path).collect()))
}

/// All keys of `body` in the order in which they stand there.
pub(crate) fn keys(body: &[u8]) -> Result<Vec<Key>, serde_json::Error> {
    Ok(read(body, Remember::All)?.1)
}

fn read(body: &[u8], remember: Remember) -> Result<(Value, Vec<Key>), serde_json::Error> {
    let keys = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Place { path: Path::Root, keys: &keys, remember }.deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, keys.into_inner()))
}

/// The place where a value is expected.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: Path<'a>,
    keys: &'a RefCell<Vec<Key>>,
    remember: Remember,
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = elements.next_element_seed(Place { path: self.path.index(list.len()), ..self })? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = self.path.field(&key);
            let again = map.contains_key(&key);
            if again || self.remember == Remember::All {
                self.keys.borrow_mut().push(Key { path: path.to_string(), again });
            }
            let value = entries.next_value_seed(Place { path, ..self })?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
