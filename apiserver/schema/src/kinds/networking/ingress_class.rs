//! IngressClass: who serves ingresses.

use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::text::age;
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::update;
use crate::view::{default, present_mut, text};
use serde_json::Value;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules { defaults, validate, printer: &PRINTER, generation: true, ..Rules::PLAIN },
    ..Row::cluster(
        ["networking.k8s.io", "v1", "IngressClass"],
        ["ingressclasses", "ingressclass"],
        "io.k8s.api.networking.v1.IngressClass",
    )
};

fn defaults(it: &mut Value) {
    if let Some(parameters) = present_mut(it, "spec").and_then(|spec| present_mut(spec, "parameters")) {
        default(parameters, "scope", "Cluster");
    }
}

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Controller", "Who serves the ingresses."),
        Column::text("Parameters", "More about how they are served."),
        AGE,
    ],
    cells: |it, now| {
        let (metadata, parameters) = (&it["metadata"], &it["spec"]["parameters"]);
        let is_default = text(&metadata["annotations"], "ingressclass.kubernetes.io/is-default-class") == "true";
        let named = format!("{}{}", text(metadata, "name"), if is_default { " (default)" } else { "" });
        let group = parameters["apiGroup"].as_str().map(|group| format!(".{group}")).unwrap_or_default();
        let shown = match parameters.is_null() {
            true => "<none>".to_owned(),
            false => format!("{}{group}/{}", text(parameters, "kind"), text(parameters, "name")),
        };
        vec![named.into(), text(&it["spec"], "controller").into(), shown.into(), age(it, now)]
    },
};

/// Most bytes of a controller's name.
const CONTROLLER_MOST: usize = 250;

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    if let Some(old) = change.old {
        update::same("controller", spec, &old["spec"], &path, errors);
    }
    let controller = text(spec, "controller");
    if controller.len() > CONTROLLER_MOST {
        errors.too_long(&path.field("controller"), CONTROLLER_MOST);
    }
    prefixed_path(controller, &path.field("controller"), errors);
    let parameters = &spec["parameters"];
    if !parameters.is_null() {
        let path = path.field("parameters");
        reference(parameters, &path, errors);
        scope(parameters, &path, errors);
    }
}

/// `example.com/path`.
fn prefixed_path(text: &str, path: &Path<'_>, errors: &mut Errors) {
    if text.is_empty() {
        return errors.required(path, "");
    }
    let parts = text.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty());
    let Some((domain, rest)) = parts else {
        return errors.invalid(path, text, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    };
    Format::Subdomain.require(domain, path, errors);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/%._~!$&'()*+,;=:-".contains(&byte);
    if !rest.bytes().all(allowed) {
        let rule = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.invalid(path, rest, rule);
    }
}

/// A reference to an object of any kind.
pub(super) fn reference(reference: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(group) = reference["apiGroup"].as_str() {
        Format::Subdomain.require(group, &path.field("apiGroup"), errors);
    }
    for field in ["kind", "name"] {
        Format::PathSegment.require_given(text(reference, field), &path.field(field), errors);
    }
}

fn scope(parameters: &Value, path: &Path<'_>, errors: &mut Errors) {
    let here = path.field("namespace");
    match (text(parameters, "scope"), parameters["namespace"].as_str()) {
        ("Namespace", None) => errors.required(&here, "`parameters.scope` is set to 'Namespace'"),
        ("Namespace", Some(namespace)) => Format::Label.require(namespace, &here, errors),
        ("Cluster", Some(_)) => errors.forbidden(&here, "`parameters.scope` is set to 'Cluster'"),
        (scope, _) => errors.exactly_one_of(&path.field("scope"), scope, &["Cluster", "Namespace"]),
    }
}
