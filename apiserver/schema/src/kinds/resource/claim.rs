//! What a claim asks for: requests of devices, constraints among them, and configuration.

use super::shared::{
    EFFECTS, REQUESTS_MOST, configuration, each, each_once, fully_qualified, itself, name_of, selectors,
};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::view::{default, list, list_mut, object_mut, present_mut, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Most constraints, configurations and alternatives of a request.
const CONSTRAINTS_MOST: usize = 32;
/// Most configurations, of a claim or of a class.
pub(super) const CONFIGURATIONS_MOST: usize = 32;
const ALTERNATIVES_MOST: usize = 8;

/// Fills in what an author may leave out of a claim's spec.
pub(super) fn defaults(spec: &mut Value) {
    let Some(devices) = object_mut(spec, "devices") else { return };
    for request in list_mut(devices, "requests") {
        if let Some(exactly) = present_mut(request, "exactly") {
            of_request(exactly);
        }
        list_mut(request, "firstAvailable").iter_mut().for_each(of_request);
    }
}

fn of_request(request: &mut Value) {
    default(request, "allocationMode", "ExactCount");
    if request.get("allocationMode").is_some_and(|mode| mode == "ExactCount") {
        crate::view::default_number(request, "count", 1);
    }
    toleration_defaults(request);
}

/// Tolerations compare values unless they say otherwise.
pub(super) fn toleration_defaults(holder: &mut Value) {
    list_mut(holder, "tolerations").iter_mut().for_each(|one| default(one, "operator", "Equal"));
}

/// Names of requests, each with the names of its alternatives.
pub(super) struct Names<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Names<'a> {
    /// The names in a claim's spec.
    pub(super) fn of(spec: &'a Value) -> Self {
        let requests = list(&spec["devices"], "requests").iter();
        Self(
            requests
                .map(|request| (name_of(request), list(request, "firstAvailable").iter().map(name_of).collect()))
                .collect(),
        )
    }

    fn has(&self, name: &str) -> bool {
        match name.split_once('/') {
            None => self.0.contains_key(name),
            Some((request, alternative)) => self.0.get(request).is_some_and(|known| known.contains(alternative)),
        }
    }

    /// A name that must be there.
    pub(super) fn require(&self, name: &str, path: &Path<'_>, errors: &mut Errors) {
        let detail =
            "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
        if name.split('/').count() > 2 {
            return errors.invalid(path, name, detail);
        }
        name.split('/').for_each(|part| Format::Label.require(part, path, errors));
        if !self.has(name) {
            errors.invalid(path, name, detail);
        }
    }

    /// A set of such names in `requests`.
    pub(super) fn require_all(&self, holder: &Value, path: &Path<'_>, errors: &mut Errors) {
        each_once(holder, "requests", REQUESTS_MOST, path, errors, itself, |one, path, errors| {
            self.require(itself(one), path, errors);
        });
    }
}

/// What is wrong with the spec of a claim.
pub(super) fn spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (devices, path) = (&spec["devices"], path.field("devices"));
    let names = Names::of(spec);
    each_once(devices, "requests", REQUESTS_MOST, &path, errors, name_of, request);
    each(devices, "constraints", CONSTRAINTS_MOST, &path, errors, |one, path, errors| {
        names.require_all(one, path, errors);
        constraint(one, path, errors);
    });
    each(devices, "config", CONFIGURATIONS_MOST, &path, errors, |one, path, errors| {
        names.require_all(one, path, errors);
        configuration(one, false, path, errors);
    });
}

fn request(request: &Value, path: &Path<'_>, errors: &mut Errors) {
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    Format::Label.require(name_of(request), &path.field("name"), errors);
    match (request["exactly"].is_null(), list(request, "firstAvailable").is_empty()) {
        (true, true) => errors.required(path, ONE),
        (false, false) => errors.invalid(path, Value::Null, format!("{ONE}, but multiple fields are set")),
        (false, true) => exactly(&request["exactly"], &path.field("exactly"), errors),
        (true, false) => {
            let check = |one: &Value, path: &Path<'_>, errors: &mut Errors| {
                Format::Label.require(name_of(one), &path.field("name"), errors);
                exactly(one, path, errors);
            };
            each_once(request, "firstAvailable", ALTERNATIVES_MOST, path, errors, name_of, check);
        }
    }
    if request["exactly"]["adminAccess"] == true {
        // Kubernetes asks for a label of the namespace. Until something here does, nobody gets others' devices.
        let detail = "access to devices that are in use is not implemented by Skiff";
        errors.forbidden(&path.field("adminAccess"), detail);
    }
}

fn exactly(request: &Value, path: &Path<'_>, errors: &mut Errors) {
    Format::Subdomain.require_given(text(request, "deviceClassName"), &path.field("deviceClassName"), errors);
    selectors(request, path, errors);
    let (mode, count) = (text(request, "allocationMode"), request["count"].as_i64().unwrap_or_default());
    match mode {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            errors.invalid(&path.field("count"), count, detail);
        }
        "ExactCount" if count <= 0 => errors.invalid(&path.field("count"), count, "must be greater than zero"),
        mode => errors.exactly_one_of(&path.field("allocationMode"), mode, &["All", "ExactCount"]),
    }
    let path = path.field("tolerations");
    for (index, one) in list(request, "tolerations").iter().enumerate() {
        toleration(one, &path.index(index), errors);
    }
}

fn toleration(one: &Value, path: &Path<'_>, errors: &mut Errors) {
    if !text(one, "key").is_empty() {
        Format::QualifiedName.require(text(one, "key"), &path.field("key"), errors);
    }
    let value = text(one, "value");
    match text(one, "operator") {
        "Exists" if !value.is_empty() => {
            errors.invalid(&path.field("value"), value, "must be empty for operator `Exists`");
        }
        "Equal" => Format::LabelValue.require(value, &path.field("value"), errors),
        operator => errors.required_one_of(&path.field("operator"), operator, &["Equal", "Exists"]),
    }
    errors.one_of(&path.field("effect"), text(one, "effect"), &EFFECTS);
}

fn constraint(one: &Value, path: &Path<'_>, errors: &mut Errors) {
    let found = ["matchAttribute", "distinctAttribute"].into_iter().find(|field| !one[*field].is_null());
    match found {
        Some(field) => fully_qualified(text(one, field), &path.field(field), errors),
        None => errors.required(path, "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required"),
    }
}
