//! FlowSchema: which requests belong to which priority level.

use crate::kinds::{Change, Row, Rules, status};
use crate::path::Path;
use crate::table::text::{age, condition, name, number};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::view::{default_number, list, object_mut, text};
use serde_json::Value;

const GVK: [&str; 3] = ["flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"];

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    subresources: &[status(GVK)],
    rules: Rules {
        defaults: |it| {
            if let Some(spec) = object_mut(it, "spec") {
                default_number(spec, "matchingPrecedence", 1000);
            }
        },
        validate,
        printer: &PRINTER,
        generation: true,
        create_on_update: true,
        unconditional_update: false,
        status_keeps: crate::kinds::METADATA,
        ..Rules::PLAIN
    },
    ..Row::cluster(GVK, ["flowschemas", "flowschema"], "io.k8s.api.flowcontrol.v1.FlowSchema")
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("PriorityLevel", "The level of its requests."),
        Column::text("MatchingPrecedence", "The lowest of those that match wins."),
        Column::text("DistinguisherMethod", "What tells flows apart."),
        AGE,
        Column::text("MissingPL", "Whether there is no such level."),
    ],
    cells: |it, now| {
        let spec = &it["spec"];
        vec![
            name(it),
            text(&spec["priorityLevelConfiguration"], "name").into(),
            number(&spec["matchingPrecedence"]).into(),
            spec["distinguisherMethod"]["type"].as_str().unwrap_or("<none>").into(),
            age(it, now),
            condition(&it["status"], "Dangling").map_or("?", |one| text(one, "status")).into(),
        ]
    },
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if change.part != "status" {
        spec(change.new, errors);
    }
    super::conditions(&change.new["status"], errors);
}

fn spec(schema: &Value, errors: &mut Errors) {
    let (spec, path) = (&schema["spec"], Path::Root.field("spec"));
    let (precedence, at) = (number(&spec["matchingPrecedence"]), path.field("matchingPrecedence"));
    match precedence {
        i64::MIN..=0 => errors.invalid(&at, precedence, "must be a positive value"),
        1 if text(&schema["metadata"], "name") != "exempt" => {
            errors.invalid(&at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
        }
        10_001.. => errors.invalid(&at, precedence, "must not be greater than 10000"),
        _ => {}
    }
    let method = &spec["distinguisherMethod"];
    if !method.is_null() {
        let path = path.field("distinguisherMethod");
        errors.exactly_one_of(&path.field("type"), text(method, "type"), &["ByNamespace", "ByUser"]);
    }
    let (level, level_path) =
        (text(&spec["priorityLevelConfiguration"], "name"), path.field("priorityLevelConfiguration"));
    if level.is_empty() {
        errors.required(&level_path.field("name"), "must reference a priority level");
    } else {
        Format::Subdomain.require(level, &level_path.field("name"), errors);
    }
    let rules = path.field("rules");
    for (index, one) in list(spec, "rules").iter().enumerate() {
        rule(one, &rules.index(index), errors);
    }
}

fn rule(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let subjects = path.field("subjects");
    if list(rule, "subjects").is_empty() {
        errors.required(&subjects, "subjects must contain at least one value");
    }
    for (index, one) in list(rule, "subjects").iter().enumerate() {
        subject(one, &subjects.index(index), errors);
    }
    let (resources, others) = (list(rule, "resourceRules"), list(rule, "nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    let (resource_path, other_path) = (path.field("resourceRules"), path.field("nonResourceRules"));
    resources.iter().enumerate().for_each(|(at, one)| of_resources(one, &resource_path.index(at), errors));
    others.iter().enumerate().for_each(|(at, one)| of_paths(one, &other_path.index(at), errors));
}

/// Kinds of subjects, and the field of each.
const SUBJECTS: [(&str, &str); 3] = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];

fn subject(subject: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(subject, "kind");
    let Some((_, field)) = SUBJECTS.iter().find(|(known, _)| *known == kind) else {
        return errors.exactly_one_of(&path.field("kind"), kind, &SUBJECTS.map(|(known, _)| known));
    };
    let (one, at) = (&subject[*field], path.field(field));
    if one.is_null() {
        errors.required(&at, &format!("{field} is required when subject kind is '{kind}'"));
    } else {
        named(one, kind, &at, errors);
    }
    for (other, field) in SUBJECTS.iter().filter(|(other, field)| *other != kind && !subject[*field].is_null()) {
        errors.forbidden(&path.field(field), format!("{field} is forbidden when subject kind is not '{other}'"));
    }
}

fn named(subject: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let (name, namespace) = (text(subject, "name"), text(subject, "namespace"));
    if name.is_empty() {
        errors.required(&path.field("name"), "");
    } else if kind == "ServiceAccount" && name != "*" {
        Format::Subdomain.require(name, &path.field("name"), errors);
    }
    if kind == "ServiceAccount" && namespace.is_empty() {
        errors.required(&path.field("namespace"), "must specify namespace for service account");
    } else if kind == "ServiceAccount" {
        Format::Label.require(namespace, &path.field("namespace"), errors);
    }
}

const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

fn verbs(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (verbs, path) = (list(rule, "verbs"), path.field("verbs"));
    if all_or_some(verbs, "verbs must contain at least one value", "verbs", &path, errors)
        && let Some(verb) = verbs.iter().filter_map(Value::as_str).find(|verb| !VERBS.contains(verb))
    {
        errors.exactly_one_of(&path, verb, &VERBS);
    }
}

/// A list that is not empty, in which `*` stands alone. Returns whether there is something without `*` to look at.
fn all_or_some(list: &[Value], missing: &str, what: &str, path: &Path<'_>, errors: &mut Errors) -> bool {
    let all = list.iter().any(|one| one == "*");
    if list.is_empty() {
        errors.required(path, missing);
    } else if all && list.len() > 1 {
        errors.invalid(path, list, format!("if '*' is present, must not specify other {what}"));
    }
    !all && !list.is_empty()
}

fn of_resources(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    verbs(rule, path, errors);
    let groups = "resource rules must supply at least one api group";
    all_or_some(list(rule, "apiGroups"), groups, "api groups", &path.field("apiGroups"), errors);
    let resources = "resource rules must supply at least one resource";
    all_or_some(list(rule, "resources"), resources, "resources", &path.field("resources"), errors);
    let (namespaces, path) = (list(rule, "namespaces"), path.field("namespaces"));
    if namespaces.is_empty() && rule["clusterScope"] == true {
        return;
    }
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    if all_or_some(namespaces, missing, "namespaces", &path, errors) {
        for (index, namespace) in namespaces.iter().filter_map(Value::as_str).enumerate() {
            if let Some(detail) = Format::Label.check(namespace) {
                let detail = format!("each member of this list must be '*' or a DNS-1123 label; {detail}");
                errors.invalid(&path.index(index), namespace, detail);
            }
        }
    }
}

fn of_paths(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    verbs(rule, path, errors);
    let (urls, path) = (list(rule, "nonResourceURLs"), path.field("nonResourceURLs"));
    let missing = "nonResourceURLs must contain at least one value";
    if all_or_some(urls, missing, "non-resource URLs", &path, errors) {
        for (index, url) in urls.iter().filter_map(Value::as_str).enumerate() {
            if let Some(detail) = wrong_url(url) {
                errors.invalid(&path.index(index), url, detail);
            }
        }
    }
}

fn wrong_url(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || stars == 1 && !url.ends_with("/*") => Some("wildcard can only do suffix matching"),
        _ => None,
    }
}
