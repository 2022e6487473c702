//! What whoever writes a pod, or something that makes pods, is told beside the answer: what is allowed and does not do what it seems to.

use crate::kinds::Change;
use crate::path::Path;
use crate::view::{list, text};
use serde_json::Value;
use skiff_proto::quantity::Quantity;
use std::collections::BTreeMap;

/// Labels of nodes that others have taken the place of.
const OLD_LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];
const OLD_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
const OLD_VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF: &str = "container.seccomp.security.alpha.kubernetes.io/";
const SECCOMP_TEXT: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";

/// What is told of a workload's template, when it is new or has changed.
pub(crate) fn of_template(change: &Change<'_>) -> Vec<String> {
    let generation = |object: &Value| object["metadata"]["generation"].as_i64();
    if !change.is_whole() || change.old.is_some_and(|old| generation(old) == generation(change.new)) {
        return Vec::new();
    }
    let spec = Path::Root.field("spec");
    warnings(&change.new["spec"]["template"], &spec.field("template"))
}

/// All that is told of a pod, or of a template at `path`.
pub(crate) fn warnings(pod: &Value, path: &Path<'_>) -> Vec<String> {
    let (spec, at) = (&pod["spec"], path.field("spec"));
    let mut told = Vec::new();
    nodes(spec, &at, &mut told);
    annotations(pod, path, &mut told);
    volumes(spec, &at, &mut told);
    repeated(spec, &at, &mut told);
    fractions(&spec["overhead"], &at.field("overhead"), &mut told);
    seccomp(pod, path, &mut told);
    for (container, at) in containers(spec, &at.to_string()) {
        of_container(container, &at, &mut told);
    }
    ports(spec, &at.to_string(), &mut told);
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        let field = at.field("terminationGracePeriodSeconds");
        told.push(format!("{field}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    selectors(spec, &at, &mut told);
    told
}

fn old_label(key: &str) -> Option<&'static str> {
    OLD_LABELS.iter().find(|(label, _)| *label == key).map(|(_, text)| *text)
}

fn nodes(spec: &Value, at: &Path<'_>, told: &mut Vec<String>) {
    let selector = at.field("nodeSelector");
    for (key, _) in spec["nodeSelector"].as_object().into_iter().flatten() {
        told.extend(old_label(key).map(|text| format!("{}: {text}", selector.key(key))));
    }
    let affinity = &spec["affinity"]["nodeAffinity"];
    let root = format!("{at}.affinity.nodeAffinity");
    let required = &affinity["requiredDuringSchedulingIgnoredDuringExecution"];
    for (index, term) in list(required, "nodeSelectorTerms").iter().enumerate() {
        let at = format!("{root}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[{index}]");
        expressions(term, &at, told);
    }
    for (index, term) in list(affinity, "preferredDuringSchedulingIgnoredDuringExecution").iter().enumerate() {
        let at = format!("{root}.preferredDuringSchedulingIgnoredDuringExecution[{index}].preference");
        expressions(&term["preference"], &at, told);
    }
    for (index, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let (at, key) = (format!("{at}.topologySpreadConstraints[{index}]"), text(constraint, "topologyKey"));
        told.extend(old_label(key).map(|text| format!("{at}.topologyKey: {key} is {text}")));
        if constraint["labelSelector"].is_null() {
            told.push(format!("{at}.labelSelector: a null labelSelector results in matching no pod"));
        }
    }
}

fn expressions(term: &Value, at: &str, told: &mut Vec<String>) {
    for (index, one) in list(term, "matchExpressions").iter().enumerate() {
        let key = text(one, "key");
        told.extend(old_label(key).map(|text| format!("{at}.matchExpressions[{index}].key: {key} is {text}")));
    }
}

fn annotations(pod: &Value, path: &Path<'_>, told: &mut Vec<String>) {
    let (metadata, annotations) = (path.field("metadata"), &pod["metadata"]["annotations"]);
    let at = metadata.field("annotations");
    let old = OLD_ANNOTATIONS.iter().filter(|(key, _)| annotations[*key].is_string());
    told.extend(old.map(|(key, text)| format!("{}: {text}", at.key(key))));
}

fn volumes(spec: &Value, at: &Path<'_>, told: &mut Vec<String>) {
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let old = OLD_VOLUMES.iter().filter(|(kind, _)| volume[*kind].is_object());
        told.extend(old.map(|(kind, text)| format!("{at}.volumes[{index}].{kind}: {text}")));
    }
}

fn repeated(spec: &Value, at: &Path<'_>, told: &mut Vec<String>) {
    for (field, key) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let mut seen = Vec::new();
        for (index, item) in list(spec, field).iter().enumerate() {
            let value = text(item, key);
            if seen.contains(&value) {
                told.push(format!("{at}.{field}[{index}].{key}: duplicate {key} {value:?}"));
            }
            seen.push(value);
        }
    }
    let secrets = list(spec, "imagePullSecrets").iter().enumerate().filter(|(_, item)| text(item, "name").is_empty());
    told.extend(secrets.map(|(index, _)| format!("{at}.imagePullSecrets[{index}].name: invalid empty name \"\"")));
}

/// Parts of a byte.
fn fractions(amounts: &Value, at: &Path<'_>, told: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        let amount = text(amounts, name);
        // Thousandths are all that is looked at.
        if Quantity::parse(amount).is_ok_and(|amount| amount.nanos() % 1_000_000_000 != 0) {
            told.push(format!("{}: fractional byte value {amount:?} is invalid, must be an integer", at.key(name)));
        }
    }
}

fn seccomp(pod: &Value, path: &Path<'_>, told: &mut Vec<String>) {
    let (metadata, annotations) = (path.field("metadata"), &pod["metadata"]["annotations"]);
    let at = metadata.field("annotations");
    let is_said = |holder: &Value| !holder["securityContext"]["seccompProfile"].is_null();
    if !is_said(&pod["spec"]) && annotations[SECCOMP].is_string() {
        told.push(format!("{}: {SECCOMP_TEXT}", at.key(SECCOMP)));
    }
    for (container, _) in containers(&pod["spec"], "").into_iter().filter(|(container, _)| !is_said(container)) {
        let key = format!("{SECCOMP_OF}{}", text(container, "name"));
        if annotations[&key].is_string() {
            told.push(format!("{}: {SECCOMP_TEXT}", at.key(&key)));
        }
    }
}

/// All containers, each with its path.
fn containers<'a>(spec: &'a Value, at: &str) -> Vec<(&'a Value, String)> {
    let lists = ["initContainers", "containers", "ephemeralContainers"].into_iter();
    let each = |field: &'static str| list(spec, field).iter().enumerate().map(move |it| (field, it));
    lists.flat_map(each).map(|(field, (index, container))| (container, format!("{at}.{field}[{index}]"))).collect()
}

fn of_container(container: &Value, at: &str, told: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        for kind in ["limits", "requests"] {
            let amount = text(&container["resources"][kind], name);
            if Quantity::parse(amount).is_ok_and(|amount| amount.nanos() % 1_000_000_000 != 0) {
                told.push(format!(
                    "{at}.resources.{kind}[{name}]: fractional byte value {amount:?} is invalid, must be an integer"
                ));
            }
        }
    }
    let mut seen = Vec::new();
    for (index, env) in list(container, "env").iter().enumerate() {
        let name = text(env, "name");
        let (reference, value) = (format!("$({name})"), text(env, "value"));
        // A value that refers to the one before it goes on with that.
        let goes_on = env["valueFrom"].is_null() && value != reference && value.contains(&reference);
        if seen.contains(&name) && !goes_on {
            told.push(format!(
                "{at}.env[{index}]: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
        seen.push(name);
    }
}

fn ports(spec: &Value, at: &str, told: &mut Vec<String>) {
    let (mut all, mut names) = (BTreeMap::<String, Vec<(String, &str, i64)>>::new(), BTreeMap::<&str, String>::new());
    let mut of_names = Vec::new();
    for (container, at) in containers(spec, at) {
        for (index, port) in list(container, "ports").iter().enumerate() {
            let (here, ip) = (format!("{at}.ports[{index}]"), text(port, "hostIP"));
            let (number, host) = (port["containerPort"].as_i64().unwrap_or(0), port["hostPort"].as_i64().unwrap_or(0));
            let others = all.entry(format!("{number}/{}", text(port, "protocol"))).or_default();
            for (there, other_ip, other_host) in others.iter() {
                let how = match () {
                    () if ip == *other_ip && host == *other_host => "duplicate",
                    () if host == 0 || *other_host == 0 => "overlapping",
                    () if host == *other_host && ip.is_empty() != other_ip.is_empty() => "dangerously ambiguous",
                    () => continue,
                };
                told.push(format!("{here}: {how} port definition with {there}"));
            }
            others.push((here.clone(), ip, host));
            let name = text(port, "name");
            match names.get(name).filter(|_| !name.is_empty()) {
                Some(first) => of_names.push(format!(
                    "{here}: duplicate port name {name:?} with {first}, services and probes that select ports by name will use \
                     {first}"
                )),
                None => drop(names.insert(name, here)),
            }
        }
    }
    told.extend(of_names);
}

fn selectors(spec: &Value, at: &Path<'_>, told: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = &spec["affinity"][kind];
        let root = format!("{at}.affinity.{kind}");
        for (field, inner) in [
            ("requiredDuringSchedulingIgnoredDuringExecution", ""),
            ("preferredDuringSchedulingIgnoredDuringExecution", "podAffinityTerm"),
        ] {
            for (index, term) in list(affinity, field).iter().enumerate() {
                let (term, dot) = if inner.is_empty() { (term, "") } else { (&term[inner], ".") };
                if term["labelSelector"].is_null() {
                    let at = format!("{root}.{field}[{index}]{dot}{inner}.labelSelector");
                    told.push(format!("{at}: a null labelSelector results in matching no pod"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As kube-apiserver words them.
    #[test]
    fn what_does_not_do_what_it_seems_to_is_told() {
        let told = |spec: Value| warnings(&json!({"metadata": {}, "spec": spec}), &Path::Root);
        assert_eq!(told(json!({"containers": [{"name": "c"}]})), [""; 0]);
        for (spec, text) in [
            (
                json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            ),
            (
                json!({"volumes": [{"name": "v", "gitRepo": {}}]}),
                "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
            ),
            (
                json!({"imagePullSecrets": [{"name": "a"}, {"name": "a"}]}),
                "spec.imagePullSecrets[1].name: duplicate name \"a\"",
            ),
            (
                json!({"containers": [{"name": "c", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}]}),
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            ),
            (
                json!({"containers": [{"ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"}]}]}),
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
            ),
            (
                json!({"containers": [{"resources": {"requests": {"memory": "100m"}}}]}),
                "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            ),
            (
                json!({"topologySpreadConstraints": [{"topologyKey": "z"}]}),
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            ),
            (
                json!({"terminationGracePeriodSeconds": -1}),
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            ),
        ] {
            assert_eq!(told(spec), [text]);
        }
    }
}
