//! Fields that Kubernetes has and Skiff does not: refused, so that nothing is silently ignored.
//!
//! The kubelet refuses what it cannot do on its node; here stand the fields that nothing in Skiff reads.

use serde_json::Value;

use super::errors::Errors;
use crate::path::Path;

const DETAIL: &str = "not implemented by Skiff";

/// Fields of a pod's spec.
const POD: &[&str] = &["resourceClaims", "resources", "schedulingGroup"];

/// Fields of a container.
const CONTAINER: &[&str] = &["restartPolicyRules", "volumeDevices"];

/// Fields of a job's spec.
const JOB: &[&str] = &["backoffLimitPerIndex", "managedBy", "maxFailedIndexes", "podFailurePolicy", "successPolicy"];

/// The fields that are given although nothing reads them.
fn refuse(fields: &[&str], holder: &Value, path: &Path<'_>, errors: &mut Errors) {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    for field in fields.iter().filter(|field| !is_empty(&holder[**field])) {
        errors.forbidden(&path.field(field), DETAIL);
    }
}

pub(super) fn pod(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    refuse(POD, spec, path, errors);
    let context = path.field("securityContext");
    refuse(&["windowsOptions"], &spec["securityContext"], &context, errors);
    let path = path.field("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        // Preferences may go unmet; requirements may not.
        let required = ["requiredDuringSchedulingIgnoredDuringExecution"];
        refuse(&required, &spec["affinity"][kind], &path.field(kind), errors);
    }
}

pub(super) fn container(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    refuse(CONTAINER, container, path, errors);
    let context = path.field("securityContext");
    refuse(&["windowsOptions"], &container["securityContext"], &context, errors);
}

pub(super) fn job(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    refuse(JOB, spec, path, errors);
}

/// A volume source that no part of Skiff can provide.
pub(super) fn volume(kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let detail = format!("volumes of type {kind} are {DETAIL}");
    errors.forbidden(path, detail);
}
