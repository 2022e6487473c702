//! ServiceAccount: a pod runs as an account that exists.
//!
//! Tokens are not mounted: this server issues none.

use super::{Admitted, Attributes, Operation, Plugin, built_in};
use crate::registry::Target;
use serde_json::Value;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "ServiceAccount",
    handles: &[Operation::Create, Operation::Update],
    mutate: Some(admit),
    validate: None,
};

/// The account of who names none. A controller makes it; a pod need not wait for that, as it gets no token either way.
const DEFAULT: &str = "default";
/// Two names of one field; the second is the older one.
const FIELDS: [&str; 2] = ["serviceAccountName", "serviceAccount"];

fn admit<'a>(seen: &'a Attributes<'a>, pod: &'a mut Value) -> Admitted<'a> {
    Box::pin(async move {
        let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
        if !seen.is_about("", "pods") {
            return Ok(());
        }
        let named = FIELDS.iter().find_map(|field| spec.get(*field)?.as_str().filter(|name| !name.is_empty()));
        let is_new = seen.operation == Operation::Create;
        let Some(name) = named.or(is_new.then_some(DEFAULT)).map(str::to_owned) else { return Ok(()) };
        for field in FIELDS {
            spec.insert(field.to_owned(), name.as_str().into());
        }
        if !is_new || name == DEFAULT {
            return Ok(());
        }
        let namespace = seen.request.namespace.as_str();
        let account = Target { resource: built_in("", "serviceaccounts")?, namespace, name: &name };
        seen.stored
            .get(account)
            .await
            .map(drop)
            .map_err(|status| seen.forbidden(&format!("error looking up service account {namespace}/{name}: {status}")))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shelf, play};
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn a_pod_runs_as_an_account_that_exists() {
        let shelf = Shelf::default().with("serviceaccounts", "a", json!({"metadata": {"name": "builder"}}));
        let pod = |spec: Value| json!({"metadata": {"name": "p"}, "spec": spec});
        let create = (Operation::Create, "pods");
        for (spec, name) in [
            (json!({}), "default"),
            (json!({"serviceAccountName": "builder"}), "builder"),
            (json!({"serviceAccountName": "", "serviceAccount": "builder"}), "builder"),
        ] {
            let (pod, _) = play(&PLUGIN, &shelf, create, None, pod(spec)).await.expect("admitted");
            assert_eq!(pod["spec"], json!({"serviceAccountName": name, "serviceAccount": name}));
        }
        let refused = play(&PLUGIN, &shelf, create, None, pod(json!({"serviceAccountName": "x"}))).await;
        let refused = refused.expect_err("no such account");
        assert!(refused.message.contains("error looking up service account a/x"), "{refused}");
        // An update by a client that keeps a manifest of its own.
        let update = (Operation::Update, "pods");
        let changed = play(&PLUGIN, &shelf, update, None, pod(json!({"serviceAccountName": "gone"}))).await;
        assert_eq!(changed.expect("admitted").0["spec"]["serviceAccount"], "gone");
    }
}
