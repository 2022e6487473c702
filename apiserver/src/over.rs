//! Any value, of which only objects and lists are read: what both readers of a few keys pass over.

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// What is read of a value.
pub(crate) trait Walk<'de>: Sized {
    /// Of an object.
    fn map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error>;
    /// Of a list.
    fn list<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error>;
    /// Of what a value holds that may be missing; the same as of the value.
    fn inner<D: Deserializer<'de>>(self, inner: D) -> Result<(), D::Error>;
}

/// Visits any value.
pub(crate) struct Over<W>(pub(crate) W);

impl<'de, W: Walk<'de>> Visitor<'de> for Over<W> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        self.0.list(list)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<(), D::Error> {
        self.0.inner(inner)
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }
}
