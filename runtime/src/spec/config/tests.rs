//! Our reading against that of the `oci-spec` crate, and the paths of what is refused.

use super::*;
use oci_spec::runtime as oci;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is left when nothing is said: `null`, and what stands for it.
fn simplify(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.values_mut().for_each(simplify);
        fields.retain(|_, value| !value.is_null() && *value != json!([]) && *value != json!({}));
    }
    if let Value::Array(values) = value {
        values.iter_mut().for_each(simplify);
        // Theirs are sets without an order.
        if values.iter().all(|value| value.as_str().is_some_and(|text| text.starts_with("CAP_"))) {
            values.sort_by_key(Value::to_string);
        }
    }
}

/// Reads `text` with our types and with theirs; gives both back as JSON.
fn both(text: &str) -> (Value, Value) {
    let ours: Config = parse("", "x", text.as_bytes()).unwrap();
    let theirs: oci::Spec = serde_json::from_str(text).unwrap();
    let (mut ours, mut theirs) = (json!(ours), json!(theirs));
    simplify(&mut ours);
    simplify(&mut theirs);
    (ours, theirs)
}

#[test]
fn the_crates_own_default_is_read_alike() {
    let (ours, theirs) = both(&json!(oci::Spec::default()).to_string());
    assert_eq!(ours, theirs);
    let (ours, theirs) = both(&json!(oci::Spec::rootless(1000, 1000)).to_string());
    assert_eq!(ours, theirs);
}

/// Fields of the whole document by pointer (RFC 6901), each with values that may stand there.
fn fields() -> BTreeMap<String, Vec<Value>> {
    serde_json::from_str(include_str!("fields.json")).unwrap()
}

fn put(document: &mut Value, pointer: &str, value: Value) {
    let place = pointer.split('/').skip(1).fold(document, |place, name| &mut place[name]);
    *place = value;
}

proptest! {
    /// Every field is there or not, with one of its values; theirs writes it, ours reads the same.
    #[test]
    fn what_the_crate_writes_is_read_alike(choices in proptest::collection::vec(0..4_usize, fields().len())) {
        let mut document = json!({"ociVersion": "1.3.0", "process": {"cwd": "/", "user": {"uid": 0, "gid": 0}}});
        for ((pointer, values), choice) in fields().into_iter().zip(choices) {
            if let Some(value) = values.into_iter().nth(choice) {
                put(&mut document, &pointer, value);
            }
        }
        let theirs: oci::Spec = serde_json::from_value(document.clone()).unwrap();
        let (ours, theirs) = both(&json!(theirs).to_string());
        prop_assert_eq!(&ours, &theirs);
        simplify(&mut document);
        prop_assert_eq!(&ours, &document);
    }

    /// Whatever field is of the wrong type, it is the one that is named.
    #[test]
    fn a_wrong_type_anywhere_is_named(index in 0..fields().len(), compact: bool) {
        let (pointer, _) = fields().into_iter().nth(index).unwrap();
        let mut document = json!({"ociVersion": "1.3.0", "process": {"cwd": "/"}});
        put(&mut document, &pointer, json!(3.5));
        let text = if compact { document.to_string() } else { format!("{document:#}") };
        let error = parse::<Config>("", "x", text.as_bytes()).unwrap_err().to_string();
        let path = pointer.trim_start_matches('/').replace('/', ".");
        prop_assert!(error.starts_with(&format!("{path}: invalid type: floating point")), "{}", error);
    }
}

fn refusal(change: impl FnOnce(&mut Value)) -> String {
    let mut json = json!({"ociVersion": "1.2.0", "process": {"cwd": "/"}, "linux": {"resources": {}},
        "mounts": [{"destination": "/a"}, {"destination": "/b", "options": ["ro"]}]});
    change(&mut json);
    parse::<Config>("", "config.json", format!("{json:#}").as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_wrong_type_is_refused_by_path() {
    assert_eq!(
        refusal(|c| c["linux"]["resources"]["memory"] = json!({"limit": "1G"})),
        "linux.resources.memory.limit: invalid type: string \"1G\", expected i64"
    );
    assert!(
        refusal(|c| c["mounts"][1]["options"] = json!(["ro", []])).starts_with("mounts[1].options[1]: invalid type")
    );
    assert!(refusal(|c| c["mounts"][1]["destination"] = json!({})).starts_with("mounts[1].destination: "));
    assert!(refusal(|c| c["process"]["user"] = json!({"uid": -1})).starts_with("process.user.uid: invalid value"));
    assert!(
        refusal(|c| c["linux"]["seccomp"] = json!({"defaultAction": "NO"}))
            .starts_with("linux.seccomp.defaultAction: unknown")
    );
    assert_eq!(refusal(|c| c["process"] = json!({})), "process: missing field `cwd`");
    assert!(
        refusal(|c| c["linux"]["resources"]["unified"] = json!({"memory.high": 1}))
            .starts_with("linux.resources.unified.memory.high: ")
    );
}

#[test]
fn a_part_knows_where_it_stands() {
    let text = |json: &[u8]| parse::<Resources>("linux.resources", "-", json).unwrap_err().to_string();
    assert_eq!(
        text(br#"{"pids": {"limit": true}}"#),
        "linux.resources.pids.limit: invalid type: boolean `true`, expected i64"
    );
    assert!(text(b"7").starts_with("linux.resources: invalid type"));
    assert!(text(b"{").starts_with("read -: EOF while parsing an object at line 1"));
}

#[test]
fn unknown_properties_and_null_are_nothing() {
    let json = json!({"ociVersion": "1.3.0", "x": {"y": 1}, "mounts": null, "linux": {"devices": null, "z": []}});
    let config: Config = parse("", "x", json.to_string().as_bytes()).unwrap();
    assert!(config.mounts.is_none() && config.linux.unwrap().devices.is_none());
}
