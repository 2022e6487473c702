//! The spec of a pod or of a pod template.

use super::container::{self, PodContext, Role};
use super::errors::Errors;
use super::names::{self, Format};
use super::{affinity, meta, resources, users, volume};
use crate::path::Path;
use crate::view::{entries, given, list, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// The rules that only a new pod must keep.
pub(crate) fn only_on_create(pod: &Value, errors: &mut Errors) {
    let spec = Path::Root.field("spec");
    if !list(&pod["spec"], "ephemeralContainers").is_empty() {
        errors.forbidden(&spec.field("ephemeralContainers"), "cannot be set on create");
    }
}

/// A pod's spec.
pub(crate) fn spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let volumes = volume::volumes(list(spec, "volumes"), &path.field("volumes"), errors);
    let context =
        PodContext { volumes, host_network: spec["hostNetwork"] == true, host_users: spec["hostUsers"] != false };
    containers(spec, &context, path, errors);
    host_ports(spec, path, errors);
    let restarts = text(spec, "restartPolicy");
    errors.required_one_of(&path.field("restartPolicy"), restarts, &["Always", "Never", "OnFailure"]);
    times(spec, path, errors);
    dns(spec, path, errors);
    placement(spec, path, errors);
    references(spec, path, errors);
    security(spec, path, errors);
    users::host_users(spec, path, errors);
    claims(list(spec, "resourceClaims"), &path.field("resourceClaims"), errors);
    whole_resources(spec, &path.field("resources"), errors);
    if !spec["schedulingGroup"].is_null() {
        // Of a feature that is off by default.
        errors.forbidden(&path.field("schedulingGroup"), "not implemented by Skiff");
    }
}

/// Devices that a pod asks for.
fn claims(claims: &[Value], path: &Path<'_>, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let (at, name) = (path.index(index), text(claim, "name"));
        if name.is_empty() {
            errors.required(&at.field("name"), "");
        } else if !names.insert(name) {
            errors.duplicate(&at.field("name"), name);
        } else {
            Format::Label.require(name, &at.field("name"), errors);
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        match sources.iter().filter(|source| !claim[**source].is_null()).count() {
            0 => {
                let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.invalid(&at, claim.clone(), detail);
            }
            1 => {}
            _ => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.invalid(&at, claim.clone(), detail);
            }
        }
        for source in sources {
            if let Some(name) = claim[source].as_str() {
                Format::Subdomain.require(name, &at.field(source), errors);
            }
        }
    }
}

/// What a pod asks for as a whole.
fn whole_resources(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    if spec["resources"].is_null() {
        return;
    }
    if !spec["resources"]["claims"].is_null() {
        errors.forbidden(&path.field("claims"), "claims may not be set for Resources at pod-level");
    }
    resources::requirements(&spec["resources"], path, errors);
    resources::whole(spec, path, errors);
}

fn containers(spec: &Value, context: &PodContext<'_>, path: &Path<'_>, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    if list(spec, "containers").is_empty() {
        errors.required(&path.field("containers"), "");
    }
    for (field, role) in [("containers", Role::App), ("initContainers", Role::Init)] {
        let path = path.field(field);
        for (index, one) in list(spec, field).iter().enumerate() {
            let path = path.index(index);
            container::container(one, role, context, &path, errors);
            let name = text(one, "name");
            if !name.is_empty() && !names.insert(name) {
                errors.duplicate(&path.field("name"), name);
            }
        }
    }
    let (targets, path) = (names.clone(), path.field("ephemeralContainers"));
    for (index, one) in list(spec, "ephemeralContainers").iter().enumerate() {
        let path = path.index(index);
        container::container(one, Role::Ephemeral, context, &path, errors);
        let (name, target) = (text(one, "name"), text(one, "targetContainerName"));
        if !name.is_empty() && !names.insert(name) {
            errors.duplicate(&path.field("name"), name);
        }
        if !target.is_empty() && !targets.contains(target) {
            errors.not_found(&path.field("targetContainerName"), target);
        }
    }
}

/// No two containers may take the same port of the host.
fn host_ports(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut taken = BTreeSet::new();
    let containers = path.field("containers");
    for (at, container) in list(spec, "containers").iter().enumerate() {
        for (index, port) in list(container, "ports").iter().enumerate() {
            let Some(number) = port["hostPort"].as_i64().filter(|number| *number != 0) else { continue };
            let claim = (text(port, "protocol"), text(port, "hostIP"), number);
            if !taken.insert(claim) {
                let ports = containers.index(at);
                let ports = ports.field("ports");
                errors.duplicate(&ports.index(index).field("hostPort"), format!("{}/{}/{number}", claim.0, claim.1));
            }
        }
    }
}

fn times(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    errors.in_range(&path.field("activeDeadlineSeconds"), &spec["activeDeadlineSeconds"], (1, i64::from(i32::MAX)));
    errors.not_negative(&path.field("terminationGracePeriodSeconds"), &spec["terminationGracePeriodSeconds"]);
}

fn dns(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let policy = text(spec, "dnsPolicy");
    let policies = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    errors.required_one_of(&path.field("dnsPolicy"), policy, &policies);
    let (config, at) = (&spec["dnsConfig"], path.field("dnsConfig"));
    let servers = list(config, "nameservers");
    if policy == "None" && !config.is_object() {
        errors.required(&at, "must provide `dnsConfig` when `dnsPolicy` is None");
    } else if policy == "None" && servers.is_empty() {
        errors.required(&at.field("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
    for (index, server) in servers.iter().enumerate() {
        names::address(server.as_str().unwrap_or_default(), &at.field("nameservers").index(index), errors);
    }
    for field in ["hostname", "subdomain"] {
        if given(spec, field) {
            Format::Label.require(text(spec, field), &path.field(field), errors);
        }
    }
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        let aliases = path.field("hostAliases");
        names::address(text(alias, "ip"), &aliases.index(index).field("ip"), errors);
        for (at, name) in list(alias, "hostnames").iter().enumerate() {
            let alias = aliases.index(index);
            let hostnames = alias.field("hostnames");
            Format::Subdomain.require(name.as_str().unwrap_or_default(), &hostnames.index(at), errors);
        }
    }
}

fn placement(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    if given(spec, "nodeName") {
        Format::Subdomain.require(text(spec, "nodeName"), &path.field("nodeName"), errors);
    }
    meta::labels(spec, "nodeSelector", path, errors);
    affinity::placement(spec, path, errors);
    tolerations(list(spec, "tolerations"), &path.field("tolerations"), errors);
    if let Some((index, _)) = list(spec, "schedulingGates").iter().enumerate().find(|(_, gate)| !given(gate, "name")) {
        errors.required(&path.field("schedulingGates").index(index).field("name"), "");
    }
    let os = path.field("os");
    errors.one_of(&os.field("name"), text(&spec["os"], "name"), &["linux"]);
}

/// Tolerations, of a pod or of what is added to pods.
pub(crate) fn tolerations(tolerations: &[Value], path: &Path<'_>, errors: &mut Errors) {
    for (index, toleration) in tolerations.iter().enumerate() {
        self::toleration(toleration, &path.index(index), errors);
    }
}

fn toleration(toleration: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (key, operator, effect) = (text(toleration, "key"), text(toleration, "operator"), text(toleration, "effect"));
    if !key.is_empty() {
        Format::QualifiedName.require(key, &path.field("key"), errors);
    } else if operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.invalid(&path.field("operator"), operator, detail);
    }
    errors.one_of(&path.field("operator"), operator, &["Equal", "Exists"]);
    if operator == "Exists" && given(toleration, "value") {
        let value = text(toleration, "value");
        errors.invalid(&path.field("operator"), value, "value must be empty when `operator` is 'Exists'");
    }
    errors.one_of(&path.field("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
    if toleration["tolerationSeconds"].is_number() && effect != "NoExecute" {
        errors.invalid(&path.field("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
}

fn references(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    for field in ["serviceAccountName", "priorityClassName", "runtimeClassName"] {
        if given(spec, field) {
            Format::Subdomain.require(text(spec, field), &path.field(field), errors);
        }
    }
    let secrets = path.field("imagePullSecrets");
    for (index, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if !given(secret, "name") {
            errors.required(&secrets.index(index).field("name"), "");
        }
    }
}

fn security(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (context, at) = (&spec["securityContext"], path.field("securityContext"));
    container::identity(context, &at, errors);
    errors.one_of(
        &at.field("fsGroupChangePolicy"),
        text(context, "fsGroupChangePolicy"),
        &["Always", "OnRootMismatch"],
    );
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path.field("shareProcessNamespace"), true, detail);
    }
    sysctls(list(context, "sysctls"), spec, &at.field("sysctls"), errors);
}

/// The longest name of a kernel parameter.
const SYSCTL_NAME_SIZE: usize = 253;

/// Kernel parameters: named soundly, each once, and none of a namespace that is the host's.
fn sysctls(sysctls: &[Value], spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let (entry, name) = (path.index(index), text(sysctl, "name"));
        let path = entry.field("name");
        if name.is_empty() {
            errors.required(&path, "");
        } else if name.len() > SYSCTL_NAME_SIZE || !name.split(['.', '/']).all(is_sysctl_segment) {
            let rule = "([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
            errors.invalid(
                &path,
                name,
                format!("must have at most {SYSCTL_NAME_SIZE} characters and match regex {rule}"),
            );
        } else if !names.insert(name) {
            errors.duplicate(&path, name);
        }
        let dotted = name.replace('/', ".");
        let of_ipc = dotted == "kernel.sem"
            || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|one| dotted.starts_with(one));
        for (field, applies) in [("hostNetwork", dotted.starts_with("net.")), ("hostIPC", of_ipc)] {
            if applies && spec[field] == true {
                errors.invalid(&path, name, format!("may not be specified when '{field}' is true"));
            }
        }
    }
}

fn is_sysctl_segment(segment: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    segment.bytes().all(inner) && edge(segment.as_bytes().first()) && edge(segment.as_bytes().last())
}

/// A pod template, whose pods must be selected by `selector` (when there is one) and restart as `policies` allow (any, when there are none).
pub(crate) fn template(template: &Value, selector: &Value, policies: &[&str], path: &Path<'_>, errors: &mut Errors) {
    let metadata = path.field("metadata");
    // Kubernetes names labels of a template as if they stood in it, and annotations likewise.
    meta::labels_and_annotations(&template["metadata"], path, errors);
    let labels = &template["metadata"]["labels"];
    // A selector that is wrong itself selects nothing that could be compared; that is looked at last, because the caller has said it.
    if selector.is_object() && !meta::selects(selector, labels) && meta::is_selector(selector) {
        let shown = if labels.is_null() { Value::Object(serde_json::Map::new()) } else { labels.clone() };
        errors.invalid(&metadata.field("labels"), shown, "`selector` does not match template `labels`");
    }
    let spec_path = path.field("spec");
    spec(&template["spec"], &spec_path, errors);
    let restarts = text(&template["spec"], "restartPolicy");
    if policies.is_empty() {
        // Any of a pod's will do.
    } else if restarts == "Always" && !policies.contains(&restarts) {
        // As if it had not been said: it is what a pod gets that says nothing.
        let valid: Vec<String> = policies.iter().map(|policy| format!("{policy:?}")).collect();
        errors.required(&spec_path.field("restartPolicy"), &format!("valid values: {}", valid.join(", ")));
    } else if ["Always", "Never", "OnFailure"].contains(&restarts) {
        errors.one_of(&spec_path.field("restartPolicy"), restarts, policies);
    }
    if !list(&template["spec"], "ephemeralContainers").is_empty() {
        errors.forbidden(&spec_path.field("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// Whether a selector selects nothing in particular.
pub(crate) fn is_empty_selector(selector: &Value) -> bool {
    entries(selector, "matchLabels").next().is_none() && list(selector, "matchExpressions").is_empty()
}
