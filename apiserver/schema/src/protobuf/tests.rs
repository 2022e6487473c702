//! Messages written by hand, and bytes that are none. Real ones come from kubectl, in `tests/kubectl.rs`.

use super::*;
use proptest::prelude::*;
use serde_json::json;

/// A length-delimited field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("short messages only");
    assert!(length < 0x80 && number < 16, "one byte each");
    [&[number << 3 | 2, length], bytes].concat()
}

fn varint(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &type_meta), field(2, raw)].concat()
}

#[test]
fn a_config_map_becomes_json() {
    let metadata = [field(1, b"c"), field(3, b""), field(8, b""), varint(7, 0)].concat();
    let data = [field(1, b"k"), field(2, b"v")].concat();
    let raw = [field(1, &metadata), field(2, &data), varint(4, 0)].concat();
    assert_eq!(
        to_json(&body("v1", "ConfigMap", &raw)),
        // Zero values of the metadata are not given; `immutable` is a pointer in Go, so false was said.
        Ok(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}, "immutable": false})
        )
    );
}

#[test]
fn embedded_messages_and_special_scalars_become_json() {
    let quantity = field(1, b"10m");
    let limits = [field(1, b"cpu"), field(2, &quantity)].concat();
    let port = [varint(1, 1), field(3, b"web")].concat();
    let get = field(2, &port);
    let probe = [field(1, &field(2, &get)), varint(3, 5)].concat();
    let container = [field(1, b"c"), field(2, b"i"), field(8, &field(1, &limits)), field(10, &probe)].concat();
    let volume = [field(1, b"v"), field(2, &field(2, &[]))].concat();
    let spec = [field(1, &volume), field(2, &container), varint(11, 1)].concat();
    let pod = to_json(&body("v1", "Pod", &field(2, &spec))).expect("a pod");
    assert_eq!(
        pod["spec"],
        json!({"volumes": [{"name": "v", "emptyDir": {}}], "hostNetwork": true, "containers": [{"name": "c", "image": "i",
            "resources": {"limits": {"cpu": "10m"}},
            "livenessProbe": {"httpGet": {"port": "web"}, "timeoutSeconds": 5}}]})
    );
}

/// Fault N18: typed clients send DeleteOptions as a kind of the group that they delete from.
#[test]
fn delete_options_are_read_in_every_version() {
    let preconditions = field(1, b"u");
    let raw = [varint(1, 0), field(2, &preconditions), field(4, b"Orphan")].concat();
    for version in ["v1", "meta.k8s.io/v1", "apps/v1", "batch/v1", "example.com/v3"] {
        let options = to_json(&body(version, "DeleteOptions", &raw)).expect("options");
        assert_eq!(
            options,
            json!({"apiVersion": version, "kind": "DeleteOptions", "gracePeriodSeconds": 0,
                "preconditions": {"uid": "u"}, "propagationPolicy": "Orphan"})
        );
    }
}

#[test]
fn what_is_no_such_body_is_refused() {
    assert_eq!(to_json(b"{}"), Err(ProtobufError::Magic));
    let unknown = to_json(&body("v1", "Nothing", &[]));
    assert_eq!(
        unknown.map_err(|it| it.to_string()),
        Err("no kind \"Nothing\" is registered for version \"v1\"".to_owned())
    );
    assert_eq!(to_json(&body("v1", "Pod", &[0x0a, 5, 1])), Err(ProtobufError::Malformed("it ends too early")));
}

#[test]
fn what_is_written_reads_the_same() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "b", "c": ""}, "generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z",
            "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}, "time": "2026-01-02T03:04:05Z"}]},
        "spec": {"priority": -5, "hostNetwork": true, "automountServiceAccountToken": false,
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}],
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "10m"}},
                "livenessProbe": {"httpGet": {"port": "web"}, "timeoutSeconds": 5}, "readinessProbe": {"tcpSocket": {"port": 80}}}]},
        "status": {}});
    let bytes = from_json(&pod).expect("a body");
    assert!(bytes.starts_with(b"k8s\0"));
    assert_eq!(to_json(&bytes), Ok(pod.clone()));
    let list = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "7"}, "items": [pod]});
    let read = to_json(&from_json(&list).expect("a list")).expect("a list");
    // In a list, items do not repeat what they are.
    assert_eq!(read["items"][0]["spec"], list["items"][0]["spec"]);
    assert_eq!(read["items"][0].get("kind"), None);
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
        "spec": {"user": "u", "extra": {"scopes": ["a", "b"]}}, "status": {"allowed": false}});
    assert_eq!(to_json(&from_json(&review).expect("a review")), Ok(review));
}

#[test]
fn schemas_of_definitions_are_written() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "array", "items": {"type": "string"}}, "b": {"additionalProperties": {"type": "integer", "default": 3}},
        "c": {"additionalProperties": false}, "d": {"items": [{"type": "string"}, {"type": "number", "maximum": 1.5}]},
        "e": {"dependencies": {"x": ["y", "z"], "w": {"nullable": true}}}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "a.b"}, "spec": {"group": "b", "scope": "Namespaced", "names": {"kind": "A", "plural": "a"},
            "versions": [{"name": "v1", "served": true, "storage": false, "schema": {"openAPIV3Schema": schema}}]}});
    assert_eq!(to_json(&from_json(&definition).expect("a definition")), Ok(definition));
}

#[test]
fn an_event_of_a_watch_stands_behind_its_length() {
    let event = event("ADDED", b"body");
    let (length, rest) = event.split_at(4);
    assert_eq!(length, [0, 0, 0, 15]);
    assert_eq!(rest, [field(1, b"ADDED"), field(2, &field(1, b"body"))].concat());
}

#[test]
fn what_does_not_fit_is_named() {
    let wrong = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"priority": "high"}});
    assert_eq!(from_json(&wrong), Err(ProtobufError::Unfit { field: "spec.priority".to_owned() }));
    assert!(matches!(from_json(&json!({"apiVersion": "a.b/v1", "kind": "X"})), Err(ProtobufError::Kind { .. })));
}

/// Every field travels but those of the envelope.
#[test]
fn every_field_has_a_number() {
    fn count(wire: &[(u32, crate::node::Wire)]) -> usize {
        let each = wire.iter().map(|(_, wire)| match wire {
            crate::node::Wire::Field(_) => 1,
            crate::node::Wire::Embedded(fields) => count(fields),
        });
        each.sum()
    }
    for it in builtin::structs() {
        let named = it.fields.iter().filter(|field| !matches!(&*field.name, "apiVersion" | "kind")).count();
        assert!(count(&it.wire) >= named, "{}", it.name);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(raw in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = to_json(&raw);
        let _ = to_json(&body("v1", "Pod", &raw));
        let _ = to_json(&body("apps/v1", "Deployment", &field(2, &raw)));
    }
}

/// A list that is put together of its items is the list that is written as a whole.
#[test]
fn every_list_is_its_items_in_a_frame() {
    for resource in crate::resources().iter().filter(|resource| resource.is_stored()) {
        let api_version = resource.api_version();
        let object = |name: &str| json!({"apiVersion": api_version, "kind": resource.kind, "metadata": {"name": name}});
        let items = [object("a"), object("b")];
        let metadata = json!({"resourceVersion": "7", "continue": "x"});
        let head = json!({"apiVersion": api_version, "kind": resource.list_kind, "metadata": metadata});
        let mut list = head.clone();
        list["items"] = items.to_vec().into();
        let written = items.map(|object| item(&object).expect("an item")).concat();
        let frame = list_frame(&head, written.len()).expect("a frame");
        let whole = [frame.before, written, frame.after].concat();
        assert_eq!(whole, from_json(&list).expect("a list"), "{}", resource.list_kind);
    }
}
