//! Bytes and objects by chance, most of them damaged a little: each is read or refused, nothing panics, and what was read in one form is the
//! same in the others. `skiff_harness::chance` says how often and how to begin where a failure was.

use serde_json::{Value, json};
use skiff_harness::chance::{Chance, runs};
use skiff_schema::{
    Author, FieldValidation, Resource, apply, apply_defaults, cbor, decode, decode_value, find_kind, protobuf,
    strategic_merge, track, validate_create, validate_update,
};
use std::sync::Arc;

const OBJECTS: &str = include_str!("../../tests/truth/objects.jsonl");
const AUTHOR: Author<'static> = Author { manager: "m", part: "", time: "2026-01-01T00:00:00Z" };

/// Objects of every kind, as clients write them.
fn corpus() -> Vec<(Arc<Resource>, Value)> {
    let lines = OBJECTS.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let objects = lines.map(|mut line| line["object"].take()).filter_map(|object| {
        let (version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
        Some((find_kind(version, kind)?.clone(), object))
    });
    let corpus: Vec<_> = objects.collect();
    assert!(corpus.len() > 40, "{} objects", corpus.len());
    corpus
}

fn validation(chance: &mut Chance) -> FieldValidation {
    *chance.pick(&[FieldValidation::Strict, FieldValidation::Warn, FieldValidation::Ignore])
}

/// What is read is read again as the same, and defaults and rules have an answer to it.
fn live(resource: &Resource, mut object: Value, chance: &Chance) {
    let again = decode_value(resource, object.clone(), &[], FieldValidation::Strict);
    assert_eq!(again.map(|decoded| decoded.object), Ok(object.clone()), "{chance}");
    apply_defaults(resource, &mut object);
    let _refused_or_not = validate_create(resource, &object);
}

#[test]
fn damaged_json_is_read_or_refused() {
    let (corpus, mut chance) = (corpus(), Chance::seeded("json"));
    for _ in 0..runs() {
        let (resource, object) = chance.pick(&corpus);
        let mut bytes = object.to_string().into_bytes();
        chance.damage(&mut bytes);
        let how = validation(&mut chance);
        if let Ok(decoded) = decode(resource, &bytes, how) {
            live(resource, decoded.object, &chance);
        }
    }
}

#[test]
fn disturbed_objects_are_read_or_refused() {
    let (corpus, mut chance) = (corpus(), Chance::seeded("trees"));
    let mut read = 0;
    for _ in 0..runs() {
        let (resource, object) = chance.pick(&corpus);
        let mut other = object.clone();
        for _ in 0..=chance.below(3) {
            chance.disturb(&mut other);
        }
        let Ok(decoded) = decode_value(resource, other, &[], FieldValidation::Warn) else { continue };
        read += 1;
        let _refused_or_not = validate_update(resource, &decoded.object, object, None);
        live(resource, decoded.object, &chance);
    }
    assert!(read > runs() / 20, "{read} of {} are read, {chance}", runs());
}

#[test]
fn damaged_protobuf_is_read_or_refused() {
    let (corpus, mut chance) = (corpus(), Chance::seeded("protobuf"));
    for _ in 0..runs() {
        let (resource, object) = chance.pick(&corpus);
        if !protobuf::knows(&resource.api_version(), &resource.kind) {
            continue;
        }
        let decoded = decode_value(resource, object.clone(), &[], FieldValidation::Ignore).expect("of the corpus");
        let mut bytes = protobuf::from_json(&decoded.object).expect("of the corpus");
        chance.damage(&mut bytes);
        let Ok(read) = protobuf::to_json(&bytes) else { continue };
        if let Ok(decoded) = decode_value(resource, read, &[], FieldValidation::Warn) {
            live(resource, decoded.object, &chance);
        }
    }
}

#[test]
fn damaged_cbor_is_read_or_refused() {
    let (corpus, mut chance) = (corpus(), Chance::seeded("cbor"));
    for _ in 0..runs() {
        let (resource, object) = chance.pick(&corpus);
        let mut bytes = cbor::from_json(object).expect("of the corpus");
        assert_eq!(cbor::to_json(&bytes).as_ref().ok(), Some(object), "{chance}");
        chance.damage(&mut bytes);
        let Ok(read) = cbor::to_json(&bytes) else { continue };
        if let Ok(decoded) = decode_value(resource, read, &[], FieldValidation::Warn) {
            live(resource, decoded.object, &chance);
        }
    }
}

#[test]
fn disturbed_patches_are_merged_or_refused() {
    let (corpus, mut chance) = (corpus(), Chance::seeded("patches"));
    for _ in 0..runs() {
        let (resource, object) = chance.pick(&corpus);
        let mut patch = object.clone();
        for _ in 0..=chance.below(4) {
            chance.disturb(&mut patch);
            if chance.one_in(3) {
                direct(&mut patch, &mut chance);
            }
        }
        if resource.is_custom() {
            continue;
        }
        if let Ok(merged) = strategic_merge(resource, object.clone(), &patch) {
            let _read_or_refused = decode_value(resource, merged, &[], FieldValidation::Warn);
        }
    }
}

/// Puts a directive of strategic merges somewhere.
fn direct(patch: &mut Value, chance: &mut Chance) {
    let key =
        *chance.pick(&["$patch", "$retainKeys", "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers"]);
    let value =
        chance.pick(&[json!("delete"), json!("replace"), json!("merge"), json!(["a"]), json!([{"name": "a"}])]).clone();
    let place = match chance.below(3) {
        0 => Some(patch),
        1 => patch.get_mut("spec"),
        _ => patch.get_mut("metadata"),
    };
    if let Some(fields) = place.and_then(Value::as_object_mut) {
        fields.insert(key.to_owned(), value);
    }
}

/// Sets of fields, kept in `managedFields`: disturbed ones are forgotten or refused, and what is applied is applied twice alike.
#[test]
fn disturbed_field_sets_are_read_or_refused() {
    let (corpus, mut chance) = (corpus(), Chance::seeded("fields"));
    for _ in 0..runs() / 4 {
        let (resource, object) = chance.pick(&corpus);
        let Ok(applied) = apply(resource, None, object, &AUTHOR, true) else { continue };
        let mut live = applied.object;
        live["metadata"]["managedFields"] = applied.managed_fields.unwrap_or_default();
        if chance.one_in(2) {
            chance.disturb(&mut live["metadata"]["managedFields"]);
        }
        let mut config = object.clone();
        chance.disturb(&mut config);
        let other = Author { manager: "other", ..AUTHOR };
        let force = chance.one_in(2);
        let once = apply(resource, Some(&live), &config, &other, force).map(|applied| applied.object);
        let twice = apply(resource, Some(&live), &config, &other, force).map(|applied| applied.object);
        assert_eq!(once.as_ref().ok(), twice.as_ref().ok(), "{chance}");
        let mut new = live.clone();
        chance.disturb(&mut new["spec"]);
        let _fields = track(resource, Some(&live), &new, None, &other);
    }
}
