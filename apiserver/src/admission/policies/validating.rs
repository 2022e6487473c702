//! Validating admission policies: requests that do not satisfy them are refused, warned of, or noted in the audit log.

use super::super::{Admitted, Attributes, Operation, Plugin, known, later};
use super::scene::Stage;
use super::{Bound, Misconfigured, bound, told_name};
use crate::status::Status;
use serde_json::{Value, json};
use skiff_policy::{Annotation, Decision, Validating, Verdict};
use skiff_schema::Resource;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(in super::super) const PLUGIN: Plugin = Plugin {
    name: "ValidatingAdmissionPolicy",
    handles: &[Operation::Create, Operation::Update, Operation::Delete, Operation::Connect],
    mutate: None,
    validate: Some(validate),
};

/// Where the audit log finds what was wrong.
const FAILURE_KEY: &str = "validation.policy.admission.k8s.io/validation_failure";
/// Longest value of an annotation.
const ANNOTATION_BYTES_MAX: usize = 10 * 1024;

fn validate<'a>(seen: &'a Attributes<'a>, object: &'a Value) -> Admitted<'a> {
    let configured = &*seen.setting.configured;
    let (policies, bindings) = (&*configured.validating_policies, &*configured.validating_bindings);
    if bindings.is_empty() {
        return known(Ok(()));
    }
    later(async move {
        let mut denial = None;
        let mut annotations = Annotations::new();
        // What policies see is the same for all that want the object in one version.
        let mut stages: Vec<(Arc<Resource>, Stage<'_>)> = Vec::new();
        for one in bound(seen, object, policies, bindings).await {
            let found = match one {
                Ok(one) => {
                    let known = stages.iter().position(|(resource, _)| Arc::ptr_eq(resource, &one.resource));
                    if known.is_none() {
                        let stage = Stage::set(seen, object, &one.resource).await?;
                        stages.push((Arc::clone(&one.resource), stage));
                    }
                    let stage = known.map_or_else(|| stages.last(), |at| stages.get(at));
                    stage.and_then(|(_, stage)| evaluate(seen, stage, &one, &mut annotations))
                }
                Err(wrong) => misconfigured(&wrong),
            };
            denial = denial.or(found);
        }
        annotations.into_iter().for_each(|(key, values)| seen.request.annotate(&key, values.join(", ")));
        denial.map_or(Ok(()), |denial| Err(denial.status(seen, object)))
    })
}

/// Distinct values by key.
type Annotations = BTreeMap<String, Vec<String>>;

/// Why a request is refused.
struct Denial {
    message: String,
    reason: Option<String>,
}

impl Denial {
    fn of(policy: &str, binding: Option<&str>, why: &str, reason: Option<String>) -> Self {
        let binding = binding.map(|name| format!(" with binding '{name}'")).unwrap_or_default();
        Self { message: format!("ValidatingAdmissionPolicy '{policy}'{binding} denied request: {why}"), reason }
    }

    fn status(self, seen: &Attributes<'_>, object: &Value) -> Status {
        let causes = vec![json!({"message": self.message})];
        let status = Status::forbidden(&seen.request.resource, told_name(seen, object), &self.message);
        status.because(self.reason.as_deref().unwrap_or("Invalid")).caused_by(causes)
    }
}

fn misconfigured(wrong: &Misconfigured<'_, Validating>) -> Option<Denial> {
    let (what, binding) = match wrong.binding {
        Some(binding) => ("binding", Some(binding.name.as_str())),
        None => ("policy", None),
    };
    let why = format!("failed to configure {what}: {}", wrong.why);
    wrong.policy.fail.then(|| Denial::of(&wrong.policy.name, binding, &why, None))
}

/// What a policy says with each of its parameters, and what its binding makes of that.
fn evaluate(
    seen: &Attributes<'_>,
    stage: &Stage<'_>,
    one: &Bound<'_, Validating>,
    annotations: &mut Annotations,
) -> Option<Denial> {
    let mut denial = None;
    for params in one.params.iter().map(Option::as_deref) {
        let verdict = stage.play(params, |scene| one.policy.evaluator.evaluate(scene));
        denial = denial.or(decide(seen, one, verdict, annotations));
    }
    denial
}

fn decide(
    seen: &Attributes<'_>,
    one: &Bound<'_, Validating>,
    verdict: Verdict,
    annotations: &mut Annotations,
) -> Option<Denial> {
    let (policy, binding) = (&one.policy.name, &one.binding.name);
    let mut denials = Vec::new();
    for (index, decision) in verdict.decisions.into_iter().enumerate() {
        let Decision::Deny { message, reason } = decision else { continue };
        for action in &one.binding.actions {
            match &**action {
                "Deny" => denials.push(Denial::of(policy, Some(binding), &message, reason.clone())),
                "Audit" => {
                    let failure = json!([{"message": message, "policy": policy, "binding": binding,
                        "expressionIndex": index, "validationActions": one.binding.actions}]);
                    seen.request.annotate(FAILURE_KEY, failure.to_string());
                }
                "Warn" => seen.request.warn([format!(
                    "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {message}"
                )]),
                _ => {}
            }
        }
    }
    for annotation in verdict.annotations {
        match annotation {
            Annotation::Publish(key, value) => {
                let values = annotations.entry(format!("{policy}/{key}")).or_default();
                let value = shortened(value);
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            Annotation::Error(why) => denials.push(Denial::of(policy, Some(binding), &why, None)),
        }
    }
    denials.into_iter().next()
}

fn shortened(mut value: String) -> String {
    while value.len() > ANNOTATION_BYTES_MAX {
        value.pop();
    }
    value
}
