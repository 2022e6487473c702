//! From a function and the types of its arguments to what is done.

use super::{
    Function, Overload, address, authorizer, format, lists, operators, optional, quantity, regexes, semver, strings,
    text_format, time, url,
};
use crate::eval::Outcome;
use crate::fault::Fault;
use crate::types::Type;
use crate::value::{Map, Value};
use regex::Regex;

/// What an overload does.
pub(super) type Body = for<'a> fn(&[Value<'a>]) -> Outcome<'a>;

/// What a call does.
#[derive(Debug)]
pub(crate) enum Implementation {
    /// One thing for all overloads, which looks at the arguments itself.
    Whole(Body),
    /// The one of these that the arguments fit.
    Overloads { name: &'static str, overloads: Vec<(&'static Overload, Option<Body>)> },
}

/// Functions whose arguments are not looked at before they are called.
const UNGUARDED: [&str; 4] = ["contains", "endsWith", "startsWith", "flatten"];

/// What a call of the function does; `single` if types tell the overload.
pub(crate) fn implementation(function: &'static Function, single: Option<&'static Overload>) -> Implementation {
    if let Some(body) = operators::whole(function.name) {
        return Implementation::Whole(body);
    }
    let overloads: Vec<&'static Overload> = match single {
        Some(only) => vec![only],
        None => function.overloads.iter().collect(),
    };
    let overloads = overloads.into_iter().map(|overload| (overload, body(overload.id))).collect();
    Implementation::Overloads { name: function.name, overloads }
}

fn body(id: &'static str) -> Option<Body> {
    let libraries: [fn(&'static str) -> Option<Body>; 13] = [
        operators::body,
        time::body,
        strings::body,
        text_format::body,
        regexes::body,
        lists::body,
        quantity::body,
        semver::body,
        address::body,
        url::body,
        format::body,
        authorizer::body,
        optional::body,
    ];
    libraries.iter().find_map(|of| of(id))
}

impl Implementation {
    /// Calls it.
    pub(crate) fn call<'a>(&self, args: &[Value<'a>]) -> Outcome<'a> {
        match self {
            Self::Whole(body) => body(args),
            Self::Overloads { name, overloads } => {
                let guarded = !UNGUARDED.contains(name);
                for (overload, body) in overloads {
                    let fits = overload.args.len() == args.len()
                        && (!guarded || overload.args.iter().zip(args).all(|(of, value)| fits(of, value)));
                    if let Some(body) = body.filter(|_| fits) {
                        return body(args);
                    }
                }
                let types: Vec<&str> = args.iter().map(Value::type_name).collect();
                Err(Fault::new(format!("no such overload: {name}({})", types.join(", "))))
            }
        }
    }

    /// Calls one that may take its first argument apart.
    pub(crate) fn call_owned<'a>(&self, mut args: Vec<Value<'a>>) -> Outcome<'a> {
        match (self, &mut args[..]) {
            (Self::Whole(_), [list @ Value::List(_), Value::List(more)]) => {
                let more = more.clone();
                match std::mem::replace(list, Value::Null) {
                    Value::List(list) => list.plus(&more).map(Value::List),
                    _ => Err(Fault::no_overload()),
                }
            }
            (Self::Overloads { .. }, [map @ Value::Map(_), more @ Value::Map(_)]) => {
                lists::insert_all(std::mem::replace(map, Value::Null), more)
            }
            (Self::Overloads { .. }, [map @ Value::Map(_), key, value]) => {
                lists::insert(std::mem::replace(map, Value::Null), key, value)
            }
            _ => self.call(&args),
        }
    }

    /// Calls one whose pattern is a constant.
    pub(crate) fn with_pattern<'a>(&self, pattern: &Regex, args: &[Value<'a>]) -> Outcome<'a> {
        let name = match self {
            Self::Whole(_) => "matches",
            Self::Overloads { name, .. } => name,
        };
        regexes::with_pattern(name, pattern, args)
    }
}

/// Whether a value can be an argument of that type. Of lists and maps the first element is looked at.
fn fits(of: &Type, value: &Value<'_>) -> bool {
    match (of, value) {
        (Type::Dyn | Type::Param(_), _) => true,
        (Type::List(element), Value::List(list)) => {
            list.is_empty() || list.get(0).is_ok_and(|first| fits(element, &first))
        }
        (Type::Map(both), Value::Map(map)) => fits_map(both, map),
        _ => of.name() == value.type_name(),
    }
}

fn fits_map(both: &(Type, Type), map: &Map<'_>) -> bool {
    let Some(key) = map.keys().into_iter().next() else { return true };
    let value = map.find(&key).ok().flatten();
    fits(&both.0, &key) && value.is_some_and(|value| fits(&both.1, &value))
}
