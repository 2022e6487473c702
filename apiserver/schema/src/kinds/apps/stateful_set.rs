//! StatefulSet.

use crate::defaults::workload as fill;
use crate::kinds::core::persistent_volume_claim as claim;
use crate::kinds::{Change, Row, Rules, SCALE, status};
use crate::path::Path;
use crate::table::text::{age, name, number};
use crate::table::workload::{CONTAINERS, IMAGES, names_and_images};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::warnings::of_template;
use crate::validate::{pod, update, workload};
use crate::view::{default, given, list, list_mut, object_mut, text};
use serde_json::{Value, json};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["sts"],
    categories: &["all"],
    subresources: &[SCALE, status(["apps", "v1", "StatefulSet"])],
    rules: Rules {
        name: Format::Label,
        defaults: |it| crate::defaults::with_spec(it, defaults),
        validate,
        warnings: of_template,
        printer: &PRINTER,
        generation: true,
        ..Rules::PLAIN
    },
    ..Row::namespaced(["apps", "v1", "StatefulSet"], ["statefulsets", "statefulset"], "io.k8s.api.apps.v1.StatefulSet")
};

static PRINTER: Printer = Printer {
    columns: &[NAME, Column::text("Ready", "Pods that are ready, of those wanted."), AGE, CONTAINERS, IMAGES],
    cells: |it, now| {
        let ready = format!("{}/{}", number(&it["status"]["readyReplicas"]), number(&it["spec"]["replicas"]));
        let [names, images] = names_and_images(&it["spec"]["template"]);
        vec![name(it), ready.into(), age(it, now), names, images]
    },
};

fn defaults(spec: &mut Value) {
    default(spec, "podManagementPolicy", "OrderedReady");
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    if let Some(strategy) = object_mut(spec, "updateStrategy") {
        if !given(strategy, "type") {
            default(strategy, "type", "RollingUpdate");
            default(strategy, "rollingUpdate", json!({}));
        }
        if text(strategy, "type") == "RollingUpdate" && strategy["rollingUpdate"].is_object() {
            default(&mut strategy["rollingUpdate"], "partition", 0);
        }
    }
    if let Some(policy) = object_mut(spec, "persistentVolumeClaimRetentionPolicy") {
        default(policy, "whenDeleted", "Retain");
        default(policy, "whenScaled", "Retain");
    }
    for template in list_mut(spec, "volumeClaimTemplates") {
        default(template, "apiVersion", "v1");
        default(template, "kind", "PersistentVolumeClaim");
        claim::claim(template);
    }
    if spec["serviceName"].is_null() && spec.is_object() {
        // Kubernetes always writes it.
        spec["serviceName"] = "".into();
    }
    fill::template(spec);
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if !change.is_whole() {
        return status_counts(&change.new["status"], errors);
    }
    let (new, path) = (&change.new["spec"], Path::Root.field("spec"));
    spec(new, change.old.is_none(), &path, errors);
    if let Some(old) = change.old {
        unchanged(new, &old["spec"], &path, errors);
    }
}

fn spec(spec: &Value, created: bool, path: &Path<'_>, errors: &mut Errors) {
    let policy = text(spec, "podManagementPolicy");
    if !["OrderedReady", "Parallel"].contains(&policy) {
        errors.invalid(&path.field("podManagementPolicy"), policy, "must be 'OrderedReady' or 'Parallel'");
    }
    strategy(&spec["updateStrategy"], &path.field("updateStrategy"), errors);
    let (keep, at) =
        (&spec["persistentVolumeClaimRetentionPolicy"], path.field("persistentVolumeClaimRetentionPolicy"));
    for when in ["whenDeleted", "whenScaled"] {
        errors.one_of(&at.field(when), text(keep, when), &["Delete", "Retain"]);
    }
    let claims = list(spec, "volumeClaimTemplates");
    if created {
        let at = path.field("volumeClaimTemplates");
        for (index, template) in claims.iter().enumerate() {
            claim::spec(&template["spec"], &at.index(index).field("spec"), errors);
        }
        if given(spec, "serviceName") {
            Format::Label.require(text(spec, "serviceName"), &path.field("serviceName"), errors);
        }
    }
    workload::counts(spec, &["replicas", "minReadySeconds"], path, errors);
    errors.not_negative(&path.field("ordinals").field("start"), &spec["ordinals"]["start"]);
    workload::selector(&spec["selector"], "statefulset", &path.field("selector"), errors);
    let at = path.field("template");
    pod::template(&template(spec), &spec["selector"], &["Always"], &at, errors);
    workload::unselected(spec, &at, errors);
    workload::no_deadline(&spec["template"], "StatefulSet", &at, errors);
}

/// The template as its pods will be: named by the set, with the volumes of its claims.
fn template(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let Some(pod) = object_mut(&mut template, "spec") else { return template };
    for field in ["subdomain", "hostname"] {
        pod[field] = Value::Null;
    }
    let claimed: Vec<&str> =
        list(spec, "volumeClaimTemplates").iter().map(|claim| text(&claim["metadata"], "name")).collect();
    if !claimed.is_empty() {
        let own = list(pod, "volumes").iter().filter(|volume| !claimed.contains(&text(volume, "name"))).cloned();
        // What kind of volume a claim becomes does not matter to these rules.
        let volumes = claimed.iter().map(|name| json!({"name": name, "emptyDir": {}})).chain(own).collect();
        pod["volumes"] = Value::Array(volumes);
    }
    template
}

fn strategy(strategy: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (rolling, at) = (&strategy["rollingUpdate"], path.field("rollingUpdate"));
    match text(strategy, "type") {
        "OnDelete" if rolling.is_object() => {
            errors.invalid(&at, rolling.clone(), "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            errors.not_negative(&at.field("partition"), &rolling["partition"]);
            let (most, at) = (&rolling["maxUnavailable"], at.field("maxUnavailable"));
            workload::count_or_share(most, &at, errors);
            if *most == 0 || workload::percent(most) == Some(0) {
                errors.invalid(&at, most.clone(), "cannot be 0");
            }
        }
        _ => errors.invalid(path, strategy.clone(), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

/// What may change of a set that exists.
const CHANGEABLE: &[&str] = &[
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
];

fn unchanged(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut rest = new.clone();
    for field in CHANGEABLE {
        update::take(field, &mut rest, old);
    }
    if !update::equal(&rest, old) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
             'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        errors.forbidden(path, detail);
    }
}

fn status_counts(status: &Value, errors: &mut Errors) {
    let path = Path::Root.field("status");
    let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    workload::counts(status, &["replicas", "observedGeneration", "collisionCount"], &path, errors);
    workload::counts(status, &parts, &path, errors);
    let all = number(&status["replicas"]);
    for part in parts.into_iter().filter(|part| number(&status[*part]) > all) {
        errors.invalid(&path.field(part), number(&status[part]), "cannot be greater than status.replicas");
    }
    if number(&status["availableReplicas"]) > number(&status["readyReplicas"]) {
        let path = path.field("availableReplicas");
        errors.invalid(&path, number(&status["availableReplicas"]), "cannot be greater than status.readyReplicas");
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, set, update_errors};
    use serde_json::{Value, json};

    fn with(pointer: &str, value: Value) -> Value {
        let mut it = json!({"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
            "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}}}],
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
                {"name": "c", "image": "i:1", "volumeMounts": [{"name": "d", "mountPath": "/d"}]}]}}}});
        set(&mut it, pointer, value);
        it
    }

    #[test]
    fn what_is_refused() {
        let of = |pointer: &str, value: Value| errors(&super::ROW, &with(pointer, value));
        assert_eq!(of("/spec/replicas", json!(2)), [""; 0]);
        for (pointer, value, expected) in [
            ("/spec/replicas", json!(-1), "spec.replicas: Invalid"),
            ("/spec/podManagementPolicy", json!("Any"), "spec.podManagementPolicy: Invalid"),
            ("/spec/serviceName", json!("A"), "spec.serviceName: Invalid"),
            ("/spec/updateStrategy", json!({"type": "Any"}), "spec.updateStrategy: Invalid"),
            (
                "/spec/updateStrategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"partition": -1}}),
                "spec.updateStrategy.rollingUpdate.partition: Invalid",
            ),
            (
                "/spec/volumeClaimTemplates/0/spec/accessModes",
                json!([]),
                "spec.volumeClaimTemplates[0].spec.accessModes: Required",
            ),
        ] {
            assert_eq!(of(pointer, value), [expected]);
        }
        assert_eq!(errors(&super::ROW, &with("/metadata/name", json!("a.b"))), ["metadata.name: Invalid"]);
    }

    #[test]
    fn little_may_change() {
        let old = with("/spec/replicas", json!(1));
        let of = |pointer: &str, value: Value| update_errors(&super::ROW, &with(pointer, value), &old);
        assert_eq!(of("/spec/replicas", json!(3)), [""; 0]);
        assert_eq!(of("/spec/minReadySeconds", json!(3)), [""; 0]);
        assert_eq!(of("/spec/serviceName", json!("b")), ["spec: Forbidden"]);
        assert_eq!(of("/spec/podManagementPolicy", json!("Parallel")), ["spec: Forbidden"]);
    }
}
