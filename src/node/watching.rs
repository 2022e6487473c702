//! Waiting for what a node says.

use anyhow::{Context, bail};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher;
use kube::{Api, Client};

/// Waits until the node `name` is as `holds` wants it; answers what that says.
///
/// # Errors
/// The API server does not let us watch it.
pub(crate) async fn await_what<T>(
    client: &Client,
    name: &str,
    holds: impl Fn(&Node) -> Option<T>,
) -> anyhow::Result<T> {
    let nodes: Api<Node> = Api::all(client.clone());
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = std::pin::pin!(watcher(nodes, only));
    loop {
        match changes.try_next().await {
            Ok(Some(watcher::Event::Apply(node) | watcher::Event::InitApply(node))) => {
                if let Some(said) = holds(&node) {
                    return Ok(said);
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => bail!("the watch on node {name} ended"),
            Err(error) => return Err(error).with_context(|| format!("watch node {name}")),
        }
    }
}

/// Waits until the condition Ready of the node `name` is True.
///
/// # Errors
/// As [`await_what`].
pub(crate) async fn await_node(client: &Client, name: &str) -> anyhow::Result<()> {
    await_what(client, name, |node| is_ready(node).then_some(())).await
}

/// Whether the node's condition Ready is True.
pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
