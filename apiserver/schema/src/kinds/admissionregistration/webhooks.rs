//! What validating and mutating webhooks have in common.

use super::{FAILURE_POLICIES, choice, conditions, matching};
use crate::kinds::Change;
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::meta;
use crate::validate::names::{self, Format};
use crate::validate::update::equal;
use crate::view::{default_absent, list, list_mut, present_mut, text};
use serde_json::Value;
use skiff_policy::Checker;
use std::collections::BTreeSet;

/// Seconds after which a webhook has failed.
const TIMEOUT_SECONDS: i64 = 10;
/// The port of a service that is called.
const PORT: i64 = 443;

/// What an author leaves out of webhooks of either kind.
pub(super) fn defaults(it: &mut Value) {
    for hook in list_mut(it, "webhooks") {
        default_absent(hook, "failurePolicy", "Fail");
        matching::selector_defaults(hook);
        default_absent(hook, "timeoutSeconds", TIMEOUT_SECONDS);
        let client = present_mut(hook, "clientConfig");
        if let Some(service) = client.and_then(|client| present_mut(client, "service")) {
            default_absent(service, "port", PORT);
        }
        matching::rule_defaults(list_mut(hook, "rules"));
    }
}

/// How both are printed.
pub(super) static PRINTER: Printer = Printer {
    columns: &[NAME, Column::number("Webhooks", "How many webhooks it has."), AGE],
    cells: |it, now| vec![name(it), list(it, "webhooks").len().into(), age(it, now)],
};

/// What must hold, because it held before or because nothing was there before.
struct Rules {
    no_side_effects: bool,
    known_version: bool,
    unique_names: bool,
    conditions: bool,
}

impl Rules {
    fn of(change: &Change<'_>) -> Self {
        let before = change.old.map(|old| list(old, "webhooks"));
        let held = |rule: fn(&[Value]) -> bool| before.is_none_or(rule);
        let new = list(change.new, "webhooks");
        let same = |(new, old): (&Value, &Value)| equal(&new["matchConditions"], &old["matchConditions"]);
        Self {
            no_side_effects: held(|hooks| hooks.iter().all(|hook| SIDE_EFFECTS.contains(&text(hook, "sideEffects")))),
            known_version: held(|hooks| {
                let has_none = |hook: &Value| list(hook, "admissionReviewVersions").is_empty();
                hooks.iter().all(|hook| has_none(hook) || has_known_version(hook))
            }),
            unique_names: held(|hooks| {
                let names: BTreeSet<_> = hooks.iter().map(|hook| text(hook, "name")).collect();
                names.len() == hooks.len()
            }),
            conditions: !before.is_some_and(|old| old.len() == new.len() && new.iter().zip(old).all(same)),
        }
    }
}

/// What webhooks may do besides answering, since `v1`.
const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

fn has_known_version(hook: &Value) -> bool {
    list(hook, "admissionReviewVersions").iter().filter_map(Value::as_str).any(|version| VERSIONS.contains(&version))
}

/// What is wrong with the webhooks of either kind.
pub(super) fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (rules, path) = (Rules::of(change), Path::Root.field("webhooks"));
    let mut seen = BTreeSet::new();
    for (index, hook) in list(change.new, "webhooks").iter().enumerate() {
        let path = path.index(index);
        webhook(hook, &rules, &path, errors);
        review_versions(hook, &rules, &path.field("admissionReviewVersions"), errors);
        let name = text(hook, "name");
        if rules.unique_names && !name.is_empty() && !seen.insert(name) {
            errors.duplicate(&path.field("name"), name);
        }
    }
}

fn webhook(hook: &Value, rules: &Rules, path: &Path<'_>, errors: &mut Errors) {
    qualified(text(hook, "name"), &path.field("name"), errors);
    let rules_path = path.field("rules");
    list(hook, "rules").iter().enumerate().for_each(|(at, one)| matching::rule(one, &rules_path.index(at), errors));
    choice(hook, "failurePolicy", &FAILURE_POLICIES, path, errors);
    choice(hook, "matchPolicy", &matching::MATCH_POLICIES, path, errors);
    let any = ["None", "NoneOnDryRun", "Some", "Unknown"];
    let effects: &[&str] = if rules.no_side_effects { &SIDE_EFFECTS } else { &any };
    if hook["sideEffects"].is_null() {
        errors.required(&path.field("sideEffects"), &format!("must specify one of {}", effects.join(", ")));
    }
    choice(hook, "sideEffects", effects, path, errors);
    if let Some(seconds) = hook["timeoutSeconds"].as_i64().filter(|seconds| !(1..=30).contains(seconds)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(&path.field("timeoutSeconds"), seconds, detail);
    }
    for field in ["namespaceSelector", "objectSelector"] {
        meta::selector(&hook[field], &path.field(field), errors);
    }
    choice(hook, "reinvocationPolicy", &["IfNeeded", "Never"], path, errors);
    client(&hook["clientConfig"], &path.field("clientConfig"), errors);
    if rules.conditions {
        conditions::conditions(hook, &Checker::new(false, false), path, errors);
    }
}

/// A name of at least three segments, so that two authors do not choose the same.
fn qualified(name: &str, path: &Path<'_>, errors: &mut Errors) {
    let before = errors.len();
    Format::Subdomain.require_given(name, path, errors);
    if errors.len() == before && name.split('.').count() < 3 {
        errors.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}

fn review_versions(hook: &Value, rules: &Rules, path: &Path<'_>, errors: &mut Errors) {
    let has_known = !rules.known_version || has_known_version(hook);
    versions(list(hook, "admissionReviewVersions"), has_known, path, errors);
}

/// Versions of a review, at least one of which is known.
pub(in crate::kinds) fn versions(versions: &[Value], has_known: bool, path: &Path<'_>, errors: &mut Errors) {
    if versions.is_empty() {
        return errors.required(path, "must specify one of v1, v1beta1");
    }
    for (index, version) in versions.iter().enumerate() {
        if versions.iter().take(index).any(|before| before == version) {
            errors.invalid(&path.index(index), version.clone(), "duplicate version");
        } else {
            Format::Label1035.require(version.as_str().unwrap_or_default(), &path.index(index), errors);
        }
    }
    if !has_known {
        errors.invalid(path, versions, "must include at least one of v1, v1beta1");
    }
}

/// Where a webhook is called: exactly one of a URL and a service.
pub(in crate::kinds) fn client(client: &Value, path: &Path<'_>, errors: &mut Errors) {
    match (client["url"].as_str(), &client["service"]) {
        (Some(url), Value::Null) => self::url(url, &path.field("url"), errors),
        (None, service) if !service.is_null() => self::service(service, &path.field("service"), errors),
        _ => errors.required(path, "exactly one of url or service is required"),
    }
}

/// `https://host[:port][/path]`, and nothing else that a URL can have.
fn url(text: &str, path: &Path<'_>, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_scheme = |scheme: &&str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let (scheme, rest) = match rest.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => (String::new(), rest),
    };
    let authority = rest.strip_prefix("//").map_or("", |rest| rest.split('/').next().unwrap_or_default());
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    let odd_port = !host.ends_with(']') && !port.bytes().all(|byte| byte.is_ascii_digit());
    if text.bytes().any(|byte| byte.is_ascii_control()) || host.contains(' ') || odd_port || rest.starts_with(':') {
        return errors.required(path, &format!("url must be a valid URL: {text:?} cannot be parsed{FORM}"));
    }
    if scheme != "https" {
        errors.invalid(path, scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        errors.invalid(path, host, format!("host must be specified{FORM}"));
    }
    for (part, detail) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !part.is_empty() {
            errors.invalid(path, part, detail);
        }
    }
}

fn service(service: &Value, path: &Path<'_>, errors: &mut Errors) {
    // Kubernetes looks at the namespace and reports the name, and the other way round.
    for (looked_at, reported) in [("namespace", "name"), ("name", "namespace")] {
        if text(service, looked_at).is_empty() {
            errors.required(&path.field(reported), "");
        }
    }
    let (least, most) = names::PORTS;
    if let Some(port) = service["port"].as_i64().filter(|port| !(least..=most).contains(port)) {
        let detail = format!("port is not valid: must be between {least} and {most}, inclusive");
        errors.invalid(&path.field("port"), port, detail);
    }
    if let Some(url_path) = service["path"].as_str() {
        segments(url_path, &path.field("path"), errors);
    }
}

/// A path of subdomains.
fn segments(text: &str, path: &Path<'_>, errors: &mut Errors) {
    if matches!(text, "" | "/") {
        return;
    }
    if text == "//" {
        return errors.invalid(path, text, "segment[0] may not be empty");
    }
    if !text.starts_with('/') {
        errors.invalid(path, text, "must start with a '/'");
    }
    // Kubernetes drops the first character, whatever it is.
    let mut rest = text.chars();
    rest.next();
    let rest = rest.as_str();
    for (index, segment) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        match segment {
            "" => errors.invalid(path, text, format!("segment[{index}] may not be empty")),
            segment => {
                if let Some(detail) = Format::Subdomain.check(segment) {
                    errors.invalid(path, text, format!("segment[{index}]: {detail}"));
                }
            }
        }
    }
}
