//! NamespaceExists and NamespaceAutoProvision: what is written into a namespace that is not there is refused, or makes it.

use super::{Admitted, Attributes, Operation, Plugin, built_in, known, later};
use crate::registry::Target;
use crate::request::Run;
use crate::status::Status;
use serde_json::json;

pub(super) const EXISTS: Plugin = Plugin {
    name: "NamespaceExists",
    handles: &[Operation::Create, Operation::Update, Operation::Delete],
    mutate: None,
    validate: Some(|seen, _| in_namespace(seen, |seen| later(look(seen)))),
};

pub(super) const AUTO_PROVISION: Plugin = Plugin {
    name: "NamespaceAutoProvision",
    handles: &[Operation::Create],
    mutate: Some(|seen, _| in_namespace(seen, |seen| later(provide(seen)))),
    validate: None,
};

fn in_namespace<'a>(seen: &'a Attributes<'a>, then: fn(&'a Attributes<'a>) -> Admitted<'a>) -> Admitted<'a> {
    let is_namespace = seen.request.resource.is("", "namespaces");
    if seen.request.namespace.is_empty() || is_namespace { known(Ok(())) } else { then(seen) }
}

async fn look(seen: &Attributes<'_>) -> Result<(), Status> {
    let name = seen.request.namespace.as_str();
    seen.stored.get(Target { resource: built_in("", "namespaces")?, namespace: "", name }).await.map(drop)
}

async fn provide(seen: &Attributes<'_>) -> Result<(), Status> {
    match look(seen).await {
        Err(status) if status.reason == "NotFound" && seen.request.run() == Run::Real => {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": seen.request.namespace}});
            let made = seen.stored.make(built_in("", "namespaces")?, namespace).await;
            made.map_err(|status| seen.forbidden(&status.message))
        }
        Err(status) if status.reason != "NotFound" => Err(seen.forbidden(&status.message)),
        _ => Ok(()),
    }
}
