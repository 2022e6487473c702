//! Rules and bindings, of one namespace or of all.

use crate::kinds::Change;
use crate::path::Path;
use crate::table::text::{age, name, or};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::update;
use crate::view::{default, list, list_mut, object_mut, text};
use serde_json::Value;

/// The group of roles, users and groups.
const GROUP: &str = "rbac.authorization.k8s.io";

/// Whether a kind lives in a namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Namespace,
    Cluster,
}

/// The rules of a role.
pub(super) fn rules(role: &Value, scope: Scope, errors: &mut Errors) {
    let path = Path::Root.field("rules");
    for (index, rule) in list(role, "rules").iter().enumerate() {
        self::rule(rule, scope, &path.index(index), errors);
    }
}

fn rule(rule: &Value, scope: Scope, path: &Path<'_>, errors: &mut Errors) {
    let has = |field: &str| !list(rule, field).is_empty();
    if !has("verbs") {
        errors.required(&path.field("verbs"), "verbs must contain at least one value");
    }
    if has("nonResourceURLs") {
        let (path, urls) = (path.field("nonResourceURLs"), &rule["nonResourceURLs"]);
        if scope == Scope::Namespace {
            errors.invalid(&path, urls.clone(), "namespaced rules cannot apply to non-resource URLs");
        }
        if has("apiGroups") || has("resources") || has("resourceNames") {
            errors.invalid(&path, urls.clone(), "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if !has("apiGroups") {
        errors.required(&path.field("apiGroups"), "resource rules must supply at least one api group");
    }
    if !has("resources") {
        errors.required(&path.field("resources"), "resource rules must supply at least one resource");
    }
}

/// What an author of a binding may leave out.
pub(super) fn binding_defaults(binding: &mut Value) {
    if let Some(role) = object_mut(binding, "roleRef") {
        default(role, "apiGroup", GROUP);
    }
    for subject in list_mut(binding, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            default(subject, "apiGroup", GROUP);
        }
    }
}

/// A binding to one of `roles`.
pub(super) fn binding(change: &Change<'_>, scope: Scope, errors: &mut Errors) {
    let (new, path) = (change.new, Path::Root.field("roleRef"));
    let role = &new["roleRef"];
    let kinds: &[&str] = if scope == Scope::Namespace { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    errors.exactly_one_of(&path.field("apiGroup"), text(role, "apiGroup"), &[GROUP]);
    errors.exactly_one_of(&path.field("kind"), text(role, "kind"), kinds);
    Format::PathSegment.require_given(text(role, "name"), &path.field("name"), errors);
    let subjects = Path::Root.field("subjects");
    for (index, one) in list(new, "subjects").iter().enumerate() {
        subject(one, scope, &subjects.index(index), errors);
    }
    if change.old.is_some_and(|old| !update::equal(role, &old["roleRef"])) {
        errors.invalid(&path, role.clone(), "cannot change roleRef");
    }
}

fn subject(subject: &Value, scope: Scope, path: &Path<'_>, errors: &mut Errors) {
    let (name, group) = (text(subject, "name"), text(subject, "apiGroup"));
    if name.is_empty() {
        errors.required(&path.field("name"), "");
    }
    match text(subject, "kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                Format::Subdomain.require(name, &path.field("name"), errors);
            }
            errors.exactly_one_of(&path.field("apiGroup"), group, &[""]);
            if scope == Scope::Cluster && text(subject, "namespace").is_empty() {
                errors.required(&path.field("namespace"), "");
            }
        }
        "User" | "Group" => errors.exactly_one_of(&path.field("apiGroup"), group, &[GROUP]),
        kind => errors.exactly_one_of(&path.field("kind"), kind, &["ServiceAccount", "User", "Group"]),
    }
}

/// Columns of bindings.
pub(super) static BINDING: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Role", "The role that is given."),
        AGE,
        Column::wide("Users", "Users who get it."),
        Column::wide("Groups", "Groups that get it."),
        Column::wide("ServiceAccounts", "Service accounts that get it."),
    ],
    cells: |it, now| {
        let role = format!("{}/{}", text(&it["roleRef"], "kind"), text(&it["roleRef"], "name"));
        let of = |kind: &str| -> Value {
            let subjects = list(it, "subjects").iter().filter(|subject| text(subject, "kind") == kind);
            let names = subjects.map(|subject| match kind {
                "ServiceAccount" => format!("{}/{}", text(subject, "namespace"), text(subject, "name")),
                _ => text(subject, "name").to_owned(),
            });
            names.collect::<Vec<_>>().join(", ").into()
        };
        vec![name(it), or(&role, ""), age(it, now), of("User"), of("Group"), of("ServiceAccount")]
    },
};
