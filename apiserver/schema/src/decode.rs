//! Reads a JSON body against a resource's schema: wrong types are refused, unknown and duplicate fields are refused, warned
//! about or dropped, as the client's `fieldValidation` asks.
//!
//! Values are put in Kubernetes' own form on the way: quantities canonical, times in UTC, null fields gone.

mod problems; // unknown and duplicate fields, in their order
pub(crate) mod walk; // along the schema

use serde_json::Value;

pub use self::problems::{Problem, sentence};
use crate::{Resource, builtin, json};

/// What the client asked for with `?fieldValidation=`; the server's default is `Warn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Unknown and duplicate fields are an error.
    Strict,
    /// They are dropped, and a warning each goes into the answer's headers.
    #[default]
    Warn,
    /// They are dropped.
    Ignore,
}

/// A body that is an object of its resource: unknown fields are gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The object, with `apiVersion` and `kind` filled in if they were left out.
    pub object: Value,
    /// Texts for `Warning: 299` headers; only with [`FieldValidation::Warn`].
    pub warnings: Vec<String>,
}

/// Why a body is not an object of its resource; the answer is 400 BadRequest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON.
    #[error("the body is not JSON: {0}")]
    Syntax(String),
    /// `apiVersion` or `kind` name another resource than the path.
    #[error("{found_kind} in version {found_version:?} cannot be handled as a {kind} in version {version:?}")]
    Kind {
        /// `kind` in the body.
        found_kind: String,
        /// `apiVersion` in the body.
        found_version: String,
        /// Kind of the resource.
        kind: String,
        /// `apiVersion` of the resource.
        version: String,
    },
    /// A field has the wrong type or form.
    #[error("{kind} in version {version:?} cannot be handled as a {kind}: {field}: expected {expected}, got {got}")]
    Type {
        /// Kind of the resource.
        kind: String,
        /// Version of the resource, without its group.
        version: String,
        /// Path of the field.
        field: String,
        /// What the schema says.
        expected: &'static str,
        /// The value as JSON, shortened.
        got: String,
    },
    /// It could be written but not read again.
    #[error("the object nests deeper than {DEPTH_MAX} levels")]
    Deep,
    /// Unknown or duplicate fields in a strict decode.
    #[error("strict decoding error: {}", sentence(.0))]
    Strict(Vec<Problem>),
}

/// The deepest nesting of an object. The parser reads 127 levels; an object's fields are named once more in its `managedFields`, three levels
/// deeper than they stand, and it is sent in lists, tables and reviews, which are up to four levels around it.
pub const DEPTH_MAX: usize = 100;

/// Stands for the path of the root, which is empty.
const WHOLE: &str = "the object";

/// A body that is parsed, and of which it is still to be seen what it is an object of.
#[derive(Debug)]
pub struct Parsed<'a> {
    body: &'a [u8],
    /// What it says.
    pub value: Value,
    duplicates: Vec<String>,
}

impl<'a> Parsed<'a> {
    /// Parses JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn of(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        let (value, duplicates) = json::parse(body)?;
        Ok(Self { body, value, duplicates })
    }

    /// Reads it as an object of `resource`.
    ///
    /// # Errors
    /// [`DecodeError`] names the field, what was expected and what was found.
    pub fn decode(self, resource: &Resource, validation: FieldValidation) -> Result<Decoded, DecodeError> {
        let (object, unknown) = read(resource, self.value)?;
        if resource.is_custom() {
            // Kubernetes finds these one after the other.
            let duplicates = self.duplicates.into_iter().map(Problem::Duplicate);
            return judge(object, duplicates.chain(unknown.into_iter().map(Problem::Unknown)).collect(), validation);
        }
        judge(object, problems::in_order(self.body, &unknown, &self.duplicates), validation)
    }
}

/// Reads `body` as an object of `resource`.
///
/// # Errors
/// [`DecodeError`] names the field, what was expected and what was found.
pub fn decode(resource: &Resource, body: &[u8], validation: FieldValidation) -> Result<Decoded, DecodeError> {
    let parsed = Parsed::of(body).map_err(|error| DecodeError::Syntax(error.to_string()))?;
    parsed.decode(resource, validation)
}

/// Reads a value that is already parsed, the result of a patch say, whose text had `problems` of its own.
///
/// # Errors
/// As [`decode`].
pub fn decode_value(
    resource: &Resource,
    value: Value,
    problems: &[Problem],
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    let (object, unknown) = read(resource, value)?;
    let unknown = unknown.into_iter().map(Problem::Unknown);
    judge(object, problems.iter().cloned().chain(unknown).collect(), validation)
}

/// Reads what an applied configuration made of an object. Kubernetes does not decode that again, so a null that is no value of a custom
/// resource's schema is still there, for validation to refuse.
///
/// # Errors
/// As [`decode`].
pub fn decode_applied(
    resource: &Resource,
    value: Value,
    problems: &[Problem],
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    let Some(custom) = &resource.custom else { return decode_value(resource, value, problems, validation) };
    let (object, unknown) = read_custom(resource, value, |object| custom.version.form_applied(object))?;
    let unknown = unknown.into_iter().map(Problem::Unknown);
    judge(object, problems.iter().cloned().chain(unknown).collect(), validation)
}

/// Parses a text that is no object of a resource yet, such as a patch; the problems are keys that stand in it twice.
///
/// # Errors
/// It is not JSON.
pub fn parse(body: &[u8]) -> Result<(Value, Vec<Problem>), DecodeError> {
    let (value, duplicates) = json::parse(body).map_err(|error| DecodeError::Syntax(error.to_string()))?;
    Ok((value, duplicates.into_iter().map(Problem::Duplicate).collect()))
}

/// The object, and the paths of its unknown fields.
fn read(resource: &Resource, value: Value) -> Result<(Value, Vec<String>), DecodeError> {
    if let Some(custom) = &resource.custom {
        return read_custom(resource, value, |object| custom.version.form(object));
    }
    let read = walk::object(&builtin::of(resource), value);
    let (mut object, unknown) = read.map_err(|wrong| wrong_type(resource, wrong))?;
    set_kind(resource, &mut object)?;
    Ok((object, unknown))
}

fn read_custom(
    resource: &Resource,
    mut value: Value,
    form: impl FnOnce(Value) -> Result<(Value, Vec<String>), walk::Wrong>,
) -> Result<(Value, Vec<String>), DecodeError> {
    if value.is_object() {
        set_kind(resource, &mut value)?;
    }
    form(value).map_err(|wrong| wrong_type(resource, wrong))
}

fn wrong_type(resource: &Resource, walk::Wrong { field, expected, got }: walk::Wrong) -> DecodeError {
    let (kind, version) = (resource.kind.to_string(), resource.version.to_string());
    DecodeError::Type { kind, version, field, expected, got }
}

fn judge(object: Value, problems: Vec<Problem>, validation: FieldValidation) -> Result<Decoded, DecodeError> {
    match validation {
        _ if is_too_deep(&object) => Err(DecodeError::Deep),
        FieldValidation::Strict if !problems.is_empty() => Err(DecodeError::Strict(problems)),
        FieldValidation::Warn => Ok(Decoded { object, warnings: problems.iter().map(ToString::to_string).collect() }),
        _ => Ok(Decoded { object, warnings: Vec::new() }),
    }
}

/// Whether an object nests too deep. What `managedFields` say of it is deeper than itself, and not looked at.
fn is_too_deep(object: &Value) -> bool {
    let Some(fields) = object.as_object() else { return is_deeper(object, DEPTH_MAX) };
    fields.iter().any(|(name, value)| match value.as_object().filter(|_| name == "metadata") {
        Some(metadata) => {
            metadata.iter().any(|(name, value)| name != "managedFields" && is_deeper(value, DEPTH_MAX - 2))
        }
        None => is_deeper(value, DEPTH_MAX - 1),
    })
}

/// Whether lists and objects stand in each other more often than `levels` times.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let below = |inner: &Value| levels == 0 || is_deeper(inner, levels - 1);
    match value {
        Value::Array(list) => levels == 0 || list.iter().any(below),
        Value::Object(fields) => levels == 0 || fields.values().any(below),
        _ => false,
    }
}

/// Fills in `apiVersion` and `kind`, or refuses others.
fn set_kind(resource: &Resource, object: &mut Value) -> Result<(), DecodeError> {
    let version = resource.api_version();
    let given = |key: &str, otherwise: &str| {
        let text = object[key].as_str().unwrap_or_default();
        if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
    };
    let (found_version, found_kind) = (given("apiVersion", &version), given("kind", &resource.kind));
    if found_version != version || found_kind != resource.kind {
        return Err(DecodeError::Kind { found_kind, found_version, kind: resource.kind.to_string(), version });
    }
    object["apiVersion"] = version.into();
    object["kind"] = (*resource.kind).into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find;
    use serde_json::json;

    fn pod(body: &Value, validation: FieldValidation) -> Result<Decoded, DecodeError> {
        decode(find("", "v1", "pods").expect("pods exist"), body.to_string().as_bytes(), validation)
    }

    fn decoded(spec: Value) -> Value {
        pod(&json!({"spec": spec}), FieldValidation::Strict).expect("the body is a pod").object["spec"].take()
    }

    #[test]
    fn what_nests_too_deep_is_refused() {
        let lists = |times: usize| (0..times).fold(json!(1), |inner, _| json!([inner]));
        assert!(!is_deeper(&lists(DEPTH_MAX), DEPTH_MAX));
        assert!(is_deeper(&lists(DEPTH_MAX + 1), DEPTH_MAX));
        assert!(is_deeper(&json!([1, { "a": lists(DEPTH_MAX - 1) }]), DEPTH_MAX));
        let object =
            |managed: usize, spec: usize| json!({"metadata": {"managedFields": lists(managed)}, "spec": lists(spec)});
        assert!(!is_too_deep(&object(DEPTH_MAX + 4, DEPTH_MAX - 1)));
        assert!(is_too_deep(&object(1, DEPTH_MAX)));
    }

    /// Fault N28: in the order of the text, an unknown field once however often it stands there, and nothing of what is in it.
    #[test]
    fn strict_names_unknown_and_duplicate_fields() {
        let pods = find("", "v1", "pods").expect("pods exist");
        let body = br#"{"spec":{"foo":1,"containers":[{"name":"a","name":"b","imag":"x"}]}}"#;
        let error = decode(pods, body, FieldValidation::Strict).expect_err("fields are unknown");
        assert_eq!(
            error.to_string(),
            "strict decoding error: unknown field \"spec.foo\", duplicate field \"spec.containers[0].name\", \
             unknown field \"spec.containers[0].imag\""
        );
        let warned = decode(pods, body, FieldValidation::Warn).expect("unknown fields only warn");
        assert_eq!(warned.warnings.len(), 3);
        assert_eq!(warned.object["spec"], json!({"containers": [{"name": "b", "resources": {}}]}));
        let body = br#"{"zoo":{"a":1,"a":2},"zoo":1,"metadata":{"labels":{"b":"1","b":"2","b":"3"}},"any":1}"#;
        let warned = decode(pods, body, FieldValidation::Warn).expect("they only warn").warnings;
        assert_eq!(warned, ["unknown field \"zoo\"", "duplicate field \"metadata.labels.b\"", "unknown field \"any\""]);
    }

    #[test]
    fn wrong_types_name_field_expectation_and_value() {
        let cases = [
            (json!({"spec": {"containers": "x"}}), "spec.containers: expected a list, got \"x\""),
            (json!({"spec": {"hostNetwork": "yes"}}), "spec.hostNetwork: expected true or false, got \"yes\""),
            (
                json!({"spec": {"priority": 3_000_000_000_u64}}),
                "spec.priority: expected an integer (32 bits), got 3000000000",
            ),
            (json!({"metadata": {"labels": {"a": 1}}}), "metadata.labels.a: expected a string, got 1"),
            (
                json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "1 core"}}}]}}),
                "spec.containers[0].resources.limits.cpu: expected a quantity (such as 100m or 1.5Gi), got \"1 core\"",
            ),
            (json!([]), "the object: expected an object, got []"),
        ];
        for (body, text) in cases {
            let error = pod(&body, FieldValidation::Ignore).expect_err("a type is wrong").to_string();
            assert_eq!(error, format!("Pod in version \"v1\" cannot be handled as a Pod: {text}"));
        }
    }

    #[test]
    fn values_take_the_form_of_kubernetes() {
        let limits = |cpu: Value| json!({"containers": [{"name": "", "resources": {"limits": {"cpu": cpu}}}]});
        assert_eq!(decoded(limits(json!(0.5))), limits(json!("500m")));
        assert_eq!(decoded(limits(json!(2))), limits(json!("2")));
        assert_eq!(
            decoded(json!({"nodeName": null, "nodeSelector": {"a": null}})),
            json!({"containers": null, "nodeSelector": {"a": ""}})
        );
        let time = |text: &str| json!({"metadata": {"creationTimestamp": text}});
        let object = pod(&time("2024-05-01T12:00:00.5+02:00"), FieldValidation::Strict).expect("a time").object;
        assert_eq!(object["metadata"], time("2024-05-01T10:00:00Z")["metadata"]);
    }

    #[test]
    fn another_kind_is_refused_and_a_missing_one_filled_in() {
        let error =
            pod(&json!({"apiVersion": "apps/v1", "kind": "Deployment"}), FieldValidation::Warn).expect_err("no pod");
        assert_eq!(error.to_string(), "Deployment in version \"apps/v1\" cannot be handled as a Pod in version \"v1\"");
        let object = pod(&json!({}), FieldValidation::Warn).expect("an empty pod").object;
        let empty =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": null}, "status": {}});
        assert_eq!(object, empty);
    }

    #[test]
    fn what_says_nothing_is_left_out_and_what_go_always_writes_is_there() {
        let given = json!({"hostNetwork": false, "nodeName": "", "tolerations": [], "nodeSelector": {}, "priority": 0,
            "automountServiceAccountToken": false, "securityContext": {}, "containers": [{"image": "i", "stdin": false}]});
        let form = json!({"automountServiceAccountToken": false, "priority": 0, "securityContext": {},
            "containers": [{"name": "", "image": "i", "resources": {}}]});
        assert_eq!(decoded(given), form);
    }
}
