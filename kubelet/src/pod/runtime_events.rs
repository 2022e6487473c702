//! What the runtime reports: its event stream, or lists where it has none.

use super::observed::{Instance, Observed, Sandbox};
use super::worker::Sighting;
use crate::agent::Agent;
use crate::labels;
use skiff_proto::cri::v1 as cri;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often a runtime without an event stream is asked.
const RELIST: Duration = Duration::from_secs(2);
/// How long after a broken stream the next is opened.
const RECONNECT: Duration = Duration::from_millis(500);

/// News for the pod of that uid; `None` is everything, for all pods.
pub(super) type News = (Option<String>, Report);

/// One piece of news.
#[derive(Debug)]
pub(super) enum Report {
    /// Parts of one pod.
    Parts(Sighting),
    /// All pods by uid, as listed from the given moment on.
    Everything(HashMap<String, Observed>, Instant),
}

/// Containers whose status we have, so that lists only ask for those that changed.
#[derive(Default)]
pub(super) struct Inventory {
    known: HashMap<String, (i32, Instance)>,
}

impl Inventory {
    /// Lists all that is this node's, by pod uid.
    pub(super) async fn list(&mut self, agent: &Agent) -> Result<HashMap<String, Observed>, tonic::Status> {
        let ours = [(labels::NODE, agent.node_name.as_str())];
        let mut all: HashMap<String, Observed> = HashMap::new();
        for item in agent.cri.sandboxes(&ours).await? {
            let Some(uid) = labels::get(&item.labels, labels::POD_UID) else { continue };
            let answer = match agent.cri.sandbox_status(&item.id).await {
                Err(status) if status.code() == tonic::Code::NotFound => continue,
                answer => answer?,
            };
            if let Some(status) = &answer.status {
                all.entry(uid.to_owned()).or_default().absorb_sandbox(Sandbox::of(status));
            }
        }
        let containers = agent.cri.containers(&ours).await?;
        self.known.retain(|id, _| containers.iter().any(|container| container.id == *id));
        for item in containers {
            let Some(uid) = labels::get(&item.labels, labels::POD_UID).map(str::to_owned) else { continue };
            if let Some(instance) = self.status(agent, &item).await? {
                all.entry(uid).or_default().absorb(instance);
            }
        }
        Ok(all)
    }

    async fn status(&mut self, agent: &Agent, item: &cri::Container) -> Result<Option<Instance>, tonic::Status> {
        if let Some((state, instance)) = self.known.get(&item.id)
            && *state == item.state
        {
            return Ok(Some(instance.clone()));
        }
        let status = match agent.cri.container_status(&item.id).await {
            Err(status) if status.code() == tonic::Code::NotFound => return Ok(None),
            status => status?,
        };
        let instance = Instance::of(&status, &item.pod_sandbox_id);
        if let Some(instance) = &instance {
            self.known.insert(item.id.clone(), (status.state, instance.clone()));
        }
        Ok(instance)
    }
}

/// Sends what the runtime reports until nobody listens.
pub(super) async fn follow(agent: Arc<Agent>, mut inventory: Inventory, news: mpsc::UnboundedSender<News>) {
    while !news.is_closed() {
        match agent.cri.events().await {
            Ok(mut stream) => {
                // What happened while no stream was open is found by a list.
                relist(&agent, &mut inventory, &news).await;
                while let Ok(Some(event)) = stream.message().await {
                    report(&agent, event, &news).await;
                }
                tracing::warn!("the runtime's event stream ended; opening it again");
                tokio::time::sleep(RECONNECT).await;
            }
            Err(status) if status.code() == tonic::Code::Unimplemented => {
                relist(&agent, &mut inventory, &news).await;
                tokio::time::sleep(RELIST).await;
            }
            Err(status) => {
                tracing::warn!(error = crate::cri::said(&status), "no event stream from the runtime");
                relist(&agent, &mut inventory, &news).await;
                tokio::time::sleep(RELIST).await;
            }
        }
    }
}

async fn relist(agent: &Agent, inventory: &mut Inventory, news: &mpsc::UnboundedSender<News>) {
    let listed_at = Instant::now();
    match inventory.list(agent).await {
        // Nobody listens any more: `follow` ends by itself.
        Ok(all) => drop(news.send((None, Report::Everything(all, listed_at)))),
        Err(status) => tracing::warn!(error = crate::cri::said(&status), "the runtime does not list its containers"),
    }
}

async fn report(agent: &Agent, event: cri::ContainerEventResponse, news: &mpsc::UnboundedSender<News>) {
    let sandbox = event.pod_sandbox_status.as_ref();
    let mut statuses = event.containers_statuses.clone();
    let about_sandbox = sandbox.is_some_and(|sandbox| sandbox.id == event.container_id);
    let named = statuses.iter().any(|status| status.id == event.container_id);
    let deleted = event.container_event_type() == cri::ContainerEventType::ContainerDeletedEvent;
    if !named && !about_sandbox && !deleted {
        // Some runtimes send the id alone.
        statuses.extend(agent.cri.container_status(&event.container_id).await.ok());
    }
    let of_sandbox = sandbox.and_then(|sandbox| sandbox.metadata.as_ref()).map(|meta| meta.uid.clone());
    let of_container =
        || statuses.iter().find_map(|status| labels::get(&status.labels, labels::POD_UID).map(str::to_owned));
    let Some(uid) = of_sandbox.filter(|uid| !uid.is_empty()).or_else(of_container) else { return };
    let sandbox_id = sandbox.map_or("", |sandbox| sandbox.id.as_str());
    let instances = statuses.iter().filter_map(|status| Instance::of(status, sandbox_id)).collect();
    // A sandbox that is being removed is our own doing: its last report would bring it back.
    let sandboxes = sandbox.filter(|_| !deleted).map(Sandbox::of).into_iter().collect();
    let _agent_may_be_gone = news.send((Some(uid), Report::Parts(Sighting::Some(sandboxes, instances))));
}
