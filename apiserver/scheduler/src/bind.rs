//! Writes decisions: claims and volumes, a Binding, or why there is none; and removes pods for others.

mod claims; // writes what claims get, and waits until they have it
mod devices; // writes what claims of devices get

use crate::decide::{Nominate, Placement, Wait};
use crate::extender::Extender;
use crate::figures::{Attempt, Outcome};
use crate::pod::PodInfo;
use crate::preempt::Preemption;
use crate::{SCHEDULER_NAME, Signal};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Binding, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod, PodCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Status, Time};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use skiff_client::{Cache, EventKind, event_about, record, sentence};
use skiff_step::{CORRELATION_ANNOTATION, Engine, Step};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const BIND: Step = Step::new("schedule.bind", "Kubernetes scheduling framework: Bind");

/// The longest message of an event.
const MESSAGE_MAX: usize = 1024;

/// Writes decisions in the background, so that a slow write does not hold up the next decision.
#[derive(Clone)]
pub(crate) struct Binder {
    pub(crate) client: Client,
    pub(crate) engine: Engine,
    pub(crate) claims: Cache<PersistentVolumeClaim>,
    pub(crate) volumes: Cache<PersistentVolume>,
    pub(crate) extenders: Arc<[Extender]>,
    /// Hears what became of decisions.
    pub(crate) outcomes: mpsc::UnboundedSender<Signal>,
}

impl Binder {
    /// Writes what the pod's claims get, then binds it. If that does not work, the pod is looked at again after a while.
    pub(crate) fn bind(&self, pod: Arc<PodInfo>, placement: Placement, (attempt, timeout): (Attempt, Duration)) {
        let this = self.clone();
        tokio::spawn(async move {
            let node = &placement.node;
            let outcome = match this.settle_claims(&pod, &placement, timeout).await {
                Ok(()) => match this.reserve_devices(&pod, &placement).await {
                    Ok(()) => this.write_binding(&pod, node).await,
                    Err(reason) => Err(format!("running PreBind plugin \"DynamicResources\": {reason}")),
                },
                Err(reason) => Err(format!("running PreBind plugin \"VolumeBinding\": binding volumes: {reason}")),
            };
            match outcome {
                Ok(()) => {
                    attempt.end(Outcome::Scheduled);
                    let message = format!("Successfully assigned {}/{} to {node}", pod.namespace, pod.name);
                    this.tell(&pod.pod, EventKind::Normal, "Scheduled", message);
                }
                Err(reason) => {
                    attempt.end(Outcome::Error);
                    this.unreserve_devices(&pod, &placement).await;
                    tracing::warn!(error = %reason, pod = %format!("{}/{}", pod.namespace, pod.name), %node, "bind");
                    // Nobody hears it once the scheduler has ended.
                    let _over = this.outcomes.send(Signal::NotBound { pod: Arc::clone(&pod), placement });
                    this.say(&pod, "SchedulerError", &reason, &Nominate::Set(None)).await;
                }
            }
        });
    }

    async fn write_binding(&self, pod: &PodInfo, node: &str) -> Result<(), String> {
        for extender in &*self.extenders {
            match extender.bind(pod, node).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if extender.is_ignorable() => {
                    tracing::info!(error = sentence(&error), "an extender is passed over")
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let binding = Binding {
            metadata: ObjectMeta { name: Some(pod.name.clone()), uid: pod.pod.uid(), ..ObjectMeta::default() },
            target: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let correlation = pod.pod.annotations().get(CORRELATION_ANNOTATION).cloned().or_else(|| pod.pod.uid());
        let engine = self.engine.correlated(correlation.as_deref());
        engine.note(&BIND, || format!("{}/{} to {node}", pod.namespace, pod.name));
        let taken: Result<Status, _> =
            pods.create_subresource("binding", &pod.name, &PostParams::default(), &binding).await;
        let refused = |error| format!("running Bind plugin \"DefaultBinder\": {}", sentence(&error));
        taken.map(drop).map_err(refused)
    }

    /// Records why the pod has no node: in its condition PodScheduled and as an event.
    pub(crate) fn refuse(&self, pod: Arc<PodInfo>, wait: Wait) {
        let this = self.clone();
        tokio::spawn(async move { this.say(&pod, "Unschedulable", &wait.message, &wait.nominate).await });
    }

    /// Something did not work before there was a decision.
    pub(crate) fn fail(&self, pod: Arc<PodInfo>, reason: String) {
        let this = self.clone();
        tokio::spawn(async move { this.say(&pod, "SchedulerError", &reason, &Nominate::Set(None)).await });
    }

    async fn say(&self, pod: &PodInfo, reason: &str, message: &str, nominate: &Nominate) {
        if let Some(status) = status_of(&pod.pod, reason, message, nominate) {
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
            let patch = Patch::Strategic(json!({"metadata": {"uid": pod.uid}, "status": status}));
            if let Err(error) = pods.patch_status(&pod.name, &PatchParams::default(), &patch).await {
                tracing::debug!(error = sentence(&error), "pod condition not written");
            }
            self.tell(&pod.pod, EventKind::Warning, "FailedScheduling", shortened(message));
        }
    }

    /// Removes the victims, one after the other, so that the last one's going is the sign that there is room.
    pub(crate) fn preempt(&self, pod: Arc<PodInfo>, plan: Preemption, outranked: Vec<Arc<PodInfo>>) {
        let this = self.clone();
        tokio::spawn(async move {
            let mut worked = true;
            for other in outranked {
                // Who was to come to this node looks for another.
                let patch = Patch::Strategic(json!({"status": {"nominatedNodeName": null}}));
                let pods: Api<Pod> = Api::namespaced(this.client.clone(), &other.namespace);
                if let Err(error) = pods.patch_status(&other.name, &PatchParams::default(), &patch).await {
                    tracing::debug!(error = sentence(&error), pod = %other.name, "nominated node not cleared");
                }
            }
            for victim in plan.victims.iter().filter(|victim| !victim.terminating) {
                if let Err(error) = this.remove(&pod, victim, &plan.node).await {
                    tracing::warn!(error = sentence(&error), victim = %victim.name, "preempt");
                    worked = false;
                }
            }
            let _over = this.outcomes.send(Signal::Preempted { uid: pod.uid.clone(), worked });
        });
    }

    async fn remove(&self, pod: &PodInfo, victim: &PodInfo, node: &str) -> Result<(), kube::Error> {
        let scheduler = pod.pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or(SCHEDULER_NAME);
        let message = format!("{scheduler}: preempting to accommodate a higher priority pod");
        let condition = condition(&victim.pod, "DisruptionTarget", ("True", "PreemptionByScheduler", &message));
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &victim.namespace);
        let patch = Patch::Strategic(json!({"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}}));
        let same = Preconditions { uid: Some(victim.uid.clone()), resource_version: None };
        let told = pods.patch_status(&victim.name, &PatchParams::default(), &patch).await.map(drop);
        let gone = match told {
            Ok(()) => pods.delete(&victim.name, &DeleteParams::default().preconditions(same)).await.map(drop),
            Err(error) => Err(error),
        };
        match gone {
            Ok(()) => {
                let message = format!("Preempted by pod {} on node {node}", pod.uid);
                self.tell(&victim.pod, EventKind::Normal, "Preempted", message);
                Ok(())
            }
            // It went by itself, and perhaps another of its name has come.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn tell(&self, pod: &Pod, kind: EventKind, reason: &str, message: String) {
        record(&self.client, event_about(pod, SCHEDULER_NAME, kind, reason, message));
    }
}

/// A condition; the time is kept when it was the same before.
fn condition(pod: &Pod, kind: &str, (status, reason, message): (&str, &str, &str)) -> Value {
    let before = conditions(pod).iter().find(|one| one.type_ == kind && one.status == status);
    let since = before.and_then(|one| one.last_transition_time.clone()).unwrap_or_else(|| Time(Timestamp::now()));
    json!({
        "type": kind, "status": status, "reason": reason, "message": message, "lastProbeTime": null,
        "lastTransitionTime": since, "observedGeneration": pod.metadata.generation,
    })
}

fn conditions(pod: &Pod) -> &[PodCondition] {
    pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

/// What is to be written into the status; nothing if it says so already.
fn status_of(pod: &Pod, reason: &str, message: &str, nominate: &Nominate) -> Option<Value> {
    let said = conditions(pod).iter().any(|one| {
        let same = one.reason.as_deref() == Some(reason) && one.message.as_deref() == Some(message);
        one.type_ == "PodScheduled" && one.status == "False" && same
    });
    let before = pod.status.as_ref().and_then(|status| status.nominated_node_name.clone());
    let mut status = json!({});
    if !said {
        status["conditions"] = json!([condition(pod, "PodScheduled", ("False", reason, message))]);
    }
    if let Nominate::Set(name) = nominate
        && *name != before
    {
        status["nominatedNodeName"] = json!(name);
    }
    status.as_object().is_some_and(|fields| !fields.is_empty()).then_some(status)
}

fn shortened(message: &str) -> String {
    const END: &str = " ...";
    if message.len() <= MESSAGE_MAX {
        return message.to_owned();
    }
    let cut = message.floor_char_boundary(MESSAGE_MAX - END.len());
    format!("{}{END}", &message[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "generation": 2}, "status": status})).unwrap()
    }

    #[test]
    fn the_same_is_not_written_twice() {
        let keep = Nominate::Keep;
        let fresh = status_of(&pod(json!({})), "Unschedulable", "why", &keep).unwrap();
        assert_eq!(fresh["conditions"][0]["observedGeneration"], 2);
        let told = pod(json!({"nominatedNodeName": "n", "conditions": fresh["conditions"]}));
        assert_eq!(status_of(&told, "Unschedulable", "why", &keep), None);
        let cleared = status_of(&told, "Unschedulable", "why", &Nominate::Set(None)).unwrap();
        assert_eq!(cleared, json!({"nominatedNodeName": null}));
        let other = status_of(&told, "Unschedulable", "other", &Nominate::Set(Some("n".into()))).unwrap();
        let time = |status: &Value| status["conditions"][0]["lastTransitionTime"].clone();
        assert_eq!(time(&other), time(&fresh), "it has been so since then");
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let long = "ö".repeat(1000);
        let short = shortened(&long);
        assert!(short.len() <= MESSAGE_MAX && short.ends_with(" ..."));
    }
}
