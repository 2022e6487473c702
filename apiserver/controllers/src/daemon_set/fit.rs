//! On which nodes the pod of a daemon set belongs: what its template says of labels, names and taints. No I/O.

use super::pod::tolerations;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, PodSpec, Toleration};
use kube::ResourceExt;
use skiff_client::affinity::{is_chosen, tolerates};

/// What a node is to a daemon set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// A pod belongs there.
    Runs,
    /// No pod is made there, but one that is there may stay: a taint keeps new ones away.
    Stays,
    /// No pod may be there.
    Never,
}

/// What a node is to `set`. What all nodes are held against is read once.
pub(super) fn fit(set: &DaemonSet) -> impl Fn(&Node) -> Fit {
    let spec = set.spec.as_ref().and_then(|set| set.template.spec.as_ref());
    let template = spec.map(|spec| (spec, tolerations(spec)));
    move |node| template.as_ref().map_or(Fit::Never, |(spec, tolerations)| of_node(spec, tolerations, node))
}

fn of_node(spec: &PodSpec, tolerations: &[Toleration], node: &Node) -> Fit {
    let named = spec.node_name.as_deref().filter(|name| !name.is_empty());
    if named.is_some_and(|name| name != node.name_any()) || !is_chosen(spec, node) {
        return Fit::Never;
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let repelled = |effects: &[&str]| {
        let mut taints = taints.iter().filter(|taint| effects.contains(&taint.effect.as_str()));
        taints.any(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
    };
    if repelled(&["NoExecute"]) {
        Fit::Never
    } else if repelled(&["NoSchedule"]) {
        Fit::Stays
    } else {
        Fit::Runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(template: Value, node: Value) -> Fit {
        let set = json!({"metadata": {"name": "d"}, "spec": {"selector": {}, "template": {"spec": template}}});
        let node = json!({"metadata": {"name": "n", "labels": {"zone": "a", "cores": "8"}}, "spec": node});
        fit(&serde_json::from_value(set).unwrap())(&serde_json::from_value(node).unwrap())
    }

    fn tainted(effect: &str) -> Value {
        json!({"taints": [{"key": "k", "value": "v", "effect": effect}]})
    }

    #[test]
    fn taints_keep_away_or_drive_away() {
        let plain = || json!({"containers": []});
        assert_eq!(of(plain(), json!({})), Fit::Runs);
        assert_eq!(of(plain(), tainted("PreferNoSchedule")), Fit::Runs);
        assert_eq!(of(plain(), tainted("NoSchedule")), Fit::Stays);
        assert_eq!(of(plain(), tainted("NoExecute")), Fit::Never);
        let with = |toleration: Value| json!({"containers": [], "tolerations": [toleration]});
        assert_eq!(of(with(json!({"key": "k", "value": "v"})), tainted("NoExecute")), Fit::Runs);
        assert_eq!(of(with(json!({"key": "k", "operator": "Exists"})), tainted("NoExecute")), Fit::Runs);
        assert_eq!(of(with(json!({"operator": "Exists"})), tainted("NoExecute")), Fit::Runs);
        assert_eq!(of(with(json!({"key": "k", "value": "other"})), tainted("NoSchedule")), Fit::Stays);
        assert_eq!(
            of(with(json!({"key": "k", "value": "v", "effect": "NoSchedule"})), tainted("NoExecute")),
            Fit::Never
        );
    }

    /// What a node says of its own health keeps no daemon away: it may be the one that mends it.
    #[test]
    fn an_unwell_node_keeps_its_daemons() {
        let taints = |key: &str, effect: &str| json!({"taints": [{"key": format!("node.kubernetes.io/{key}"), "effect": effect}]});
        let (plain, host) = (json!({"containers": []}), json!({"containers": [], "hostNetwork": true}));
        for key in ["disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"] {
            assert_eq!(of(plain.clone(), taints(key, "NoSchedule")), Fit::Runs, "{key}");
        }
        for key in ["not-ready", "unreachable"] {
            assert_eq!(of(plain.clone(), taints(key, "NoExecute")), Fit::Runs, "{key}");
            assert_eq!(of(plain.clone(), taints(key, "NoSchedule")), Fit::Stays, "{key}");
        }
        assert_eq!(of(plain, taints("network-unavailable", "NoSchedule")), Fit::Stays);
        assert_eq!(of(host, taints("network-unavailable", "NoSchedule")), Fit::Runs);
    }

    #[test]
    fn labels_and_names_choose() {
        let affinity = |term: Value| {
            let terms = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}});
            json!({"containers": [], "affinity": {"nodeAffinity": terms}})
        };
        let label = |operator: &str, key: &str, values: Value| {
            of(affinity(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})), json!({}))
        };
        assert_eq!(of(json!({"containers": [], "nodeSelector": {"zone": "a"}}), json!({})), Fit::Runs);
        assert_eq!(of(json!({"containers": [], "nodeSelector": {"zone": "b"}}), json!({})), Fit::Never);
        assert_eq!(of(json!({"containers": [], "nodeName": "other"}), json!({})), Fit::Never);
        assert_eq!(label("In", "zone", json!(["a"])), Fit::Runs);
        assert_eq!(label("NotIn", "zone", json!(["a"])), Fit::Never);
        assert_eq!(
            (label("Exists", "zone", json!([])), label("DoesNotExist", "zone", json!([]))),
            (Fit::Runs, Fit::Never)
        );
        assert_eq!((label("Gt", "cores", json!(["4"])), label("Lt", "cores", json!(["4"]))), (Fit::Runs, Fit::Never));
        assert_eq!(of(affinity(json!({})), json!({})), Fit::Never);
        let named = |name: &str| {
            affinity(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}))
        };
        assert_eq!((of(named("n"), json!({})), of(named("m"), json!({}))), (Fit::Runs, Fit::Never));
    }
}
