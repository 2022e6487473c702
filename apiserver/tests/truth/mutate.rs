//! Changes of a valid object that make another one, mostly a broken one: a field less, more, of another type, of a strange value.

use crate::schema::{Schemas, pick};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

/// A place in an object.
struct Place<'a> {
    pointer: String,
    key: String,
    value: &'a Value,
    schema: &'a Value,
}

/// Changes `object` at one place, now and then at two.
pub(crate) fn change(object: &Value, schemas: &Schemas, root: &Value, random: &mut StdRng) -> Vec<Value> {
    let mut places = Vec::new();
    walk(object, schemas, root, "", "", &mut places);
    // The root, its kind and version are asked about elsewhere; metadata is the same for all kinds.
    places.retain(|place| !matches!(&*place.pointer, "" | "/apiVersion" | "/kind" | "/metadata" | "/metadata/name"));
    let body: Vec<&Place<'_>> = places.iter().filter(|place| !place.pointer.starts_with("/metadata/")).collect();
    let mut change = Vec::new();
    for _ in 0..(if random.random_ratio(1, 12) { 2 } else { 1 }) {
        let grown = random.random_ratio(1, 3).then(|| grow(object, schemas, root, random)).flatten();
        change.extend(grown.or_else(|| {
            let all = !body.is_empty() && random.random_ratio(9, 10);
            let place = if all {
                body[random.random_range(0..body.len())]
            } else {
                places.get(random.random_range(0..places.len().max(1)))?
            };
            Some(at(place, random))
        }));
    }
    change
}

fn walk<'a>(
    value: &'a Value,
    schemas: &'a Schemas,
    schema: &'a Value,
    pointer: &str,
    key: &str,
    places: &mut Vec<Place<'a>>,
) {
    places.push(Place { pointer: pointer.to_owned(), key: key.to_owned(), value, schema });
    let mut descend = |key: &str, value: &'a Value| {
        let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
        walk(value, schemas, schemas.member(schema, key), &pointer, key, places);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| descend(key, value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| descend(&index.to_string(), value)),
        _ => {}
    }
}

/// What a change does not add: there are cases of their own for it, or a dry run is not asked about it.
const LEFT_OUT: &[&str] = &["managedFields", "status", "resourceVersion", "selfLink"];

/// Adds a field that the schema has and the object has not, or one that nobody knows.
fn grow(object: &Value, schemas: &Schemas, root: &Value, random: &mut StdRng) -> Option<Value> {
    let mut places = Vec::new();
    walk(object, schemas, root, "", "", &mut places);
    places.retain(|place| place.schema["properties"].is_object() && place.value.is_object());
    let place = &places[random.random_range(0..places.len())];
    let pointer = &place.pointer;
    if random.random_ratio(1, 12) {
        return Some(json!({"op": "add", "path": format!("{pointer}/bogus"), "value": 1}));
    }
    let missing: Vec<(&String, &Value)> = place.schema["properties"]
        .as_object()?
        .iter()
        .filter(|(key, _)| place.value.get(*key).is_none() && !LEFT_OUT.contains(&&***key))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let (key, schema) = missing[random.random_range(0..missing.len())];
    let value = schemas.value(schema, key, 2, random);
    Some(json!({"op": "add", "path": format!("{pointer}/{key}"), "value": value}))
}

/// Removes or replaces what is at a place.
fn at(place: &Place<'_>, random: &mut StdRng) -> Value {
    let path = &place.pointer;
    if random.random_ratio(1, 5) {
        return json!({"op": "remove", "path": path});
    }
    if random.random_ratio(1, 15) {
        let other =
            pick(random, &[json!("text"), json!(7), json!(true), json!([]), json!({}), json!(null), json!(1.5)]);
        return json!({"op": "replace", "path": path, "value": other});
    }
    let value = match place.value {
        Value::String(text) => word(text, place, random),
        Value::Number(_) => pick(
            random,
            &[json!(-1), json!(0), json!(1), json!(2), json!(7), json!(101), json!(65_536), json!(3_000_000_000_u64)],
        ),
        Value::Bool(flag) => json!(!flag),
        Value::Array(items) => match items.first() {
            Some(first) if random.random::<bool>() => items.iter().chain([first]).cloned().collect(),
            _ => json!([]),
        },
        _ => json!({}),
    };
    json!({"op": "replace", "path": path, "value": value})
}

fn word(text: &str, place: &Place<'_>, random: &mut StdRng) -> Value {
    if let Some(words) = place.schema["enum"].as_array()
        && random.random::<bool>()
    {
        return pick(random, words);
    }
    let fitting = match &*place.key {
        key if key.ends_with("IP") || text.parse::<std::net::IpAddr>().is_ok() => {
            vec![json!("127.0.0.1"), json!("300.1.1.1"), json!("fd00::1"), json!("010.0.0.1"), json!("::")]
        }
        _ if text.contains("/") && text.as_bytes()[0].is_ascii_digit() => {
            vec![json!("10.0.0.0/33"), json!("10.0.0.1/8"), json!("fd00::/64"), json!("x")]
        }
        _ if text.starts_with(|first: char| first.is_ascii_digit()) => {
            vec![json!("-1"), json!("0"), json!("1.5"), json!("101%"), json!("2000m"), json!("1e3"), json!("x")]
        }
        _ => vec![],
    };
    let mut words = vec![
        json!(""),
        json!("Upper"),
        json!("-bad-"),
        json!("a.b"),
        json!("a/b"),
        json!("a_b"),
        json!("é"),
        json!("x".repeat(64)),
        json!("x".repeat(254)),
        json!("with space"),
        json!(".."),
    ];
    if !fitting.is_empty() && random.random_ratio(2, 3) {
        words = fitting;
    }
    pick(random, &words)
}
