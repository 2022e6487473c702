//! CSIDriver: what a CSI driver can do and wants.

use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::text::{age, each, name, or};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::update;
use crate::view::{default, list, object_mut, text};
use serde_json::{Value, json};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules {
        defaults,
        validate,
        warnings,
        printer: &PRINTER,
        returns_deleted: true,
        prepare,
        unconditional_update: false,
        ..Rules::PLAIN
    },
    ..Row::cluster(
        ["storage.k8s.io", "v1", "CSIDriver"],
        ["csidrivers", "csidriver"],
        "io.k8s.api.storage.v1.CSIDriver",
    )
};

fn defaults(it: &mut Value) {
    let Some(spec) = object_mut(it, "spec") else { return };
    default(spec, "attachRequired", true);
    for off in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        default(spec, off, false);
    }
    default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if list(spec, "volumeLifecycleModes").is_empty() {
        spec["volumeLifecycleModes"] = json!(["Persistent"]);
    }
}

/// Changes are counted, but a new driver has no generation.
fn prepare(new: &mut Value, old: Option<&Value>, _part: &str) {
    let Some(old) = old else { return };
    let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
    let changed = !update::equal(&new["spec"], &old["spec"]);
    if changed || generation > 0 {
        new["metadata"]["generation"] = (generation + i64::from(changed)).into();
    }
}

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::boolean("AttachRequired", "Whether volumes are attached before they are mounted."),
        Column::boolean("PodInfoOnMount", "Whether the driver is told about the pod."),
        Column::boolean("StorageCapacity", "Whether the scheduler looks at the driver's capacity."),
        Column::text("TokenRequests", "Audiences of the tokens that the driver gets."),
        Column::boolean("RequiresRepublish", "Whether the driver is called again and again."),
        Column::text("Modes", "Kinds of volumes that the driver supports."),
        AGE,
    ],
    cells: |it, now| {
        let spec = &it["spec"];
        let modes: Vec<_> = list(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
        let audiences = each(list(spec, "tokenRequests"), "audience");
        vec![
            name(it),
            (spec["attachRequired"] != false).into(),
            (spec["podInfoOnMount"] == true).into(),
            (spec["storageCapacity"] == true).into(),
            if spec["tokenRequests"].is_array() { audiences } else { "<unset>".into() },
            (spec["requiresRepublish"] == true).into(),
            or(&modes.join(","), "<none>"),
            age(it, now),
        ]
    },
};

fn warnings(change: &Change<'_>) -> Vec<String> {
    let spec = &change.new["spec"];
    let before = change.old.is_some_and(|old| update::equal(&old["spec"]["tokenRequests"], &spec["tokenRequests"]));
    if list(spec, "tokenRequests").is_empty() || !spec["serviceAccountTokenInSecrets"].is_null() || before {
        return Vec::new();
    }
    // Clients match on this text.
    vec!["spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging \
          of tokens in volume attributes"
        .to_owned()]
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    errors.one_of(&path.field("fsGroupPolicy"), text(spec, "fsGroupPolicy"), &policies);
    tokens(spec, &path.field("tokenRequests"), errors);
    for mode in list(spec, "volumeLifecycleModes") {
        let mode = mode.as_str().unwrap_or_default();
        errors.exactly_one_of(&path.field("volumeLifecycleModes"), mode, &["Persistent", "Ephemeral"]);
    }
    if let Some(period) = spec["nodeAllocatableUpdatePeriodSeconds"].as_i64().filter(|period| *period < 10) {
        let detail = "must be greater than or equal to 10 seconds";
        errors.invalid(&path.field("nodeAllocatableUpdatePeriodSeconds"), period, detail);
    }
    let in_secrets = &spec["serviceAccountTokenInSecrets"];
    if !in_secrets.is_null() && list(spec, "tokenRequests").is_empty() {
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.invalid(&path.field("serviceAccountTokenInSecrets"), in_secrets.clone(), detail);
    }
    if let Some(old) = change.old {
        if !update::equal(&spec["attachRequired"], &old["spec"]["attachRequired"]) {
            // Kubernetes spells this path so.
            errors.invalid(&path.field("attachedRequired"), spec["attachRequired"].clone(), "field is immutable");
        }
        update::same("volumeLifecycleModes", spec, &old["spec"], &path, errors);
    }
}

fn tokens(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let requests = list(spec, "tokenRequests");
    for (index, request) in requests.iter().enumerate() {
        let path = path.index(index);
        let audience = text(request, "audience");
        if requests.iter().take(index).any(|before| text(before, "audience") == audience) {
            errors.duplicate(&path.field("audience"), audience);
            continue;
        }
        let Some(seconds) = request["expirationSeconds"].as_i64() else { continue };
        if seconds < 600 {
            errors.invalid(
                &path.field("expirationSeconds"),
                seconds,
                "may not specify a duration less than 10 minutes",
            );
        } else if seconds > 1 << 32 {
            let detail = "may not specify a duration larger than 2^32 seconds";
            errors.invalid(&path.field("expirationSeconds"), seconds, detail);
        }
    }
}
