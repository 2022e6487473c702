//! PersistentVolumeClaimResize: a claim grows only where its class lets volumes grow.

use super::reading::{annotation, text};
use super::{Admitted, Attributes, Operation, Plugin, built_in, known, later};
use crate::registry::Target;
use crate::status::Status;
use serde_json::Value;
use skiff_proto::quantity::Quantity;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "PersistentVolumeClaimResize",
    handles: &[Operation::Update],
    mutate: None,
    validate: Some(validate),
};

/// Where a claim said its class before there was a field.
const OLDER: &str = "volume.beta.kubernetes.io/storage-class";

fn validate<'a>(seen: &'a Attributes<'a>, claim: &'a Value) -> Admitted<'a> {
    let old = seen.old.unwrap_or(&Value::Null);
    if !seen.is_about("", "persistentvolumeclaims") || bytes(claim) <= bytes(old) {
        return known(Ok(()));
    }
    if old["status"]["phase"] != "Bound" {
        return known(Err(seen.forbidden("Only bound persistent volume claims can be expanded")));
    }
    later(async move {
        if class(claim) == class(old) && grows(seen, class(claim)).await? {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        Err(seen.forbidden(why))
    })
}

fn bytes(claim: &Value) -> i128 {
    let asked = text(&claim["spec"]["resources"]["requests"], "storage");
    Quantity::parse(asked).map_or(0, Quantity::nanos)
}

fn class(claim: &Value) -> &str {
    annotation(claim, OLDER).unwrap_or_else(|| text(&claim["spec"], "storageClassName"))
}

/// Whether volumes of the class may grow.
async fn grows(seen: &Attributes<'_>, name: &str) -> Result<bool, Status> {
    if name.is_empty() {
        return Ok(false);
    }
    let class = Target { resource: built_in("storage.k8s.io", "storageclasses")?, namespace: "", name };
    match seen.stored.get(class).await {
        Ok(class) => Ok(class["allowVolumeExpansion"] == true),
        Err(status) if status.reason == "NotFound" => Ok(false),
        Err(status) => Err(status),
    }
}
