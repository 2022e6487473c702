//! Writes the decision: a Binding, or the reason why there is none.

use crate::plan::Unschedulable;
use crate::{Change, SCHEDULER_NAME};
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Status, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use skiff_client::{EventKind, event_about, record};
use skiff_step::{CORRELATION_ANNOTATION, Engine, Step};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const BIND: Step = Step::new("schedule.bind", "Kubernetes scheduling framework: Bind");

/// How long a pod waits whose binding was not taken.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Writes decisions in the background, so that a slow write does not hold up the next decision.
#[derive(Clone)]
pub(crate) struct Binder {
    client: Client,
    engine: Engine,
    /// Hears of bindings that were not taken.
    failures: mpsc::UnboundedSender<Change>,
}

impl Binder {
    pub(crate) fn new(client: Client, engine: Engine, failures: mpsc::UnboundedSender<Change>) -> Self {
        Self { client, engine, failures }
    }

    /// Binds `pod` to `node`. If the server does not take it, the pod is looked at again after a while.
    pub(crate) fn bind(&self, pod: Arc<Pod>, node: String) {
        let this = self.clone();
        tokio::spawn(async move {
            let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
            match this.write_binding(&pod, &name, &namespace, &node).await {
                Ok(_) => {
                    let message = format!("Successfully assigned {namespace}/{name} to {node}");
                    this.tell(&pod, EventKind::Normal, "Scheduled", message);
                }
                Err(error) => {
                    let error = skiff_client::sentence(&error);
                    tracing::warn!(error, pod = %format!("{namespace}/{name}"), %node, "bind");
                    tokio::time::sleep(RETRY_AFTER).await;
                    // Nobody hears it once the scheduler has ended.
                    let _over = this.failures.send(Change::NotBound(pod));
                }
            }
        });
    }

    async fn write_binding(&self, pod: &Pod, name: &str, namespace: &str, node: &str) -> Result<Status, kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let binding = Binding {
            metadata: ObjectMeta { name: Some(name.to_owned()), uid: pod.uid(), ..ObjectMeta::default() },
            target: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let correlation = pod.annotations().get(CORRELATION_ANNOTATION).cloned().or_else(|| pod.uid());
        let engine = self.engine.correlated(correlation.as_deref());
        engine.note(&BIND, || format!("{namespace}/{name} to {node}"));
        pods.create_subresource("binding", name, &PostParams::default(), &binding).await
    }

    /// Records why `pod` has no node: in its condition PodScheduled and as an event.
    pub(crate) fn refuse(&self, pod: &Arc<Pod>, why: &Unschedulable) {
        let (this, pod, message) = (self.clone(), Arc::clone(pod), why.to_string());
        tokio::spawn(async move {
            if says_already(&pod, &message) {
                return;
            }
            let pods: Api<Pod> = Api::namespaced(this.client.clone(), &pod.namespace().unwrap_or_default());
            let condition = json!({
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                "lastTransitionTime": Time(jiff::Timestamp::now())
            });
            let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
            if let Err(error) = pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await {
                tracing::debug!(error = skiff_client::sentence(&error), "pod condition not written");
            }
            this.tell(&pod, EventKind::Warning, "FailedScheduling", message);
        });
    }

    fn tell(&self, pod: &Pod, kind: EventKind, reason: &str, message: String) {
        record(&self.client, event_about(pod, SCHEDULER_NAME, kind, reason, message));
    }
}

fn says_already(pod: &Pod, message: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == "PodScheduled" && condition.message.as_deref() == Some(message))
}
