//! Gives what can be scaled as many replicas as its metrics ask for (autoscaling/v2), every 15 s.
//!
//! ```text
//!  scale of the target ─► pods that it chooses ─► metrics ─► so many ─► within rules and bounds ─► scale, status, events
//! ```
//!
//! What was wanted a while ago, and what was changed, is remembered here only: after a start nothing goes down until the window is over.

pub(crate) mod ask; // what is asked for
pub(crate) mod count; // pods and figures, as replicas
mod limits; // how fast, and how far
pub(crate) mod metric; // one metric
mod pace; // how fast all of them follow
mod plan; // what is to be done
pub(crate) mod select; // a selector as text
mod status; // what is said about it
pub(crate) mod target; // what is scaled

pub use pace::Autoscaling;

use crate::context::{Context, EventKind};
use crate::looking::{Again, Loop, Outcome, Own};
use ask::Asker;
use count::Scaled;
use futures::FutureExt;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::Api;
use kube::core::{Selector, SelectorExt};
use limits::Memory;
use plan::{Spec, Step, Warning};
use serde_json::Value;
use skiff_client::loose::HorizontalPodAutoscaler;
use skiff_client::{Cache, Key, sentence};
use status::Status;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use target::Target;
use tokio_util::sync::CancellationToken;

/// What is remembered of one autoscaler.
#[derive(Default)]
struct Known {
    memory: Memory,
    /// Which pods it counts.
    selector: Option<LabelSelector>,
    /// What its last look said that was wrong: it is not said again as long as it stays the same.
    told: Vec<Warning>,
}

struct Scaler {
    own: Own,
    context: Context,
    asker: Asker,
    autoscalers: Cache<HorizontalPodAutoscaler>,
    pods: Cache<Pod>,
    known: Mutex<HashMap<Key, Known>>,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context.reporting_as("horizontal-pod-autoscaler"));
    let autoscalers: Cache<HorizontalPodAutoscaler> = looking.over_specs();
    let pods = looking.context.caches.all::<Pod>();
    looking.needs(&pods);
    let (context, own) = (looking.context.clone(), looking.own.clone());
    let asker = Asker::new(context.clone());
    let scaler = Arc::new(Scaler { own, context, asker, autoscalers, pods, known: Mutex::default() });
    looking.run(shutdown, move |key| scaler.clone().reconcile(key).boxed()).await;
}

impl Scaler {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let Some(autoscaler) = self.autoscalers.get(&key.namespace, &key.name) else {
            self.known().remove(&key);
            return Ok(Again::OnChange);
        };
        let now = Timestamp::now();
        let (spec, mut status) = (
            Spec::read(&autoscaler.fields["spec"], self.context.autoscaling),
            Status::of(&autoscaler.fields["status"], now),
        );
        let target = match Target::find(&self.asker, &key.namespace, &autoscaler.fields["spec"]["scaleTargetRef"]).await
        {
            Ok(target) => target,
            Err(why) => {
                let message = format!("the HPA controller was unable to get the target's current scale: {why}");
                status.set("AbleToScale", false, "FailedGetScale", &message);
                self.tell(&key, &autoscaler, vec![("FailedGetScale", why)]);
                self.write(&key, &autoscaler, status.whole(None, false)).await?;
                return Ok(Again::After(self.context.autoscaling.period));
            }
        };
        let message = "the HPA controller was able to get the target's current scale";
        status.set("AbleToScale", true, "SucceededGetScale", message);
        let replicas = target.replicas();
        self.known().entry(key.clone()).or_default().memory.begin(replicas, now);
        let (step, mut warnings) = match spec.is_plain(replicas) {
            true => (plan::plain(&spec, replicas, &mut status), Vec::new()),
            false => self.measured(&key, &spec, &target, &mut status).await,
        };
        let (desired, scaled) = match step {
            Step::Unknown(why) => {
                tracing::debug!(object = %key, why, "no number of replicas");
                (status.desired(), false)
            }
            Step::Stay => (replicas, false),
            Step::Scale(to, why) => {
                match self.scale(&key, &autoscaler, target, (replicas, to), &why, &mut status).await {
                    Ok(()) => (to, true),
                    Err(warning) => {
                        warnings.push(warning);
                        (status.desired(), false)
                    }
                }
            }
        };
        self.tell(&key, &autoscaler, warnings);
        self.write(&key, &autoscaler, status.whole(Some((replicas, desired)), scaled)).await?;
        Ok(Again::After(self.context.autoscaling.period))
    }

    /// Asks all metrics, and decides.
    async fn measured(&self, key: &Key, spec: &Spec, target: &Target, status: &mut Status) -> (Step, Vec<Warning>) {
        let pods = match self.chosen(key, target.selector()) {
            Ok(pods) => pods,
            Err((reason, why, message)) => {
                let condition = if reason == "SelectorRequired" { "InvalidSelector" } else { reason };
                status.set("ScalingActive", false, condition, &message);
                return (
                    Step::Unknown(why.clone()),
                    vec![(reason, why.clone()), ("FailedComputeMetricsReplicas", why)],
                );
            }
        };
        let ask = spec.metrics.iter();
        let answers = ask.map(|metric| self.asker.measure(&key.namespace, target.selector(), &metric.source));
        let answers = join_all(answers).await;
        let (tolerance, now) = (spec.tolerance, Timestamp::now());
        let (replicas, present, pace) = (target.replicas(), target.present(), self.context.autoscaling);
        let scaled = Scaled { replicas, present, pods: &pods, tolerance, pace, now };
        let mut known = self.known();
        let memory = &mut known.entry(key.clone()).or_default().memory;
        plan::measured(spec, &scaled, answers, memory, status)
    }

    /// The pods that count, if nobody else counts them too. Else the event's reason and message, and the condition's message.
    fn chosen(&self, key: &Key, selector: &str) -> Result<Vec<Arc<Pod>>, (&'static str, String, String)> {
        if selector.is_empty() {
            let message = "the HPA target's scale is missing a selector".to_owned();
            return Err(("SelectorRequired", "selector is required".to_owned(), message));
        }
        let read = select::read(selector).map_err(|why| {
            let why = format!("couldn't convert selector into a corresponding internal selector object: {why}");
            ("InvalidSelector", why.clone(), why)
        })?;
        let pods = self.pods.selected(&key.namespace, &read);
        let mut known = self.known();
        known.entry(key.clone()).or_default().selector = Some(read);
        let mut rivals: Vec<&Key> = known
            .iter()
            .filter(|(other, known)| other.namespace == key.namespace && known.chooses(&pods))
            .map(|(other, _)| other)
            .collect();
        if rivals.len() > 1 {
            rivals.sort();
            let named: Vec<String> = rivals.iter().map(|one| format!("{{{} {}}}", one.name, one.namespace)).collect();
            let why = format!("pods by selector {selector} are controlled by multiple HPAs: [{}]", named.join(" "));
            return Err(("AmbiguousSelector", why.clone(), why));
        }
        Ok(pods)
    }

    /// Writes another number of replicas; else the event that says why it could not.
    async fn scale(
        &self,
        key: &Key,
        autoscaler: &HorizontalPodAutoscaler,
        target: Target,
        (from, to): (i32, i32),
        why: &str,
        status: &mut Status,
    ) -> Result<(), Warning> {
        if let Err(error) = target.write(to).await {
            let error = sentence(&error).to_string();
            let message = format!("the HPA controller was unable to update the target scale: {error}");
            status.set("AbleToScale", false, "FailedUpdateScale", &message);
            return Err(("FailedRescale", format!("New size: {to}; reason: {why}; error: {error}")));
        }
        let message = format!("the HPA controller was able to update the target scale to {to}");
        status.set("AbleToScale", true, "SucceededRescale", &message);
        self.context.tell(autoscaler, EventKind::Normal, "SuccessfulRescale", format!("New size: {to}; reason: {why}"));
        let behavior = Spec::read(&autoscaler.fields["spec"], self.context.autoscaling).behavior;
        let mut known = self.known();
        known.entry(key.clone()).or_default().memory.changed(behavior.as_ref(), (from, to), Timestamp::now());
        Ok(())
    }

    /// Says what went wrong, and was not said at the last look.
    fn tell(&self, key: &Key, autoscaler: &HorizontalPodAutoscaler, warnings: Vec<Warning>) {
        let mut known = self.known();
        let told = &mut known.entry(key.clone()).or_default().told;
        for (reason, message) in warnings.iter().filter(|warning| !told.contains(warning)) {
            self.context.tell(autoscaler, EventKind::Warning, reason, message.clone());
        }
        *told = warnings;
    }

    async fn write(
        &self,
        key: &Key,
        autoscaler: &HorizontalPodAutoscaler,
        status: Option<Value>,
    ) -> Result<(), crate::ControllerError> {
        let Some(status) = status else { return Ok(()) };
        let mut wanted = autoscaler.clone();
        wanted.fields["status"] = status;
        let api: Api<HorizontalPodAutoscaler> = self.context.api(&key.namespace);
        self.own.replace_status(&api, key, &self.autoscalers, &wanted).await.map(drop)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether it counts one of these pods.
    fn chooses(&self, pods: &[Arc<Pod>]) -> bool {
        let selector = self.selector.clone().and_then(|selector| Selector::try_from(selector).ok());
        let none = BTreeMap::new();
        selector.is_some_and(|selector| {
            pods.iter().any(|pod| selector.matches(pod.metadata.labels.as_ref().unwrap_or(&none)))
        })
    }
}
