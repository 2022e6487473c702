//! Which drivers the node has, for those who place pods and attach volumes: the CSINode object, and the node's labels and
//! annotation.

use super::driver::Driver;
use crate::agent::Agent;
use crate::pod::act::blocking;
use crate::pod::memory::Failure;
use crate::volume::record;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Map, Value, json};
use skiff_client::loose::CSINode;
use skiff_client::sentence;
use std::sync::Arc;

const NODE_IDS: &str = "csi.volume.kubernetes.io/nodeid";
/// Somebody else may be writing at the same time.
const TRIES: u32 = 5;

/// Makes `driver` known as one of this node's.
pub(super) async fn add(agent: &Agent, driver: &Driver) -> Result<(), String> {
    describe(agent, driver).await?;
    let topology = driver.info.accessible_topology.iter().flat_map(|topology| topology.segments.keys());
    let mut keys: Vec<_> = topology.cloned().collect();
    keys.sort();
    let mut entry = json!({"name": driver.name, "nodeID": driver.info.node_id, "topologyKeys": keys});
    if driver.info.max_volumes_per_node > 0 {
        entry["allocatable"] = json!({"count": driver.info.max_volumes_per_node.min(i64::from(i32::MAX))});
    }
    change(agent, &driver.name, Some(entry)).await
}

/// The node has the driver called `name` no more.
pub(super) async fn remove(agent: &Agent, name: &str) -> Result<(), String> {
    change(agent, name, None).await
}

/// Writes what the driver calls the node, and where the node is.
async fn describe(agent: &Agent, driver: &Driver) -> Result<(), String> {
    let nodes: Api<Node> = Api::all(agent.client.clone());
    let about = |error: kube::Error| format!("describe node {}: {}", agent.node_name, sentence(&error));
    let node = nodes.get(&agent.node_name).await.map_err(about)?;
    let known = node.metadata.annotations.unwrap_or_default().remove(NODE_IDS).unwrap_or_default();
    let mut ids: Map<String, Value> = serde_json::from_str(&known).unwrap_or_default();
    ids.insert(driver.name.clone(), driver.info.node_id.clone().into());
    let labels = node.metadata.labels.unwrap_or_default();
    let mut new = Map::new();
    for (key, value) in driver.info.accessible_topology.iter().flat_map(|topology| &topology.segments) {
        match labels.get(key) {
            Some(present) if present != value => {
                let why = format!(
                    "detected topology value collision: driver reported \"{key}\":\"{value}\" but existing label is"
                );
                return Err(format!("{why} \"{key}\":\"{present}\""));
            }
            _ => new.insert(key.clone(), value.clone().into()),
        };
    }
    let text = Value::Object(ids).to_string();
    let patch = json!({"metadata": {"annotations": {NODE_IDS: text}, "labels": new}});
    nodes.patch(&agent.node_name, &PatchParams::default(), &Patch::Merge(&patch)).await.map_err(about).map(drop)
}

/// Which attached volumes the node has in use, in its status: whoever detaches volumes leaves those alone. Told before a volume is put in its
/// place and after it is taken away; what the records say at that moment.
pub(super) async fn tell_in_use(agent: &Arc<Agent>) -> Result<(), String> {
    let root = agent.root_dir.clone();
    let read = move || record::of_all_pods(&root).map_err(|error| Failure::new("FailedMount", error.to_string()));
    let records = blocking(read).await.map_err(|failure| failure.message)?;
    let attached = records.into_iter().filter_map(|record| record.driver).filter(|driver| driver.attached);
    let mut names: Vec<_> =
        attached.map(|driver| format!("kubernetes.io/csi/{}^{}", driver.driver, driver.handle)).collect();
    names.sort();
    names.dedup();
    let nodes: Api<Node> = Api::all(agent.client.clone());
    let patch = json!({"status": {"volumesInUse": names}});
    let written = nodes.patch_status(&agent.node_name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    written.map(drop).map_err(|error| format!("tell which volumes are in use: {}", sentence(&error)))
}

async fn change(agent: &Agent, name: &str, entry: Option<Value>) -> Result<(), String> {
    let api: Api<CSINode> = Api::all(agent.client.clone());
    let about = |error: kube::Error| format!("write CSINode {}: {}", agent.node_name, sentence(&error));
    for _ in 0..TRIES {
        let Some(present) = api.get_opt(&agent.node_name).await.map_err(about)? else {
            let Some(entry) = &entry else { return Ok(()) };
            let made = CSINode::new(metadata(agent).await?, json!({"spec": {"drivers": [entry]}}));
            match api.create(&PostParams::default(), &made).await {
                Err(kube::Error::Api(status)) if status.code == 409 => continue,
                done => return done.map(drop).map_err(about),
            }
        };
        let drivers = present.fields.pointer("/spec/drivers").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut list: Vec<_> = drivers.iter().filter(|one| one["name"] != name).cloned().collect();
        list.extend(entry.clone());
        if list == drivers {
            return Ok(());
        }
        let revision = &present.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": revision}, "spec": {"drivers": list}});
        match api.patch(&agent.node_name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            done => return done.map(drop).map_err(about),
        }
    }
    Err(format!("write CSINode {}: others wrote at the same time, {TRIES} times", agent.node_name))
}

/// It goes with the node's object.
async fn metadata(agent: &Agent) -> Result<ObjectMeta, String> {
    let nodes: Api<Node> = Api::all(agent.client.clone());
    let node = nodes.get(&agent.node_name).await;
    let node = node.map_err(|error| format!("get node {}: {}", agent.node_name, sentence(&error)))?;
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: agent.node_name.clone(),
        uid: node.metadata.uid.unwrap_or_default(),
        ..Default::default()
    };
    Ok(ObjectMeta { name: Some(agent.node_name.clone()), owner_references: Some(vec![owner]), ..Default::default() })
}
