//! What a value is to server-side apply: one thing, or one with parts that have owners of their own.

use super::fields::Element;
use crate::node::{ListType, Node, Schema, Shape, Struct, StructId, Unknown};
use serde_json::Value;

/// The type of a value: of a place in a schema, or taken from the value itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Type<'s> {
    Struct(StructId),
    Node(&'s Node),
    /// Anything: maps have parts, everything else is one thing.
    Any,
}

/// What a value of a type is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'s> {
    /// One thing, with one owner.
    Leaf,
    /// A list of scalars.
    Set,
    /// A list of elements that are told apart by keys.
    List(&'s [Box<str>], &'s Node),
    /// Fields that are known by name.
    Struct(&'s Struct),
    /// Keys that are not known before; the type of their values.
    Map(Type<'s>),
}

impl<'s> Type<'s> {
    pub(super) fn root(schema: &Schema) -> Self {
        Self::Struct(schema.root_id())
    }

    /// What `value` of this type is. A null is whatever the type is.
    pub(super) fn form(self, schema: &'s Schema, value: &Value) -> Form<'s> {
        let node = match self {
            Self::Any if value.is_object() => return Form::Map(Self::Any),
            Self::Any => return Form::Leaf,
            Self::Struct(id) => return of_struct(schema.get(id), value),
            Self::Node(node) => node,
        };
        let merge = node.merge.as_deref();
        let atomic_map = merge.is_some_and(|merge| merge.atomic_map);
        // What a field says of its map is stronger than what the struct says.
        let granular = merge.is_some_and(|merge| merge.granular_map);
        match &node.shape {
            Shape::Any => Self::Any.form(schema, value),
            Shape::Struct(_) | Shape::Map(_) | Shape::Either(..) if atomic_map => Form::Leaf,
            Shape::Struct(id) if granular && is_struct(value) => Form::Struct(schema.get(*id)),
            Shape::Struct(id) => of_struct(schema.get(*id), value),
            Shape::Either(id, _) if value.is_object() => of_struct(schema.get(*id), value),
            Shape::Either(_, other) => Self::Node(other).form(schema, value),
            Shape::Map(inner) if value.is_object() || value.is_null() => Form::Map(Self::Node(inner)),
            Shape::List(inner) if value.is_array() || value.is_null() => match merge.map(|merge| &merge.list) {
                Some(ListType::Set) => Form::Set,
                Some(ListType::Map(keys)) => Form::List(keys, inner),
                _ => Form::Leaf,
            },
            _ => Form::Leaf,
        }
    }
}

fn of_struct<'s>(known: &'s Struct, value: &Value) -> Form<'s> {
    if known.atomic || !is_struct(value) { Form::Leaf } else { Form::Struct(known) }
}

fn is_struct(value: &Value) -> bool {
    value.is_object() || value.is_null()
}

/// The type of a struct's field. `None`: there is no such field.
pub(super) fn field<'s>(known: &'s Struct, name: &str) -> Option<Type<'s>> {
    match known.field(name) {
        Some(field) => Some(Type::Node(&field.node)),
        None => (known.unknown == Unknown::Keep).then_some(Type::Any),
    }
}

/// How an element of a list with keys is told apart.
pub(super) fn keyed(schema: &Schema, keys: &[Box<str>], inner: &Node, item: &Value) -> Result<Element, String> {
    let Some(fields) = item.as_object() else {
        let what = if item.is_null() { "a null element" } else { "non-map elements" };
        return Err(format!("associative list with keys may not have {what}"));
    };
    let known = schema.struct_of(inner);
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let default = || known.and_then(|known| known.field(key)).and_then(|field| field.node.default.as_deref());
        if let Some(value) = fields.get(&**key).or_else(default) {
            found.push((key.clone(), value.clone()));
        }
    }
    if found.is_empty() {
        let names: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values \
             for any key fields)",
            names.join(" ")
        ));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Element::Key(found))
}

/// How an element of a set is told apart.
pub(super) fn scalar(item: &Value) -> Result<Element, String> {
    match item {
        Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
        Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
        item => Ok(Element::Value(item.clone())),
    }
}

/// How elements of a list are told apart, in its order.
pub(super) fn elements<'v>(
    schema: &Schema,
    form: Form<'_>,
    list: Option<&'v Value>,
) -> Vec<(Result<Element, String>, &'v Value)> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    let element = |item: &Value| match form {
        Form::List(keys, inner) => keyed(schema, keys, inner, item),
        _ => scalar(item),
    };
    items.map(|item| (element(item), item)).collect()
}

/// The type of a list's elements.
pub(super) fn inner(form: Form<'_>) -> Type<'_> {
    match form {
        Form::List(_, inner) => Type::Node(inner),
        _ => Type::Any,
    }
}
