//! Hooks that refuse: all that a write concerns are asked at once, and the first of them that refuses is heard.

use super::super::{Admitted, Attributes, Operation, Plugin, known, later};
use super::answer::Sort;
use super::failure::{Failure, wanted};
use super::hook::Hook;
use super::{call, versions};
use crate::status::Status;
use futures::future::join_all;
use serde_json::Value;
use skiff_schema::Resource;

pub(in super::super) const PLUGIN: Plugin = Plugin {
    name: "ValidatingAdmissionWebhook",
    handles: &[Operation::Create, Operation::Update, Operation::Delete, Operation::Connect],
    mutate: None,
    validate: Some(|seen, object| admit(seen, object)),
};

fn admit<'a>(seen: &'a Attributes<'a>, object: &'a Value) -> Admitted<'a> {
    let hooks = &seen.setting.configured.validating;
    if hooks.iter().all(|hook| hook.spares(&seen.request.resource)) {
        return known(Ok(()));
    }
    later(async move {
        let mut asked = Vec::new();
        for hook in hooks.iter() {
            if let Some(version) = wanted(hook, seen, object).await? {
                asked.push((hook, version));
            }
        }
        let asked = asked.iter().enumerate().map(|(index, (hook, version))| async move {
            let asked = ask(hook, seen, version, object).await;
            let key = format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{index}");
            asked.or_else(|failure| failure.decide(hook, seen, &key))
        });
        join_all(asked).await.into_iter().collect::<Result<(), Status>>()
    })
}

async fn ask(hook: &Hook, seen: &Attributes<'_>, version: &Resource, object: &Value) -> Result<(), Failure> {
    let new = versions::shown(seen, version, object).await.map_err(Failure::Refused)?;
    let old = seen.before().unwrap_or(&Value::Null);
    let old = versions::shown(seen, version, old).await.map_err(Failure::Refused)?;
    let answer = call::ask(hook, seen, version, (&new, &old), Sort::Validating).await?;
    if answer.allowed { Ok(()) } else { Err(Failure::Refused(answer.refusal(&hook.name))) }
}
