//! What a path such as `/apis/apps/v1/namespaces/x/deployments` names: names, scope, verbs and subresources, as Kubernetes' discovery
//! announces them, with the schema and the rules of the kind.
//!
//! One value for each served version, shared as an `Arc` from a [`crate::Catalog`]. Built-in kinds are made from the rows of
//! [`crate::kinds`]; kinds that are only ever bodies of subresources or of options (Scale, Binding, Eviction, DeleteOptions) have a
//! schema but no path of their own.

use crate::custom::{self, Custom};
use crate::kinds::{Conversion, Part, Review, Row, Rules};
use crate::node::Schema;
use crate::{FieldValidation, builtin, decode_value, kinds};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A name that is built in, or that came with a custom resource.
pub type Name = Cow<'static, str>;

/// A resource in one of its versions.
#[derive(Clone)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: Name,
    /// Version within the group, e.g. `v1`.
    pub version: Name,
    /// Kind of one object, e.g. `Pod`.
    pub kind: Name,
    /// Kind of a list of them, e.g. `PodList`.
    pub list_kind: Name,
    /// Name in paths, e.g. `pods`; empty for auxiliary kinds.
    pub plural: Name,
    /// Name of one, e.g. `pod`.
    pub singular: Name,
    /// Short names kubectl accepts, e.g. `po`.
    pub short_names: Vec<Name>,
    /// Groups of resources, e.g. `all` for `kubectl get all`.
    pub categories: Vec<Name>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Verbs served, in alphabetical order; empty for auxiliary kinds.
    pub verbs: &'static [&'static str],
    /// Subresources served, in alphabetical order.
    pub subresources: Vec<Subresource>,
    /// Name of the schema's definition, e.g. `io.k8s.api.core.v1.Pod`.
    pub definition: Name,
    /// Folder under `/registry` in which objects are kept; empty: nothing is kept.
    pub storage_folder: Name,
    /// How objects are kept in another version than this one.
    pub(crate) conversion: Option<Conversion>,
    /// What objects look like.
    pub(crate) schema: Schema,
    /// What the kind adds to its schema.
    pub(crate) rules: Rules,
    /// What it is beyond that if a definition brought it.
    pub(crate) custom: Option<Custom>,
    /// What [`Self::bare_status`] answers, once it is known.
    pub(crate) bare_status: OnceLock<Value>,
}

/// A subresource such as `pods/status`; its kind may live in another group (`autoscaling/v1` Scale).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// Last segment of the path, e.g. `status`.
    pub name: Name,
    /// API group of the kind.
    pub group: Name,
    /// Version of the kind.
    pub version: Name,
    /// Kind of the body.
    pub kind: Name,
    /// Verbs served, in alphabetical order.
    pub verbs: &'static [&'static str],
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resource({}/{})", self.api_version(), self.plural)
    }
}

/// Two are the same if they are served at the same path.
impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.gvr() == other.gvr() && self.kind == other.kind
    }
}

impl Eq for Resource {}

impl From<&Part> for Subresource {
    fn from(part: &Part) -> Self {
        let [group, version, kind] = part.body.map(Name::Borrowed);
        Self { name: part.name.into(), group, version, kind, verbs: part.verbs }
    }
}

impl From<&Row> for Resource {
    /// # Panics
    /// The row names no definition of the table; a test checks all rows.
    fn from(row: &Row) -> Self {
        let names = |names: &'static [&'static str]| names.iter().copied().map(Name::Borrowed).collect();
        Self {
            group: row.group.into(),
            version: row.version.into(),
            kind: row.kind.into(),
            list_kind: format!("{}List", row.kind).into(),
            plural: row.plural.into(),
            singular: row.singular.into(),
            short_names: names(row.short_names),
            categories: names(row.categories),
            namespaced: row.namespaced,
            verbs: row.verbs,
            subresources: row.subresources.iter().map(Subresource::from).collect(),
            definition: row.definition.into(),
            storage_folder: row.storage.folder.into(),
            conversion: row.storage.version,
            schema: builtin::schema(row.definition).expect("every row names a definition; a test checks it"),
            rules: row.rules,
            custom: None,
            bare_status: OnceLock::new(),
        }
    }
}

impl Resource {
    /// `v1`, `apps/v1`: what objects carry as `apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Group, version and plural: what a request path names.
    #[must_use]
    pub fn gvr(&self) -> (&str, &str, &str) {
        (&self.group, &self.version, &self.plural)
    }

    /// Whether this is the resource of that group and name, in whatever version.
    #[must_use]
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }

    /// `pods`, `deployments.apps`: how Kubernetes' error texts name a resource.
    #[must_use]
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_string() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The subresource of that name, if it is served.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// Whether `spec` and `status` are written through different paths, so that writes to one ignore the other.
    #[must_use]
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Whether objects are kept at all; if not, a request is answered and forgotten.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        !self.storage_folder.is_empty()
    }

    /// `apiVersion` of stored objects.
    #[must_use]
    pub fn stored_api_version(&self) -> String {
        match (&self.custom, self.conversion) {
            (Some(custom), _) => custom.stored.to_string(),
            (None, Some(conversion)) => conversion.api_version.to_owned(),
            (None, None) => self.api_version(),
        }
    }

    /// Turns an object of this version into the form in which it is kept.
    pub fn to_storage(&self, object: &mut Value) {
        if self.custom.is_some() {
            object["apiVersion"] = self.stored_api_version().into();
        } else if let Some(conversion) = self.conversion {
            (conversion.to_storage)(object);
            object["apiVersion"] = conversion.api_version.into();
        }
    }

    /// Turns a stored object into one of this version.
    pub fn from_storage(&self, object: &mut Value) {
        if let Some(custom) = &self.custom {
            *object = custom.version.stored(std::mem::take(object));
            object["apiVersion"] = self.api_version().into();
        } else if let Some(conversion) = self.conversion {
            (conversion.from_storage)(object);
            object["apiVersion"] = self.api_version().into();
        }
    }

    /// Whether objects are kept in another form than they are served in.
    #[must_use]
    pub fn is_converted(&self) -> bool {
        self.conversion.is_some() || self.custom.is_some()
    }

    /// How a webhook converts its versions, if one does (`spec.conversion.webhook` of its definition).
    #[must_use]
    pub fn conversion_webhook(&self) -> Option<&Arc<Value>> {
        self.custom.as_ref()?.conversion.as_ref()
    }

    /// Whether a definition brought it.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    /// Whether `metadata.generation` counts changes.
    #[must_use]
    pub fn counts_generations(&self) -> bool {
        self.rules.generation
    }

    /// The fields of the metadata whose changes count as a generation too.
    #[must_use]
    pub fn generation_counts(&self) -> &'static [&'static str] {
        self.rules.generation_counts
    }

    /// Whether dependents stay when an object is deleted without a word about them.
    #[must_use]
    pub fn keeps_dependents(&self) -> bool {
        self.rules.keeps_dependents
    }

    /// What is said to whoever deletes without a word about dependents, if they stay.
    #[must_use]
    pub fn keeps_dependents_warning(&self) -> Option<&'static str> {
        Some(self.rules.keeps_dependents_warning).filter(|text| !text.is_empty())
    }

    /// What clients are told in every answer, because there is a successor.
    #[must_use]
    pub fn deprecation(&self) -> Option<&str> {
        match &self.custom {
            Some(custom) => custom.deprecation.as_deref(),
            None => Some(self.rules.deprecation).filter(|text| !text.is_empty()),
        }
    }

    /// How long an object lives, in seconds; 0: until it is deleted.
    #[must_use]
    pub fn ttl_seconds(&self) -> i64 {
        self.rules.ttl_seconds
    }

    /// Whether a creation keeps the status that it says.
    #[must_use]
    pub fn keeps_status_on_create(&self) -> bool {
        self.rules.status_on_create
    }

    /// The status that says nothing, with what is always there of it.
    #[must_use]
    pub fn bare_status(&self) -> Value {
        let decode = || {
            let nothing = json!({"status": {}});
            let bare = decode_value(self, nothing, &[], FieldValidation::Ignore);
            bare.map(|mut bare| bare.object["status"].take()).unwrap_or_else(|_| json!({}))
        };
        self.bare_status.get_or_init(decode).clone()
    }

    /// Metadata that a write of the status leaves as it is.
    #[must_use]
    pub fn status_keeps(&self) -> &'static [&'static str] {
        self.rules.status_keeps
    }

    /// Whether a deletion is answered with the object, not with a Status.
    #[must_use]
    pub fn returns_deleted(&self) -> bool {
        self.rules.returns_deleted
    }

    /// What is asked, if objects are answered and not kept.
    #[must_use]
    pub fn review(&self) -> Review {
        self.rules.review
    }

    /// Whether PUT makes what does not exist.
    #[must_use]
    pub fn creates_on_update(&self) -> bool {
        self.rules.create_on_update
    }

    /// Whether PUT may leave `resourceVersion` out.
    #[must_use]
    pub fn updates_unconditionally(&self) -> bool {
        self.rules.unconditional_update
    }

    /// Takes out or restores what a write through `part` may not say; see [`Rules::prepare`].
    pub fn prepare(&self, new: &mut Value, old: Option<&Value>, part: &str) {
        (self.rules.prepare)(new, old, part);
    }

    /// Writes what the server makes up by itself when an object is made or changed, and nobody owns.
    pub fn complete(&self, new: &mut Value, old: Option<&Value>) {
        (self.rules.complete)(new, old);
    }

    /// Whether [`Self::stamp`] writes anything.
    #[must_use]
    pub fn is_stamped(&self) -> bool {
        self.rules.stamp.is_some()
    }

    /// Writes who asks, and when, into an object that records it.
    pub fn stamp(&self, new: &mut Value, old: Option<&Value>, stamp: &kinds::Stamp<'_>) {
        if let Some(write) = self.rules.stamp {
            write(new, old, stamp);
        }
    }

    /// Marks an object whose deletion begins at `now`, RFC 3339 in whole seconds.
    pub fn leave(&self, object: &mut Value, now: &str) {
        (self.rules.leave)(object, now);
    }

    /// Whether something that is no finalizer holds a terminating object.
    #[must_use]
    pub fn is_held(&self, object: &Value) -> bool {
        (self.rules.is_held)(object)
    }

    /// How many seconds an object has to end if its deletion asks for so many or does not say. `None`: no object is given time.
    #[must_use]
    pub fn grace_seconds(&self, object: &Value, asked: Option<i64>) -> Option<i64> {
        self.rules.grace_seconds.map(|grace| grace(object, asked))
    }

    /// The object that stands for all of them in a bookmark of a watch. Typed clients decode it as one of them, so its required parts
    /// must be there, empty.
    #[must_use]
    pub fn bookmark(&self, metadata: &Value) -> Value {
        let mut object = json!({"kind": self.kind, "apiVersion": self.api_version(), "metadata": metadata});
        (self.rules.bookmark)(&mut object);
        object
    }

    /// Whether the step engine records each new state when it becomes durable.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.rules.is_traced
    }

    /// What who makes or changes an object should know.
    #[must_use]
    pub fn warnings(&self, new: &Value, old: Option<&Value>, part: &str) -> Vec<String> {
        if self.is_custom() && part.is_empty() {
            return custom::finalizer_warnings(new, old);
        }
        (self.rules.warnings)(&kinds::Change { new, old, part })
    }

    /// Fields that a field selector may name, besides `metadata.name` and `metadata.namespace`.
    pub fn selectable_fields(&self) -> impl Iterator<Item = &str> {
        let custom = self.custom.iter().flat_map(|custom| custom.version.selectable());
        self.rules.fields.iter().map(|field| field.path).chain(custom)
    }

    /// The Scale of a custom object; `None`: it is no custom resource, or has no scale.
    ///
    /// # Errors
    /// The object has no number of replicas: a sentence.
    #[must_use]
    pub fn custom_scale(&self, object: &Value) -> Option<Result<Value, String>> {
        Some(self.custom.as_ref()?.version.scale.as_ref()?.of(object))
    }

    /// The names on the way to the replicas that an object of it wants.
    #[must_use]
    pub fn replicas_path(&self) -> Vec<&str> {
        let scale = self.custom.as_ref().and_then(|custom| custom.version.scale.as_ref());
        scale.map_or_else(|| vec!["spec", "replicas"], custom::scale::Paths::wanted)
    }

    /// Writes replicas where a custom resource has them.
    pub fn set_custom_replicas(&self, object: &mut Value, replicas: i64) {
        if let Some(scale) = self.custom.as_ref().and_then(|custom| custom.version.scale.as_ref()) {
            scale.set(object, replicas);
        }
    }

    /// Whether the value of a selectable field may be another than what stands at its path.
    #[must_use]
    pub fn computes_field(&self, path: &str) -> bool {
        self.custom.is_some() || self.rules.fields.iter().any(|field| field.path == path && field.value.is_some())
    }

    /// The value of a selectable field in an object, as text.
    #[must_use]
    pub fn field_value(&self, object: &Value, path: &str) -> String {
        if let Some(value) = self.custom.as_ref().and_then(|custom| custom.version.selected(object, path)) {
            return value;
        }
        let computed = self.rules.fields.iter().find(|field| field.path == path).and_then(|field| field.value);
        if let Some(value) = computed {
            return value(object);
        }
        match path.split('.').fold(object, |value, segment| &value[segment]) {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }
}

/// Rows of kinds that are only bodies.
pub(crate) fn auxiliary_rows() -> &'static [Row] {
    AUXILIARY
}

const fn body(gvk: [&'static str; 3], definition: &'static str) -> Row {
    Row { verbs: &[], ..Row::namespaced(gvk, ["", ""], definition) }
}

static AUXILIARY: &[Row] = &[
    Row {
        rules: Rules { validate: kinds::scale::validate, printer: &crate::table::workload::SCALE, ..Rules::PLAIN },
        ..body(["autoscaling", "v1", "Scale"], "io.k8s.api.autoscaling.v1.Scale")
    },
    Row {
        rules: Rules { validate: |change, errors| crate::validate::core::binding(change.new, errors), ..Rules::PLAIN },
        ..body(["", "v1", "Binding"], "io.k8s.api.core.v1.Binding")
    },
    Row {
        rules: kinds::authentication::token_request::RULES,
        ..body(["authentication.k8s.io", "v1", "TokenRequest"], "io.k8s.api.authentication.v1.TokenRequest")
    },
    body(["policy", "v1", "Eviction"], "io.k8s.api.policy.v1.Eviction"),
    // kubectl before 1.22 evicts with the version that is gone since; the fields are the same.
    body(["policy", "v1beta1", "Eviction"], "io.k8s.api.policy.v1.Eviction"),
    body(["meta.k8s.io", "v1", "DeleteOptions"], "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"),
];
