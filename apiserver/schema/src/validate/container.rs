//! One container: image, ports, environment, security context.

use super::errors::Errors;
use super::names::{Format, PORTS};
use super::{probe, resources, users, volume};
use crate::path::Path;
use crate::view::{given, list, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// Values of `imagePullPolicy`.
pub(crate) const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];

/// Most rules of when a container is started again, and most exit codes of one.
const RESTART_RULES_MOST: usize = 20;
const EXIT_CODES_MOST: usize = 255;

/// Which list a container stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `containers`
    App,
    /// `initContainers`
    Init,
    /// `ephemeralContainers`
    Ephemeral,
}

/// What the container's pod says about it.
pub(crate) struct PodContext<'a> {
    /// Names of the volumes.
    pub(crate) volumes: BTreeSet<&'a str>,
    /// Whether the pod has the host's network.
    pub(crate) host_network: bool,
    /// Whether the pod's users are the host's.
    pub(crate) host_users: bool,
}

/// The rules of one container.
pub(crate) fn container(container: &Value, role: Role, pod: &PodContext<'_>, path: &Path<'_>, errors: &mut Errors) {
    Format::Label.require_given(text(container, "name"), &path.field("name"), errors);
    image(container, path, errors);
    let policy = text(container, "terminationMessagePolicy");
    errors.one_of(&path.field("terminationMessagePolicy"), policy, &["FallbackToLogsOnError", "File"]);
    let restarts = text(container, "restartPolicy");
    errors.one_of(&path.field("restartPolicy"), restarts, &["Always", "Never", "OnFailure"]);
    ports(list(container, "ports"), pod, &path.field("ports"), errors);
    environment(container, path, errors);
    volume::mounts(container, &pod.volumes, path, errors);
    resources::requirements(&container["resources"], &path.field("resources"), errors);
    if role == Role::Ephemeral {
        ephemeral(container, path, errors);
    } else if role == Role::Init && restarts != "Always" {
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if given(container, field) {
                errors.forbidden(&path.field(field), "may not be set for init containers without restartPolicy=Always");
            }
        }
    } else {
        probe::lifecycle(&container["lifecycle"], &path.field("lifecycle"), errors);
        probe::probes(container, path, errors);
    }
    security(&container["securityContext"], &path.field("securityContext"), errors);
    users::proc_mount(&container["securityContext"], pod.host_users, &path.field("securityContext"), errors);
    restart_rules(container, path, errors);
    devices(container, pod, path, errors);
}

/// Exit codes after which a container is started again, whatever its policy (KEP-5307).
fn restart_rules(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (rules, at) = (list(container, "restartPolicyRules"), path.field("restartPolicyRules"));
    if !rules.is_empty() && !given(container, "restartPolicy") {
        let detail = "must specify restartPolicy when restart rules are used";
        errors.required(&path.field("restartPolicy"), detail);
    }
    if rules.len() > RESTART_RULES_MOST {
        errors.too_many(&at, rules.len(), RESTART_RULES_MOST);
    }
    for (index, rule) in rules.iter().enumerate() {
        let (codes, at) = (&rule["exitCodes"], at.index(index));
        errors.exactly_one_of(&at.field("action"), text(rule, "action"), &["Restart", "RestartAllContainers"]);
        let at = at.field("exitCodes");
        if !codes.is_object() {
            errors.required(&at, "must be specified");
            continue;
        }
        errors.exactly_one_of(&at.field("operator"), text(codes, "operator"), &["In", "NotIn"]);
        let many = list(codes, "values").len();
        if many > EXIT_CODES_MOST {
            errors.too_many(&at.field("values"), many, EXIT_CODES_MOST);
        }
    }
}

/// Volumes that a container has as devices.
fn devices(container: &Value, pod: &PodContext<'_>, path: &Path<'_>, errors: &mut Errors) {
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    let all = path.field("volumeDevices");
    let mounts = list(container, "volumeMounts");
    for (index, device) in list(container, "volumeDevices").iter().enumerate() {
        let at = all.index(index);
        for (field, seen, mounted) in [("name", &mut names, "name"), ("devicePath", &mut places, "mountPath")] {
            let (value, at) = (text(device, field), at.field(field));
            if value.is_empty() {
                errors.required(&at, "");
            }
            if !seen.insert(value) {
                errors.invalid(&at, value, "must be unique");
            }
            if !value.is_empty() && mounts.iter().any(|mount| text(mount, mounted) == value) {
                let place = if field == "name" { "in volumeMounts" } else { "as a path in volumeMounts" };
                errors.invalid(&at, value, format!("must not already exist {place}"));
            }
        }
        if !pod.volumes.contains(text(device, "name")) {
            errors.not_found(&at.field("name"), text(device, "name"));
        }
        if text(device, "devicePath").split('/').any(|part| part == "..") {
            let detail = "can not contain backsteps ('..')";
            errors.invalid(&at.field("devicePath"), text(device, "devicePath"), detail);
        }
    }
}

/// What looks into a pod is no part of it that others may count on.
fn ephemeral(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    const DETAIL: &str = "cannot be set for an Ephemeral Container";
    const FIELDS: [&str; 9] = [
        "ports",
        "resources",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ];
    let says_nothing = |value: &Value| match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        value => value.is_null(),
    };
    for field in FIELDS.iter().filter(|field| !says_nothing(&container[**field])) {
        errors.forbidden(&path.field(field), DETAIL);
    }
    let mounts = path.field("volumeMounts");
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        for field in ["subPath", "subPathExpr"].iter().filter(|field| given(mount, field)) {
            errors.forbidden(&mounts.index(index).field(field), DETAIL);
        }
    }
}

fn image(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let image = text(container, "image");
    if image.is_empty() {
        errors.required(&path.field("image"), "");
    } else if image.trim() != image {
        errors.invalid(&path.field("image"), image, "must not have leading or trailing whitespace");
    }
    errors.one_of(&path.field("imagePullPolicy"), text(container, "imagePullPolicy"), PULL_POLICIES);
}

fn ports(ports: &[Value], pod: &PodContext<'_>, path: &Path<'_>, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            Format::PortName.require(name, &path.field("name"), errors);
            if !names.insert(name) {
                errors.duplicate(&path.field("name"), name);
            }
        }
        let number = port["containerPort"].as_i64().unwrap_or_default();
        if number == 0 {
            errors.required(&path.field("containerPort"), "");
        }
        let nonzero = |value: &Value| if *value == 0 { Value::Null } else { value.clone() };
        errors.in_range(&path.field("containerPort"), &nonzero(&port["containerPort"]), PORTS);
        errors.in_range(&path.field("hostPort"), &nonzero(&port["hostPort"]), PORTS);
        if pod.host_network && port["hostPort"].as_i64().is_some_and(|host| host != number) {
            let detail = "must match `containerPort` when `hostNetwork` is true";
            errors.invalid(&path.field("hostPort"), port["hostPort"].clone(), detail);
        }
        errors.required_one_of(&path.field("protocol"), text(port, "protocol"), &["SCTP", "TCP", "UDP"]);
        if given(port, "hostIP") {
            super::names::address(text(port, "hostIP"), &path.field("hostIP"), errors);
        }
    }
}

fn environment(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (index, variable) in list(container, "env").iter().enumerate() {
        let list = path.field("env");
        let path = list.index(index);
        Format::Variable.require_given(text(variable, "name"), &path.field("name"), errors);
        if variable["valueFrom"].is_object() {
            value_from(variable, &path.field("valueFrom"), errors);
        }
    }
    for (index, source) in list(container, "envFrom").iter().enumerate() {
        let list = path.field("envFrom");
        let path = list.index(index);
        if given(source, "prefix") {
            Format::Variable.require(text(source, "prefix"), &path.field("prefix"), errors);
        }
        let references: Vec<_> =
            ["configMapRef", "secretRef"].into_iter().filter(|it| source[*it].is_object()).collect();
        match references.as_slice() {
            [] => errors.invalid(&path, "", "must specify one of: `configMapRef` or `secretRef`"),
            [one] => {
                let path = path.field(one);
                Format::Subdomain.require_given(text(&source[*one], "name"), &path.field("name"), errors);
            }
            _ => errors.invalid(&path, "", "may not have more than one field specified at a time"),
        }
    }
}

const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

fn value_from(variable: &Value, path: &Path<'_>, errors: &mut Errors) {
    let source = &variable["valueFrom"];
    let kinds = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let given_kinds: Vec<_> = kinds.into_iter().filter(|kind| source[*kind].is_object()).collect();
    if given(variable, "value") {
        return errors.invalid(path, "", "may not be specified when `value` is not empty");
    }
    match given_kinds.as_slice() {
        [] => {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.invalid(path, "", detail);
        }
        ["fieldRef"] => field_reference(&source["fieldRef"], &path.field("fieldRef"), errors),
        [kind @ ("configMapKeyRef" | "secretKeyRef")] => {
            let path = path.field(kind);
            Format::Subdomain.require_given(text(&source[*kind], "name"), &path.field("name"), errors);
            probe::config_key(&source[*kind], &path, errors);
        }
        [_] => {}
        _ => errors.invalid(path, "", "may not have more than one field specified at a time"),
    }
}

fn field_reference(reference: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (at, path) = (text(reference, "fieldPath"), path.field("fieldPath"));
    let keyed = |map: &str| at.strip_prefix(map).and_then(|rest| rest.strip_prefix("['")?.strip_suffix("']"));
    if at.is_empty() {
        errors.required(&path, "");
    } else if let Some(key) = keyed("metadata.labels").or_else(|| keyed("metadata.annotations")) {
        Format::QualifiedName.require(key, &path, errors);
    } else {
        errors.one_of(&path, at, FIELDS);
    }
}

/// A container's security context, and what it shares with that of a pod.
fn security(context: &Value, path: &Path<'_>, errors: &mut Errors) {
    identity(context, path, errors);
    if context["privileged"] == true && context["allowPrivilegeEscalation"] == false {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.invalid(path, context.clone(), detail);
    }
    errors.one_of(&path.field("procMount"), text(context, "procMount"), &["Default", "Unmasked"]);
}

/// User, group and profiles, as containers and pods name them.
pub(crate) fn identity(context: &Value, path: &Path<'_>, errors: &mut Errors) {
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        errors.in_range(&path.field(field), &context[field], (0, i64::from(i32::MAX)));
    }
    for field in ["seccompProfile", "appArmorProfile"] {
        let (profile, path) = (&context[field], path.field(field));
        if !profile.is_object() {
            continue;
        }
        let kind = text(profile, "type");
        errors.required_one_of(&path.field("type"), kind, &["Localhost", "RuntimeDefault", "Unconfined"]);
        let localhost = given(profile, "localhostProfile");
        if kind == "Localhost" && !localhost {
            errors.required(&path.field("localhostProfile"), "must be set when type is Localhost");
        } else if kind != "Localhost" && localhost {
            let detail = "can only be set when type is Localhost";
            errors.invalid(&path.field("localhostProfile"), text(profile, "localhostProfile"), detail);
        }
    }
}
