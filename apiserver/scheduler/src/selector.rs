//! Which labels fit: selectors of labels, of nodes, and tolerations of taints. No I/O.

use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use skiff_client::affinity;
use std::collections::BTreeMap;

/// Labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

static NO_LABELS: Labels = Labels::new();

/// The labels in an object's metadata.
pub(crate) fn labels(meta: &ObjectMeta) -> &Labels {
    meta.labels.as_ref().unwrap_or(&NO_LABELS)
}

/// Chooses objects by their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    /// No selector: nothing.
    Nothing,
    /// All of these; without any, everything.
    All(Vec<Requirement>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    /// What the API says; `None` chooses nothing, and so does an operator that there is not.
    pub(crate) fn of(selector: Option<&LabelSelector>) -> Self {
        let Some(selector) = selector else { return Self::Nothing };
        let mut all = requirements(selector.match_labels.iter().flatten());
        for expression in selector.match_expressions.iter().flatten() {
            let values = expression.values.clone().unwrap_or_default();
            let test = match expression.operator.as_str() {
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Absent,
                _ => return Self::Nothing,
            };
            all.push(Requirement { key: expression.key.clone(), test });
        }
        Self::All(all)
    }

    /// All of these labels.
    pub(crate) fn with<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        Self::All(requirements(labels))
    }

    /// Both at once.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All(mut own), Self::All(other)) => {
                own.extend(other);
                Self::All(own)
            }
            _ => Self::Nothing,
        }
    }

    /// Whether it chooses everything.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::All(all) if all.is_empty())
    }

    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::Nothing => false,
            Self::All(all) => all.iter().all(|one| one.holds(labels)),
        }
    }
}

fn requirements<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<Requirement> {
    let one = |(key, value): (&String, &String)| Requirement { key: key.clone(), test: Test::In(vec![value.clone()]) };
    labels.into_iter().map(one).collect()
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        let present = labels.get(&self.key);
        match &self.test {
            Test::In(values) => present.is_some_and(|present| values.contains(present)),
            Test::NotIn(values) => present.is_none_or(|present| !values.contains(present)),
            Test::Exists => present.is_some(),
            Test::Absent => present.is_none(),
        }
    }
}

/// Whether a node has what the pod's node selector and its required node affinity ask for.
pub(crate) fn node_is_required(pod: &Pod, node: &Node) -> bool {
    pod.spec.as_ref().is_none_or(|spec| affinity::is_chosen(spec, node))
}

/// Whether one of the tolerations is for this taint.
pub(crate) fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| affinity::tolerates(toleration, taint))
}

/// The first taint that keeps new pods away and that the pod does not tolerate.
pub(crate) fn untolerated<'a>(node: &'a Node, pod: &Pod) -> Option<&'a Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    taints.iter().filter(hard).find(|taint| !tolerates(tolerations(pod), taint))
}

/// The tolerations of a pod.
pub(crate) fn tolerations(pod: &Pod) -> &[Toleration] {
    pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn label_selectors_follow_the_api() {
        let has = Labels::from([("a".into(), "1".into())]);
        let of = |selector| Selector::of(Some(&serde_json::from_value(selector).unwrap()));
        assert!(of(json!({})).matches(&has) && of(json!({})).is_empty());
        assert!(!Selector::of(None).matches(&has) && !Selector::of(None).is_empty());
        let cases = [("In", json!(["1"]), true), ("NotIn", json!(["1"]), false), ("Exists", json!([]), true)];
        for (operator, values, expected) in cases {
            let selector = of(json!({"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}));
            assert_eq!(selector.matches(&has), expected, "{operator}");
        }
        assert!(of(json!({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]})).matches(&has));
        assert!(!of(json!({"matchLabels": {"a": "1"}})).and(of(json!({"matchLabels": {"b": "1"}}))).matches(&has));
    }
}
