//! Which requests a webhook or a policy is about: rules over operations, groups, versions and resources, selectors over the labels of the
//! namespace and of the object, and versions that stand for each other (`matchPolicy: Equivalent`).

use super::{Attributes, Operation, built_in};
use crate::registry::Target;
use crate::status::Status;
use serde_json::{Map, Value};
use skiff_schema::{Catalog, Resource};
use std::sync::Arc;

/// The group whose own kinds are never asked about: nobody could take back a hook that refuses everything.
const EXEMPT: &str = "admissionregistration.k8s.io";

/// Whether nothing that is configured is asked about the resource.
pub(crate) fn is_exempt(resource: &Resource) -> bool {
    resource.group == EXEMPT
}

/// What a webhook (`rules`) or MatchResources of a policy say, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Matching {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Whether a rule about another version of the same resource counts.
    equivalent: bool,
    /// What no rule at all means.
    unruled: Unruled,
    namespaces: LabelSelector,
    objects: LabelSelector,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unruled {
    /// Of a webhook.
    Nothing,
    /// Of MatchResources.
    #[allow(dead_code, reason = "admission policies ask for it")]
    Everything,
}

/// `RuleWithOperations`, and of a policy the names that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: Scope,
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    Namespaced,
    Cluster,
}

/// A `LabelSelector`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    /// One that we do not know: nothing is selected.
    Unknown,
}

fn texts(holder: &Value, field: &str) -> Vec<String> {
    holder[field].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Matching {
    /// Of a webhook of either kind.
    pub(crate) fn of_webhook(hook: &Value) -> Self {
        Self { rules: Rule::all(&hook["rules"]), excluded: Vec::new(), unruled: Unruled::Nothing, ..Self::of(hook) }
    }

    /// Of MatchResources; `null` is about everything.
    #[allow(dead_code, reason = "admission policies ask for it")]
    pub(crate) fn of_resources(resources: &Value) -> Self {
        Self {
            rules: Rule::all(&resources["resourceRules"]),
            excluded: Rule::all(&resources["excludeResourceRules"]),
            unruled: Unruled::Everything,
            ..Self::of(resources)
        }
    }

    fn of(holder: &Value) -> Self {
        Self {
            rules: Vec::new(),
            excluded: Vec::new(),
            equivalent: holder["matchPolicy"] != "Exact",
            unruled: Unruled::Nothing,
            namespaces: LabelSelector::read(&holder["namespaceSelector"]),
            objects: LabelSelector::read(&holder["objectSelector"]),
        }
    }

    /// Whether it is about this write, and if so in which version it wants the object: `object` is the new one, `null` if there is none.
    ///
    /// # Errors
    /// The namespace whose labels matter is not there, or the store failed.
    pub(crate) async fn matched(&self, seen: &Attributes<'_>, object: &Value) -> Result<Option<Arc<Resource>>, Status> {
        // The rules cost nothing, and say no most of the time.
        if any_version(&self.excluded, self.equivalent, seen).is_some() {
            return Ok(None);
        }
        let resource = match (self.rules.is_empty(), self.unruled) {
            (true, Unruled::Everything) => Some(Arc::clone(&seen.request.resource)),
            _ => any_version(&self.rules, self.equivalent, seen),
        };
        let Some(resource) = resource else { return Ok(None) };
        let has_labels =
            self.objects.selects_object(object) || seen.before().is_some_and(|old| self.objects.selects_object(old));
        if !has_labels || !self.selects_namespace(seen, object).await? {
            return Ok(None);
        }
        Ok(Some(resource))
    }

    async fn selects_namespace(&self, seen: &Attributes<'_>, object: &Value) -> Result<bool, Status> {
        let of_namespace = seen.request.resource.is("", "namespaces");
        // What lives in no namespace cannot be chosen by one.
        if self.namespaces.is_everything() || seen.namespace().is_empty() && !of_namespace {
            return Ok(true);
        }
        // The labels that a namespace is about to have; a deletion has those that are stored.
        if of_namespace && seen.request.part.is_empty() && object.is_object() {
            return Ok(self.namespaces.selects_object(object));
        }
        let target = Target { resource: built_in("", "namespaces")?, namespace: "", name: seen.namespace() };
        let namespace = seen.stored.get(target).await?;
        Ok(self.namespaces.selects_object(&namespace))
    }
}

/// The first version of the resource that a rule is about: its own before all others.
fn any_version(rules: &[Rule], equivalent: bool, seen: &Attributes<'_>) -> Option<Arc<Resource>> {
    let own = &seen.request.resource;
    if rules.iter().any(|rule| rule.is_about(own, seen)) {
        return Some(Arc::clone(own));
    }
    if !equivalent || rules.is_empty() {
        return None;
    }
    let others: Vec<&Arc<Resource>> =
        equivalents(&seen.setting.catalog, own, &seen.request.part).filter(|other| *other != own).collect();
    rules.iter().find_map(|rule| others.iter().find(|other| rule.is_about(other, seen)).map(|other| Arc::clone(other)))
}

/// All versions of a resource that serve the same part, of other groups too if the objects are the same (events).
pub(crate) fn equivalents<'a>(
    catalog: &'a Catalog,
    of: &'a Resource,
    part: &'a str,
) -> impl Iterator<Item = &'a Arc<Resource>> {
    catalog.resources().iter().filter(move |other| {
        let same = match of.is_stored() {
            true => other.storage_folder == of.storage_folder,
            false => other.is(&of.group, &of.plural),
        };
        same && (part.is_empty() || other.subresource(part).is_some())
    })
}

impl Rule {
    fn all(rules: &Value) -> Vec<Self> {
        rules.as_array().into_iter().flatten().map(Self::read).collect()
    }

    fn read(rule: &Value) -> Self {
        Self {
            operations: texts(rule, "operations"),
            groups: texts(rule, "apiGroups"),
            versions: texts(rule, "apiVersions"),
            resources: texts(rule, "resources"),
            scope: match rule["scope"].as_str() {
                Some("Namespaced") => Scope::Namespaced,
                Some("Cluster") => Scope::Cluster,
                _ => Scope::All,
            },
            names: texts(rule, "resourceNames"),
        }
    }

    fn is_about(&self, resource: &Resource, seen: &Attributes<'_>) -> bool {
        self.is_of_scope(resource, seen)
            && has(&self.operations, seen.operation.word())
            && has(&self.groups, &resource.group)
            && has(&self.versions, &resource.version)
            && self.resources.iter().any(|named| is_of_resource(named, &resource.plural, &seen.request.part))
            && (self.names.is_empty() || self.names.iter().any(|name| name == seen.name))
    }

    fn is_of_scope(&self, resource: &Resource, seen: &Attributes<'_>) -> bool {
        let in_none = resource.is("", "namespaces") || seen.namespace().is_empty();
        match self.scope {
            Scope::All => true,
            Scope::Namespaced => !in_none,
            Scope::Cluster => in_none,
        }
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

/// `pods`, `pods/status`, `pods/*`, `*/scale`, `*`, `*/*`.
fn is_of_resource(named: &str, plural: &str, part: &str) -> bool {
    let (resource, sub) = named.split_once('/').unwrap_or((named, ""));
    (resource == "*" || resource == plural) && (sub == "*" || sub == part)
}

impl LabelSelector {
    /// Absent and empty select everything.
    pub(crate) fn read(selector: &Value) -> Self {
        let equal = selector["matchLabels"].as_object().into_iter().flatten().map(|(key, value)| Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: vec![value.as_str().unwrap_or_default().to_owned()],
        });
        let expressions = selector["matchExpressions"].as_array().into_iter().flatten().map(|one| Requirement {
            key: one["key"].as_str().unwrap_or_default().to_owned(),
            operator: match one["operator"].as_str() {
                Some("In") => Operator::In,
                Some("NotIn") => Operator::NotIn,
                Some("Exists") => Operator::Exists,
                Some("DoesNotExist") => Operator::DoesNotExist,
                _ => Operator::Unknown,
            },
            values: texts(one, "values"),
        });
        Self(equal.chain(expressions).collect())
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it selects an object with these labels.
    pub(crate) fn selects(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.0.iter().all(|one| {
            let label = labels.and_then(|labels| labels.get(&one.key)).and_then(Value::as_str);
            let listed = label.is_some_and(|label| one.values.iter().any(|value| value == label));
            match one.operator {
                Operator::In => listed,
                Operator::NotIn => !listed,
                Operator::Exists => label.is_some(),
                Operator::DoesNotExist => label.is_none(),
                Operator::Unknown => false,
            }
        })
    }

    /// Whether it selects `object` by its labels; everything that is there or not, if it says nothing.
    fn selects_object(&self, object: &Value) -> bool {
        self.is_everything() || object.is_object() && self.selects(object["metadata"]["labels"].as_object())
    }
}

impl Operation {
    /// As rules and reviews call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Shelf;
    use super::*;
    use crate::request::Request;
    use serde_json::json;

    /// The version (`v1`, or with its group `autoscaling/v2`) in which `hook` wants an update of `resource` with this part, if any.
    async fn matched(hook: Value, [group, version, plural, part]: [&str; 4], object: Value) -> Option<String> {
        let resource = Catalog::builtin().find(group, version, plural).expect("served");
        let namespace = if resource.namespaced { "a" } else { "" };
        let request = Request::own("update", &Target { resource, namespace, name: "x" }).of_part(part);
        let shelf = Shelf::default()
            .with("namespaces", "", json!({"metadata": {"name": "a", "labels": {"team": "blue"}}}))
            .with("namespaces", "", json!({"metadata": {"name": "x", "labels": {"team": "old"}}}));
        let old = json!({"metadata": {"labels": {"old": "yes"}}});
        let seen = Attributes { name: "x", old: Some(&old), ..Attributes::new(&request, Operation::Update, &shelf) };
        let found = Matching::of_webhook(&hook).matched(&seen, &object).await.expect("no error");
        found.map(|resource| resource.api_version())
    }

    fn hook(groups: &[&str], versions: &[&str], resources: &[&str]) -> Value {
        json!({"rules": [{"operations": ["UPDATE"], "apiGroups": groups, "apiVersions": versions, "resources": resources}]})
    }

    #[tokio::test]
    async fn rules_name_resources_and_parts() {
        let pods = ["", "v1", "pods", ""];
        let status = ["", "v1", "pods", "status"];
        for (resources, of, expected) in [
            ("pods", pods, true),
            ("pods", status, false),
            ("pods/status", status, true),
            ("pods/*", status, true),
            ("pods/*", pods, true),
            ("*", pods, true),
            ("*", status, false),
            ("*/*", status, true),
            ("*/status", status, true),
            ("*/scale", status, false),
            ("services", pods, false),
        ] {
            let found = matched(hook(&["*"], &["*"], &[resources]), of, json!({})).await;
            assert_eq!(found.is_some(), expected, "{resources} of {of:?}");
        }
    }

    #[tokio::test]
    async fn another_version_of_the_same_resource_counts_unless_told_otherwise() {
        let v1 = ["autoscaling", "v1", "horizontalpodautoscalers", ""];
        let mut of_v2 = hook(&["autoscaling"], &["v2"], &["horizontalpodautoscalers"]);
        assert_eq!(matched(of_v2.clone(), v1, json!({})).await.as_deref(), Some("autoscaling/v2"));
        of_v2["matchPolicy"] = "Exact".into();
        assert_eq!(matched(of_v2, v1, json!({})).await, None);
        let of_events = hook(&["events.k8s.io"], &["v1"], &["events"]);
        assert_eq!(matched(of_events, ["", "v1", "events", ""], json!({})).await.as_deref(), Some("events.k8s.io/v1"));
    }

    #[tokio::test]
    async fn labels_of_namespaces_and_of_objects_before_and_after_count() {
        let pods = ["", "v1", "pods", ""];
        for (field, selector, expected) in [
            ("namespaceSelector", json!({"matchLabels": {"team": "blue"}}), true),
            ("namespaceSelector", json!({"matchLabels": {"team": "red"}}), false),
            (
                "namespaceSelector",
                json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["red"]}]}),
                true,
            ),
            ("objectSelector", json!({"matchLabels": {"old": "yes"}}), true),
            ("objectSelector", json!({"matchLabels": {"new": "yes"}}), true),
            ("objectSelector", json!({"matchExpressions": [{"key": "old", "operator": "DoesNotExist"}]}), true),
            ("objectSelector", json!({"matchExpressions": [{"key": "other", "operator": "Exists"}]}), false),
        ] {
            let mut hook = hook(&[""], &["v1"], &["pods"]);
            hook[field] = selector.clone();
            let found = matched(hook, pods, json!({"metadata": {"labels": {"new": "yes"}}})).await;
            assert_eq!(found.is_some(), expected, "{field}: {selector}");
        }
    }

    #[tokio::test]
    async fn a_namespace_is_chosen_by_the_labels_it_is_about_to_have() {
        let mut hook = hook(&[""], &["v1"], &["namespaces"]);
        hook["namespaceSelector"] = json!({"matchLabels": {"team": "new"}});
        let of = |part| ["", "v1", "namespaces", part];
        let object = json!({"metadata": {"labels": {"team": "new"}}});
        assert!(matched(hook.clone(), of(""), object.clone()).await.is_some());
        hook["rules"][0]["resources"] = json!(["namespaces/*"]);
        assert!(matched(hook, of("status"), object).await.is_none(), "a part is chosen by those that it has");
    }

    #[tokio::test]
    async fn a_scope_counts_namespaces_as_cluster_wide() {
        for (scope, of, expected) in [
            ("Namespaced", ["", "v1", "pods", ""], true),
            ("Cluster", ["", "v1", "pods", ""], false),
            ("Namespaced", ["", "v1", "nodes", ""], false),
            ("Cluster", ["", "v1", "nodes", ""], true),
            ("Cluster", ["", "v1", "namespaces", ""], true),
            ("Namespaced", ["", "v1", "namespaces", ""], false),
        ] {
            let mut hook = hook(&["*"], &["*"], &["*"]);
            hook["rules"][0]["scope"] = scope.into();
            assert_eq!(matched(hook, of, json!({})).await.is_some(), expected, "{scope} {of:?}");
        }
    }
}
