//! One device of a slice: attributes, capacity, taints, counters and nodes.

use super::shared::{EFFECTS, binding_conditions, each, each_once, qualified};
use super::{capacity, resource_slice};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::node_selector;
use crate::validate::update::equal;
use crate::view::{default_absent, entries, list, list_mut, text};
use serde_json::{Value, json};

/// Attributes and capacities of one device, values of attributes, bytes of one value, taints, sets of counters.
const ATTRIBUTES_MOST: usize = 32;
const VALUES_MOST: usize = 48;
const VALUE_BYTES_MOST: usize = 64;
const TAINTS_MOST: usize = 16;
const COUNTER_SETS_MOST: usize = 2;
/// Longest key of an attribute in a path: a domain, a slash, an identifier.
const KEY_BYTES_MOST: usize = 63 + 1 + 32;

/// Lists of values (`DRAListTypeAttributes`, alpha).
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

fn map_mut<'a>(one: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    one.get_mut(field).and_then(Value::as_object_mut).into_iter().flat_map(serde_json::Map::values_mut)
}

/// Fills in what a driver may leave out.
pub(super) fn defaults(one: &mut Value) {
    map_mut(one, "nodeAllocatableResourceMappings").for_each(|it| default_absent(it, "allocationMultiplier", "1"));
}

/// Whether an attribute has a list of values.
pub(super) fn has_lists(one: &Value) -> bool {
    entries(one, "attributes").any(|(_, attribute)| LISTS.iter().any(|list| !attribute[*list].is_null()))
}

/// Whether capacities count as a node's.
pub(super) fn has_mappings(one: &Value) -> bool {
    entries(one, "nodeAllocatableResourceMappings").next().is_some()
}

/// Gives taints their time, and drops fields of alpha features that are not kept.
pub(super) fn prepare(one: &mut Value, keep_lists: bool, keep_mappings: bool) {
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default();
    list_mut(one, "taints").iter_mut().for_each(|taint| default_absent(taint, "timeAdded", now.to_string()));
    if !keep_lists {
        for attribute in map_mut(one, "attributes").filter_map(Value::as_object_mut) {
            LISTS.iter().for_each(|list| drop(attribute.remove(*list)));
        }
    }
    if let (false, Some(one)) = (keep_mappings, one.as_object_mut()) {
        one.remove("nodeAllocatableResourceMappings");
    }
}

/// What is wrong with a device. `chosen_each`: each device of the slice says which nodes have it.
pub(super) fn validate(one: &Value, before: Option<&Value>, chosen_each: bool, path: &Path<'_>, errors: &mut Errors) {
    Format::Label.require(text(one, "name"), &path.field("name"), errors);
    attributes(one, path, errors);
    capacity::validate(one, path, errors);
    if before.is_none_or(|before| !equal(&before["taints"], &one["taints"])) {
        each(one, "taints", TAINTS_MOST, path, errors, taint);
    }
    let set = |one| text(one, "counterSet");
    each_once(one, "consumesCounters", COUNTER_SETS_MOST, path, errors, set, |one, path, errors| {
        Format::Label.require_given(set(one), &path.field("counterSet"), errors);
        resource_slice::counters(one, path, errors);
    });
    if chosen_each {
        nodes(one, path, errors);
    } else if ["nodeName", "nodeSelector", "allNodes"].iter().any(|field| !one[*field].is_null()) {
        let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the \
                      ResourceSlice spec";
        errors.invalid(path, Value::Null, detail);
    }
    binding_conditions(one, path, errors);
    mappings(one, &path.field("nodeAllocatableResourceMappings"), errors);
}

/// A key as it stands in a path.
pub(super) fn shown(key: &str) -> String {
    let rest = KEY_BYTES_MOST - 3;
    match (key.get(..rest.div_ceil(2)), key.len().checked_sub(rest / 2).and_then(|from| key.get(from..))) {
        (Some(start), Some(end)) if key.len() > KEY_BYTES_MOST => format!("{start}...{end}"),
        _ => key.to_owned(),
    }
}

fn attributes(one: &Value, path: &Path<'_>, errors: &mut Errors) {
    let count = entries(one, "attributes").count() + entries(one, "capacity").count();
    if count > ATTRIBUTES_MOST {
        let detail = format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MOST}");
        errors.invalid(path, count, detail);
    }
    let of = |attribute: &Value| LISTS.iter().map(|name| list(attribute, name).len()).sum::<usize>().max(1);
    let values: usize = entries(one, "attributes").map(|(_, attribute)| of(attribute)).sum();
    if values > VALUES_MOST {
        errors.invalid(path, values, format!("the total number of attribute values must not exceed {VALUES_MOST}"));
    }
    let path = path.field("attributes");
    for (key, value) in entries(one, "attributes") {
        qualified(key, &path, errors);
        attribute(value, &path.key(&shown(key)), errors);
    }
}

fn attribute(attribute: &Value, path: &Path<'_>, errors: &mut Errors) {
    let single = ["bool", "int", "string", "version"];
    for (field, many) in single.into_iter().zip(LISTS) {
        let at = path.field(field);
        value(&attribute[field], field, &at, errors);
        let at = path.field(many);
        if attribute[many].as_array().is_some_and(Vec::is_empty) {
            errors.invalid(&at, json!([]), "must not be empty if specified");
        }
        list(attribute, many).iter().enumerate().for_each(|(index, one)| value(one, field, &at.index(index), errors));
    }
    if single.iter().chain(&LISTS).filter(|field| !attribute[**field].is_null()).count() != 1 {
        errors.invalid(path, "", "exactly one value must be specified");
    }
}

fn value(value: &Value, form: &str, path: &Path<'_>, errors: &mut Errors) {
    let Some(text) = value.as_str() else { return };
    if form == "version" && !is_version(text) {
        errors.invalid(path, text, "must be a string compatible with semver.org spec 2.0.0");
    }
    if text.len() > VALUE_BYTES_MOST {
        errors.too_long(path, VALUE_BYTES_MOST);
    }
}

/// `1.2.3-alpha.1+build.5`, as Semantic Versioning 2.0.0 has it.
fn is_version(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (numbers, before) = rest.split_once('-').map_or((rest, None), |(numbers, before)| (numbers, Some(before)));
    let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte == b'-' || byte.is_ascii_alphanumeric());
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    numbers.split('.').count() == 3
        && numbers.split('.').all(number)
        && before.is_none_or(|before| before.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

fn taint(taint: &Value, path: &Path<'_>, errors: &mut Errors) {
    Format::QualifiedName.require(text(taint, "key"), &path.field("key"), errors);
    Format::LabelValue.require(text(taint, "value"), &path.field("value"), errors);
    errors.required_one_of(&path.field("effect"), text(taint, "effect"), &EFFECTS);
}

/// The nodes that have a device, said in one way.
fn nodes(one: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut said = Vec::new();
    match one["nodeName"].as_str() {
        None => {}
        Some("") => errors.invalid(&path.field("nodeName"), "", "must not be empty"),
        Some(name) => {
            said.push("`nodeName`");
            Format::Subdomain.require(name, &path.field("nodeName"), errors);
        }
    }
    if !one["nodeSelector"].is_null() {
        said.push("`nodeSelector`");
        node_selector::check(&one["nodeSelector"], &path.field("nodeSelector"), errors);
    }
    match one["allNodes"].as_bool() {
        Some(true) => said.push("`allNodes`"),
        Some(false) => errors.invalid(&path.field("allNodes"), false, "must be either unset or set to true"),
        None => {}
    }
    let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true \
                  in the ResourceSlice spec";
    match said.len() {
        0 => errors.required(path, detail),
        1 => {}
        _ => errors.invalid(path, format!("{{{}}}", said.join(", ")), detail),
    }
}

/// Capacities that count as a node's own.
fn mappings(one: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (name, mapping) in entries(one, "nodeAllocatableResourceMappings") {
        let path = path.key(name);
        if name.contains('/') && !name.contains("kubernetes.io/") {
            errors.invalid(&path, name.as_str(), "must be a node allocatable resource name");
        }
        let multiplier = crate::validate::resources::quantity(&mapping["allocationMultiplier"]);
        if let Some(amount) = multiplier.filter(|amount| amount.nanos() <= 0) {
            errors.invalid(&path.field("allocationMultiplier"), amount.canonical(), "must be positive");
        }
        let at = path.field("capacityKey");
        match mapping["capacityKey"].as_str() {
            None => {}
            Some("") => errors.invalid(&at, "", "capacityKey must not be an empty string"),
            Some(key) if one["capacity"][key].is_null() => errors.not_found(&at, key),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_are_semantic() {
        for good in ["1.2.3", "0.0.0", "1.2.3-alpha.1+build.01", "1.0.0--"] {
            assert!(super::is_version(good), "{good}");
        }
        for bad in ["1.2", "01.2.3", "1.2.3-01", "1.2.3-", "1.2.3+", "1.2.3.4", "v1.2.3"] {
            assert!(!super::is_version(bad), "{bad}");
        }
    }
}
