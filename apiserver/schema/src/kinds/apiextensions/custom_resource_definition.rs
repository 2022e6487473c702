//! CustomResourceDefinition: a kind that others bring.

mod validate;

use self::validate::validate;
use crate::custom::definition;
use crate::custom::naming::{self, CLEANUP_FINALIZER};
use crate::kinds::{Change, Row, Rules, Storage, status};
use crate::table::{Column, NAME, Printer, text};
use crate::view::{default, default_absent, given, list, object_mut, present_mut, text as text_of};
use serde_json::{Value, json};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    subresources: &[status(["apiextensions.k8s.io", "v1", "CustomResourceDefinition"])],
    storage: Storage { folder: "apiextensions.k8s.io/customresourcedefinitions", version: None },
    rules: Rules {
        defaults,
        prepare,
        leave,
        validate,
        warnings,
        printer: &PRINTER,
        generation: true,
        free_finalizers: true,
        unconditional_update: false,
        ..Rules::PLAIN
    },
    ..Row::cluster(
        ["apiextensions.k8s.io", "v1", "CustomResourceDefinition"],
        ["customresourcedefinitions", "customresourcedefinition"],
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    )
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column { name: "Created At", json_type: "date", description: "When it was created.", wide: false },
    ],
    cells: |it, _| vec![text::name(it), it["metadata"]["creationTimestamp"].clone()],
};

fn defaults(object: &mut Value) {
    let Some(spec) = object_mut(object, "spec") else { return };
    if let Some(names) = object_mut(spec, "names") {
        let kind = text_of(names, "kind").to_owned();
        if !kind.is_empty() {
            default(names, "singular", kind.to_lowercase());
            default(names, "listKind", format!("{kind}List"));
        }
    }
    if !given(spec, "conversion") {
        spec["conversion"] = json!({"strategy": "None"});
    }
    let client =
        present_mut(&mut spec["conversion"], "webhook").and_then(|webhook| present_mut(webhook, "clientConfig"));
    if let Some(service) = client.and_then(|client| present_mut(client, "service")) {
        default_absent(service, "port", 443);
    }
    let storage = storage_version(spec).map(str::to_owned);
    let Some(status) = object_mut(object, "status") else { return };
    if list(status, "storedVersions").is_empty() {
        status["storedVersions"] = storage.into_iter().collect();
    }
}

/// The version in which objects are kept.
fn storage_version(spec: &Value) -> Option<&str> {
    list(spec, "versions").iter().find(|version| version["storage"] == true).map(|version| text_of(version, "name"))
}

/// The status is the server's, but that a storage version is noted as soon as it is one.
fn prepare(new: &mut Value, old: Option<&Value>, part: &str) {
    if !part.is_empty() {
        return;
    }
    match old {
        Some(old) => new["status"] = old["status"].clone(),
        None => {
            new["status"] =
                json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": []});
        }
    }
    let Some(storage) = storage_version(&new["spec"]).map(str::to_owned) else { return };
    if let Some(status) = object_mut(new, "status") {
        let mut stored = list(status, "storedVersions").to_vec();
        if !stored.iter().any(|version| *version == storage) {
            stored.push(storage.into());
            status["storedVersions"] = stored.into();
        }
    }
}

/// Its instances go first: somebody has to delete them.
fn leave(object: &mut Value, now: &str) {
    if let Some(metadata) = object_mut(object, "metadata") {
        let mut finalizers = list(metadata, "finalizers").to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == CLEANUP_FINALIZER) {
            finalizers.push(CLEANUP_FINALIZER.into());
        }
        metadata["finalizers"] = finalizers.into();
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    if let Some(status) = object_mut(object, "status") {
        naming::set(status, ["Terminating", "True", "InstanceDeletionPending", message], now);
    }
}

fn warnings(change: &Change<'_>) -> Vec<String> {
    if !change.part.is_empty() {
        return Vec::new();
    }
    let formats = |object: &Value| {
        let versions = list(&object["spec"], "versions").iter();
        versions
            .flat_map(|version| definition::unknown_formats(&version["schema"]["openAPIV3Schema"]))
            .collect::<Vec<_>>()
    };
    let before = change.old.map(formats).unwrap_or_default();
    let new = formats(change.new).into_iter().filter(|format| !before.contains(format));
    new.map(|format| format!("unrecognized format {format:?}")).collect()
}
