//! Patches as kubectl sends them, and the law that a two-way diff leads to its target.

use super::*;
use crate::find_kind;
use proptest::prelude::*;
use serde_json::json;

fn apply(kind: (&str, &str), original: &Value, patch: &Value) -> Result<Value, PatchError> {
    strategic_merge(find_kind(kind.0, kind.1).expect("the kind exists"), original.clone(), patch)
}

fn pod(original: Value, patch: Value) -> Value {
    let spec = |spec: Value| json!({"spec": spec});
    let mut merged = apply(("v1", "Pod"), &spec(original), &spec(patch)).expect("the patch fits");
    merged["spec"].take()
}

#[test]
fn containers_merge_by_name() {
    let original = json!({"containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "1"}]});
    assert_eq!(
        pod(original.clone(), json!({"containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "3"}]})),
        json!({"containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "2"}, {"name": "c", "image": "3"}]})
    );
    assert_eq!(
        pod(original.clone(), json!({"containers": [{"name": "a", "$patch": "delete"}]})),
        json!({"containers": [{"name": "b", "image": "1"}]})
    );
    assert_eq!(
        pod(original.clone(), json!({"containers": [{"$patch": "replace"}, {"name": "z"}]})),
        json!({"containers": [{"name": "z"}]})
    );
    assert_eq!(
        pod(
            original,
            json!({"containers": [{"name": "a", "args": null}], "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]})
        ),
        json!({"containers": [{"name": "b", "image": "1"}, {"name": "a", "image": "1"}]})
    );
}

#[test]
fn nested_lists_merge_by_their_own_keys() {
    let original =
        json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}], "ports": [{"containerPort": 80}]}]});
    let patch = json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}],
        "ports": [{"containerPort": 80, "name": "web"}]}]});
    assert_eq!(
        pod(original, patch),
        json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}],
            "ports": [{"containerPort": 80, "name": "web"}]}]})
    );
}

#[test]
fn lists_without_a_key_are_replaced() {
    let original = json!({"tolerations": [{"key": "a"}], "containers": [{"name": "a", "args": ["x", "y"]}]});
    assert_eq!(
        pod(original, json!({"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["z"]}]})),
        json!({"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["z"]}]})
    );
}

#[test]
fn retain_keys_drops_the_other_volume_source() {
    let original = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    let patch = json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}, "$retainKeys": ["name", "hostPath"]}]});
    assert_eq!(pod(original, patch), json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}));
    let strategy = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"type": "Recreate", "$retainKeys": ["type"]}}});
    let merged = apply(("apps/v1", "Deployment"), &strategy, &patch).expect("the patch fits");
    assert_eq!(merged, json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let stray = json!({"spec": {"strategy": {"type": "Recreate", "$retainKeys": []}}});
    let error = apply(("apps/v1", "Deployment"), &strategy, &stray).expect_err("type is not retained");
    assert_eq!(error.to_string(), "spec.strategy.type: is set but not in $retainKeys");
}

#[test]
fn finalizers_merge_as_a_set() {
    let original = json!({"metadata": {"finalizers": ["a", "b"]}});
    let patch = json!({"metadata": {"finalizers": ["c", "a"]}});
    let merged = apply(("v1", "Pod"), &original, &patch).expect("the patch fits");
    assert_eq!(merged, json!({"metadata": {"finalizers": ["c", "a", "b"]}}));
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"]}});
    let merged = apply(("v1", "Pod"), &original, &patch).expect("the patch fits");
    assert_eq!(merged, json!({"metadata": {"finalizers": ["c", "b"]}}));
}

#[test]
fn conditions_of_a_status_merge_by_type() {
    let original = json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "x"}, {"type": "Other", "status": "True"}]}});
    let patch = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let merged = apply(("v1", "Node"), &original, &patch).expect("the patch fits");
    assert_eq!(merged["status"]["conditions"][0], json!({"type": "Ready", "status": "True", "reason": "x"}));
    assert_eq!(merged["status"]["conditions"][1]["type"], "Other");
}

#[test]
fn maps_merge_and_null_deletes() {
    let original = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "data": {"x": "y"}});
    let patch = json!({"metadata": {"labels": {"a": null, "c": "3"}}, "data": {"$patch": "replace", "z": "w"}});
    let merged = apply(("v1", "ConfigMap"), &original, &patch).expect("the patch fits");
    assert_eq!(merged, json!({"metadata": {"labels": {"b": "2", "c": "3"}}, "data": {"z": "w"}}));
}

#[test]
fn what_the_server_added_keeps_its_place() {
    let original = json!({"containers": [{"name": "side"}, {"name": "a"}, {"name": "b"}]});
    let patch = json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "image": "i"}]});
    assert_eq!(
        pod(original, patch),
        json!({"containers": [{"name": "side"}, {"name": "b"}, {"name": "a", "image": "i"}]})
    );
}

/// Fault N28: where new elements and those that only the server has come to stand, as `strategicpatch` places them.
#[test]
fn new_elements_come_first() {
    let names = |list: &[&str]| list.iter().map(|name| json!({"name": name})).collect::<Vec<Value>>();
    for (original, change, order, expected) in [
        (&["a", "b"][..], &["c"][..], None, &["c", "a", "b"][..]),
        (&["a", "b"], &["b", "c"], None, &["a", "b", "c"]),
        (&["a", "b"], &["c", "b"], None, &["c", "a", "b"]),
        (&["a", "b", "c"], &["c", "a"], None, &["b", "c", "a"]),
        (&["a", "s"], &["n"], Some(&["n", "a"][..]), &["n", "a", "s"]),
        (&["s", "a"], &["n"], Some(&["n", "a"]), &["n", "s", "a"]),
        (&["s", "a"], &["n"], Some(&["a", "n"]), &["s", "a", "n"]),
    ] {
        let mut patch = json!({"containers": names(change)});
        if let Some(order) = order {
            patch["$setElementOrder/containers"] = names(order).into();
        }
        let merged = pod(json!({"containers": names(original)}), patch);
        assert_eq!(merged["containers"], json!(names(expected)), "{original:?} + {change:?}, {order:?}");
    }
}

#[test]
fn an_element_with_replace_replaces_the_list() {
    let original = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let patch = json!({"containers": [{"name": "a", "$patch": "replace"}, {"name": "z"}]});
    assert_eq!(pod(original, patch), json!({"containers": [{"name": "z"}]}));
}

#[test]
fn what_does_not_fit_is_refused() {
    let containers = |patch: Value| {
        let original = json!({"spec": {"containers": [{"name": "a"}]}});
        let patch = json!({"spec": {"containers": patch}});
        apply(("v1", "Pod"), &original, &patch).expect_err("the patch does not fit").to_string()
    };
    assert_eq!(containers(json!([{"image": "x"}])), "spec.containers[0]: does not contain the merge key name");
    assert_eq!(containers(json!(["x"])), "spec.containers[0]: expected an object with the merge key name, got \"x\"");
    assert_eq!(
        containers(json!([{"name": "a", "$patch": "burn"}])),
        "spec.containers[0]: unknown $patch \"burn\": one of delete, merge, replace"
    );
    assert_eq!(
        containers(json!([{"name": "a", "$patch": "merge"}])),
        "spec.containers[0]: merging lists cannot yet be specified in the patch"
    );
    let patch = json!({"spec": {"containers": [{"name": "b"}, {"name": "a"}],
        "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}]}});
    let error = apply(("v1", "Pod"), &json!({"spec": {"containers": [{"name": "a"}]}}), &patch).expect_err("no order");
    assert_eq!(error.to_string(), "spec.containers: the order in the patch doesn't match $setElementOrder: \"a\"");
}

/// Some containers: each with a name, maybe an image, some variables.
fn containers() -> impl Strategy<Value = Vec<Value>> {
    let env = proptest::collection::btree_map("[A-C]", "[0-9]", 0..3);
    let one = (proptest::option::of("[a-z]"), env);
    proptest::collection::btree_map("[a-d]", one, 0..4).prop_map(|named| {
        let made = named.into_iter().map(|(name, (image, env))| {
            let env: Vec<Value> = env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            let mut container = json!({"name": name, "env": env});
            if let Some(image) = image {
                container["image"] = image.into();
            }
            container
        });
        made.collect()
    })
}

/// The patch that turns `before` into `after`, both lists of objects with a `name`, as kubectl makes it.
fn diff(field: &str, before: &[Value], after: &[Value]) -> Value {
    let find = |list: &[Value], name: &Value| list.iter().find(|one| one["name"] == *name).cloned();
    let mut elements = Vec::new();
    for old in before.iter().filter(|old| find(after, &old["name"]).is_none()) {
        elements.push(json!({"name": old["name"], "$patch": "delete"}));
    }
    for new in after {
        let change = match find(before, &new["name"]) {
            None => new.clone(),
            Some(old) => changed(&old, new),
        };
        elements.push(change);
    }
    let order: Vec<Value> = after.iter().map(|one| json!({"name": one["name"]})).collect();
    let mut patch = serde_json::Map::new();
    patch.insert(format!("$setElementOrder/{field}"), order.into());
    patch.insert(field.to_owned(), elements.into());
    Value::Object(patch)
}

fn changed(old: &Value, new: &Value) -> Value {
    let mut change = json!({"name": new["name"]});
    if old.get("value") != new.get("value") {
        change["value"] = new["value"].clone();
    }
    if old.get("image") != new.get("image") {
        change["image"] = new.get("image").cloned().unwrap_or_default();
    }
    let list = |value: &Value| value["env"].as_array().cloned().unwrap_or_default();
    if let Value::Object(env) = diff("env", &list(old), &list(new))
        && new.get("env").is_some()
    {
        change.as_object_mut().expect("an object").extend(env);
    }
    change
}

proptest! {
    #[test]
    fn a_two_way_diff_leads_to_its_target(before in containers(), after in containers()) {
        let patch = json!({"spec": diff("containers", &before, &after)});
        let merged = apply(("v1", "Pod"), &json!({"spec": {"containers": before}}), &patch).expect("the diff fits");
        prop_assert_eq!(merged, json!({"spec": {"containers": after}}));
    }

    #[test]
    fn an_empty_patch_changes_nothing(containers in containers()) {
        let original = json!({"spec": {"containers": containers}});
        prop_assert_eq!(apply(("v1", "Pod"), &original, &json!({})).expect("it fits"), original);
    }

    #[test]
    fn applying_a_patch_twice_is_applying_it_once(before in containers(), after in containers()) {
        let patch = json!({"spec": diff("containers", &before, &after)});
        let once = apply(("v1", "Pod"), &json!({"spec": {"containers": before}}), &patch).expect("it fits");
        prop_assert_eq!(apply(("v1", "Pod"), &once, &patch).expect("it fits"), once);
    }
}
