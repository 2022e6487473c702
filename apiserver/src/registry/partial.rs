//! Reads a few fields of a stored object and passes over the rest: a tenth of what the whole object would cost, when thousands are looked
//! at and few are chosen.

use crate::over::{Over, Walk};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess};
use serde_json::{Map, Value};

/// What is wanted, and how much of it has been found.
struct Wanted<'a> {
    paths: Vec<&'a [&'a str]>,
    found: &'a mut Value,
    /// Nothing behind the last of them is read.
    stops: bool,
}

/// Of the object in `json`, what stands at `paths`; `None`: it cannot be read.
pub(super) fn read(json: &[u8], paths: &[Vec<&str>]) -> Option<Value> {
    let mut found = Value::Null;
    let wanted = Wanted { paths: paths.iter().map(Vec::as_slice).collect(), found: &mut found, stops: true };
    let outcome = wanted.deserialize(&mut serde_json::Deserializer::from_slice(json));
    // That it was left early is no failure, whatever stands behind.
    (outcome.is_ok() || found.is_object()).then_some(found)
}

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.paths.iter().any(|path| path.is_empty()) {
            *self.found = serde::Deserialize::deserialize(deserializer)?;
            return Ok(());
        }
        deserializer.deserialize_any(Over(self))
    }
}

impl<'de> Walk<'de> for Wanted<'_> {
    fn map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut fields = Map::new();
        let mut heads: Vec<&str> = self.paths.iter().filter_map(|path| path.first().copied()).collect();
        heads.sort_unstable();
        heads.dedup();
        let mut left = heads.len();
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if !heads.contains(&key.as_ref()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let paths = self.paths.iter().filter(|path| path.first() == Some(&key.as_ref())).map(|path| &path[1..]);
            let mut found = Value::Null;
            map.next_value_seed(Wanted { paths: paths.collect(), found: &mut found, stops: false })?;
            fields.insert(key.into_owned(), found);
            left -= 1;
            if left == 0 && self.stops {
                *self.found = Value::Object(fields);
                return Err(A::Error::custom("the rest is not wanted"));
            }
        }
        *self.found = Value::Object(fields);
        Ok(())
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn inner<D: Deserializer<'de>>(self, inner: D) -> Result<(), D::Error> {
        self.deserialize(inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_wanted_is_read() {
        let object = json!({"kind": "Pod", "metadata": {"labels": {"a": "b"}, "name": "p"}, "spec": {"c": [1], "nodeName": "n"}});
        let paths = [vec!["metadata", "labels"], vec!["spec", "nodeName"], vec!["status", "phase"]];
        let read = |paths: &[Vec<&str>]| read(object.to_string().as_bytes(), paths);
        assert_eq!(read(&paths), Some(json!({"metadata": {"labels": {"a": "b"}}, "spec": {"nodeName": "n"}})));
        assert_eq!(read(&paths[..1]), Some(json!({"metadata": {"labels": {"a": "b"}}})));
        assert_eq!(read(&[vec!["metadata", "name", "deeper"]]), Some(json!({"metadata": {"name": null}})));
    }

    #[test]
    fn what_is_no_object_has_no_fields() {
        assert_eq!(read(b"[1, {}]", &[vec!["a"]]), Some(Value::Null));
        assert_eq!(read(b"{\"b\": ", &[vec!["a"]]), None);
    }
}
