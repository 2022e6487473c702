//! NamespaceLifecycle: a place must exist and stay before anything is put there, and three places stay for ever.

use super::{Admitted, Attributes, Operation, Plugin, built_in, known, later};
use crate::registry::Target;
use crate::registry::object::is_terminating;
use crate::status::Status;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "NamespaceLifecycle",
    handles: &[Operation::Create, Operation::Delete],
    mutate: Some(|seen, _| admit(seen)),
    validate: None,
};

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

fn admit<'a>(seen: &'a Attributes<'a>) -> Admitted<'a> {
    if seen.operation == Operation::Create {
        // A question puts nothing anywhere.
        let is_put = seen.request.resource.namespaced && seen.request.resource.is_stored();
        return if is_put { later(check_open(seen)) } else { known(Ok(())) };
    }
    if seen.is_about("", "namespaces") && IMMORTAL.contains(&seen.name) {
        return known(Err(seen.forbidden("this namespace may not be deleted")));
    }
    known(Ok(()))
}

/// Refuses creation in a namespace that does not exist or is going away.
async fn check_open(seen: &Attributes<'_>) -> Result<(), Status> {
    let name = seen.request.namespace.as_str();
    if name.is_empty() {
        return Err(Status::bad_request("an empty namespace may not be set during creation"));
    }
    let target = Target { resource: built_in("", "namespaces")?, namespace: "", name };
    let namespace = seen.stored.get(target).await?;
    if is_terminating(&namespace) {
        return Err(Status::namespace_terminating(&seen.request.resource, seen.name, name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shelf, play};
    use super::*;
    use serde_json::{Value, json};

    #[tokio::test]
    async fn nothing_is_put_where_nothing_stays() {
        let leaving = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let map = json!({"metadata": {"name": "m"}});
        let create = (Operation::Create, "configmaps");
        let missing = play(&PLUGIN, &Shelf::default(), create, None, map.clone()).await.expect_err("no namespace");
        assert_eq!(missing.message, "namespaces \"a\" not found");
        let shelf = Shelf::default().with("namespaces", "", leaving);
        let refused = play(&PLUGIN, &shelf, create, None, map.clone()).await.expect_err("terminating");
        assert!(refused.message.contains("because it is being terminated"), "{refused}");
        let shelf = Shelf::default().with("namespaces", "", json!({"metadata": {"name": "a"}}));
        assert!(play(&PLUGIN, &shelf, create, None, map).await.is_ok());
    }

    #[tokio::test]
    async fn some_namespaces_stay() {
        for (name, stays) in [("default", true), ("kube-node-lease", false), ("x", false)] {
            let old = json!({"metadata": {"name": name}});
            let delete = (Operation::Delete, "namespaces");
            let outcome = play(&PLUGIN, &Shelf::default(), delete, Some(&old), Value::Null).await;
            assert_eq!(outcome.is_err(), stays, "{name}");
        }
    }
}
