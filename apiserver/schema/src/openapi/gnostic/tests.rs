//! Documents are read back with messages that have gnostic's numbers, and nothing of them is missing.

use super::*;
use prost::Message as _;
use serde_json::json;
use std::collections::BTreeSet;

/// A message in general: its fields, by number.
fn fields(bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut rest = bytes;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (number, form) = prost::encoding::decode_key(&mut rest).expect("a key");
        let length = match form {
            WireType::LengthDelimited => prost::encoding::decode_varint(&mut rest).expect("a length") as usize,
            WireType::SixtyFourBit => 8,
            WireType::Varint => rest.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1,
            other => panic!("nothing is written as {other:?}"),
        };
        let (value, after) = rest.split_at(length);
        fields.push((number, value.to_vec()));
        rest = after;
    }
    fields
}

#[derive(Clone, PartialEq, prost::Message)]
struct Document {
    #[prost(string, tag = "1")]
    openapi: String,
    #[prost(message, optional, tag = "4")]
    paths: Option<Paths>,
    #[prost(message, optional, tag = "5")]
    components: Option<Components>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Paths {
    #[prost(message, repeated, tag = "1")]
    path: Vec<Named>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Components {
    #[prost(message, optional, tag = "1")]
    schemas: Option<Entries>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entries {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<NamedSchema>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NamedSchema {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Referred>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Referred {
    #[prost(message, optional, boxed, tag = "1")]
    schema: Option<Box<Schema>>,
    #[prost(message, optional, tag = "2")]
    reference: Option<Reference>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reference {
    #[prost(string, tag = "1")]
    to: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Schema {
    #[prost(string, repeated, tag = "23")]
    required: Vec<String>,
    #[prost(string, tag = "25")]
    kind: String,
    #[prost(message, repeated, tag = "26")]
    all_of: Vec<Referred>,
    #[prost(message, optional, tag = "31")]
    properties: Option<Entries>,
    #[prost(message, optional, tag = "33")]
    default: Option<Empty>,
    #[prost(string, tag = "34")]
    description: String,
    #[prost(string, tag = "35")]
    format: String,
    #[prost(message, repeated, tag = "36")]
    extensions: Vec<Extension>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
struct Extension {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Yaml>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Yaml {
    #[prost(string, tag = "2")]
    yaml: String,
}

fn of<'a>(entries: &'a Entries, name: &str) -> &'a Referred {
    let entry = entries.entries.iter().find(|entry| entry.name == name);
    entry.and_then(|entry| entry.value.as_ref()).unwrap_or_else(|| panic!("{name} is there"))
}

#[test]
fn a_document_of_version_3_is_read_back() {
    let documents = crate::Catalog::builtin().documents();
    let json = documents.v3("apis/apps/v1").expect("served");
    let json: Value = serde_json::from_slice(&json.body).expect("JSON");
    let document = documents.v3_protobuf("apis/apps/v1").expect("served");
    let document = Document::decode(&*document.body).expect("a document");
    assert_eq!(document.openapi, "3.0.0");
    let names: Vec<_> = document.paths.expect("paths").path.into_iter().map(|path| path.name).collect();
    assert_eq!(json!(names), json["paths"].as_object().expect("paths").keys().cloned().collect::<Value>());
    let schemas = document.components.and_then(|components| components.schemas).expect("schemas");
    assert_eq!(schemas.entries.len(), json["components"]["schemas"].as_object().expect("schemas").len());
    let spec = of(&schemas, "io.k8s.api.apps.v1.DeploymentSpec").schema.as_deref().expect("a schema");
    assert_eq!(
        (spec.kind.as_str(), &spec.required[..]),
        ("object", &["selector".to_owned(), "template".to_owned()][..])
    );
    let properties = spec.properties.as_ref().expect("properties");
    let replicas = of(properties, "replicas").schema.as_deref().expect("a schema");
    assert_eq!((replicas.kind.as_str(), replicas.format.as_str()), ("integer", "int32"));
    let strategy = of(properties, "strategy").schema.as_deref().expect("a schema");
    let reference = strategy.all_of[0].reference.as_ref().expect("a reference");
    assert_eq!(reference.to, "#/components/schemas/io.k8s.api.apps.v1.DeploymentStrategy");
    assert_eq!(strategy.default, Some(Empty {}));
    let extension = &strategy.extensions[0];
    let yaml = extension.value.as_ref().map(|value| value.yaml.as_str());
    assert_eq!((extension.name.as_str(), yaml), ("x-kubernetes-patch-strategy", Some("\"retainKeys\"")));
}

#[test]
fn defaults_flags_and_numbers_keep_their_forms() {
    let schema = json!({"components": {"schemas": {"a": {"default": "x", "minimum": 1.5, "maxLength": 3, "nullable": true,
        "additionalProperties": false, "enum": [1, "b"], "items": {"$ref": "#/b"}}}}});
    let bytes = v3::DOCUMENT.encode(&schema);
    let path = [5, 1, 1, 2, 1];
    let of = |bytes: Vec<u8>, number| fields(&bytes).into_iter().find(|field| field.0 == number).expect("a field").1;
    let fields = fields(&path.into_iter().fold(bytes, of));
    let get =
        |number: u32| fields.iter().filter(|field| field.0 == number).map(|field| field.1.clone()).collect::<Vec<_>>();
    assert_eq!(get(1), [[1]]);
    assert_eq!(get(13), [1.5_f64.to_le_bytes()]);
    assert_eq!(get(15), [[3]]);
    assert_eq!(get(24), [vec![0x12, 1, b'1'], vec![0x12, 3, b'"', b'b', b'"']]);
    assert_eq!(get(30), [[&[0x0a, 7, 0x12, 5, 0x0a, 3][..], b"#/b"].concat()]);
    assert_eq!(get(32), [[0x10, 0]]);
    assert_eq!(get(33), [[0x1a, 1, b'x']]);
}

/// The names of fields that a message would leave out.
fn missing(message: &Message, value: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten().filter(|(name, _)| !name.starts_with("x-")) {
        match message.fields.iter().find(|(known, ..)| known == name) {
            Some((_, _, form)) => below(form, value, &format!("{path}.{name}"), found),
            None => drop(found.insert(format!("{path}.{name}"))),
        }
    }
}

fn below(form: &Form, value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match form {
        Form::Of(message) => missing(message, value, path, found),
        Form::Referred(_) if value.get(REFERENCE).is_some() => {}
        Form::In(_, form) | Form::Referred(form) | Form::OrFlag(form) => below(form, value, path, found),
        Form::Each(form) => match value {
            Value::Array(list) => list.iter().for_each(|one| below(form, one, path, found)),
            one => below(form, one, path, found),
        },
        Form::Named(_, form) => {
            value.as_object().into_iter().flatten().for_each(|(_, value)| below(form, value, path, found));
        }
        Form::Text | Form::Flag | Form::Whole | Form::Number | Form::Any | Form::Default => {}
    }
}

#[test]
fn nothing_of_a_document_is_left_out() {
    let documents = crate::Catalog::builtin().documents();
    let mut found = BTreeSet::new();
    for path in documents.v3_index()["paths"].as_object().expect("paths").keys() {
        let document = documents.v3(path).expect("served");
        missing(&v3::DOCUMENT, &serde_json::from_slice(&document.body).expect("JSON"), "v3", &mut found);
    }
    missing(&v2::DOCUMENT, &serde_json::from_slice(&documents.v2_json().body).expect("JSON"), "v2", &mut found);
    assert_eq!(found, BTreeSet::new());
}
