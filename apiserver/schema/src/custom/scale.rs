//! `subresources.scale`: where a custom object has its replicas.

use crate::path::Path;
use crate::validate::errors::Errors;
use crate::view::text;
use serde_json::{Map, Value, json};

/// Paths of the fields that `scale` reads and writes, dots between names.
#[derive(Debug)]
pub(crate) struct Paths {
    spec: String,
    status: String,
    selector: Option<String>,
}

impl Paths {
    /// Reads the paths of a definition; `None` when there are none.
    pub(super) fn read(scale: &Value) -> Option<Self> {
        scale.is_object().then(|| Self {
            spec: text(scale, "specReplicasPath").to_owned(),
            status: text(scale, "statusReplicasPath").to_owned(),
            selector: Some(text(scale, "labelSelectorPath")).filter(|path| !path.is_empty()).map(str::to_owned),
        })
    }

    /// The `autoscaling/v1` Scale of an object.
    ///
    /// # Errors
    /// A replica count is no whole number, or the object has none: the sentence says which.
    pub(crate) fn of(&self, object: &Value) -> Result<Value, String> {
        let replicas = |path: &str| match at(object, path) {
            None => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| not_whole(path, value)),
        };
        let Some(wanted) = replicas(&self.spec)? else {
            return Err(format!("the spec replicas field {:?} does not exist", self.spec));
        };
        let mut scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {},
            "spec": {"replicas": wanted}, "status": {"replicas": replicas(&self.status)?.unwrap_or_default()}});
        for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(value) = object["metadata"].get(field) {
                scale["metadata"][field] = value.clone();
            }
        }
        if let Some(selector) = self.selector.as_deref().and_then(|path| at(object, path)).and_then(Value::as_str)
            && !selector.is_empty()
        {
            scale["status"]["selector"] = selector.into();
        }
        Ok(scale)
    }

    /// The names on the way to the wanted replicas.
    pub(crate) fn wanted(&self) -> Vec<&str> {
        names(&self.spec).collect()
    }

    /// Writes the replicas of a Scale into an object.
    pub(crate) fn set(&self, object: &mut Value, replicas: i64) {
        let mut place = object;
        for name in names(&self.spec) {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[name];
        }
        *place = replicas.into();
    }

    /// Reports a number of wanted replicas that is none.
    pub(super) fn validate_spec(&self, object: &Value, errors: &mut Errors) {
        count(object, &self.spec, errors);
    }

    /// Reports a number of present replicas, or a selector, that is none.
    pub(super) fn validate_status(&self, object: &Value, errors: &mut Errors) {
        count(object, &self.status, errors);
        if let Some(path) = &self.selector
            && let Some(value) = at(object, path).filter(|value| !value.is_string())
        {
            errors.invalid(&Path::Root.field(path), "", wrong_type(path, value, "string"));
        }
    }
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.trim_start_matches('.').split('.')
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    names(path).try_fold(object, |value, name| value.get(name))
}

fn not_whole(path: &str, value: &Value) -> String {
    wrong_type(path, value, "int64")
}

fn wrong_type(path: &str, value: &Value, expected: &str) -> String {
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("{path} accessor error: {shown} is of the type {}, expected {expected}", type_of(value))
}

/// What Go calls the type of a value.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn count(object: &Value, path: &str, errors: &mut Errors) {
    let field = Path::Root.field(path);
    match at(object, path).map(|value| value.as_i64().ok_or(value)) {
        None => {}
        Some(Err(value)) => errors.invalid(&field, 0, not_whole(path, value)),
        Some(Ok(count)) if count < 0 => errors.invalid(&field, count, "should be a non-negative integer"),
        Some(Ok(count)) if count > i64::from(i32::MAX) => {
            errors.invalid(&field, count, format!("should be less than or equal to {}", i32::MAX));
        }
        Some(Ok(_)) => {}
    }
}
