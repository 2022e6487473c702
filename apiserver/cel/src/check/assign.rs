//! Which types may stand for which, with parameters bound on the way.

use crate::types::Type;
use std::collections::HashMap;
use std::sync::Arc;

/// What type parameters stand for so far.
#[derive(Debug, Default)]
pub(super) struct Mapping {
    bound: HashMap<Arc<str>, Type>,
    /// What was bound, with what it was before, so that a failed attempt leaves nothing.
    trail: Vec<(Arc<str>, Option<Type>)>,
}

impl Mapping {
    /// Whether `given` may stand where `wanted` is; keeps what had to be bound for it.
    pub(super) fn assignable(&mut self, given: &Type, wanted: &Type) -> bool {
        self.attempt(|mapping| mapping.assign(given, wanted))
    }

    pub(super) fn all_assignable(&mut self, given: &[Type], wanted: &[Type]) -> bool {
        self.attempt(|mapping| mapping.assign_all(given, wanted))
    }

    fn attempt(&mut self, assign: impl FnOnce(&mut Self) -> bool) -> bool {
        self.trail.clear();
        let good = assign(self);
        while !good && let Some((name, before)) = self.trail.pop() {
            match before {
                Some(before) => self.bound.insert(name, before),
                None => self.bound.remove(&name),
            };
        }
        good
    }

    fn bind(&mut self, name: &Arc<str>, to: Type) {
        let before = self.bound.insert(name.clone(), to);
        self.trail.push((name.clone(), before));
    }

    fn find(&self, of: &Type) -> Option<Type> {
        match of {
            Type::Param(name) => self.bound.get(name).cloned(),
            _ => None,
        }
    }

    fn assign_all(&mut self, given: &[Type], wanted: &[Type]) -> bool {
        given.len() == wanted.len() && given.iter().zip(wanted).all(|(given, wanted)| self.assign(given, wanted))
    }

    fn assign(&mut self, left: &Type, right: &Type) -> bool {
        if let Type::Param(_) = right {
            let (valid, had) = self.stand_for(left, right);
            if valid || had {
                return valid;
            }
        }
        if let Type::Param(_) = left {
            return self.stand_for(right, left).0;
        }
        if left.is_dyn_or_error() || right.is_dyn_or_error() {
            return true;
        }
        match (left, right) {
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::Type(_), _) => matches!(right, Type::Type(_)),
            (Type::Opaque(a, left), Type::Opaque(b, right)) => a == b && self.assign_all(left, right),
            (Type::List(left), Type::List(right)) => self.assign(left, right),
            (Type::Map(left), Type::Map(right)) => self.assign(&left.0, &right.0) && self.assign(&left.1, &right.1),
            _ => left == right,
        }
    }

    /// Whether `param` can stand for `of`, and whether it stood for something already.
    fn stand_for(&mut self, of: &Type, param: &Type) -> (bool, bool) {
        if of == param {
            return (true, true);
        }
        let Type::Param(name) = param else { return (false, false) };
        if let Some(known) = self.find(param) {
            if *of == known {
                return (true, true);
            }
            if !self.assign(of, &known) {
                return (false, true);
            }
            let general = most_general(of.clone(), known);
            if self.free_of(param, &general) {
                self.bind(name, general);
            }
            return (true, true);
        }
        if self.free_of(param, of) {
            self.bind(name, of.clone());
            return (true, false);
        }
        (false, false)
    }

    /// Whether `param` does not occur in `within`: no type contains itself.
    fn free_of(&self, param: &Type, within: &Type) -> bool {
        if param == within {
            return false;
        }
        match within {
            Type::Param(_) => self.find(within).is_none_or(|known| self.free_of(param, &known)),
            Type::Opaque(_, of) => of.iter().all(|of| self.free_of(param, of)),
            Type::List(element) => self.free_of(param, element),
            Type::Map(both) => self.free_of(param, &both.0) && self.free_of(param, &both.1),
            Type::Type(Some(of)) => self.free_of(param, of),
            _ => true,
        }
    }

    /// The type with what its parameters stand for; unbound ones become `dyn` if asked.
    pub(super) fn substitute(&self, of: &Type, unbound_to_dyn: bool) -> Type {
        if let Some(known) = self.find(of) {
            return self.substitute(&known, unbound_to_dyn);
        }
        match of {
            Type::Param(_) if unbound_to_dyn => Type::Dyn,
            Type::Opaque(name, of) if !of.is_empty() => {
                Type::Opaque(name.clone(), of.iter().map(|of| self.substitute(of, unbound_to_dyn)).collect())
            }
            Type::List(element) => Type::list(self.substitute(element, unbound_to_dyn)),
            Type::Map(both) => {
                Type::map(self.substitute(&both.0, unbound_to_dyn), self.substitute(&both.1, unbound_to_dyn))
            }
            Type::Type(Some(inner)) => Type::Type(Some(Arc::new(self.substitute(inner, unbound_to_dyn)))),
            _ => of.clone(),
        }
    }
}

/// Types that null may stand for: objects and what libraries add.
fn nullable(of: &Type) -> bool {
    matches!(of, Type::Null | Type::Opaque(..) | Type::Object(_) | Type::Duration | Type::Timestamp)
}

/// The less specific of two assignable types.
pub(super) fn most_general(left: Type, right: Type) -> Type {
    if less_specific(&left, &right) { left } else { right }
}

fn less_specific(left: &Type, right: &Type) -> bool {
    match (left, right) {
        (Type::Dyn | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Param(_)) => false,
        (Type::Opaque(a, left), Type::Opaque(b, right)) => {
            a == b && left.len() == right.len() && left.iter().zip(&**right).all(|(l, r)| less_specific(l, r))
        }
        (Type::List(left), Type::List(right)) => less_specific(left, right),
        (Type::Map(left), Type::Map(right)) => less_specific(&left.0, &right.0) && less_specific(&left.1, &right.1),
        (Type::Type(_), Type::Type(_)) => true,
        _ => left == right,
    }
}

/// The type with other names for its parameters.
pub(super) fn rename(of: &Type, names: &[(Type, Type)]) -> Type {
    if let Some((_, new)) = names.iter().find(|(old, _)| old == of) {
        return new.clone();
    }
    match of {
        Type::Opaque(name, of) => Type::Opaque(name.clone(), of.iter().map(|of| rename(of, names)).collect()),
        Type::List(element) => Type::list(rename(element, names)),
        Type::Map(both) => Type::map(rename(&both.0, names), rename(&both.1, names)),
        Type::Type(Some(inner)) => Type::Type(Some(Arc::new(rename(inner, names)))),
        _ => of.clone(),
    }
}
