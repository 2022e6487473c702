//! Network configuration lists and what plugins are told (CNI specification 1.1.0). No execution.

use crate::{CniConfig, NetError, PodNetwork};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

/// Versions whose results have the list `ips`, and that take `prevResult`.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// Versions that know CHECK.
const VERSIONS_WITH_CHECK: [&str; 3] = ["0.4.0", "1.0.0", "1.1.0"];

/// A network configuration list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) name: String,
    #[serde(rename = "cniVersion")]
    pub(crate) version: String,
    #[serde(rename = "disableCheck", default)]
    pub(crate) disable_check: bool,
    pub(crate) plugins: Vec<Map<String, Value>>,
}

impl Network {
    /// The first configuration by file name; none if the folder has none, or is not there.
    pub(crate) fn find(config: &CniConfig) -> Result<Option<Self>, NetError> {
        let entries = match fs::read_dir(&config.conf_dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(NetError::file("read CNI folder", &config.conf_dir))?,
        };
        let known =
            |path: &PathBuf| path.extension().is_some_and(|end| end == "conflist" || end == "conf" || end == "json");
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(known).collect();
        paths.sort();
        let Some(path) = paths.first() else { return Ok(None) };
        let text = fs::read_to_string(path).map_err(NetError::file("read CNI configuration", path))?;
        Self::parse(&text).map(Some).map_err(|reason| NetError::Config {
            field: "CNI configuration",
            value: path.display().to_string(),
            reason,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        // A file may hold a single plugin instead of a list.
        let list = match value.get("plugins") {
            Some(_) => value,
            None => json!({ "name": value["name"], "cniVersion": value["cniVersion"], "plugins": [value] }),
        };
        let network: Self = serde_json::from_value(list).map_err(|error| error.to_string())?;
        if !VERSIONS.contains(&network.version.as_str()) {
            return Err(format!("cniVersion {:?} is not one of {}", network.version, VERSIONS.join(", ")));
        }
        if network.plugins.is_empty() {
            return Err("plugins is empty".to_owned());
        }
        match network.plugins.iter().position(|plugin| plugin.get("type").is_none_or(|kind| !kind.is_string())) {
            Some(index) => Err(format!("plugins[{index}].type is missing")),
            None => Ok(network),
        }
    }

    /// Whether CHECK may be called.
    pub(crate) fn has_check(&self) -> bool {
        !self.disable_check && VERSIONS_WITH_CHECK.contains(&self.version.as_str())
    }

    /// What plugin number `index` reads from standard input.
    pub(crate) fn input(&self, index: usize, pod: &PodNetwork, previous: Option<&Value>) -> Value {
        let mut plugin = self.plugins[index].clone();
        let capabilities = plugin.remove("capabilities").unwrap_or_default();
        plugin.insert("name".to_owned(), json!(self.name));
        plugin.insert("cniVersion".to_owned(), json!(self.version));
        if capabilities["portMappings"] == json!(true) && !pod.port_mappings.is_empty() {
            plugin.insert("runtimeConfig".to_owned(), json!({ "portMappings": port_mappings(pod) }));
        }
        if let Some(previous) = previous {
            plugin.insert("prevResult".to_owned(), previous.clone());
        }
        Value::Object(plugin)
    }

    /// The executable's name of plugin number `index`.
    pub(crate) fn kind(&self, index: usize) -> &str {
        self.plugins[index].get("type").and_then(Value::as_str).unwrap_or_default()
    }
}

fn port_mappings(pod: &PodNetwork) -> Vec<Value> {
    let one = |mapping: &crate::PortMapping| {
        let mut value = json!({
            "hostPort": mapping.host_port,
            "containerPort": mapping.container_port,
            "protocol": mapping.protocol.to_string().to_lowercase(),
        });
        if let Some(address) = mapping.host_ip {
            value["hostIP"] = json!(address);
        }
        value
    };
    pod.port_mappings.iter().map(one).collect()
}

/// `CNI_ARGS`: what plugins of Kubernetes networks look for.
pub(crate) fn arguments(pod: &PodNetwork) -> String {
    format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
        pod.namespace, pod.name, pod.sandbox_id, pod.uid
    )
}

/// The addresses in the result of an ADD.
pub(crate) fn addresses(result: &Value) -> Vec<IpAddr> {
    let texts = result["ips"].as_array().into_iter().flatten().filter_map(|ip| ip["address"].as_str());
    texts.filter_map(|text| text.split('/').next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PortMapping, Protocol};

    const LIST: &str = r#"{"cniVersion":"1.0.0","name":"n","plugins":[
        {"type":"bridge","bridge":"b0"},{"type":"portmap","capabilities":{"portMappings":true}}]}"#;

    fn pod() -> PodNetwork {
        let mapping = PortMapping { protocol: Protocol::Udp, container_port: 53, host_port: 5353, host_ip: None };
        PodNetwork {
            sandbox_id: "s".to_owned(),
            namespace: "default".to_owned(),
            name: "p".to_owned(),
            uid: "u".to_owned(),
            netns: PathBuf::from("/proc/1/ns/net"),
            port_mappings: vec![mapping],
        }
    }

    #[test]
    fn a_plugin_is_told_what_it_can_do_and_what_was_done() {
        let network = Network::parse(LIST).expect("a list");
        assert_eq!(
            network.input(0, &pod(), None),
            json!({"type":"bridge","bridge":"b0","name":"n","cniVersion":"1.0.0"})
        );
        let previous = json!({"ips":[{"address":"10.1.2.3/24"}]});
        assert_eq!(
            network.input(1, &pod(), Some(&previous)),
            json!({"type":"portmap","name":"n","cniVersion":"1.0.0","prevResult":previous,
                "runtimeConfig":{"portMappings":[{"hostPort":5353,"containerPort":53,"protocol":"udp"}]}})
        );
        assert_eq!(addresses(&previous), ["10.1.2.3".parse::<IpAddr>().expect("an address")]);
    }

    #[test]
    fn a_single_plugin_is_a_list_of_one() {
        let network = Network::parse(r#"{"cniVersion":"0.4.0","name":"n","type":"ptp"}"#).expect("a plugin");
        assert_eq!((network.plugins.len(), network.kind(0), network.has_check()), (1, "ptp", true));
    }

    #[test]
    fn a_bad_list_says_what_is_wrong() {
        for (text, word) in [
            ("{", "EOF"),
            (r#"{"cniVersion":"0.2.0","name":"n","plugins":[{"type":"x"}]}"#, "0.2.0"),
            (r#"{"cniVersion":"1.0.0","name":"n","plugins":[]}"#, "empty"),
            (r#"{"cniVersion":"1.0.0","name":"n","plugins":[{}]}"#, "plugins[0].type"),
            (r#"{"cniVersion":"1.0.0","plugins":[{"type":"x"}]}"#, "name"),
        ] {
            let reason = Network::parse(text).expect_err("it is bad");
            assert!(reason.contains(word), "{reason}");
        }
    }
}
