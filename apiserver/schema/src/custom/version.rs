//! One version of a custom resource, as its definition says it: everything that is asked about its objects.

use super::columns::Columns;
use super::jsonpath::JsonPath;
use super::metadata::Bad;
use super::rules::Rules;
use super::structural::Structural;
use super::{default, limits, lists, metadata, nodes, prune, scale};
use crate::FieldErrorKind;
use crate::decode::walk::Wrong;
use crate::node::Schema;
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::view::{list, text};
use serde_json::{Value, json};
use std::sync::OnceLock;

/// A version of a custom resource.
#[derive(Debug)]
pub(crate) struct Version {
    /// Its `openAPIV3Schema`, as it was written, in JSON: OpenAPI shows it, and as a value it would take ten times as much.
    written: Box<str>,
    structural: Structural,
    /// Compiled when the first object is looked at: most versions of most definitions never have one.
    rules: OnceLock<Option<Rules>>,
    schema: Schema,
    columns: Columns,
    selectable: Vec<(String, JsonPath)>,
    /// `subresources.scale`, if it is served.
    pub(crate) scale: Option<scale::Paths>,
    /// Whether `status` is a part of its own.
    pub(crate) has_status: bool,
}

/// What becomes of nulls that are no values and have no default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nulls {
    Dropped,
    Kept,
}

impl Version {
    /// Reads one of a definition's `spec.versions`.
    ///
    /// # Errors
    /// Its schema is none that can be served.
    pub(crate) fn read(version: &Value) -> Result<Self, String> {
        let mut structural = Structural::read(&version["schema"]["openAPIV3Schema"])?;
        // Whoever leaves the schema out keeps whatever comes, as definitions of old versions of the API do.
        structural.keeps_unknown |= version["schema"]["openAPIV3Schema"].is_null();
        let subresources = &version["subresources"];
        let selectable = list(version, "selectableFields").iter().filter_map(|field| {
            let path = text(field, "jsonPath");
            Some((path.trim_start_matches('.').to_owned(), JsonPath::parse(path)?))
        });
        Ok(Self {
            written: version["schema"]["openAPIV3Schema"].to_string().into(),
            schema: nodes::schema(&structural),
            structural,
            rules: OnceLock::new(),
            columns: Columns::read(version),
            selectable: selectable.collect(),
            scale: scale::Paths::read(&subresources["scale"]),
            has_status: subresources["status"].is_object(),
        })
    }

    /// Its `openAPIV3Schema`, as it was written, in JSON.
    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    /// The schema that merging walks.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// What `kubectl get` prints.
    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Puts an object that a client sent into its form: absent fields get their defaults, unknown ones go and are named.
    ///
    /// # Errors
    /// Type or metadata are of the wrong type.
    pub(crate) fn form(&self, object: Value) -> Result<(Value, Vec<String>), Wrong> {
        self.formed(object, Bad::Refused, Nulls::Dropped)
    }

    /// The same for what was applied, which Kubernetes does not decode again: a null that is no value is for validation to refuse.
    ///
    /// # Errors
    /// See [`Self::form`].
    pub(crate) fn form_applied(&self, object: Value) -> Result<(Value, Vec<String>), Wrong> {
        self.formed(object, Bad::Refused, Nulls::Kept)
    }

    /// Puts an object from the store into the form of today's schema.
    pub(crate) fn stored(&self, object: Value) -> Value {
        match self.formed(object, Bad::Dropped, Nulls::Dropped) {
            Ok((mut object, _)) => {
                if object["metadata"]["generation"].as_i64().unwrap_or_default() == 0 && object["metadata"].is_object()
                {
                    object["metadata"]["generation"] = 1.into();
                }
                object
            }
            // Nothing is refused that is dropped.
            Err(_) => json!({}),
        }
    }

    fn formed(&self, mut object: Value, bad: Bad, nulls: Nulls) -> Result<(Value, Vec<String>), Wrong> {
        if !object.is_object() {
            return Err(Wrong::new(&Path::Root, "an object", &object));
        }
        default::fill(&mut object, &self.structural);
        let mut unknown = prune::prune(&mut object, &self.structural, true);
        if nulls == Nulls::Dropped {
            default::drop_nulls(&mut object, Some(&self.structural));
        }
        metadata::coerce(&mut object, &self.structural, bad, &mut unknown)?;
        Ok((object, unknown))
    }

    /// What is wrong with a new object, metadata of its own aside.
    pub(crate) fn validate(&self, object: &Value, errors: &mut Errors) {
        errors.extend(limits::validate(&self.structural, object, None, ""));
        self.validate_scale(object, errors);
        self.validate_inside(object, errors);
        lists::object(object, &self.structural, &Path::Root, errors);
        self.validate_rules(object, None, errors);
    }

    /// What is wrong with a changed object, written through `part`, metadata of its own aside. What was wrong before and has not
    /// changed may stay.
    pub(crate) fn validate_change(&self, new: &Value, old: &Value, part: &str, errors: &mut Errors) {
        if part == "status" {
            if let (Some(schema), Some(status)) = (self.structural.property("status"), new.get("status")) {
                errors.extend(limits::validate(schema, status, old.get("status"), "status"));
            }
            if let Some(scale) = &self.scale {
                scale.validate_status(new, errors);
            }
        } else {
            errors.extend(limits::validate(&self.structural, new, Some(old), ""));
            self.validate_scale(new, errors);
            self.validate_inside(new, errors);
        }
        let mut before = Errors::default();
        lists::object(old, &self.structural, &Path::Root, &mut before);
        if before.is_empty() {
            lists::object(new, &self.structural, &Path::Root, errors);
        }
        self.validate_rules(new, Some(old), errors);
    }

    /// What the rules in CEL say of an object. They are not asked about one that is not what its schema says: they could not be sure of
    /// anything.
    fn validate_rules(&self, new: &Value, old: Option<&Value>, errors: &mut Errors) {
        let rules = || Rules::of(&serde_json::from_str(&self.written).unwrap_or_default(), true);
        let Some(rules) = self.rules.get_or_init(rules) else { return };
        let blocks = |kind| {
            use FieldErrorKind::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
            matches!(kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
        };
        if errors.as_slice().iter().any(|error| blocks(error.kind)) {
            let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete \
                          validation";
            return errors.invalid(&Path::Root.field("<nil>"), Value::Null, detail);
        }
        let found = rules.object(&self.structural, new, old);
        errors.extend(found.errors);
        errors.warn(found.warnings);
    }

    fn validate_scale(&self, object: &Value, errors: &mut Errors) {
        if let Some(scale) = &self.scale {
            scale.validate_spec(object, errors);
            scale.validate_status(object, errors);
        }
    }

    /// Objects in the object; not itself.
    fn validate_inside(&self, object: &Value, errors: &mut Errors) {
        metadata::validate(object, &self.structural, &Path::Root, errors);
    }

    /// The names of its selectable fields beyond those of all kinds.
    pub(crate) fn selectable(&self) -> impl Iterator<Item = &str> {
        self.selectable.iter().map(|(name, _)| name.as_str())
    }

    /// The value of a selectable field as text, empty when it is absent; `None`: no such field.
    pub(crate) fn selected(&self, object: &Value, name: &str) -> Option<String> {
        let (_, path) = self.selectable.iter().find(|(one, _)| one == name)?;
        Some(match path.find(object).first() {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        })
    }
}

/// Warnings about finalizers that are new.
pub(crate) fn finalizer_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    const STANDARD: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];
    let before = old.map_or(&[][..], |old| list(&old["metadata"], "finalizers"));
    let mut added: Vec<&str> = list(&new["metadata"], "finalizers")
        .iter()
        .filter(|one| !before.contains(one))
        .filter_map(Value::as_str)
        .collect();
    added.sort_unstable();
    added.dedup();
    let mut warnings = Vec::new();
    for name in added {
        let mut say = |text: &str| warnings.push(format!("metadata.finalizers: {}: {text}", Value::from(name)));
        if let Some(problem) = Format::QualifiedName.check(name) {
            say(&problem);
        }
        if !name.contains('/') && !STANDARD.contains(&name) {
            let path = if name.contains('.') { " including a path (/)" } else { "" };
            say(&format!(
                "prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
            ));
        }
    }
    warnings
}
