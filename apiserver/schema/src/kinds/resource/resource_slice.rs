//! ResourceSlice: devices that a driver has on a node, or for several.

use super::device;
use super::shared::{driver_name, each_once, name_of, pool_name};
use crate::kinds::{Change, Row, Rules, Selectable};
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::{node_selector, update};
use crate::view::{entries, list, list_mut, present_mut, text};
use serde_json::Value;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules {
        defaults,
        prepare,
        validate,
        warnings,
        printer: &PRINTER,
        fields: &[Selectable::at("spec.driver"), Selectable::at("spec.nodeName")],
        generation: true,
        returns_deleted: true,
        ..Rules::PLAIN
    },
    ..Row::cluster(
        ["resource.k8s.io", "v1", "ResourceSlice"],
        ["resourceslices", "resourceslice"],
        "io.k8s.api.resource.v1.ResourceSlice",
    )
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Node", "The node that has the devices."),
        Column::text("Driver", "The driver of the devices."),
        Column::text("Pool", "The pool that the devices are part of."),
        AGE,
    ],
    cells: |it, now| {
        let spec = &it["spec"];
        let pool = text(&spec["pool"], "name");
        vec![name(it), text(spec, "nodeName").into(), text(spec, "driver").into(), pool.into(), age(it, now)]
    },
};

/// Devices and sets of counters of one slice.
const DEVICES_MOST: usize = 128;
const DEVICES_MOST_ADVANCED: usize = 64;
const COUNTER_SETS_MOST: usize = 8;
/// Counters of one set.
const COUNTERS_MOST: usize = 32;

fn devices_mut(it: &mut Value) -> &mut [Value] {
    present_mut(it, "spec").map(|spec| list_mut(spec, "devices")).unwrap_or_default()
}

fn defaults(it: &mut Value) {
    devices_mut(it).iter_mut().for_each(device::defaults);
}

/// Taints carry the time at which they came; fields of alpha features are dropped unless they are in use.
fn prepare(new: &mut Value, old: Option<&Value>, _: &str) {
    let before = |in_use: fn(&Value) -> bool| old.is_some_and(|old| list(&old["spec"], "devices").iter().any(in_use));
    let (lists, mappings) = (before(device::has_lists), before(device::has_mappings));
    for one in devices_mut(new) {
        device::prepare(one, lists, mappings);
    }
}

fn warnings(change: &Change<'_>) -> Vec<String> {
    let driver = text(&change.new["spec"], "driver");
    let upper = driver != driver.to_lowercase();
    let text = format!("spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters");
    upper.then_some(text).into_iter().collect()
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    driver_name(text(spec, "driver"), &path.field("driver"), errors);
    pool(&spec["pool"], &path.field("pool"), errors);
    let old = change.old.map(|old| &old["spec"]);
    if let Some(old) = old {
        update::same("name", &spec["pool"], &old["pool"], &path.field("pool"), errors);
        update::same("driver", spec, old, &path, errors);
        update::same("nodeName", spec, old, &path, errors);
    }
    nodes(spec, &path, errors);
    if !spec["sharedCounters"].is_null() && !spec["devices"].is_null() {
        errors.invalid(&path, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let advanced = |one: &Value| {
        device::has_lists(one) || !list(one, "taints").is_empty() || !list(one, "consumesCounters").is_empty()
    };
    let most = if list(spec, "devices").iter().any(advanced) { DEVICES_MOST_ADVANCED } else { DEVICES_MOST };
    let chosen_each = spec["perDeviceNodeSelection"] == true;
    each_once(spec, "devices", most, &path, errors, name_of, |one, path, errors| {
        let before = old.and_then(|old| list(old, "devices").iter().find(|before| name_of(before) == name_of(one)));
        device::validate(one, before, chosen_each, path, errors);
    });
    each_once(spec, "sharedCounters", COUNTER_SETS_MOST, &path, errors, name_of, |one, path, errors| {
        Format::Label.require_given(name_of(one), &path.field("name"), errors);
        counters(one, path, errors);
    });
}

fn pool(pool: &Value, path: &Path<'_>, errors: &mut Errors) {
    pool_name(name_of(pool), &path.field("name"), errors);
    let number = |field: &str| pool[field].as_i64().unwrap_or_default();
    if number("resourceSliceCount") <= 0 {
        errors.invalid(&path.field("resourceSliceCount"), number("resourceSliceCount"), "must be greater than zero");
    }
    if number("generation") < 0 {
        errors.invalid(&path.field("generation"), number("generation"), "must be greater than or equal to zero");
    }
}

/// Counters by name, of a set or of a device that takes from one.
pub(super) fn counters(holder: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (count, path) = (entries(holder, "counters").count(), path.field("counters"));
    match count {
        0 => errors.required(&path, ""),
        1..=COUNTERS_MOST => {
            entries(holder, "counters").for_each(|(name, _)| Format::Label.require(name, &path, errors));
        }
        _ => errors.too_many(&path, count, COUNTERS_MOST),
    }
}

/// The node or nodes that have the devices: said in one way.
fn nodes(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut said = Vec::new();
    match spec["nodeName"].as_str() {
        None => {}
        Some("") => {
            errors.invalid(&path.field("nodeName"), "", "must be either unset or set to a non-empty string");
        }
        Some(name) => {
            said.push("`nodeName`");
            Format::Subdomain.require(name, &path.field("nodeName"), errors);
        }
    }
    let selector = &spec["nodeSelector"];
    if !selector.is_null() {
        said.push("`nodeSelector`");
        let path = path.field("nodeSelector");
        node_selector::check(selector, &path, errors);
        let terms = list(selector, "nodeSelectorTerms");
        if terms.len() != 1 {
            let detail = "must have exactly one node selector term";
            errors.invalid(&path.field("nodeSelectorTerms"), terms, detail);
        }
    }
    for (field, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match spec[field].as_bool() {
            Some(true) => said.push(shown),
            Some(false) => errors.invalid(&path.field(field), false, "must be either unset or set to true"),
            None => {}
        }
    }
    match said.len() {
        0 => errors.required(path, ONE),
        1 => {}
        _ => errors.invalid(path, format!("{{{}}}", said.join(", ")), format!("{ONE}, but multiple fields are set")),
    }
}
