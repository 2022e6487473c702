//! Hooks that change objects: one after the other, in the order of their configurations' names. When a hook has changed an object, those
//! that were asked before it and want to be (`reinvocationPolicy: IfNeeded`) are asked once more.

use super::super::{Admitted, Attributes, Operation, Plugin, known, later};
use super::answer::Sort;
use super::failure::{Failure, wanted};
use super::hook::Hook;
use super::{call, review, versions};
use crate::operations::{self, OPERATIONS_MAX};
use crate::registry::object::metadata_mut;
use crate::status::Status;
use json_patch::Patch;
use serde_json::{Map, Value, json};
use skiff_schema::Resource;

pub(in super::super) const PLUGIN: Plugin = Plugin {
    name: NAME,
    handles: &[Operation::Create, Operation::Update, Operation::Delete, Operation::Connect],
    mutate: Some(|seen, object| admit(seen, object)),
    validate: None,
};

const NAME: &str = "MutatingAdmissionWebhook";
/// What the server makes up when it stores a new object; no hook sees it before.
const MADE_UP: [&str; 3] = ["uid", "creationTimestamp", "generation"];

fn admit<'a>(seen: &'a Attributes<'a>, object: &'a mut Value) -> Admitted<'a> {
    let hooks = &seen.setting.configured.mutating;
    if hooks.iter().all(|hook| hook.spares(&seen.request.resource)) {
        return known(Ok(()));
    }
    later(async move {
        let made_up = take_made_up(seen, object);
        let done = ask_all(seen, object).await;
        if object.is_object() {
            metadata_mut(object).extend(made_up);
        }
        done
    })
}

fn take_made_up(seen: &Attributes<'_>, object: &mut Value) -> Map<String, Value> {
    let is_new = seen.operation == Operation::Create && seen.request.part.is_empty() && object.is_object();
    if !is_new {
        return Map::new();
    }
    let metadata = metadata_mut(object);
    MADE_UP.iter().filter_map(|field| Some(((*field).to_owned(), metadata.remove(*field)?))).collect()
}

async fn ask_all(seen: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    seen.setting.rounds.begin(NAME, object);
    for (index, hook) in seen.setting.configured.mutating.iter().enumerate() {
        let Some(version) = wanted(hook, seen, object).await? else { continue };
        let key = format!("{}/{}", hook.configuration, hook.name);
        if !seen.setting.rounds.is_asked(NAME, &key) {
            continue;
        }
        let at = format!("round_{}_index_{index}", seen.setting.rounds.number());
        let asked = ask(hook, seen, &version, object, &at).await;
        let changed = matches!(asked, Ok(true));
        let said = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": changed});
        seen.request.annotate(&format!("mutation.webhook.admission.k8s.io/{at}"), said.to_string());
        if changed {
            seen.setting.rounds.changed(NAME);
        }
        if hook.reinvoked {
            seen.setting.rounds.may_ask_again(NAME, key);
        }
        if let Err(failure) = asked {
            failure.decide(hook, seen, &format!("failed-open.mutation.webhook.admission.k8s.io/{at}"))?;
        }
    }
    seen.setting.rounds.end(NAME, object);
    Ok(())
}

/// Whether the hook has changed the object.
async fn ask(
    hook: &Hook,
    seen: &Attributes<'_>,
    version: &Resource,
    object: &mut Value,
    at: &str,
) -> Result<bool, Failure> {
    let (own, part) = (&*seen.request.resource, &*seen.request.part);
    let before = versions::shown(seen, version, object).await.map_err(Failure::Refused)?;
    let old = seen.before().unwrap_or(&Value::Null);
    let old = versions::shown(seen, version, old).await.map_err(Failure::Refused)?;
    let answer = call::ask(hook, seen, version, (&before, &old), Sort::Mutating).await?;
    if !answer.allowed {
        return Err(Failure::Refused(answer.refusal(&hook.name)));
    }
    let Some(patch) = patch_of(&answer.patch)? else { return Ok(false) };
    if before.is_null() {
        let why = "attempted to modify the object, which is not supported for this operation";
        return Err(Failure::Refused(Status::internal(format!("admission webhook {:?} {why}", hook.name))));
    }
    let mut after = before.clone();
    operations::apply(&mut after, &patch).map_err(|error| Failure::Refused(Status::internal(error.to_string())))?;
    let after = versions::formed(seen, version, after).map_err(Failure::Refused)?;
    let said =
        json!({"configuration": hook.configuration, "webhook": hook.name, "patch": patch, "patchType": "JSONPatch"});
    seen.request.annotate(&format!("patch.webhook.admission.k8s.io/{at}"), said.to_string());
    let changed = after != before;
    let back = versions::converted(seen, version, own, after).await.map_err(Failure::Refused)?;
    let back = if version == own { back } else { versions::formed(seen, own, back).map_err(Failure::Refused)? };
    *object = review::with_body(own, part, object, back);
    Ok(changed)
}

fn patch_of(bytes: &[u8]) -> Result<Option<Patch>, Failure> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let undecodable = |why: String| Failure::Call(format!("received undecodable patch in webhook response: {why}"));
    let patch: Patch = serde_json::from_slice(bytes).map_err(|error| undecodable(error.to_string()))?;
    if patch.0.len() > OPERATIONS_MAX {
        return Err(undecodable(format!("it has {} operations, and {OPERATIONS_MAX} are allowed", patch.0.len())));
    }
    Ok(Some(patch).filter(|patch| !patch.0.is_empty()))
}
