//! Writes the Node object: at the start, when something changed, and every five minutes.

use super::lease;
use super::status::{NodeInputs, differs, labels, node, status};
use crate::cri::{Cri, said};
use crate::error::KubeletError;
use crate::pod::report::replace_lists;
use crate::pressure::Gauge;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use skiff_client::sentence;
use skiff_devices::Devices;
use skiff_proto::cri::v1 as cri;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the lease is renewed and the node looked at.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often we look while the node is not ready, to say so as soon as it is.
const IMPATIENT: Duration = Duration::from_millis(100);
/// How often the status is written without a change (nodeStatusReportFrequency).
const REPORT: Duration = Duration::from_secs(300);

/// Keeps the node's object true.
pub(crate) struct Keeper {
    client: kube::Client,
    cri: Cri,
    inputs: NodeInputs,
    gauge: Arc<Gauge>,
    devices: Devices,
    node: Node,
    reported: Instant,
}

/// Creates the node's object, or takes over the one that is there.
///
/// # Errors
/// The API server refuses.
pub(crate) async fn register(
    client: kube::Client,
    cri: Cri,
    inputs: NodeInputs,
    (gauge, devices): (Arc<Gauge>, Devices),
) -> Result<Keeper, KubeletError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let refused = |operation: &str| {
        let operation = format!("{operation} node {}", inputs.name);
        move |error: kube::Error| KubeletError::api(operation, &error)
    };
    let fresh = status(&inputs, &look(&cri).await, (gauge.pressure(), &devices.figures()), &[], Timestamp::now());
    let object = node(&inputs, fresh);
    let node = match nodes.create(&PostParams::default(), &object).await {
        Ok(node) => node,
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let mut patch = json!({"metadata": {"labels": labels(&inputs)}});
            if let Some(range) = &inputs.pod_cidr {
                patch["spec"] = json!({"podCIDR": range, "podCIDRs": [range]});
            }
            let patch = Patch::Merge(patch);
            nodes.patch(&inputs.name, &PatchParams::default(), &patch).await.map_err(refused("update"))?
        }
        Err(error) => return Err(refused("register")(error)),
    };
    let mut keeper = Keeper { client, cri, inputs, gauge, devices, node, reported: Instant::now() };
    let written = keeper.report_if_due().await;
    written.map_err(|error| KubeletError::api(format!("write the status of node {}", keeper.inputs.name), &error))?;
    Ok(keeper)
}

async fn look(cri: &Cri) -> Result<cri::RuntimeStatus, String> {
    cri.status().await.map_err(|status| said(&status))
}

impl Keeper {
    /// Runs for ever.
    pub(crate) async fn keep(mut self) {
        let mut renewed: Option<Instant> = None;
        let mut devices = self.devices.changes();
        loop {
            if renewed.is_none_or(|at| at.elapsed() >= HEARTBEAT) {
                match lease::renew(&self.client, &self.node).await {
                    Ok(()) => renewed = Some(Instant::now()),
                    Err(error) => tracing::warn!(error = sentence(&error), "lease not renewed"),
                }
            }
            let ready = self.is_ready();
            let pause = if ready && renewed.is_some() {
                HEARTBEAT
            } else if ready {
                Duration::from_secs(1)
            } else {
                IMPATIENT
            };
            // What the scheduler may hand out does not wait for the next heartbeat.
            let _either = tokio::time::timeout(pause, devices.changed()).await;
            if let Err(error) = self.report_if_due().await {
                tracing::warn!(error = sentence(&error), "node status not written");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// The object as last written.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    fn conditions(&self) -> Vec<NodeCondition> {
        self.node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default()
    }

    fn is_ready(&self) -> bool {
        self.conditions().iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }

    async fn report_if_due(&mut self) -> kube::Result<()> {
        let runtime = look(&self.cri).await;
        let old = self.conditions();
        let now = (self.gauge.pressure(), self.devices.figures());
        let new = status(&self.inputs, &runtime, (now.0, &now.1), &old, Timestamp::now());
        let known = self.node.status.clone().unwrap_or_default();
        let ours = k8s_openapi::api::core::v1::NodeStatus {
            capacity: known.capacity,
            allocatable: known.allocatable,
            addresses: known.addresses,
            conditions: known.conditions,
            daemon_endpoints: known.daemon_endpoints,
            node_info: known.node_info,
            ..Default::default()
        };
        if !differs(&ours, &new) && self.reported.elapsed() < REPORT {
            return Ok(());
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut status = json!(new);
        if let Some(status) = status.as_object_mut() {
            // Two addresses may be of one type, by which they would merge; and one that is no longer ours must go.
            replace_lists(status, &["addresses"]);
        }
        let patch = Patch::Strategic(json!({"status": status}));
        nodes.patch_status(&self.inputs.name, &PatchParams::default(), &patch).await?;
        self.node.status = Some(new);
        self.reported = Instant::now();
        Ok(())
    }
}
