//! Owner references, pod readiness, label selectors: the words that several controllers share.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use rand::Rng;

/// Letters that Kubernetes uses in generated names: no vowels, so no words; no look-alikes.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// `base-` and five random letters.
pub(crate) fn generated_name(base: &str) -> String {
    let mut random = rand::rng();
    let suffix: String =
        (0..5).map(|_| char::from(NAME_ALPHABET[random.random_range(0..NAME_ALPHABET.len())])).collect();
    // A label value (job-name, hostname) takes 63 characters.
    let base = base.get(..base.len().min(57)).unwrap_or(base);
    format!("{base}-{suffix}")
}

/// The owner that manages the object, if any.
pub(crate) fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true))
}

/// A reference that makes `owner` the managing owner.
pub(crate) fn owner_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The selector in the text form of a list request; `None` if it uses an operator that there is not.
pub(crate) fn selector_text(selector: &LabelSelector) -> Option<String> {
    let equals = selector.match_labels.iter().flatten().map(|(key, value)| Some(format!("{key}={value}")));
    let expressions = selector.match_expressions.iter().flatten().map(|requirement| {
        let (key, values) = (&requirement.key, requirement.values.clone().unwrap_or_default().join(","));
        match requirement.operator.as_str() {
            "In" => Some(format!("{key} in ({values})")),
            "NotIn" => Some(format!("{key} notin ({values})")),
            "Exists" => Some(key.clone()),
            "DoesNotExist" => Some(format!("!{key}")),
            _ => None,
        }
    });
    equals.chain(expressions).collect::<Option<Vec<_>>>().map(|parts| parts.join(","))
}

/// Whether the pod's condition `kind` is True.
pub(crate) fn has_condition(pod: &Pod, kind: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

/// Whether the pod serves.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    has_condition(pod, "Ready")
}

/// Since when the pod has been ready, if it is.
pub(crate) fn ready_since(pod: &Pod) -> Option<jiff::Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// `Pending`, `Running`, `Succeeded`, `Failed`; empty before the first status.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Neither finished nor being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase(pod), "Succeeded" | "Failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    #[test]
    fn selectors_have_a_text_form() {
        let requirement = |key: &str, operator: &str, values: &[&str]| LabelSelectorRequirement {
            key: key.into(),
            operator: operator.into(),
            values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
        };
        let selector = LabelSelector {
            match_labels: Some([("app".to_owned(), "web".to_owned())].into()),
            match_expressions: Some(vec![
                requirement("tier", "In", &["a", "b"]),
                requirement("old", "DoesNotExist", &[]),
            ]),
        };
        assert_eq!(selector_text(&selector).unwrap(), "app=web,tier in (a,b),!old");
        let unknown =
            LabelSelector { match_expressions: Some(vec![requirement("x", "Near", &[])]), match_labels: None };
        assert_eq!(selector_text(&unknown), None);
    }

    #[test]
    fn generated_names_stay_labels() {
        let name = generated_name(&"x".repeat(80));
        assert_eq!(name.len(), 63);
    }
}
