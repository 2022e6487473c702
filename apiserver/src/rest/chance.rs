//! Selectors, JSON Patches, paths and YAML by chance: each is read or refused, nothing panics, and what is read means something.
//! `skiff_harness::chance` says how often and how to begin where a failure was.

use super::path::{parse, percent_decode};
use crate::operations;
use crate::registry::selector::Selection;
use crate::yaml;
use json_patch::PatchOperation;
use serde_json::{Value, json};
use skiff_harness::chance::{Chance, runs};

const LABELS: [&str; 8] = [
    "a=b",
    "a==b,c!=d",
    "example.com/name in (a,b), !x",
    "a notin (b),c",
    "a,b,c=",
    "tier>5,tier<9",
    "x in ()",
    " spaces = around ",
];
const FIELDS: [&str; 5] = [
    "metadata.name=a",
    "status.phase!=Running,spec.nodeName=n",
    "metadata.namespace==b",
    r"metadata.name=a\,b\=c\\",
    "spec.unknown=1",
];

#[test]
fn damaged_selectors_are_read_or_refused() {
    let mut chance = Chance::seeded("selectors");
    let catalog = skiff_schema::Catalog::builtin();
    let pods = catalog.resources().iter().find(|resource| resource.subresource("exec").is_some()).expect("served");
    let pod = json!({"metadata": {"name": "a", "namespace": "b", "labels": {"a": "b", "tier": "7"}}, "status": {"phase": "Running"}});
    let mut read = 0;
    for _ in 0..runs() {
        let [labels, fields] = [*chance.pick(&LABELS), *chance.pick(&FIELDS)].map(|text| {
            let mut bytes = text.as_bytes().to_vec();
            if !chance.one_in(3) {
                chance.damage(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let Ok(selection) = Selection::parse(pods, &labels, &fields) else { continue };
        read += 1;
        let once = selection.selects_value(pods, &pod);
        assert_eq!(once, selection.selects_value(pods, &pod), "{labels} {fields} {chance}");
        let _asked = (selection.requirements(), selection.single_name(), selection.equal_field(), selection.value());
    }
    assert!(read > runs() / 50, "{read} of {} are read", runs());
}

#[test]
fn disturbed_json_patches_are_applied_or_refused() {
    let mut chance = Chance::seeded("operations");
    let object = json!({"metadata": {"name": "a", "labels": {"a": "b"}, "finalizers": ["x", "y"]}, "spec": {"list": [1, {"deep": [[]]}, null]}});
    let patch = json!([{"op": "test", "path": "/metadata/name", "value": "a"}, {"op": "add", "path": "/spec/list/-", "value": {"b": 1}},
        {"op": "move", "from": "/metadata/labels", "path": "/spec/moved"}, {"op": "copy", "from": "/spec/list/1", "path": "/spec/list/0"},
        {"op": "replace", "path": "/metadata/finalizers/0", "value": "z"}, {"op": "remove", "path": "/metadata/finalizers/1"}]);
    let mut read = 0;
    for _ in 0..runs() {
        let mut other = patch.clone();
        for _ in 0..chance.below(3) {
            chance.disturb(&mut other);
        }
        let mut bytes = other.to_string().into_bytes();
        if chance.one_in(2) {
            chance.damage(&mut bytes);
        }
        let Ok(operations) = serde_json::from_slice::<Vec<PatchOperation>>(&bytes) else { continue };
        read += 1;
        let mut next = object.clone();
        let _applied_or_refused = operations::apply(&mut next, &operations);
    }
    assert!(read > runs() / 50, "{read} of {} are read", runs());
}

#[test]
fn damaged_paths_and_yaml_are_read_or_refused() {
    let mut chance = Chance::seeded("paths");
    let catalog = skiff_schema::Catalog::builtin();
    for _ in 0..runs() {
        let mut path = chance
            .pick(&[
                "/api/v1/namespaces/a/pods/b/log",
                "/apis/apps/v1/deployments",
                "/api/v1/nodes/n/proxy/x%2fy?z",
                "/apis/%61pps/v1//namespaces/",
            ])
            .as_bytes()
            .to_vec();
        chance.damage(&mut path);
        let path = String::from_utf8_lossy(&path).into_owned();
        let _read_or_refused = (parse(catalog, &path).is_ok(), percent_decode(&path));
        let mut text = b"a: {b: [1, &x 2, *x], c: |\n  text\n}\n? d\n: !!int 3\na: again\n".to_vec();
        chance.damage(&mut text);
        let _told = yaml::repeated(&text);
        let _read_or_refused = serde_norway::from_slice::<Value>(&text).is_ok();
    }
}
