//! What roles and bindings allow, said as plainly as it can be: every binding, every subject, every rule, one after another.

use serde_json::Value;
use skiff_authz::{Act, Kind};

fn has(list: &Value, wanted: &[&str]) -> bool {
    list.as_array().into_iter().flatten().any(|one| wanted.iter().any(|text| *one == **text))
}

fn allows(rule: &Value, act: &Act<'_>) -> bool {
    if !has(&rule["verbs"], &["*", act.verb()]) {
        return false;
    }
    match act {
        Act::Path { path, .. } => rule["nonResourceURLs"].as_array().into_iter().flatten().any(|url| {
            let url = url.as_str().unwrap_or_default();
            url == *path || (url.ends_with('*') && path.starts_with(url.trim_end_matches('*')))
        }),
        Act::Resource { group, resource, part, name, .. } => {
            let names =
                rule["resourceNames"].as_array().is_none_or(Vec::is_empty) || has(&rule["resourceNames"], &[name]);
            let resources = match part.is_empty() {
                true => has(&rule["resources"], &["*", resource]),
                false => has(&rule["resources"], &["*", &format!("{resource}/{part}"), &format!("*/{part}")]),
            };
            names && resources && has(&rule["apiGroups"], &["*", group])
        }
    }
}

fn is_meant(subject: &Value, namespace: &str, user: &str, groups: &[String]) -> bool {
    let name = subject["name"].as_str().unwrap_or_default();
    match subject["kind"].as_str().unwrap_or_default() {
        "User" => user == name,
        "Group" => groups.iter().any(|group| group == name),
        _ => {
            let own = subject["namespace"].as_str().unwrap_or(namespace);
            user == format!("system:serviceaccount:{own}:{name}")
        }
    }
}

/// Every reason to allow `act`: `ClusterRoleBinding "b" of ClusterRole "r" to User "u"`.
pub(crate) fn reasons(objects: &[(Kind, Value)], user: &str, groups: &[String], act: &Act<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (kind, binding) in objects {
        let namespace = binding["metadata"]["namespace"].as_str().unwrap_or_default();
        let applies = match kind {
            Kind::ClusterRoleBinding => true,
            Kind::RoleBinding => namespace == act.namespace(),
            Kind::ClusterRole | Kind::Role => false,
        };
        let mut subjects = binding["subjects"].as_array().into_iter().flatten();
        let subject = subjects.find(|subject| is_meant(subject, namespace, user, groups));
        let (true, Some(subject)) = (applies, subject) else { continue };
        let role = &binding["roleRef"];
        let of_role = |object: &Value| {
            object["kind"] == role["kind"]
                && object["metadata"]["name"] == role["name"]
                && (role["kind"] == "ClusterRole" || object["metadata"]["namespace"] == namespace)
        };
        let rules = objects.iter().filter(|(_, object)| of_role(object)).flat_map(|(_, role)| role["rules"].as_array());
        if rules.flatten().any(|rule| allows(rule, act)) {
            found.push(said(*kind, binding, subject, namespace));
        }
    }
    found
}

fn said(kind: Kind, binding: &Value, subject: &Value, namespace: &str) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let place = if namespace.is_empty() { String::new() } else { format!("/{namespace}") };
    let whose = match text(&subject["kind"]).as_str() {
        "ServiceAccount" => format!("/{}", subject["namespace"].as_str().unwrap_or(namespace)),
        _ => String::new(),
    };
    format!(
        "{} \"{}{place}\" of {} \"{}\" to {} \"{}{whose}\"",
        kind.name(),
        text(&binding["metadata"]["name"]),
        text(&binding["roleRef"]["kind"]),
        text(&binding["roleRef"]["name"]),
        text(&subject["kind"]),
        text(&subject["name"])
    )
}
