//! Jobs: a selector by the job's uid, so that no two jobs ever count each other's pods (`batch/v1` Job, `manualSelector`).

use crate::registry::object::{meta, object_at};
use serde_json::{Value, json};

const UID: &str = "batch.kubernetes.io/controller-uid";

pub(super) fn select_by_uid(job: &mut Value) {
    if job["spec"]["manualSelector"].as_bool() == Some(true) || !job["spec"].is_object() {
        return;
    }
    let (uid, name) = (meta(job, "uid").to_owned(), meta(job, "name").to_owned());
    if job["spec"]["selector"].is_null() {
        job["spec"]["selector"] = json!({"matchLabels": {UID: uid}});
    }
    if !job["spec"]["template"].is_object() {
        return;
    }
    let metadata = object_at(&mut job["spec"]["template"], "metadata");
    let mut labels = metadata.get("labels").cloned().unwrap_or_else(|| json!({}));
    if let Some(labels) = labels.as_object_mut() {
        // The names without a prefix are what clients before 1.27 look for.
        for (key, value) in
            [(UID, &uid), ("controller-uid", &uid), ("batch.kubernetes.io/job-name", &name), ("job-name", &name)]
        {
            labels.insert(key.to_owned(), value.as_str().into());
        }
    }
    metadata.insert("labels".to_owned(), labels);
}
