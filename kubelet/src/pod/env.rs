//! A container's environment.
//!
//! Pure. Order, as in Kubernetes: service variables, then `envFrom`, then `env`; a later one of the same name wins.
//! `$(NAME)` refers to what is known before it, `$$` is a dollar sign.

use super::env_file;
use super::memory::Failure;
use super::resources::milli;
use super::sources::Sources;
use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVarSource, FileKeySelector, ObjectFieldSelector, Pod, ResourceFieldSelector, Service,
};
use std::collections::{BTreeMap, BTreeSet};

/// What fields of pod and node may be asked for.
pub(crate) struct Downward<'a> {
    /// The pod.
    pub(crate) pod: &'a Pod,
    /// Its addresses.
    pub(crate) ips: &'a [String],
    /// The node's address.
    pub(crate) host_ip: &'a str,
    /// The node's CPUs, thousandths: the limit of who has none.
    pub(crate) node_milli_cpu: i64,
    /// The node's memory, bytes.
    pub(crate) node_memory_bytes: i64,
}

/// An environment in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Env(Vec<(String, String)>);

impl Env {
    fn set(&mut self, name: &str, value: String) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value));
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Its variables.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// `text` with its references replaced, each of which must have a value: what is missing in a path would lead
    /// elsewhere.
    ///
    /// # Errors
    /// The names without a value.
    pub(crate) fn expand_all(&self, text: &str) -> Result<String, String> {
        let mut missing = BTreeSet::new();
        let expanded = self.expand_with(text, |name| {
            let value = self.get(name).unwrap_or_default();
            if value.is_empty() {
                missing.insert(name.to_owned());
            }
            value.to_owned()
        });
        if missing.is_empty() {
            return Ok(expanded);
        }
        Err(format!("missing value for {}", missing.into_iter().collect::<Vec<_>>().join(", ")))
    }

    /// `text` with its references replaced; unknown ones stay as they are.
    pub(crate) fn expand(&self, text: &str) -> String {
        self.expand_with(text, |name| self.get(name).map_or_else(|| format!("$({name})"), str::to_owned))
    }

    fn expand_with(&self, text: &str, mut value_of: impl FnMut(&str) -> String) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
                out.push_str(&value_of(name));
                rest = after;
            } else {
                out.push('$');
            }
        }
        out + rest
    }
}

/// The environment of `container`.
///
/// # Errors
/// A required config map, secret, key or field is missing.
pub(crate) fn environment(container: &Container, sources: &Sources, down: &Downward<'_>) -> Result<Env, Failure> {
    let mut env = Env::default();
    for service in &sources.services {
        for (name, value) in service_variables(service) {
            env.set(&name, value);
        }
    }
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.clone().unwrap_or_default();
        for (key, value) in all_of(from, sources)? {
            env.set(&format!("{prefix}{key}"), value);
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(from) => from_source(from, container, sources, down)?,
            None => Some(env.expand(variable.value.as_deref().unwrap_or_default())),
        };
        if let Some(value) = value {
            env.set(&variable.name, value);
        }
    }
    Ok(env)
}

fn missing(message: String) -> Failure {
    Failure::new("CreateContainerConfigError", message)
}

/// That an object is not there, in Kubernetes' words.
pub(crate) fn absent(kind: &str, name: &str) -> String {
    format!("{kind} \"{name}\" not found")
}

fn all_of(from: &EnvFromSource, sources: &Sources) -> Result<Vec<(String, String)>, Failure> {
    if let Some(reference) = &from.config_map_ref {
        return match sources.config_maps.get(&reference.name).and_then(Option::as_ref) {
            Some(map) => Ok(map.data.clone().unwrap_or_default().into_iter().collect()),
            None if reference.optional == Some(true) => Ok(Vec::new()),
            None => Err(missing(absent("configmap", &reference.name))),
        };
    }
    let Some(reference) = &from.secret_ref else { return Ok(Vec::new()) };
    match sources.secrets.get(&reference.name).and_then(Option::as_ref) {
        Some(secret) => {
            let data = secret.data.clone().unwrap_or_default();
            Ok(data.into_iter().map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned())).collect())
        }
        None if reference.optional == Some(true) => Ok(Vec::new()),
        None => Err(missing(absent("secret", &reference.name))),
    }
}

fn from_source(
    from: &EnvVarSource,
    container: &Container,
    sources: &Sources,
    down: &Downward<'_>,
) -> Result<Option<String>, Failure> {
    if let Some(field) = &from.field_ref {
        return field_value(field, down).map(Some);
    }
    if let Some(resource) = &from.resource_field_ref {
        return resource_value(resource, container, down).map(Some);
    }
    if let Some(reference) = &from.file_key_ref {
        return from_file(reference, sources);
    }
    let (kind, name, key, optional, is_there, found) = if let Some(reference) = &from.config_map_key_ref {
        let map = sources.config_maps.get(&reference.name).and_then(Option::as_ref);
        let value = map.and_then(|map| map.data.as_ref()?.get(&reference.key).cloned());
        ("ConfigMap", &reference.name, &reference.key, reference.optional, map.is_some(), value)
    } else if let Some(reference) = &from.secret_key_ref {
        let secret = sources.secrets.get(&reference.name).and_then(Option::as_ref);
        let is_there = secret.is_some();
        let value = secret.and_then(|secret| secret.data.as_ref()?.get(&reference.key));
        let value = value.map(|value| String::from_utf8_lossy(&value.0).into_owned());
        ("Secret", &reference.name, &reference.key, reference.optional, is_there, value)
    } else {
        return Ok(Some(String::new()));
    };
    match found {
        None if optional == Some(true) => Ok(None),
        None if !is_there => Err(missing(absent(&kind.to_lowercase(), name))),
        None => {
            let namespace = down.pod.metadata.namespace.as_deref().unwrap_or_default();
            Err(missing(format!("couldn't find key {key} in {kind} {namespace}/{name}")))
        }
        found => Ok(found),
    }
}

/// An empty value counts as none, as in Kubernetes.
fn from_file(reference: &FileKeySelector, sources: &Sources) -> Result<Option<String>, Failure> {
    let (volume, path) = (&reference.volume_name, &reference.path);
    let wrong = |why: &str| missing(format!("fileKeyRef: file {path} in volume {volume}: {why}"));
    let file = sources.files.get(&(volume.clone(), path.clone()));
    let text = file.ok_or_else(|| wrong("not read"))?.as_ref().map_err(|why| wrong(why))?;
    let value = env_file::value(text, &reference.key).map_err(|why| wrong(&why))?;
    match value.filter(|value| !value.is_empty()) {
        None if reference.optional != Some(true) => {
            Err(wrong(&format!("environment variable key {} not found", reference.key)))
        }
        found => Ok(found),
    }
}

/// The value of a pod field (Kubernetes, "Downward API").
pub(crate) fn field_value(field: &ObjectFieldSelector, down: &Downward<'_>) -> Result<String, Failure> {
    let (meta, spec) = (&down.pod.metadata, down.pod.spec.as_ref());
    let text = |value: Option<&String>| Ok(value.cloned().unwrap_or_default());
    let path = field.field_path.as_str();
    if let Some((kind, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        return match kind {
            "metadata.labels" => text(meta.labels.as_ref().and_then(|map| map.get(key))),
            "metadata.annotations" => text(meta.annotations.as_ref().and_then(|map| map.get(key))),
            _ => Err(missing(format!("unsupported fieldPath: {path}"))),
        };
    }
    match path {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "metadata.labels" => Ok(lines(meta.labels.as_ref())),
        "metadata.annotations" => Ok(lines(meta.annotations.as_ref())),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.hostIP" | "status.hostIPs" => Ok(down.host_ip.to_owned()),
        "status.podIP" => text(down.ips.first()),
        "status.podIPs" => Ok(down.ips.join(",")),
        _ => Err(missing(format!("unsupported fieldPath: {path}"))),
    }
}

fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={}", quoted(value));
    crate::labels::sorted(map).map(line).collect::<Vec<_>>().join("\n")
}

/// `text` in quotes as Go writes them, which is what readers of such files expect.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() || c.is_whitespace() && c != ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a container's resource field, divided and rounded up as asked.
pub(crate) fn resource_value(
    field: &ResourceFieldSelector,
    container: &Container,
    down: &Downward<'_>,
) -> Result<String, Failure> {
    let resources = container.resources.clone().unwrap_or_default();
    let Some((kind, name)) = field.resource.split_once('.') else {
        return Err(missing(format!("unsupported container resource: {}", field.resource)));
    };
    let map = if kind == "limits" { resources.limits } else { resources.requests };
    let found = map.as_ref().and_then(|map| map.get(name)).and_then(milli);
    // A limit that is not set is what the node has; a request that is not set is nothing.
    let node = match (kind, name) {
        ("limits", "cpu") => i128::from(down.node_milli_cpu),
        ("limits", "memory") => i128::from(down.node_memory_bytes) * 1000,
        _ => 0,
    };
    let divisor = field.divisor.as_ref().and_then(milli).filter(|divisor| *divisor > 0).unwrap_or(1000);
    let value = found.unwrap_or(node);
    Ok(((value + divisor - 1) / divisor).to_string())
}

/// The variables that a service gives (Kubernetes, "Discovering services", the Docker links form).
fn service_variables(service: &Service) -> Vec<(String, String)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { return Vec::new() };
    let name = shout(service.metadata.name.as_deref().unwrap_or_default());
    let ports = spec.ports.clone().unwrap_or_default();
    let Some(first) = ports.first() else { return Vec::new() };
    let protocol = |port: &k8s_openapi::api::core::v1::ServicePort| {
        port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()).to_lowercase()
    };
    let url = |port| format!("{}://{ip}:{}", protocol(port), port.port);
    let mut out =
        vec![(format!("{name}_SERVICE_HOST"), ip.to_owned()), (format!("{name}_SERVICE_PORT"), first.port.to_string())];
    for port in ports.iter().filter(|port| port.name.as_ref().is_some_and(|name| !name.is_empty())) {
        let port_name = shout(port.name.as_deref().unwrap_or_default());
        out.push((format!("{name}_SERVICE_PORT_{port_name}"), port.port.to_string()));
    }
    out.push((format!("{name}_PORT"), url(first)));
    for port in &ports {
        let prefix = format!("{name}_PORT_{}_{}", port.port, protocol(port).to_uppercase());
        out.push((prefix.clone(), url(port)));
        out.push((format!("{prefix}_PROTO"), protocol(port)));
        out.push((format!("{prefix}_PORT"), port.port.to_string()));
        out.push((format!("{prefix}_ADDR"), ip.to_owned()));
    }
    out
}

fn shout(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn run(container: serde_json::Value, sources: &Sources) -> Result<Env, Failure> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "shop",
            "labels": {"app": "x"}}, "spec": {"containers": [], "nodeName": "n1"}}))
        .unwrap();
        let ips = ["10.0.0.2".to_owned()];
        let down =
            Downward { pod: &pod, ips: &ips, host_ip: "1.1.1.1", node_milli_cpu: 2000, node_memory_bytes: 1 << 30 };
        environment(&serde_json::from_value(container).unwrap(), sources, &down)
    }

    fn value(env: serde_json::Value) -> Result<String, Failure> {
        let env = run(json!({"name": "c", "env": [env]}), &Sources::default())?;
        Ok(env.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default())
    }

    #[test]
    fn fields_and_resources() {
        let field = |path: &str| value(json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": path}}}));
        assert_eq!(field("status.podIP").unwrap(), "10.0.0.2");
        assert_eq!(field("metadata.labels['app']").unwrap(), "x");
        assert!(field("spec.bogus").is_err());
        let cpu = value(json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}));
        assert_eq!(cpu.unwrap(), "2");
    }

    #[test]
    fn values_of_labels_are_quoted_as_go_does() {
        assert_eq!(quoted("a\"b\\\n\u{1b}\u{7f}\u{85}'\u{e9}"), "\"a\\\"b\\\\\\n\\x1b\\x7f\\u0085'\u{e9}\"");
    }

    #[test]
    fn references_see_what_is_before_them() {
        let env = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$$(A)-$(C)-$"}, {"name": "C", "value": "2"}]);
        let env = run(json!({"name": "c", "env": env}), &Sources::default()).unwrap();
        assert_eq!(env.get("B"), Some("1-$(A)-$(C)-$"));
    }

    #[test]
    fn a_path_needs_a_value_for_each_name() {
        let env = json!([{"name": "A", "value": "1"}, {"name": "E", "value": ""}]);
        let env = run(json!({"name": "c", "env": env}), &Sources::default()).unwrap();
        assert_eq!(env.expand_all("x/$(A)/$$(B)").unwrap(), "x/1/$(B)");
        assert_eq!(env.expand_all("$(E)/$(NONE)/$(A)").unwrap_err(), "missing value for E, NONE");
    }

    #[test]
    fn a_missing_key_fails_unless_optional() {
        let variable = |optional: bool| {
            value(
                json!({"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k", "optional": optional}}}),
            )
        };
        assert_eq!(variable(false).unwrap_err().message, "configmap \"m\" not found");
        assert_eq!(variable(true).unwrap(), "");
    }

    #[test]
    fn services_are_variables() {
        let service = json!({"metadata": {"name": "my-db"}, "spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 5432, "name": "sql"}]}});
        let sources = Sources { services: vec![serde_json::from_value(service).unwrap()], ..Default::default() };
        let env = run(json!({"name": "c"}), &sources).unwrap();
        assert_eq!(env.get("MY_DB_SERVICE_HOST"), Some("10.96.0.7"));
        assert_eq!(env.get("MY_DB_SERVICE_PORT_SQL"), Some("5432"));
        assert_eq!(env.get("MY_DB_PORT_5432_TCP"), Some("tcp://10.96.0.7:5432"));
    }

    proptest! {
        #[test]
        fn expansion_never_panics_and_leaves_plain_text(text in "\\PC{0,40}") {
            let out = Env::default().expand(&text);
            if !text.contains('$') { prop_assert_eq!(out, text); }
        }
    }
}
