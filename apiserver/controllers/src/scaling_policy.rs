//! Gives what can be scaled as many replicas as schedules and steps say (`ScalingPolicy`, a custom resource of ours), while it is defined.
//!
//! ```text
//!  definition there? ─► policies ─► scale of the target ─► figures ─► plan ─► scale, status, events
//! ```
//!
//! Whoever wants policies installs their definition (`examples/scaling-policy.yaml`); until then this is one watch of one name.

mod figures; // what metrics say
mod plan; // how many are wanted; no I/O
mod read; // what a policy says

use crate::context::{Context, EventKind};
use crate::horizontal_autoscaler::ask::Asker;
use crate::horizontal_autoscaler::target::Target;
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::Api;
use plan::{Plan, Seen, Why};
use read::Policy;
use serde_json::{Value, json};
use skiff_client::loose::{Loose, Named};
use skiff_client::{Cache, Key, sentence};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The name of the definition.
const DEFINITION: &str = "scalingpolicies.autoscaling.skiff.dev";
/// When a policy is looked at again that cannot be done now.
const RETRY: Duration = Duration::from_secs(15);

enum OfDefinitions {}

impl Named for OfDefinitions {
    type Scope = ClusterResourceScope;
    const NAMES: [&'static str; 4] =
        ["apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"];
}

enum OfPolicies {}

impl Named for OfPolicies {
    type Scope = NamespaceResourceScope;
    const NAMES: [&'static str; 4] = ["autoscaling.skiff.dev", "v1alpha1", "ScalingPolicy", "scalingpolicies"];
}

type CustomResourceDefinition = Loose<OfDefinitions>;
type ScalingPolicy = Loose<OfPolicies>;

/// Follows policies whenever they are defined.
pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let changed = Arc::new(Notify::new());
    let definition = context.caches.one::<CustomResourceDefinition>(None, DEFINITION);
    let wake = Arc::clone(&changed);
    let _subscription = definition.subscribe(move |_| wake.notify_one());
    let is_defined = || definition.get("", DEFINITION).is_some_and(|one| is_established(&one.fields));
    loop {
        while !is_defined() {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = changed.notified() => {}
            }
        }
        let until = shutdown.child_token();
        let mut following = std::pin::pin!(follow(context.clone(), until.clone()));
        loop {
            tokio::select! {
                () = following.as_mut() => break,
                () = changed.notified() => if !is_defined() { until.cancel() },
            }
        }
        if shutdown.is_cancelled() {
            return;
        }
    }
}

fn is_established(definition: &Value) -> bool {
    let mut all = definition["status"]["conditions"].as_array().into_iter().flatten();
    all.any(|one| one["type"] == "Established" && one["status"] == "True")
}

async fn follow(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context.reporting_as("scaling-policy"));
    let policies: Cache<ScalingPolicy> = looking.over_specs();
    let pods = looking.context.caches.all::<Pod>();
    looking.needs(&pods);
    let (context, own) = (looking.context.clone(), looking.own.clone());
    let asker = Asker::new(context.clone());
    let scaler = Arc::new(Scaler { own, context, asker, policies, pods });
    looking.run(shutdown, move |key| scaler.clone().reconcile(key).boxed()).await;
}

struct Scaler {
    own: Own,
    context: Context,
    asker: Asker,
    policies: Cache<ScalingPolicy>,
    pods: Cache<Pod>,
}

/// What a look has come to: the status and when to look again.
struct Looked {
    status: Value,
    again: Again,
}

impl Scaler {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let Some(policy) = self.policies.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
        if policy.metadata.deletion_timestamp.is_some() {
            return Ok(Again::OnChange);
        }
        let looked = match Policy::read(&policy.fields["spec"]) {
            Err(why) => Looked { status: failed(&policy, "Invalid", &why), again: Again::OnChange },
            Ok(read) => self.look(&key, &policy, &read).await,
        };
        self.write(&key, &policy, looked.status).await?;
        Ok(looked.again)
    }

    async fn look(&self, key: &Key, policy: &ScalingPolicy, read: &Policy) -> Looked {
        let again = Again::After(RETRY);
        let reference = &policy.fields["spec"]["scaleTargetRef"];
        let target = match Target::find(&self.asker, &key.namespace, reference).await {
            Ok(target) => target,
            Err(why) => return Looked { status: failed(policy, "FailedGetScale", &why), again },
        };
        let (figures, silent) = figures::of(&self.asker, &self.pods, (key, &target), &read.steps).await;
        let last_step = policy.text("/status/lastStepTime").parse::<Timestamp>().ok();
        let now = Timestamp::now();
        let replicas = target.replicas();
        let plan = plan::decide(read, &Seen { replicas, figures: &figures, last_step, now });
        if plan.replicas != replicas
            && let Err(error) = target.write(plan.replicas).await
        {
            let why = sentence(&error).to_string();
            return Looked { status: failed(policy, "FailedUpdateScale", &why), again };
        }
        self.tell(policy, replicas, &plan);
        let step = if matches!(plan.why, Why::Step(_)) { Some(now) } else { last_step };
        let mut status = status_of(policy, replicas, &plan, step);
        if let Some(why) = silent {
            set_condition(policy, &mut status, (false, "FailedGetMetric"), &why);
        }
        Looked { status, again: Again::within(plan.again) }
    }

    fn tell(&self, policy: &ScalingPolicy, from: i32, plan: &Plan) {
        let why = match (plan.why, &plan.by) {
            (Why::Stays, _) => return,
            (Why::Step(at), _) => format!("spec.steps[{at}]"),
            (Why::Bounds, Some((name, _))) => format!("the bounds of the schedule {name}"),
            (Why::Bounds, None) => "its bounds".to_owned(),
        };
        let message = format!("New size: {}; it was {from}; reason: {why}", plan.replicas);
        self.context.tell(policy, EventKind::Normal, "SuccessfulRescale", message);
    }

    async fn write(&self, key: &Key, policy: &ScalingPolicy, status: Value) -> Result<(), crate::ControllerError> {
        if policy.fields["status"] == status {
            return Ok(());
        }
        let mut wanted = policy.clone();
        wanted.fields["status"] = status;
        let api: Api<ScalingPolicy> = self.context.api(&key.namespace);
        self.own.replace_status(&api, key, &self.policies, &wanted).await.map(drop)
    }
}

/// What is said when all is well.
fn status_of(policy: &ScalingPolicy, replicas: i32, plan: &Plan, last_step: Option<Timestamp>) -> Value {
    let mut status = json!({
        "currentReplicas": replicas,
        "desiredReplicas": plan.replicas,
        "minReplicas": plan.bounds.min,
        "maxReplicas": plan.bounds.max,
    });
    if let Some((name, since)) = &plan.by {
        status["schedule"] = json!({"name": name, "since": since.to_string()});
    }
    if let Some(at) = last_step {
        let second = Timestamp::from_second(at.as_second()).unwrap_or(at);
        status["lastStepTime"] = second.to_string().into();
    }
    set_condition(policy, &mut status, (true, "Scaling"), "the target has as many replicas as the policy wants");
    status
}

/// What was said before, and why it is not so now.
fn failed(policy: &ScalingPolicy, reason: &str, why: &str) -> Value {
    let mut status = match &policy.fields["status"] {
        Value::Object(before) => Value::Object(before.clone()),
        _ => json!({}),
    };
    set_condition(policy, &mut status, (false, reason), why);
    status
}

/// The condition Ready, since when it has been so.
fn set_condition(policy: &ScalingPolicy, status: &mut Value, (holds, reason): (bool, &str), message: &str) {
    let before = &policy.fields["status"]["conditions"][0];
    let holds = if holds { "True" } else { "False" };
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default().to_string();
    let since = before["lastTransitionTime"].as_str().filter(|_| before["status"] == holds).unwrap_or(&now);
    status["observedGeneration"] = policy.metadata.generation.unwrap_or_default().into();
    status["conditions"] = json!([{"type": "Ready", "status": holds, "reason": reason, "message": message,
        "lastTransitionTime": since, "observedGeneration": policy.metadata.generation.unwrap_or_default()}]);
}
