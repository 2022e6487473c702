//! Mutating admission policies: they change what a request writes, by apply configurations and JSON Patches.

use super::super::webhooks::{review, versions};
use super::super::{Admitted, Attributes, Operation, Plugin, known, later};
use super::scene::Stage;
use super::{Bound, Misconfigured, bound, told_name};
use crate::operations;
use crate::status::Status;
use serde_json::{Value, json};
use skiff_policy::{Mutating, Mutation};
use skiff_schema::{FieldValidation, Resource, decode_value, merge_configuration};

const NAME: &str = "MutatingAdmissionPolicy";

pub(in super::super) const PLUGIN: Plugin = Plugin {
    name: NAME,
    handles: &[Operation::Create, Operation::Update, Operation::Connect],
    mutate: Some(mutate),
    validate: None,
};

fn mutate<'a>(seen: &'a Attributes<'a>, object: &'a mut Value) -> Admitted<'a> {
    let configured = &*seen.setting.configured;
    let (policies, bindings) = (&*configured.mutating_policies, &*configured.mutating_bindings);
    if bindings.is_empty() {
        return known(Ok(()));
    }
    later(async move {
        let found = bound(seen, object, policies, bindings).await;
        if found.is_empty() {
            return Ok(());
        }
        seen.setting.rounds.begin(NAME, object);
        let mut denials = Vec::new();
        for one in found {
            match one {
                Ok(one) => change(seen, object, &one, &mut denials).await?,
                Err(wrong) if wrong.policy.fail => denials.push(misconfigured(&wrong)),
                Err(_) => {}
            }
        }
        seen.setting.rounds.end(NAME, object);
        let Some(first) = denials.first() else { return Ok(()) };
        let causes = denials.iter().map(|denial| json!({"message": denial.message})).collect();
        let status = Status::forbidden(&seen.request.resource, told_name(seen, object), "");
        Err(status.saying(first.message.clone(), first.reason).caused_by(causes))
    })
}

/// Why a request is refused.
struct Denial {
    message: String,
    reason: &'static str,
}

impl Denial {
    fn of(one: &Bound<'_, Mutating>, why: &str) -> Self {
        let (policy, binding) = (&one.policy.name, &one.binding.name);
        Self { message: format!("policy '{policy}' with binding '{binding}' denied request: {why}"), reason: "Invalid" }
    }
}

fn misconfigured(wrong: &Misconfigured<'_, Mutating>) -> Denial {
    let (policy, why) = (&wrong.policy.name, &wrong.why);
    let message = match wrong.binding {
        Some(binding) => {
            let binding = &binding.name;
            format!("policy '{policy}' with binding '{binding}' denied request: failed to configure binding: {why}")
        }
        None => format!("policy {policy:?} denied request: failed to configure policy: {why}"),
    };
    Denial { message, reason: "Forbidden" }
}

/// Lets a policy change the object, once for each of its parameters.
async fn change(
    seen: &Attributes<'_>,
    object: &mut Value,
    one: &Bound<'_, Mutating>,
    denials: &mut Vec<Denial>,
) -> Result<(), Status> {
    let rounds = &seen.setting.rounds;
    for params in one.params.iter().map(Option::as_deref) {
        let holds = {
            let stage = Stage::set(seen, object, &one.resource).await?;
            stage.play(params, |scene| one.policy.evaluator.holds(scene))
        };
        match holds {
            Ok(true) => {}
            Ok(false) => continue,
            Err(why) => {
                denials.extend(one.policy.fail.then(|| Denial::of(one, &why)));
                continue;
            }
        }
        let key = key(one, params);
        if !rounds.is_asked(NAME, &key) {
            continue;
        }
        let before = object.clone();
        for index in 0..one.policy.evaluator.len() {
            match changed(seen, object, one, params, index).await? {
                Ok(next) => *object = next,
                Err(why) => denials.extend(one.policy.fail.then(|| Denial::of(one, &why))),
            }
        }
        if *object != before {
            rounds.changed(NAME);
        }
        if one.policy.spec["reinvocationPolicy"] == "IfNeeded" {
            rounds.may_ask_again(NAME, key);
        }
    }
    Ok(())
}

/// What tells one invocation from others.
fn key(one: &Bound<'_, Mutating>, params: Option<&Value>) -> String {
    let text = |key: &str| params.and_then(|params| params["metadata"][key].as_str()).unwrap_or_default();
    format!("{}/{}/{}/{}", one.policy.name, one.binding.name, text("namespace"), text("name"))
}

/// The object after the change at `index`, or why it cannot be made.
async fn changed(
    seen: &Attributes<'_>,
    object: &Value,
    one: &Bound<'_, Mutating>,
    params: Option<&Value>,
    index: usize,
) -> Result<Result<Value, String>, Status> {
    if object.is_null() {
        return Ok(Ok(Value::Null));
    }
    let stage = Stage::set(seen, object, &one.resource).await?;
    let mutation = stage.play(params, |scene| one.policy.evaluator.mutation(index, scene));
    let made = match mutation {
        Ok(mutation) => applied(stage.object(), &one.resource, mutation)?,
        Err(why) => Err(why),
    };
    let body = match made {
        Ok(body) => body,
        Err(why) => return Ok(Err(why)),
    };
    let (own, part) = (&*seen.request.resource, &*seen.request.part);
    let body = versions::formed(seen, &one.resource, body)?;
    let body = versions::converted(seen, &one.resource, own, body).await?;
    Ok(Ok(review::with_body(own, part, object, body)))
}

/// `object`, in the policy's version, after a change, or why it cannot be made.
///
/// # Errors
/// What operations made of it is no such object: whatever the failure policy, nothing can go on with that.
fn applied(object: &Value, resource: &Resource, change: Mutation) -> Result<Result<Value, String>, Status> {
    match change {
        Mutation::Apply(mut configuration) => {
            configuration["apiVersion"] = object["apiVersion"].clone();
            configuration["kind"] = object["kind"].clone();
            let merged = merge_configuration(resource, object, &configuration).and_then(|merged| {
                let decoded = decode_value(resource, merged, &[], FieldValidation::Ignore);
                let typed = |error| format!("failed to convert patch object to typed object: {error}");
                decoded.map(|decoded| decoded.object).map_err(typed)
            });
            Ok(merged.map_err(|why| format!("error applying patch: {why}")))
        }
        Mutation::Patch(operations) => match patched(object, operations) {
            Ok(Some(next)) => {
                // What the schema does not know is refused here, where webhooks only lose it.
                let decoded = decode_value(resource, next, &[], FieldValidation::Strict);
                let decoded = decoded.map_err(|error| Status::internal(error.to_string()))?;
                Ok(Ok(decoded.object))
            }
            Ok(None) => Ok(Ok(object.clone())),
            Err(why) => Ok(Err(why)),
        },
    }
}

/// The object after the operations of a JSON Patch; `None`: one of its tests failed, and then none of it counts.
fn patched(object: &Value, operations: Vec<Value>) -> Result<Option<Value>, String> {
    let operations: json_patch::Patch =
        serde_json::from_value(operations.into()).map_err(|error| format!("JSON Patch: {error}"))?;
    let mut next = object.clone();
    match operations::apply(&mut next, &operations) {
        Ok(()) => Ok(Some(next)),
        Err(error) if error.is_failed_test() => Ok(None),
        Err(error) => Err(format!("JSON Patch: {error}")),
    }
}
