//! Shows static pods at the API server: a mirror for each, with its status, and none for those that are gone.

use super::report;
use super::static_pod;
use crate::agent::Agent;
use k8s_openapi::api::core::v1::{Node, Pod, PodStatus};
use kube::Api;
use kube::api::PostParams;
use skiff_client::sentence;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often a mirror is looked for in what the API server has said.
const AGAIN: Duration = Duration::from_secs(1);

fn api(agent: &Agent, pod: &Pod) -> Api<Pod> {
    Api::namespaced(agent.client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default())
}

/// Keeps the mirror of the static pod `pod`, with what `statuses` holds, until it closes.
pub(super) async fn follow(agent: Arc<Agent>, pod: Arc<Pod>, mut statuses: watch::Receiver<Option<PodStatus>>) {
    let (mut written, mut complaint) = (None, None);
    loop {
        if let Ok(Err(_closed)) = tokio::time::timeout(AGAIN, statuses.changed()).await {
            return;
        }
        let status = statuses.borrow_and_update().clone();
        match keep(&agent, &pod, status, &mut written).await {
            Ok(()) => complaint = None,
            Err(error) => {
                let said = sentence(&error);
                if complaint.as_ref() != Some(&said) {
                    tracing::warn!(pod = pod.metadata.name, error = said, "mirror of a static pod");
                    complaint = Some(said);
                }
            }
        }
    }
}

/// A mirror's uid, and the status that was written to it.
type Written = Option<(Option<String>, PodStatus)>;

async fn keep(agent: &Agent, pod: &Pod, status: Option<PodStatus>, written: &mut Written) -> kube::Result<()> {
    let (pods, meta) = (api(agent, pod), &pod.metadata);
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let seen = agent.caches.chosen::<Pod>(&format!("spec.nodeName={}", agent.node_name)).get(namespace, name);
    let Some(mirror) = seen else {
        let nodes: Api<Node> = Api::all(agent.client.clone());
        let node = nodes.get(&agent.node_name).await?.metadata.uid.unwrap_or_default();
        let created = pods.create(&PostParams::default(), &static_pod::mirror(pod, &agent.node_name, &node)).await;
        return match created {
            // It is there, and the watch will say so.
            Err(kube::Error::Api(answer)) if answer.code == 409 => Ok(()),
            other => other.map(drop),
        };
    };
    let ours = static_pod::mirrored(&mirror) == meta.uid.as_deref();
    if static_pod::mirrored(&mirror).is_some() && (!ours || mirror.metadata.deletion_timestamp.is_some()) {
        return forgiving(report::release(&pods, &mirror).await);
    }
    let Some(status) = status.filter(|_| ours) else { return Ok(()) };
    let now = Some((mirror.metadata.uid.clone(), status));
    if *written != now {
        if let Some((_, status)) = &now {
            forgiving(report::patch(&pods, &mirror, status).await.map(drop))?;
        }
        *written = now;
    }
    Ok(())
}

/// Takes the mirror `mirror` away, whose static pod is gone.
pub(super) async fn remove(agent: Arc<Agent>, mirror: Arc<Pod>) {
    if let Err(error) = forgiving(report::release(&api(&agent, &mirror), &mirror).await) {
        tracing::warn!(pod = mirror.metadata.name, error = sentence(&error), "mirror of a pod that is gone");
    }
}

/// What is gone, or another by now, needs nothing.
fn forgiving(result: kube::Result<()>) -> kube::Result<()> {
    match result {
        Err(error) if report::is_gone(&error) => Ok(()),
        other => other,
    }
}
