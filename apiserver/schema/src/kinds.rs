//! The built-in kinds: one file each, `kinds/<group>/<kind>.rs`, with its [`Row`] (what it is called and where it is stored) and its
//! [`Rules`] (what it adds to its schema).
//!
//! No file outside this folder names a kind to decide something. Everything here is pure: what depends on other objects or on
//! the server is admission, in the API server.

mod admissionregistration;
mod apiextensions;
pub(crate) mod apiregistration;
mod apps;
pub(crate) mod authentication;
mod authorization;
mod autoscaling;
mod batch;
mod certificates;
mod coordination;
mod core;
mod discovery;
mod events;
mod flowcontrol;
mod networking;
mod node;
mod policy;
mod rbac;
mod resource;
pub(crate) mod scale; // the body of all scales
mod scheduling;
mod storage;

pub(crate) use self::storage::driver_name;

use crate::table::{DEFAULT, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use serde_json::Value;

/// What a built-in kind is called in one version, where it is stored, and what it adds to its schema.
pub(crate) struct Row {
    /// API group, empty for the core group.
    pub(crate) group: &'static str,
    /// Version within the group, e.g. `v1`.
    pub(crate) version: &'static str,
    /// Kind of one object, e.g. `Pod`; its list is `PodList`.
    pub(crate) kind: &'static str,
    /// Name in paths, e.g. `pods`.
    pub(crate) plural: &'static str,
    /// Name of one, e.g. `pod`.
    pub(crate) singular: &'static str,
    /// Short names kubectl accepts, e.g. `po`.
    pub(crate) short_names: &'static [&'static str],
    /// Groups of resources, e.g. `all`.
    pub(crate) categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub(crate) namespaced: bool,
    /// Verbs served, in alphabetical order.
    pub(crate) verbs: &'static [&'static str],
    /// Subresources served, in alphabetical order.
    pub(crate) subresources: &'static [Part],
    /// Name of the schema's definition, e.g. `io.k8s.api.core.v1.Pod`.
    pub(crate) definition: &'static str,
    /// Where objects are kept.
    pub(crate) storage: Storage,
    /// What the kind adds to its schema.
    pub(crate) rules: Rules,
}

/// A subresource such as `status`; its kind may live in another group (`autoscaling/v1` Scale).
pub(crate) struct Part {
    /// Last segment of the path, e.g. `status`.
    pub(crate) name: &'static str,
    /// Group, version and kind of the body.
    pub(crate) body: [&'static str; 3],
    /// Verbs served, in alphabetical order.
    pub(crate) verbs: &'static [&'static str],
}

/// Where and in which version objects of a kind are kept.
pub(crate) struct Storage {
    /// Folder under `/registry`, as kube-apiserver names it: `pods`, `minions`, `services/specs`, `deployments`,
    /// `apiregistration.k8s.io/apiservices`. Empty: nothing is kept, a request is answered and forgotten.
    pub(crate) folder: &'static str,
    /// `apiVersion` of stored objects, if it is another than the served one.
    pub(crate) version: Option<Conversion>,
}

/// How a served object becomes a stored one and back. `apiVersion` is set by the caller.
#[derive(Clone, Copy)]
pub(crate) struct Conversion {
    /// `apiVersion` of the stored form.
    pub(crate) api_version: &'static str,
    /// From the served form to the stored one.
    pub(crate) to_storage: fn(&mut Value),
    /// From the stored form to the served one.
    pub(crate) from_storage: fn(&mut Value),
}

/// A write, as rules see it: defaults are in, the server's own metadata too.
#[derive(Clone, Copy)]
pub(crate) struct Change<'a> {
    /// What the object would become.
    pub(crate) new: &'a Value,
    /// What it is; `None` on creation.
    pub(crate) old: Option<&'a Value>,
    /// The subresource that is written, e.g. `status`; empty for the object itself.
    pub(crate) part: &'a str,
}

impl Change<'_> {
    /// Whether the object itself is written, or its scale, and not a part that leaves the rest alone.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.part, "" | "scale")
    }
}

/// Where a kind keeps its objects that keeps none: a request is answered and forgotten.
pub(crate) const UNSTORED: Storage = Storage { folder: "", version: None };

/// What a kind is asked whose objects are answered and not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Review {
    /// Nothing: its objects are kept.
    No,
    /// Who asks.
    WhoAsks,
    /// Whether somebody may do something.
    Access,
    /// Whether who asks may do something.
    OwnAccess,
    /// What who asks may do.
    OwnRules,
    /// Whose a token is.
    Token,
    /// How the parts of the control plane are; asked by reading.
    Parts,
}

/// Who makes a write, and when.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// `username`, `uid`, `groups` and `extra` of who asks (`authentication.k8s.io` UserInfo); what is not known is left out.
    pub who: &'a Value,
    /// Now, RFC 3339 in whole seconds.
    pub now: &'a str,
}

/// What a kind adds to its schema. Kubernetes calls the same a strategy, defaulting and a printer.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// Form of `metadata.name`.
    pub(crate) name: Format,
    /// Fills in what an author may leave out (`SetDefaults_…`); doing it twice changes nothing more.
    pub(crate) defaults: fn(&mut Value),
    /// Takes out or restores what a write through this part may not say (`PrepareForCreate`, `PrepareForUpdate`), beyond what holds
    /// for all kinds: a creation or a write of the object leaves `status` alone if there is a `status` part, a write of `status` leaves
    /// everything else alone but metadata.
    pub(crate) prepare: fn(&mut Value, Option<&Value>, part: &str),
    /// Writes what the server makes up by itself, after admission (`PrepareForCreate`, `PrepareForUpdate`): nobody owns it. The second is
    /// the old state, `None` on creation.
    pub(crate) complete: fn(&mut Value, Option<&Value>),
    /// Writes who asks, and when, into objects that record it; after [`Self::complete`].
    pub(crate) stamp: Option<fn(&mut Value, Option<&Value>, &Stamp<'_>)>,
    /// Marks an object whose deletion begins, at a time (RFC 3339 in whole seconds).
    pub(crate) leave: fn(&mut Value, &str),
    /// Whether something that is no finalizer holds a terminating object.
    pub(crate) is_held: fn(&Value) -> bool,
    /// How many seconds an object has to end if its deletion asks for so many or does not say. `None`: no object is given time.
    pub(crate) grace_seconds: Option<fn(&Value, Option<i64>) -> i64>,
    /// Writes into a bookmark of a watch what typed clients ask of every object of the kind.
    pub(crate) bookmark: fn(&mut Value),
    /// Whether the step engine records each new state when it becomes durable.
    pub(crate) is_traced: bool,
    /// Reports what is wrong, beyond metadata and the immutability of names; for every part but `scale`'s own body.
    pub(crate) validate: fn(&Change<'_>, &mut Errors),
    /// Texts for `Warning` headers.
    pub(crate) warnings: fn(&Change<'_>) -> Vec<String>,
    /// Columns of `kubectl get`.
    pub(crate) printer: &'static Printer,
    /// Field selectors beyond `metadata.name` and `metadata.namespace`.
    pub(crate) fields: &'static [Selectable],
    /// Whether `metadata.generation` counts changes of everything but metadata and status.
    pub(crate) generation: bool,
    /// Whether a creation keeps the status that it says (nodes).
    pub(crate) status_on_create: bool,
    /// Whether a deletion is answered with the object, not with a Status.
    pub(crate) returns_deleted: bool,
    /// Metadata fields whose changes count as a generation too.
    pub(crate) generation_counts: &'static [&'static str],
    /// Whether dependents stay when an object is deleted without a word about them.
    pub(crate) keeps_dependents: bool,
    /// What is said to whoever deletes without a word about dependents.
    pub(crate) keeps_dependents_warning: &'static str,
    /// What clients are told in every answer, if there is a successor.
    pub(crate) deprecation: &'static str,
    /// Whether finalizers may be any qualified name; for the others, those without a domain are Kubernetes' own.
    pub(crate) free_finalizers: bool,
    /// Metadata fields that a write of `status` does not change (pods: `ownerReferences`).
    pub(crate) status_keeps: &'static [&'static str],
    /// Whether PUT makes what does not exist.
    pub(crate) create_on_update: bool,
    /// Whether PUT may leave `resourceVersion` out.
    pub(crate) unconditional_update: bool,
    /// Objects vanish after this many seconds; 0: never.
    pub(crate) ttl_seconds: i64,
    /// What is asked, if objects are answered and not kept.
    pub(crate) review: Review,
}

/// A field that `fieldSelector` may name.
#[derive(Clone, Copy)]
pub(crate) struct Selectable {
    /// As clients write it, e.g. `spec.nodeName`.
    pub(crate) path: &'static str,
    /// Its value in an object, as text; empty when it is absent. `None`: what stands at `path`.
    pub(crate) value: Option<fn(&Value) -> String>,
}

impl Selectable {
    /// The field at `path`, as it stands there.
    pub(crate) const fn at(path: &'static str) -> Self {
        Self { path, value: None }
    }
}

impl Rules {
    /// A kind that adds nothing.
    pub(crate) const PLAIN: Self = Self {
        name: Format::Subdomain,
        defaults: |_| {},
        prepare: |_, _, _| {},
        complete: |_, _| {},
        stamp: None,
        leave: |_, _| {},
        is_held: |_| false,
        grace_seconds: None,
        bookmark: |_| {},
        is_traced: false,
        validate: |_, _| {},
        warnings: |_| Vec::new(),
        printer: &DEFAULT,
        fields: &[],
        generation: false,
        generation_counts: &[],
        keeps_dependents: false,
        keeps_dependents_warning: "",
        deprecation: "",
        status_on_create: false,
        returns_deleted: false,
        free_finalizers: false,
        status_keeps: &[],
        create_on_update: false,
        unconditional_update: true,
        ttl_seconds: 0,
        review: Review::No,
    };
}

/// What a write of `status` leaves alone where it leaves all metadata alone.
pub(crate) const METADATA: &[&str] = &["annotations", "finalizers", "labels", "ownerReferences"];

/// All verbs of a stored kind.
pub(crate) const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Verbs of a status or scale.
pub(crate) const READ_WRITE: &[&str] = &["get", "patch", "update"];
/// The verb of a kind that is answered and not stored.
pub(crate) const CREATE: &[&str] = &["create"];

/// The `scale` part.
pub(crate) const SCALE: Part = Part { name: "scale", body: ["autoscaling", "v1", "Scale"], verbs: READ_WRITE };

/// The `proxy` part of a kind: whatever verb, it is another server's.
pub(crate) const fn proxy(options: &'static str) -> Part {
    Part { name: "proxy", body: ["", "v1", options], verbs: &["create", "delete", "get", "patch", "update"] }
}

/// The `status` part of a kind.
pub(crate) const fn status(body: [&'static str; 3]) -> Part {
    Part { name: "status", body, verbs: READ_WRITE }
}

impl Row {
    /// A namespaced kind with all verbs, no short names, categories or subresources, and no rules; stored under its plural.
    pub(crate) const fn namespaced(
        [group, version, kind]: [&'static str; 3],
        [plural, singular]: [&'static str; 2],
        definition: &'static str,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
            singular,
            short_names: &[],
            categories: &[],
            namespaced: true,
            verbs: ALL,
            subresources: &[],
            definition,
            storage: Storage { folder: plural, version: None },
            rules: Rules::PLAIN,
        }
    }

    /// As [`Self::namespaced`], for a kind whose objects live in no namespace.
    pub(crate) const fn cluster(gvk: [&'static str; 3], names: [&'static str; 2], definition: &'static str) -> Self {
        Self { namespaced: false, ..Self::namespaced(gvk, names, definition) }
    }
}

#[cfg(test)]
pub(crate) mod testing;

/// The rows of all built-in kinds, in no order.
pub(crate) fn rows() -> impl Iterator<Item = &'static Row> {
    let groups = [
        admissionregistration::ROWS,
        apiextensions::ROWS,
        apiregistration::ROWS,
        apps::ROWS,
        authentication::ROWS,
        authorization::ROWS,
        autoscaling::ROWS,
        batch::ROWS,
        certificates::ROWS,
        coordination::ROWS,
        core::ROWS,
        discovery::ROWS,
        events::ROWS,
        flowcontrol::ROWS,
        networking::ROWS,
        node::ROWS,
        policy::ROWS,
        rbac::ROWS,
        resource::ROWS,
        scheduling::ROWS,
        storage::ROWS,
    ];
    groups.into_iter().flatten().copied()
}
