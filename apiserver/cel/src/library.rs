//! The functions that expressions may call: a table of their overloads, and what each does.

mod address; // IP addresses and networks
mod authorizer; // questions
mod dispatch; // overload to implementation
mod format; // named formats
mod lists;
mod operators; // arithmetic, comparison, membership
mod optional;
mod quantity;
mod regexes;
mod semver;
mod strings;
mod text_format; // string.format
mod time; // parts of timestamps and durations
mod url;

pub(crate) use dispatch::{Implementation, implementation};
pub(crate) use format::Format;
pub(crate) use regexes::compile as compile_regex;
pub(crate) use semver::Version;
pub(crate) use text_format::check as check_format;
pub(crate) use time::{parse_duration, parse_timestamp};
pub(crate) use url::Url;

use crate::types::Type;
use std::collections::HashMap;
use std::sync::LazyLock;

/// One way to call a function.
#[derive(Debug)]
pub(crate) struct Overload {
    /// Cost and dispatch know it by this.
    pub(crate) id: &'static str,
    /// The first argument stands before the dot.
    pub(crate) member: bool,
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
    /// Type parameters among them.
    pub(crate) params: Vec<Type>,
}

/// A function and its overloads, in the order in which they are tried.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) overloads: Vec<Overload>,
}

static FUNCTIONS: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
    let mut functions: HashMap<&'static str, Function> = HashMap::new();
    for line in include_str!("library/functions.txt").lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, overload)) = read(line) {
            let function = functions.entry(name).or_insert_with(|| Function { name, overloads: Vec::new() });
            function.overloads.push(overload);
        }
    }
    functions
});

/// `name [.]overload (argument; argument) result`.
fn read(line: &'static str) -> Option<(&'static str, Overload)> {
    let (name, rest) = line.split_once(' ')?;
    let (id, rest) = rest.split_once(' ')?;
    let (args, result) = rest.strip_prefix('(')?.split_once(')')?;
    let member = id.starts_with('.');
    let args: Vec<Type> = args.split(';').filter(|arg| !arg.is_empty()).map(Type::read).collect();
    let result = Type::read(result);
    let mut params = Vec::new();
    args.iter().chain([&result]).for_each(|of| parameters(of, &mut params));
    Some((name, Overload { id: id.strip_prefix('.').unwrap_or(id), member, args, result, params }))
}

fn parameters(of: &Type, found: &mut Vec<Type>) {
    match of {
        Type::Param(_) if !found.contains(of) => found.push(of.clone()),
        Type::List(element) => parameters(element, found),
        Type::Map(both) => {
            parameters(&both.0, found);
            parameters(&both.1, found);
        }
        Type::Opaque(_, of) => of.iter().for_each(|of| parameters(of, found)),
        Type::Type(Some(of)) => parameters(of, found),
        _ => {}
    }
}

/// A function by its name.
pub(crate) fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.get(name)
}
