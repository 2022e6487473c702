//! Cluster roles that gather the rules of others by label (`aggregationRule`): what they gather is written into them.
//!
//! The server lets nobody write a role who has less than it allows; this loop may, by the verb `escalate`.

use crate::context::{Context, On, is_status};
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use skiff_client::{Cache, Key};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Roles gather each other's rules, so all are looked at when one changes.
const ALL: &str = "clusterroles";

struct Gatherer {
    context: Context,
    own: Own,
    roles: Cache<ClusterRole>,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let roles = looking.context.caches.all::<ClusterRole>();
    looking.when(&roles, |_| vec![Key::new("", ALL)]);
    let gatherer = Gatherer { context: looking.context.clone(), own: looking.own.clone(), roles };
    let gatherer = Arc::new(gatherer);
    looking.run(shutdown, move |key| gatherer.clone().reconcile(key).boxed()).await;
}

impl Gatherer {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let api: Api<ClusterRole> = Api::all(self.context.client.clone());
        for role in self.roles.all() {
            let Some(rule) = &role.aggregation_rule else { continue };
            let selectors = rule.cluster_role_selectors.iter().flatten();
            let chosen = selectors.map(|selector| self.roles.selected("", selector)).collect();
            let gathered = gathered(&role, chosen);
            let name = role.metadata.name.as_deref().unwrap_or_default();
            if gathered == *role.rules.as_deref().unwrap_or_default() {
                continue;
            }
            let change = Patch::Merge(json!({ "rules": gathered }));
            match api.patch(name, &PatchParams::default(), &change).await {
                Err(error) if is_status(&error, 404) => {}
                written => {
                    let written = written.on(|| format!("write the rules that clusterrole {name} gathers"))?;
                    self.own.wrote(&key, &self.roles, &written);
                }
            }
        }
        Ok(Again::OnChange)
    }
}

/// The rules of all that were chosen, selector by selector and by name, each rule once.
fn gathered(role: &ClusterRole, chosen: Vec<Vec<Arc<ClusterRole>>>) -> Vec<PolicyRule> {
    let mut rules = Vec::new();
    for mut of_selector in chosen {
        of_selector.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let others = of_selector.iter().filter(|other| other.metadata.name != role.metadata.name);
        for rule in others.flat_map(|other| other.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, verbs: &[&str]) -> Arc<ClusterRole> {
        let rules: Vec<_> = verbs.iter().map(|verb| json!({"verbs": [verb]})).collect();
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules})).unwrap())
    }

    #[test]
    fn rules_are_gathered_once_and_in_order() {
        let own = role("own", &["own"]);
        let chosen = vec![vec![role("b", &["y", "x"]), own.clone(), role("a", &["x"])], vec![role("a", &["x"])]];
        let verbs: Vec<String> = gathered(&own, chosen).into_iter().flat_map(|rule| rule.verbs).collect();
        assert_eq!(verbs, ["x", "y"]);
    }
}
