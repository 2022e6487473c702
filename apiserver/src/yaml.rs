//! Keys that stand twice in a YAML mapping: a value has only the last of them, but strict clients want to know.

use crate::over::{Over, Walk};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use skiff_schema::Problem;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

/// More are not told: each costs a pass over the text, because only an error knows its line.
const TOLD_MAX: usize = 10;

/// The keys that stand in the same mapping of `text` before, with their lines; none if `text` is no YAML.
pub(crate) fn repeated(text: &[u8]) -> Vec<Problem> {
    let mut found = Vec::new();
    while found.len() < TOLD_MAX {
        let state = RefCell::new(State { known: found.len(), key: None });
        let Err(error) = Node(&state).deserialize(serde_norway::Deserializer::from_slice(text)) else { break };
        let key = state.borrow_mut().key.take();
        let (Some(key), Some(place)) = (key, error.location()) else { break };
        found.push(Problem::Repeated { line: place.line(), key });
    }
    found
}

struct State {
    /// How many repeated keys are passed over, because they are told already.
    known: usize,
    /// The first that is not.
    key: Option<String>,
}

/// Any value, read for its mappings' keys.
#[derive(Clone, Copy)]
struct Node<'s>(&'s RefCell<State>);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(Over(self))
    }
}

impl<'de> Walk<'de> for Node<'_> {
    fn map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while map.next_key_seed(Key { state: self.0, seen: &mut seen })?.is_some() {
            map.next_value_seed(self)?;
        }
        Ok(())
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn inner<D: Deserializer<'de>>(self, inner: D) -> Result<(), D::Error> {
        self.deserialize(inner)
    }
}

/// A key of a mapping: an error here has the key's line.
struct Key<'s, 'k> {
    state: &'s RefCell<State>,
    seen: &'k mut BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Key<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        if self.seen.insert(key.to_owned()) {
            return Ok(());
        }
        let mut state = self.state.borrow_mut();
        if state.known > 0 {
            state.known -= 1;
            return Ok(());
        }
        state.key = Some(key.to_owned());
        Err(E::custom("the key stands there already"))
    }

    fn visit_bool<E: Error>(self, key: bool) -> Result<(), E> {
        self.visit_str(&key.to_string())
    }

    fn visit_i64<E: Error>(self, key: i64) -> Result<(), E> {
        self.visit_str(&key.to_string())
    }

    fn visit_u64<E: Error>(self, key: u64) -> Result<(), E> {
        self.visit_str(&key.to_string())
    }

    // Other keys are refused where the value is read.
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(text: &str) -> Vec<String> {
        repeated(text.as_bytes()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keys_that_stand_twice_are_told_with_their_lines() {
        let text = "\napiVersion: v1\ndata:\n  a: b\n  a: c\n  d: [{e: 1, e: 2}]\n  d: f\nmore: {data: 1}\n";
        let key = |line: u32, key: &str| format!("line {line}: key \"{key}\" already set in map");
        assert_eq!(told(text), [key(5, "a"), key(6, "e"), key(7, "d")]);
        assert!(told("a: 1\nb: {a: 1}\n").is_empty());
        assert!(told("a: [").is_empty());
        assert_eq!(told(&"a: 1\n".repeat(50)).len(), TOLD_MAX);
    }

    #[test]
    fn json_is_yaml_too() {
        assert_eq!(told("{\"a\": 1,\n\"a\": null, \"b\": true, \"c\": 1.5}"), ["line 2: key \"a\" already set in map"]);
    }

    proptest! {
        #[test]
        fn any_text_is_looked_through(text in "[ -~\n]{0,60}") {
            repeated(text.as_bytes());
        }
    }
}
