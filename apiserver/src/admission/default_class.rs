//! DefaultStorageClass and DefaultIngressClass: who names no class gets the one that an annotation makes the default.

use super::reading::{annotation, text};
use super::{Admitted, Attributes, Operation, Plugin, built_in, known, later};
use crate::status::Status;
use serde_json::Value;
use std::cmp::Reverse;
use std::sync::Arc;

pub(super) const STORAGE: Plugin = Plugin {
    name: "DefaultStorageClass",
    handles: &[Operation::Create],
    mutate: Some(|seen, claim| admit(&OF_CLAIMS, seen, claim)),
    validate: None,
};

pub(super) const INGRESS: Plugin = Plugin {
    name: "DefaultIngressClass",
    handles: &[Operation::Create],
    mutate: Some(|seen, ingress| admit(&OF_INGRESSES, seen, ingress)),
    validate: None,
};

/// Who has a class, which, and how that is said.
struct Defaulted {
    /// Group and plural.
    of: (&'static str, &'static str),
    field: &'static str,
    /// The annotation that said it before there was a field.
    older: &'static str,
    classes: (&'static str, &'static str),
    /// Annotations that make a class the default.
    marks: &'static [&'static str],
}

static OF_CLAIMS: Defaulted = Defaulted {
    of: ("", "persistentvolumeclaims"),
    field: "storageClassName",
    older: "volume.beta.kubernetes.io/storage-class",
    classes: ("storage.k8s.io", "storageclasses"),
    marks: &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"],
};

static OF_INGRESSES: Defaulted = Defaulted {
    of: ("networking.k8s.io", "ingresses"),
    field: "ingressClassName",
    older: "kubernetes.io/ingress.class",
    classes: ("networking.k8s.io", "ingressclasses"),
    marks: &["ingressclass.kubernetes.io/is-default-class"],
};

fn admit<'a>(kind: &'static Defaulted, seen: &'a Attributes<'a>, object: &'a mut Value) -> Admitted<'a> {
    let is_about = seen.is_about(kind.of.0, kind.of.1) && object["spec"].is_object();
    if !is_about || !object["spec"][kind.field].is_null() || annotation(object, kind.older).is_some() {
        return known(Ok(()));
    }
    later(set(kind, seen, object))
}

async fn set(kind: &Defaulted, seen: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let classes = seen.stored.list(built_in(kind.classes.0, kind.classes.1)?, "").await;
    let classes = classes.map_err(|status| seen.forbidden(&status.message))?;
    if let Some(class) = chosen(&classes, kind.marks) {
        object["spec"][kind.field] = text(&class["metadata"], "name").into();
    }
    Ok(())
}

/// The newest of those that are the default; of two of the same second, the first by name.
fn chosen<'a>(classes: &'a [Arc<Value>], marks: &[&str]) -> Option<&'a Value> {
    let is_default = |class: &&Value| marks.iter().any(|mark| annotation(class, mark) == Some("true"));
    let defaults = classes.iter().map(AsRef::as_ref).filter(is_default);
    // Times are in UTC and of one length.
    let key = |class: &&Value| {
        let metadata = &class["metadata"];
        (Reverse(text(metadata, "creationTimestamp").to_owned()), text(metadata, "name").to_owned())
    };
    defaults.min_by_key(key)
}
