//! Short ways to look into JSON objects, for the rules over them. An absent field, `null` and `""` all mean "not given".

use serde_json::{Map, Value};

/// The text of a field; empty when it is absent.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The elements of a list field; none when it is absent.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// The entries of a map field; none when it is absent.
pub(crate) fn entries<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value[key].as_object().into_iter().flatten()
}

/// Whether a field is given.
pub(crate) fn given(value: &Value, key: &str) -> bool {
    !is_unset(&value[key])
}

/// Whether a value is absent, `null` or `""`.
pub(crate) fn is_unset(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

/// The object in a field, made if it is absent; `None` when the field, or what holds it, is no object.
pub(crate) fn object_mut<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    let field = value.as_object_mut()?.entry(key).or_insert(Value::Null);
    if field.is_null() {
        *field = Value::Object(Map::new());
    }
    Some(field).filter(|field| field.is_object())
}

/// The value of a field that is there.
pub(crate) fn present_mut<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    value.get_mut(key).filter(|field| !field.is_null())
}

/// The elements of a list field; none when it is absent.
pub(crate) fn list_mut<'a>(value: &'a mut Value, key: &str) -> &'a mut [Value] {
    value.get_mut(key).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

/// Sets a field that is not given; does nothing to what is no object.
pub(crate) fn default(value: &mut Value, key: &str, to: impl Into<Value>) {
    if let Some(map) = value.as_object_mut()
        && map.get(key).is_none_or(is_unset)
    {
        map.insert(key.to_owned(), to.into());
    }
}

/// Sets a field that is absent or `null`: what Go keeps behind a pointer may be given and empty.
pub(crate) fn default_absent(value: &mut Value, key: &str, to: impl Into<Value>) {
    if let Some(map) = value.as_object_mut()
        && map.get(key).is_none_or(Value::is_null)
    {
        map.insert(key.to_owned(), to.into());
    }
}

/// Sets a field that is not given or 0: numbers that Go keeps without a pointer.
pub(crate) fn default_number(value: &mut Value, key: &str, to: i64) {
    if value.get(key).and_then(Value::as_i64) == Some(0) {
        value[key] = Value::Null;
    }
    default(value, key, to);
}
