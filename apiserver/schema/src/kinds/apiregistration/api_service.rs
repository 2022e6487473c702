//! APIService: which server answers for a version of a group. What this server answers itself is available from the beginning.

use crate::kinds::{Change, Row, Rules, Stamp, Storage, status};
use crate::path::Path;
use crate::table::text::{age, condition, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::{Format, PORTS};
use crate::view::{default, given, list, text};
use serde_json::{Value, json};

const GVK: [&str; 3] = ["apiregistration.k8s.io", "v1", "APIService"];

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    categories: &["api-extensions"],
    subresources: &[status(GVK)],
    storage: Storage { folder: "apiregistration.k8s.io/apiservices", version: None },
    rules: Rules {
        name: Format::PathSegment,
        defaults: |it| {
            if let Some(service) = it.get_mut("spec").and_then(|spec| spec.get_mut("service")) {
                default(service, "port", 443);
            }
        },
        stamp: Some(stamp),
        validate,
        printer: &PRINTER,
        unconditional_update: false,
        status_keeps: &["labels", "annotations", "finalizers", "ownerReferences"],
        ..Rules::PLAIN
    },
    ..Row::cluster(GVK, ["apiservices", "apiservice"], "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService")
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Service", "The service that answers, or Local."),
        Column::text("Available", "Whether it answers, and if not, why."),
        AGE,
    ],
    cells: |it, now| {
        let service = &it["spec"]["service"];
        let place = match service.is_null() {
            true => "Local".to_owned(),
            false => format!("{}/{}", text(service, "namespace"), text(service, "name")),
        };
        let available = condition(&it["status"], "Available").map(|it| (text(it, "status"), text(it, "reason")));
        let available = match available {
            None => "Unknown".to_owned(),
            Some((status, reason)) if status == "True" || reason.is_empty() => status.to_owned(),
            Some((status, reason)) => format!("{status} ({reason})"),
        };
        vec![name(it), place.into(), available.into(), age(it, now)]
    },
};

fn stamp(new: &mut Value, old: Option<&Value>, stamp: &Stamp<'_>) {
    if old.is_none() && new.is_object() && new["spec"]["service"].is_null() {
        new["status"] = json!({"conditions": [{"type": "Available", "status": "True", "lastTransitionTime": stamp.now,
            "reason": "Local", "message": "Local APIServices are always available"}]});
    }
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if change.part == "status" {
        return conditions(&change.new["status"], errors);
    }
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let (said, wanted) = (text(&change.new["metadata"], "name"), format!("{version}.{group}"));
    // One that is no segment of a path has been refused already.
    if said != wanted && !said.is_empty() && Format::PathSegment.check(said).is_none() {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.invalid(&Path::Root.field("metadata").field("name"), said, detail);
    }
    match group {
        "" if version != "v1" => {
            let detail = "only v1 may have an empty group and it better be legacy kube";
            errors.required(&path.field("group"), detail);
        }
        "" => {}
        group => Format::Subdomain.require(group, &path.field("group"), errors),
    }
    Format::Label1035.require(version, &path.field("version"), errors);
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = spec[field].as_i64().unwrap_or_default();
        if !(1..=most).contains(&priority) {
            errors.invalid(&path.field(field), priority, format!("must be positive and less than {most}"));
        }
    }
    service(spec, &path, errors);
}

fn service(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (service, at) = (&spec["service"], path.field("service"));
    let (insecure, has_bundle) = (spec["insecureSkipTLSVerify"] == true, given(spec, "caBundle"));
    let insecure_at = path.field("insecureSkipTLSVerify");
    if service.is_null() {
        if has_bundle {
            let size = format!("{} bytes", text(spec, "caBundle").len() / 4 * 3);
            errors.invalid(&path.field("caBundle"), size, "local APIServices may not have a caBundle");
        }
        if insecure {
            errors.invalid(&insecure_at, true, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    for field in ["namespace", "name"] {
        if text(service, field).is_empty() {
            errors.required(&at.field(field), "");
        }
    }
    let port = service["port"].as_i64().unwrap_or_default();
    if !(PORTS.0..=PORTS.1).contains(&port) {
        let detail = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(&at.field("port"), port, detail);
    }
    if insecure && has_bundle {
        errors.invalid(&insecure_at, true, "may not be true if caBundle is present");
    }
}

fn conditions(status: &Value, errors: &mut Errors) {
    let path = Path::Root.field("status");
    let path = path.field("conditions");
    for (index, condition) in list(status, "conditions").iter().enumerate() {
        let at = path.index(index);
        errors.exactly_one_of(&at.field("status"), text(condition, "status"), &["True", "False", "Unknown"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{errors, set};

    #[test]
    fn what_is_refused() {
        let service = || {
            json!({"metadata": {"name": "v1.a.example"}, "spec": {"group": "a.example", "version": "v1",
                "groupPriorityMinimum": 100, "versionPriority": 10, "service": {"namespace": "n", "name": "s"}}})
        };
        assert_eq!(errors(&ROW, &service()), [""; 0]);
        for (pointer, value, expected) in [
            ("/metadata/name", json!("a"), vec!["metadata.name: Invalid"]),
            ("/spec/versionPriority", json!(0), vec!["spec.versionPriority: Invalid"]),
            ("/spec/groupPriorityMinimum", json!(20_001), vec!["spec.groupPriorityMinimum: Invalid"]),
            ("/spec/service", json!({}), vec!["spec.service.namespace: Required", "spec.service.name: Required"]),
            ("/spec/service/port", json!(70_000), vec!["spec.service.port: Invalid"]),
        ] {
            let mut it = service();
            set(&mut it, pointer, value);
            assert_eq!(errors(&ROW, &it), expected);
        }
        let mut local = service();
        local["spec"]["service"] = Value::Null;
        local["spec"]["caBundle"] = json!("AAAA");
        assert_eq!(errors(&ROW, &local), ["spec.caBundle: Invalid"]);
    }
}
