//! Quantities by name.

use serde_json::{Map, Value};
use skiff_proto::quantity::Quantity;
use std::collections::BTreeMap;

/// Quantities by name, such as `spec.hard` of a quota; in the order of names.
#[derive(Debug, Clone, Default)]
pub struct Amounts(BTreeMap<String, Quantity>);

impl PartialEq for Amounts {
    /// Equal amounts, however they are written.
    fn eq(&self, other: &Self) -> bool {
        let nanos = |amounts: &Self| amounts.0.iter().map(|(name, it)| (name.clone(), it.nanos())).collect::<Vec<_>>();
        nanos(self) == nanos(other)
    }
}

fn parse(amount: &Value) -> Option<Quantity> {
    let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
    Quantity::parse(&text).ok()
}

impl Amounts {
    /// Reads an object of quantities. What is none is left out: validation has refused it before.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        let read = object.as_object().into_iter().flatten();
        Self(read.filter_map(|(name, amount)| Some((name.clone(), parse(amount)?))).collect())
    }

    /// Nothing of each.
    #[must_use]
    pub fn zero(names: &[&str]) -> Self {
        names.iter().map(|name| (*name, count(0))).collect()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there is one of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Quantity> {
        self.0.get(name).copied()
    }

    pub(crate) fn set(&mut self, name: &str, amount: Quantity) {
        self.0.insert(name.to_owned(), amount);
    }

    /// Sets these too.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Adds each of `others`.
    pub fn add(&mut self, others: &Self) {
        for (name, more) in &others.0 {
            let sum = self.get(name).map_or(*more, |amount| amount.plus(*more));
            self.set(name, sum);
        }
    }

    /// Takes each of `others` away, and leaves no less than nothing.
    pub fn take(&mut self, others: &Self) {
        for (name, less) in &others.0 {
            if let Some(amount) = self.get(name) {
                let left = if amount.nanos() > less.nanos() { amount.plus(less.negated()) } else { count(0) };
                self.set(name, left);
            }
        }
    }

    /// Makes each at least as much as in `others`.
    pub(crate) fn raise(&mut self, others: &Self) {
        for (name, other) in &others.0 {
            if self.get(name).is_none_or(|amount| amount.nanos() < other.nanos()) {
                self.set(name, *other);
            }
        }
    }

    /// Those with one of these names.
    #[must_use]
    pub fn only<T: AsRef<str>>(mut self, names: &[T]) -> Self {
        self.0.retain(|name, _| names.iter().any(|wanted| wanted.as_ref() == name));
        self
    }

    /// Those that are something.
    #[must_use]
    pub fn without_zeros(mut self) -> Self {
        self.0.retain(|_, amount| amount.nanos() != 0);
        self
    }

    /// Names of what is less than nothing.
    pub(crate) fn negative(&self) -> Vec<&str> {
        self.0.iter().filter(|(_, amount)| amount.nanos() < 0).map(|(name, _)| name.as_str()).collect()
    }

    /// Names of what is more than `limits` allow; what has no limit is allowed.
    pub(crate) fn beyond(&self, limits: &Self) -> Vec<String> {
        let more = |name: &str, amount: &Quantity| limits.get(name).is_some_and(|most| amount.nanos() > most.nanos());
        self.0.iter().filter(|(name, amount)| more(name, amount)).map(|(name, _)| name.clone()).collect()
    }

    /// `a=1,b=2Gi`.
    pub(crate) fn text(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|(name, amount)| format!("{name}={}", amount.canonical())).collect();
        parts.join(",")
    }

    /// As an object of quantities in canonical form.
    #[must_use]
    pub fn value(&self) -> Value {
        let entries = self.0.iter().map(|(name, amount)| (name.clone(), Value::from(amount.canonical())));
        Value::Object(entries.collect::<Map<String, Value>>())
    }
}

impl<'a> FromIterator<(&'a str, Quantity)> for Amounts {
    fn from_iter<T: IntoIterator<Item = (&'a str, Quantity)>>(amounts: T) -> Self {
        Self(amounts.into_iter().map(|(name, amount)| (name.to_owned(), amount)).collect())
    }
}

/// A whole number.
pub(crate) fn count(number: i64) -> Quantity {
    Quantity::of_units(number)
}
