//! Every field of config.json is honoured, or refused in words, or listed here with the reason why it means nothing.
//!
//! Honoured is what changes how a container is meant; that what is meant is done is for the tests of each feature. The fields
//! are those of `config/fields.json`, which the `oci-spec` crate writes and reads too.

use super::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Fields without effect, and why.
const INERT: &[(&str, &str)] = &[
    ("/linux/resources/memory/kernel", "gone from Linux 6; runc ignores it too"),
    ("/linux/resources/memory/useHierarchy", "always so since Linux 5.11"),
    ("/process/commandLine", "for Windows"),
    ("/process/user/username", "for Windows"),
    ("/solaris", "another platform"),
    ("/windows", "another platform"),
    ("/vm", "another platform"),
    ("/zos", "another platform"),
    ("/freebsd", "another platform"),
];

/// A container with everything that other fields need.
fn base() -> Value {
    let kinds = ["mount", "pid", "network", "ipc", "uts", "cgroup", "user", "time"];
    let namespaces: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
    let maps = json!([{"containerID": 0, "hostID": 5, "size": 9}]);
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "root"},
        "mounts": [{"destination": "/t", "type": "tmpfs"}],
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/", "terminal": true},
        "linux": {"namespaces": namespaces, "uidMappings": maps.clone(), "gidMappings": maps},
    })
}

fn put(document: &Value, pointer: &str, value: Value) -> Value {
    let mut document = document.clone();
    let place = pointer.split('/').skip(1).fold(&mut document, |place, name| match name.parse::<usize>() {
        Ok(index) => &mut place[index],
        Err(_) => &mut place[name],
    });
    *place = value;
    document
}

/// How a document is meant, or why it is refused; also as a process that joins, which has fields of its own.
fn meant(document: &Value) -> std::result::Result<String, String> {
    let written: config::Config = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
    let spec = Spec::check("c", Path::new("/b"), &written).map_err(|error| error.to_string())?;
    let joining = written.process.map(|process| Process::check("process", &process, written.linux.as_ref()));
    Ok(format!("{spec:?} {joining:?}"))
}

/// The pointers of all numbers, words and switches in `value`.
fn leaves(value: &Value, pointer: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| leaves(value, &format!("{pointer}/{name}"), into))
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(index, value)| leaves(value, &format!("{pointer}/{index}"), into));
        }
        _ => into.push(pointer.to_owned()),
    }
}

fn another(leaf: &Value) -> Value {
    match leaf {
        Value::Bool(is_on) => json!(!is_on),
        Value::Number(number) if number.as_u64().is_some_and(|number| number > 1) => {
            json!(number.as_u64().unwrap() - 1)
        }
        Value::Number(number) => json!(number.as_i64().unwrap() + 1),
        Value::String(text) => json!(format!("{text}1")),
        other => panic!("{other} is no leaf"),
    }
}

/// Faults N4: each leaf of each field, with another value, means something else.
#[test]
fn every_field_is_honoured_or_refused() {
    let fields: BTreeMap<String, Vec<Value>> = serde_json::from_str(include_str!("config/fields.json")).unwrap();
    let mut silent = Vec::new();
    for (pointer, values) in fields {
        let mut tried = 0;
        for value in values {
            let document = put(&base(), &pointer, value.clone());
            // What is refused with its sample value is refused in words.
            let Ok(before) = meant(&document) else { continue };
            let mut pointers = Vec::new();
            leaves(&value, &pointer, &mut pointers);
            for leaf in pointers {
                tried += 1;
                let changed = put(&document, &leaf, another(document.pointer(&leaf).unwrap()));
                if meant(&changed).is_ok_and(|after| after == before) {
                    silent.push(leaf);
                }
            }
        }
        if tried == 0 {
            silent.push(format!("{pointer} (no value of it is taken)"));
        }
    }
    assert_eq!(silent, Vec::<String>::new(), "fields that are passed over");
}

#[test]
fn what_is_inert_is_what_the_list_says() {
    let before = meant(&base()).unwrap();
    for (pointer, reason) in INERT {
        for value in [json!(7), json!("x"), json!({"a": true})] {
            assert_eq!(meant(&put(&base(), pointer, value)), Ok(before.clone()), "{pointer}: {reason}");
        }
    }
}
