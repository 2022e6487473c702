//! The field that a rule complains about (`fieldPath`): `.spec.names['a/b']`, relative to the schema that has the rule.

use serde_json::Value;
use std::fmt::Write;

/// The path of fields and keys as errors name it, `spec.names[a/b]`; `None`: it is no such path, or there is no such field.
pub(super) fn normalized(path: &str, schema: &Value) -> Option<String> {
    let mut tokens = Tokens(path);
    let (mut place, mut said) = (schema, String::new());
    while let Some(token) = tokens.next() {
        let name = match token {
            "[" => {
                let name = unquoted(tokens.next()?)?;
                tokens.next().filter(|token| *token == "]")?;
                name
            }
            "." => tokens.next()?.to_owned(),
            _ => return None,
        };
        if let Some(properties) = place["properties"].as_object() {
            place = properties.get(&name)?;
            let dot = if said.is_empty() { "" } else { "." };
            write!(said, "{dot}{name}").ok()?;
        } else {
            place = Some(&place["additionalProperties"]).filter(|others| others.is_object())?;
            write!(said, "[{name}]").ok()?;
        }
    }
    Some(said)
}

/// Points and brackets by themselves, quoted texts with their quotes, and what is between them.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let first = self.0.chars().next()?;
        let end = match first {
            '.' | '[' | ']' => 1,
            '\'' => {
                let bytes = self.0.as_bytes();
                let close = (1..bytes.len()).find(|at| bytes[*at] == b'\'' && bytes[at - 1] != b'\\');
                close.map_or(bytes.len(), |close| close + 1)
            }
            _ => self.0.find(['.', '[', ']']).unwrap_or(self.0.len()),
        };
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(token)
    }
}

/// What stands between single quotes, with its escapes read.
fn unquoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
    let mut read = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        read.push(match letter {
            '\\' => match letters.next() {
                None => '\\',
                Some('a') => '\x07',
                Some('b') => '\x08',
                Some('f') => '\x0c',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('v') => '\x0b',
                Some(same @ ('\'' | '\\')) => same,
                Some(_) => return None,
            },
            letter => letter,
        });
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn paths_are_read_as_kubernetes_reads_them() {
        let schema = json!({"type": "object", "properties": {
            "foo": {"type": "object", "properties": {"bar.34": {"type": "string"}, "a'b": {"type": "string"}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"x": {"type": "string"}}}},
            "list": {"type": "array", "items": {"type": "string"}}}});
        for (path, wanted) in [
            (".foo", Some("foo")),
            ("['foo']['bar.34']", Some("foo.bar.34")),
            (".foo['bar.34']", Some("foo.bar.34")),
            (".foo['a\\'b']", Some("foo.a'b")),
            (".map.any.x", Some("map[any].x")),
            (".map['a/b'].x", Some("map[a/b].x")),
            (".map", Some("map")),
            ("foo", None),
            (".gone", None),
            (".foo.bar.34", None),
            (".list[0]", None),
            (".foo[", None),
            (".foo['", None),
            (".foo['bar.34'", None),
            (".foo['b\\q']", None),
            (".", None),
        ] {
            assert_eq!(normalized(path, &schema).as_deref(), wanted, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read(path in r"[.\[\]'\\a-z]{0,12}") {
            let schema = json!({"properties": {"a": {"additionalProperties": {"properties": {"b": {}}}}}});
            let _ = normalized(&path, &schema);
        }
    }
}
