//! Laws that hold for every body: nothing panics, defaults settle at once, what was decoded decodes to itself.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use skiff_schema::{
    FieldValidation, IncludeObject, Resource, TableOptions, TableVersion, apply_defaults, decode, decode_value,
    resources, strategic_merge, table, validate_create, validate_update,
};

/// Names of fields that the rules look at, so that random objects reach them.
const FIELDS: &[&str] = &[
    "metadata",
    "name",
    "namespace",
    "generateName",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "spec",
    "status",
    "containers",
    "initContainers",
    "volumes",
    "volumeMounts",
    "ports",
    "port",
    "containerPort",
    "targetPort",
    "protocol",
    "env",
    "valueFrom",
    "fieldRef",
    "fieldPath",
    "resources",
    "limits",
    "requests",
    "cpu",
    "memory",
    "livenessProbe",
    "httpGet",
    "template",
    "selector",
    "matchLabels",
    "matchExpressions",
    "values",
    "strategy",
    "rollingUpdate",
    "maxSurge",
    "type",
    "data",
    "stringData",
    "immutable",
    "conditions",
    "addresses",
    "endpoints",
    "subsets",
    "tolerations",
    "securityContext",
    "clusterIP",
    "configMap",
    "items",
    "projected",
    "sources",
    "creationTimestamp",
    "replicas",
    "$patch",
    "$retainKeys",
    "$setElementOrder/containers",
];

/// Any JSON value, made of fields that mean something.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[a-zA-Z0-9.:/ -]{0,8}",
        Just("1Gi".to_owned()),
        Just("None".to_owned()),
        Just("replace".to_owned())
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_i64..70_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        let field = proptest::sample::select(FIELDS).prop_map(str::to_owned);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((field, inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// An object whose metadata, spec and status are anything.
fn object() -> impl Strategy<Value = Value> {
    (value(), value(), value()).prop_map(|(metadata, spec, rest)| {
        let mut object = json!({"metadata": metadata, "spec": spec, "status": rest});
        if let Value::Object(fields) = rest {
            fields.into_iter().for_each(|(key, value)| object[key] = value);
        }
        object
    })
}

fn resource() -> impl Strategy<Value = &'static Resource> {
    proptest::sample::select((0..resources().len()).collect::<Vec<_>>()).prop_map(|index| &*resources()[index])
}

fn options() -> TableOptions {
    let now = "2026-01-01T00:00:00Z".parse().expect("a time");
    TableOptions { include_object: IncludeObject::Object, version: TableVersion::V1, no_headers: false, now }
}

proptest! {
    // Shrunk cases belong into a test of their own, not into a file.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_decode_or_are_refused(resource in resource(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(resource, &body, FieldValidation::Strict);
    }

    #[test]
    fn any_json_goes_through_without_a_panic(resource in resource(), object in object(), other in object()) {
        let body = object.to_string();
        let _ = decode(resource, body.as_bytes(), FieldValidation::Strict);
        let _ = strategic_merge(resource, object.clone(), &other);
        let mut filled = object.clone();
        apply_defaults(resource, &mut filled);
        let _ = validate_create(resource, &filled);
        let _ = validate_update(resource, &filled, &other, None);
        let _ = table(resource, &[object, filled], &Value::Null, &options());
    }

    #[test]
    fn defaults_settle_at_once(resource in resource(), object in object()) {
        let mut once = object;
        apply_defaults(resource, &mut once);
        let mut twice = once.clone();
        apply_defaults(resource, &mut twice);
        prop_assert_eq!(twice, once);
    }

    #[test]
    fn what_was_decoded_decodes_to_itself(resource in resource(), object in object()) {
        let Ok(decoded) = decode(resource, object.to_string().as_bytes(), FieldValidation::Ignore) else { return Ok(()) };
        let mut defaulted = decoded.object.clone();
        apply_defaults(resource, &mut defaulted);
        let again = decode_value(resource, decoded.object.clone(), &[], FieldValidation::Strict);
        prop_assert_eq!(again.map(|it| it.object), Ok(decoded.object));
        // Defaults stay within the schema.
        let filled = decode_value(resource, defaulted.clone(), &[], FieldValidation::Strict);
        prop_assert_eq!(filled.map(|it| it.object), Ok(defaulted));
    }
}
