//! Service.

use crate::kinds::networking::cidr;
use crate::kinds::{Change, Row, Rules, Selectable, Storage, proxy, status};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::{service, update};
use crate::view::{given, list, text};
use crate::{defaults, table};
use serde_json::{Value, json};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["svc"],
    categories: &["all"],
    storage: Storage { folder: "services/specs", version: None },
    subresources: &[proxy("ServiceProxyOptions"), status(["", "v1", "Service"])],
    rules: Rules {
        name: Format::Label,
        defaults: |it| defaults::with_spec(it, defaults::core::service),
        prepare: |new, old, _| {
            if old.is_none() {
                new["status"] = json!({"loadBalancer": {}});
            }
        },
        validate,
        warnings,
        printer: &table::core::SERVICE,
        fields: &[Selectable::at("spec.clusterIP"), Selectable::at("spec.type")],
        returns_deleted: true,
        create_on_update: true,
        ..Rules::PLAIN
    },
    ..Row::namespaced(["", "v1", "Service"], ["services", "service"], "io.k8s.api.core.v1.Service")
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if !change.is_whole() {
        return;
    }
    let spec = Path::Root.field("spec");
    service::spec(&change.new["spec"], &spec, errors);
    source_ranges(change, errors);
    if let Some(old) = change.old {
        update::service(&change.new["spec"], &old["spec"], &spec, errors);
    }
}

/// Whom a load balancer lets through: a field, or the annotation that came before it. What was wrong before may stay.
fn source_ranges(change: &Change<'_>, errors: &mut Errors) {
    const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    const ELSEWHERE: &str = "may only be used when `type` is 'LoadBalancer'";
    let balanced = text(&change.new["spec"], "type") == "LoadBalancer";
    // The messages of Kubernetes spell the field so.
    let (root, field) = (Path::Root.field("spec"), "LoadBalancerSourceRanges");
    let ranges = list(&change.new["spec"], "loadBalancerSourceRanges");
    let before: Vec<&str> = change
        .old
        .into_iter()
        .flat_map(|old| list(&old["spec"], "loadBalancerSourceRanges"))
        .filter_map(|range| Some(range.as_str()?.trim()))
        .collect();
    if !ranges.is_empty() {
        let path = root.field(field);
        if !balanced {
            errors.forbidden(&path, ELSEWHERE);
        }
        for (index, range) in ranges.iter().enumerate() {
            let range = range.as_str().unwrap_or_default().trim();
            if !before.contains(&range) {
                cidr::lenient(range, &path.index(index), errors);
            }
        }
    } else if let Some(ranges) = change.new["metadata"]["annotations"][ANNOTATION].as_str() {
        let (metadata, old) =
            (Path::Root.field("metadata"), change.old.map(|old| &old["metadata"]["annotations"][ANNOTATION]));
        let annotations = metadata.field("annotations");
        let path = annotations.key(ANNOTATION);
        if !balanced {
            errors.forbidden(&path, ELSEWHERE);
        }
        if old.is_none_or(|old| *old != *ranges) && !ranges.trim().is_empty() {
            for range in ranges.split(',') {
                cidr::lenient(range.trim(), &path, errors);
            }
        }
    }
}

/// Fields that other fields make void, and fields of old.
fn warnings(change: &Change<'_>) -> Vec<String> {
    if !change.is_whole() {
        return Vec::new();
    }
    let spec = &change.new["spec"];
    let external = !list(spec, "externalIPs").is_empty();
    let headless = list(spec, "clusterIPs").first().is_some_and(|address| address == "None");
    let named = text(spec, "type") == "ExternalName";
    let remembers = text(spec, "sessionAffinity") != "None";
    let old_annotation = "service.kubernetes.io/topology-aware-hints";
    let annotated = change.new["metadata"]["annotations"][old_annotation] != Value::Null;
    let deprecated =
        format!("annotation {old_annotation} is deprecated, please use service.kubernetes.io/topology-mode instead");
    [
        (annotated, &*deprecated),
        (headless && given(spec, "loadBalancerIP"), "spec.loadBalancerIP is ignored for headless services"),
        (headless && external, "spec.externalIPs is ignored for headless services"),
        (headless && remembers, "spec.SessionAffinity is ignored for headless services"),
        (
            external && !headless && !named,
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
        ),
        (named && external, "spec.externalIPs is ignored when spec.type is \"ExternalName\""),
        (!named && given(spec, "externalName"), "spec.externalName is ignored when spec.type is not \"ExternalName\""),
        (
            text(spec, "trafficDistribution") == "PreferClose",
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
        ),
    ]
    .into_iter()
    .filter(|(given, _)| *given)
    .map(|(_, text)| text.to_owned())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::{ROW, warnings};
    use crate::kinds::Change;
    use crate::kinds::testing::errors;
    use serde_json::json;

    #[test]
    fn what_has_no_effect_is_told() {
        let said = |spec| warnings(&Change { new: &json!({ "spec": spec }), old: None, part: "" });
        assert_eq!(said(json!({"type": "ClusterIP", "sessionAffinity": "None"})), [""; 0]);
        let spec = json!({"clusterIPs": ["None"], "sessionAffinity": "ClientIP", "externalIPs": ["192.0.2.1"]});
        assert_eq!(
            said(spec),
            [
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services"
            ]
        );
        let spec = json!({"type": "ClusterIP", "sessionAffinity": "None", "externalName": "a.example"});
        assert_eq!(said(spec), ["spec.externalName is ignored when spec.type is not \"ExternalName\""]);
    }

    #[test]
    fn source_ranges_are_blocks_of_a_load_balancer() {
        let wrong = |kind: &str, range: &str| {
            let spec = json!({"type": kind, "loadBalancerSourceRanges": [range], "ports": [{"port": 80}]});
            errors(&ROW, &json!({"metadata": {"name": "s"}, "spec": spec}))
        };
        assert_eq!(wrong("LoadBalancer", " 10.0.0.0/8 "), [""; 0]);
        assert_eq!(wrong("LoadBalancer", "10.0.0.0"), ["spec.LoadBalancerSourceRanges[0]: Invalid"]);
        assert_eq!(wrong("ClusterIP", "10.0.0.0/8"), ["spec.LoadBalancerSourceRanges: Forbidden"]);
    }
}
