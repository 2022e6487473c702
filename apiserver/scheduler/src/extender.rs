//! Extenders: programs outside that take nodes away, score them, choose victims or bind, over HTTP (kube-scheduler's
//! extender/v1).

use crate::config::{Field, Read};
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Refusal, Remedy};
use crate::pod::PodInfo;
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

/// An extender as a configuration describes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExtenderConfig {
    url: String,
    filter: Option<String>,
    prioritize: Option<String>,
    bind: Option<String>,
    weight: i64,
    timeout: Duration,
    /// It knows the nodes and is sent names only.
    names_only: bool,
    /// It is asked only about pods that want one of these; without any, about all.
    managed: Vec<String>,
    ignorable: bool,
    insecure: bool,
    authority: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

const FIELDS: [&str; 12] = [
    "urlPrefix",
    "filterVerb",
    "prioritizeVerb",
    "preemptVerb",
    "bindVerb",
    "weight",
    "enableHTTPS",
    "tlsConfig",
    "httpTimeout",
    "nodeCacheCapable",
    "managedResources",
    "ignorable",
];

impl ExtenderConfig {
    pub(crate) fn read(field: &Field<'_>) -> Read<Self> {
        field.only(&FIELDS)?;
        let text = |name: &str| Ok(field.get(name).text()?.filter(|text| !text.is_empty()).map(str::to_owned));
        let url = field.get("urlPrefix");
        let Some(prefix) = url.text()? else { return url.error("required value") };
        if text("preemptVerb")?.is_some() {
            return field.get("preemptVerb").error("not implemented: extenders have no say in preemption");
        }
        let tls = field.get("tlsConfig");
        tls.only(&["insecure", "serverName", "certFile", "keyFile", "caFile"])?;
        let file = |name: &str| Ok(tls.get(name).text()?.map(PathBuf::from));
        let mut managed = Vec::new();
        for one in field.get("managedResources").list()? {
            one.only(&["name", "ignoredByScheduler"])?;
            managed.extend(one.get("name").text()?.map(str::to_owned));
        }
        let prioritize = text("prioritizeVerb")?;
        let least = i64::from(prioritize.is_some());
        Ok(Self {
            url: prefix.trim_end_matches('/').to_owned(),
            filter: text("filterVerb")?,
            weight: field.get("weight").number(least, least..=100_000)?,
            prioritize,
            bind: text("bindVerb")?,
            timeout: timeout(&field.get("httpTimeout"))?,
            names_only: field.get("nodeCacheCapable").truth()?,
            managed,
            ignorable: field.get("ignorable").truth()?,
            insecure: tls.get("insecure").truth()?,
            authority: file("caFile")?,
            identity: file("certFile")?.zip(file("keyFile")?),
        })
    }
}

/// As Go writes durations, in the units that make sense here.
fn timeout(field: &Field<'_>) -> Read<Duration> {
    let Some(text) = field.text()? else { return Ok(Duration::from_secs(5)) };
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0)];
    let read = units.iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    });
    read.map_or_else(|| field.error("must be a time such as \"5s\" or \"500ms\""), Ok)
}

/// An extender that can be asked.
#[derive(Clone)]
pub(crate) struct Extender {
    config: ExtenderConfig,
    client: Client,
}

/// An extender did not answer, or not what it should.
#[derive(Debug, thiserror::Error)]
#[error("extender {url}: {reason}")]
pub(crate) struct ExtenderError {
    url: String,
    reason: String,
}

/// What is left of the nodes.
pub(crate) struct Filtered {
    /// Their names; `None`: all.
    pub(crate) kept: Option<Vec<String>>,
    /// Why others went, by name.
    pub(crate) refused: BTreeMap<String, Refusal>,
}

impl Extender {
    /// Reads certificates; asks nothing yet.
    pub(crate) fn new(config: ExtenderConfig) -> Result<Self, ExtenderError> {
        let error = |reason: String| ExtenderError { url: config.url.clone(), reason };
        let url = config.url.parse().map_err(|_| error("urlPrefix is no URL".to_owned()))?;
        let mut to = Config::new(url);
        to.connect_timeout = Some(config.timeout);
        to.read_timeout = Some(config.timeout);
        to.accept_invalid_certs = config.insecure;
        to.root_cert_file.clone_from(&config.authority);
        if let Some((certificate, key)) = &config.identity {
            to.auth_info.client_certificate = Some(certificate.display().to_string());
            to.auth_info.client_key = Some(key.display().to_string());
        }
        let client = Client::try_from(to).map_err(|cause| error(skiff_client::sentence(&cause)))?;
        Ok(Self { config, client })
    }

    pub(crate) fn is_ignorable(&self) -> bool {
        self.config.ignorable
    }

    fn is_interested(&self, pod: &PodInfo) -> bool {
        let managed = &self.config.managed;
        managed.is_empty() || managed.iter().any(|name| pod.requests.get(name) > 0)
    }

    async fn ask<T: DeserializeOwned>(&self, verb: &str, body: &Value) -> Result<T, ExtenderError> {
        let error = |reason: String| ExtenderError { url: format!("{}/{verb}", self.config.url), reason };
        let prefix = self.config.url.splitn(4, '/').nth(3).map_or(String::new(), |path| format!("/{path}"));
        let request = http::Request::post(format!("{prefix}/{verb}")).header("Content-Type", "application/json");
        let request = request.body(body.to_string().into_bytes()).map_err(|cause| error(cause.to_string()))?;
        let asked = tokio::time::timeout(self.config.timeout, self.client.request::<T>(request)).await;
        let answer = asked.map_err(|_| error(format!("no answer within {:?}", self.config.timeout)))?;
        answer.map_err(|cause| error(skiff_client::sentence(&cause)))
    }

    fn args(&self, pod: &PodInfo, nodes: &[&NodeInfo]) -> Value {
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let items = || nodes.iter().map(|node| json!(&*node.node)).collect::<Vec<_>>();
        let whole = |items: Vec<Value>| json!({"kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": items});
        match self.config.names_only {
            true => json!({"Pod": &*pod.pod, "Nodes": null, "NodeNames": names}),
            false => json!({"Pod": &*pod.pod, "Nodes": whole(items()), "NodeNames": null}),
        }
    }

    /// Which of `nodes` it leaves.
    pub(crate) async fn filter(&self, pod: &PodInfo, nodes: &[&NodeInfo]) -> Result<Filtered, ExtenderError> {
        let Some(verb) = self.config.filter.as_ref().filter(|_| self.is_interested(pod)) else {
            return Ok(Filtered { kept: None, refused: BTreeMap::new() });
        };
        let answer: Value = self.ask(verb, &self.args(pod, nodes)).await?;
        if let Some(reason) = answer["Error"].as_str().filter(|reason| !reason.is_empty()) {
            return Err(ExtenderError { url: self.config.url.clone(), reason: reason.to_owned() });
        }
        Ok(read_filtered(&answer))
    }

    /// Points for nodes by name, stretched from its scale of 10 to ours of 100.
    pub(crate) async fn prioritize(
        &self,
        pod: &PodInfo,
        nodes: &[&NodeInfo],
    ) -> Result<HashMap<String, i64>, ExtenderError> {
        let Some(verb) = self.config.prioritize.as_ref().filter(|_| self.is_interested(pod)) else {
            return Ok(HashMap::new());
        };
        let answer: Value = self.ask(verb, &self.args(pod, nodes)).await?;
        let hosts = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        let points = |host: &Value| {
            let score = host["Score"].as_i64().unwrap_or(0).saturating_mul(self.config.weight * 10);
            Some((host["Host"].as_str()?.to_owned(), score))
        };
        Ok(hosts.iter().filter_map(points).collect())
    }

    /// Binds, if that is its work. Answers whether it is.
    pub(crate) async fn bind(&self, pod: &PodInfo, node: &str) -> Result<bool, ExtenderError> {
        let Some(verb) = self.config.bind.as_ref().filter(|_| self.is_interested(pod)) else { return Ok(false) };
        let body = json!({"PodName": pod.name, "PodNamespace": pod.namespace, "PodUID": pod.uid, "Node": node});
        let answer: Value = self.ask(verb, &body).await?;
        match answer["Error"].as_str().filter(|reason| !reason.is_empty()) {
            Some(reason) => Err(ExtenderError { url: self.config.url.clone(), reason: reason.to_owned() }),
            None => Ok(true),
        }
    }
}

fn read_filtered(answer: &Value) -> Filtered {
    let name = |value: &Value| value.as_str().map(str::to_owned);
    let by_name = answer["NodeNames"].as_array().map(|names| names.iter().filter_map(name).collect());
    let items = answer["Nodes"]["items"].as_array();
    let by_node = items.map(|items| items.iter().filter_map(|node| name(&node["metadata"]["name"])).collect());
    let mut refused = BTreeMap::new();
    for (field, remedy) in [("FailedNodes", Remedy::Preemption), ("FailedAndUnresolvableNodes", Remedy::None)] {
        for (node, reason) in answer[field].as_object().into_iter().flatten() {
            let reasons = vec![reason.as_str().unwrap_or_default().to_owned().into()];
            refused.insert(node.clone(), Refusal { plugin: Plugin::Extender, remedy, reasons });
        }
    }
    Filtered { kept: Some(by_name.or(by_node).unwrap_or_default()), refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_answering_are_read() {
        let names =
            json!({"NodeNames": ["a"], "FailedNodes": {"b": "full"}, "FailedAndUnresolvableNodes": {"c": "never"}});
        let filtered = read_filtered(&names);
        assert_eq!(filtered.kept.unwrap(), ["a"]);
        assert_eq!(filtered.refused["b"], Refusal::by_pods(Plugin::Extender, "full".to_owned()));
        assert_eq!(filtered.refused["c"], Refusal::lasting(Plugin::Extender, "never".to_owned()));
        let nodes = json!({"Nodes": {"items": [{"metadata": {"name": "d"}}]}});
        assert_eq!(read_filtered(&nodes).kept.unwrap(), ["d"]);
    }
}
