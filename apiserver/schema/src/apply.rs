//! Server-side apply (KEP-555): which client owns which fields of an object, and what becomes of an object when one of them
//! applies a configuration.
//!
//! Pure: no clock, no store. `metadata.managedFields` comes in as it is stored and goes out as it is to be stored.

mod compare;
mod configuration;
mod extract;
pub(crate) mod fields;
mod managers;
mod merge;
mod scale;
mod touch;
mod types;

#[cfg(test)]
mod tests;

use crate::node::{Schema, Shape, Struct};
use crate::view::text;
use crate::{FieldValidation, Resource, decode_value};
use compare::{Changes, changes};
pub use configuration::merge_configuration;
use fields::{Element, Entry, Set};
use managers::{Manager, Managers};
pub use scale::apply_scale;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// What `kubectl apply` leaves on an object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// All annotations of an object together.
const ANNOTATION_BYTES_MAX: usize = 262_144;
/// Who owns what stood there before the first application, when nobody was tracked.
const BEFORE: &str = "before-first-apply";
/// What nobody owns.
const UNOWNED: [&str; 9] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// Who writes, through which part of the object, and when.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// The subresource; empty for the object itself.
    pub part: &'a str,
    /// Now, RFC 3339 in whole seconds.
    pub time: &'a str,
}

impl Author<'_> {
    /// As managed fields have it.
    fn name(&self) -> &str {
        if self.manager.is_empty() { "unknown" } else { self.manager }
    }
}

/// Why a configuration cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyError {
    /// Others own what it would change.
    Conflict {
        /// The whole of it, for people.
        message: String,
        /// Each: with whom, and which field.
        causes: Vec<(String, String)>,
    },
    /// It may not be sent.
    BadRequest(String),
    /// It cannot be read by the schema.
    Failed(String),
}

/// What an application makes of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The object, without managed fields.
    pub object: Value,
    /// `metadata.managedFields`; `None`: there are none.
    pub managed_fields: Option<Value>,
}

/// An object of the resource that says nothing, with what Kubernetes writes all the same: structs, and null for some lists.
fn blank(resource: &Resource) -> Value {
    let nothing = Value::Object(Map::new());
    let decoded = decode_value(resource, nothing, &[], FieldValidation::Ignore);
    let mut object = decoded.map(|decoded| decoded.object).unwrap_or_default();
    add_nulls(&resource.schema, resource.schema.root(), &mut object);
    object
}

fn add_nulls(schema: &Schema, known: &Struct, object: &mut Value) {
    // Custom resources write nothing that nobody said.
    let Some(fields) = object.as_object_mut().filter(|_| !known.name.is_empty()) else { return };
    for field in &known.fields {
        match (&field.node.shape, fields.get_mut(&*field.name)) {
            (Shape::List(_) | Shape::Map(_), None) if !field.omit_zero => {
                fields.insert(field.name.to_string(), Value::Null);
            }
            (Shape::Struct(id), Some(value)) => add_nulls(schema, schema.get(*id), value),
            _ => {}
        }
    }
}

/// `metadata.managedFields` after a write that made `new` of `old` (`None`: there was nothing), by other means than apply. `said`
/// is what the client sent as such.
#[must_use]
pub fn track(
    resource: &Resource,
    old: Option<&Value>,
    new: &Value,
    said: Option<Value>,
    author: &Author<'_>,
) -> Option<Value> {
    let stored = old.map(|old| &old["metadata"]["managedFields"]).filter(|stored| !stored.is_null());
    // What comes back as it went out says nothing new.
    let (same, said) = if said.as_ref() == stored { (said, None) } else { (None, said) };
    let said = said.filter(|said| !said.is_null() && author.part.is_empty());
    if said.as_ref().is_some_and(managers::is_reset) && old.is_some() {
        return None;
    }
    let of_client = said.and_then(|said| Managers::parse(&said).ok()).filter(|managers| !managers.0.is_empty());
    if old.is_some() && of_client.is_none() && stored.is_none() {
        // Nobody was tracked, and nobody is until somebody applies.
        return None;
    }
    let made;
    let before = if let Some(old) = old {
        old
    } else {
        made = blank(resource);
        &made
    };
    let mut changes = changes(&resource.schema, before, new);
    if changes == Changes::default() && of_client.is_none() {
        return same.or_else(|| stored.cloned());
    }
    filter(resource, author.part, &mut changes);
    if let (Some(stored), None) = (stored, &of_client)
        && let Some(place) = touch::owner(stored, &changes, &resource.api_version(), author)
    {
        return Some(touch::touch(same.unwrap_or_else(|| stored.clone()), place, author.time));
    }
    let managers = of_client.or_else(|| stored.and_then(|stored| Managers::parse(stored).ok()));
    let mut managers = managers.unwrap_or_default();
    update(&mut managers, changes, resource, author);
    managers.cap();
    managers.into_json()
}

/// What `config`, applied by `author`, makes of `live` (`None`: there is no such object yet).
///
/// # Errors
/// Others own what it would change and `force` is not said, or it cannot be read by the schema.
pub fn apply(
    resource: &Resource,
    live: Option<&Value>,
    config: &Value,
    author: &Author<'_>,
    force: bool,
) -> Result<Applied, ApplyError> {
    check(resource, config)?;
    let mut bare = live.cloned().unwrap_or_else(|| blank(resource));
    let stored = bare["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"));
    let managers = Managers::parse(&stored.unwrap_or_default());
    let managers = managers.map_err(|why| ApplyError::Failed(format!("failed to decode managed fields: {why}")))?;
    let mut managers = if managers.0.is_empty() { before(resource, &bare, author) } else { managers };
    let result = run(resource, &bare, config, &mut managers.clone(), author, force);
    let result = match result {
        Err(Refused { managers: owners, conflicts }) => {
            let conflicts = if author.manager == "kubectl" { beyond(resource, &bare, conflicts) } else { conflicts };
            if !conflicts.is_empty() {
                return Err(refusal(&owners, &conflicts));
            }
            run(resource, &bare, config, &mut managers, author, true)
        }
        done => done,
    };
    let (mut object, managers) = result.map_err(|refused| refusal(&refused.managers, &refused.conflicts))?;
    if author.manager == "kubectl" {
        note_last_applied(&mut object, config);
    }
    Ok(Applied { object, managed_fields: managers.into_json() })
}

/// Puts `old`'s managed fields into `new` if nothing but their times differs.
pub fn settle(old: &Value, new: &mut Value) {
    let (before, after) = (&old["metadata"]["managedFields"], &new["metadata"]["managedFields"]);
    if before == after || !same_but_for_managers(old, new) || !managers::same_but_for_times(before, after) {
        return;
    }
    let before = before.clone();
    new["metadata"]["managedFields"] = before;
}

fn same_but_for_managers(old: &Value, new: &Value) -> bool {
    let rest =
        |value: &Value| value.as_object().map(|fields| fields.iter().filter(|(name, _)| *name != "metadata").count());
    let (Some(a), Some(b)) = (old["metadata"].as_object(), new["metadata"].as_object()) else { return false };
    let others = old.as_object().into_iter().flatten().filter(|(name, _)| *name != "metadata");
    let equal = |a: &Map<String, Value>, b: &Map<String, Value>| {
        a.iter().filter(|(name, _)| *name != "managedFields").all(|(name, value)| b.get(name) == Some(value))
    };
    rest(old) == rest(new)
        && others.into_iter().all(|(name, value)| new.get(name) == Some(value))
        && equal(a, b)
        && equal(b, a)
}

fn check(resource: &Resource, config: &Value) -> Result<(), ApplyError> {
    let (version, kind) = (text(config, "apiVersion"), text(config, "kind"));
    if version != resource.api_version() || kind != resource.kind {
        let what = version.split_once('/').map_or_else(|| format!("/{version}"), |_| version.to_owned());
        return Err(ApplyError::BadRequest(format!("invalid object type: {what}, Kind={kind}")));
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".to_owned()));
    }
    let problems = extract::problems(&resource.schema, config);
    let what = match &problems[..] {
        [] => return Ok(()),
        [problem] => problem.clone(),
        problems => format!("errors:\n  {}", problems.join("\n  ")),
    };
    let metadata = &config["metadata"];
    let version = version.split_once('/').map_or_else(|| format!("/{version}"), |_| version.to_owned());
    Err(ApplyError::Failed(format!(
        "failed to create typed patch object ({}/{}; {version}, Kind={kind}): {what}",
        text(metadata, "namespace"),
        text(metadata, "name"),
    )))
}

/// All that stands in an object whose managers nobody knows.
fn before(resource: &Resource, live: &Value, author: &Author<'_>) -> Managers {
    let mut changes = changes(&resource.schema, &blank(resource), live);
    filter(resource, author.part, &mut changes);
    let mut managers = Managers::default();
    update(&mut managers, changes, resource, &Author { manager: BEFORE, ..*author });
    managers
}

/// The managers after changes that `author` made by other means than apply.
fn update(managers: &mut Managers, changes: Changes, resource: &Resource, author: &Author<'_>) {
    managers.take(None, &changes);
    let Changes { added: mut own, modified, removed } = changes;
    own.join(modified);
    own.subtract(&removed);
    own.subtract(&UNOWNED_FIELDS);
    if !own.is_empty() {
        let mut manager = manager_of(resource, author, false);
        manager.fields = own;
        match managers.position(&manager) {
            Some(at) => {
                managers.0[at].fields.join(manager.fields);
                managers.0[at].time = manager.time;
            }
            None => managers.0.push(manager),
        }
    }
    managers.drop_empty();
}

fn manager_of(resource: &Resource, author: &Author<'_>, applied: bool) -> Manager {
    Manager {
        name: author.name().to_owned(),
        applied,
        api_version: resource.api_version(),
        part: author.part.to_owned(),
        time: Some(author.time.to_owned()),
        fields: Set::default(),
    }
}

struct Refused {
    managers: Managers,
    conflicts: Vec<(usize, Set)>,
}

fn run(
    resource: &Resource,
    live: &Value,
    config: &Value,
    managers: &mut Managers,
    author: &Author<'_>,
    force: bool,
) -> Result<(Value, Managers), Refused> {
    let schema = &resource.schema;
    let mut manager = manager_of(resource, author, true);
    manager.fields = extract::set(schema, config).without(&reset(resource, author.part));
    let place = managers.position(&manager);
    let last = place.map(|at| (managers.0[at].fields.clone(), managers.0[at].time.clone()));
    let place = place.unwrap_or_else(|| {
        managers.0.push(manager.clone());
        managers.0.len() - 1
    });
    let (last, last_time) = last.unwrap_or_default();
    managers.0[place] = manager;
    let object = prune(schema, merge::merge(schema, live, config), managers, &last);
    let mut changes = changes(schema, live, &object);
    filter(resource, author.part, &mut changes);
    let conflicts = managers.conflicts(Some(place), &changes);
    if !force && !conflicts.is_empty() {
        return Err(Refused { managers: managers.clone(), conflicts });
    }
    managers.take(Some(place), &changes);
    if object == *live {
        managers.0[place].time = last_time.or(managers.0[place].time.take());
    }
    managers.0[place].fields.subtract(&UNOWNED_FIELDS);
    managers.drop_empty();
    Ok((object, std::mem::take(managers)))
}

/// Takes out what the manager applied before, does not apply now, and nobody else owns.
fn prune(schema: &Schema, merged: Value, managers: &Managers, last: &Set) -> Value {
    if last.is_empty() {
        return merged;
    }
    let named = |set: &Set| merge::with_named(schema, set);
    let last = named(last);
    let all = named(&extract::set(schema, &merged));
    let owned = managers.0.iter().fold(Set::default(), |owned, manager| owned.union(&manager.fields));
    let without_last = named(&extract::set(schema, &merge::remove(schema, &merged, &last)));
    let gone = all.difference(&without_last.union(&named(&owned)));
    let pruned = named(&extract::set(schema, &merge::remove(schema, &merged, &gone)));
    let gone = all.difference(&pruned).intersection(&last);
    if gone.is_empty() { merged } else { merge::remove(schema, &merged, &gone) }
}

/// What of the conflicts is not what `kubectl apply` itself left there before it applied on the server.
fn beyond(resource: &Resource, live: &Value, conflicts: Vec<(usize, Set)>) -> Vec<(usize, Set)> {
    let Some(allowed) = left_by_kubectl(resource, live) else { return conflicts };
    let rest = conflicts.into_iter().map(|(at, fields)| (at, fields.difference(&allowed)));
    rest.filter(|(_, fields)| !fields.is_empty()).collect()
}

fn left_by_kubectl(resource: &Resource, live: &Value) -> Option<Set> {
    let text_of = live["metadata"]["annotations"][LAST_APPLIED].as_str().filter(|text| !text.is_empty())?;
    let config: Value = serde_json::from_str(text_of).ok()?;
    if text(&config, "apiVersion") != resource.api_version() || !extract::problems(&resource.schema, &config).is_empty()
    {
        return None;
    }
    let Changes { added, modified, removed } = changes(&resource.schema, &config, live);
    Some(extract::set(&resource.schema, &config).difference(&modified).difference(&added).difference(&removed))
}

/// Keeps the note of `kubectl apply` true, if there is one, so that one can go back to it.
fn note_last_applied(object: &mut Value, config: &Value) {
    let Some(annotations) = object["metadata"]["annotations"].as_object_mut() else { return };
    if annotations.get(LAST_APPLIED).and_then(Value::as_str).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    annotations.insert(LAST_APPLIED.to_owned(), format!("{config}\n").into());
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATION_BYTES_MAX {
        annotations.remove(LAST_APPLIED);
    }
}

fn refusal(managers: &Managers, conflicts: &[(usize, Set)]) -> ApplyError {
    let mut conflicts: Vec<(String, Vec<String>)> =
        conflicts.iter().map(|(at, fields)| (managers.0[*at].title(), fields.paths())).collect();
    conflicts.sort();
    let count: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
    let message = if let ([(who, paths)], 1) = (&conflicts[..], count) {
        format!("Apply failed with 1 conflict: conflict with {who}: {}", paths.concat())
    } else {
        let lines = conflicts.iter().flat_map(|(who, paths)| {
            std::iter::once(format!("conflicts with {who}:")).chain(paths.iter().map(|path| format!("- {path}")))
        });
        let lines: Vec<String> = lines.collect();
        format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
    };
    let causes = conflicts.iter().flat_map(|(who, paths)| paths.iter().map(move |path| (who.clone(), path.clone())));
    ApplyError::Conflict { message, causes: causes.map(|(who, path)| (format!("conflict with {who}"), path)).collect() }
}

fn path(names: &[&str]) -> Set {
    let mut set = Set::default();
    if let [name, rest @ ..] = names {
        set.add(Element::Field((*name).into()), Entry { member: rest.is_empty(), below: path(rest) });
    }
    set
}

/// Fields that nobody owns.
static UNOWNED_FIELDS: LazyLock<Set> = LazyLock::new(unowned);

fn unowned() -> Set {
    let of_metadata = UNOWNED.iter().map(|name| path(&["metadata", name]));
    let of_object = ["apiVersion", "kind", "metadata"].iter().map(|name| path(&[name]));
    of_metadata.chain(of_object).fold(Set::default(), |all, one| all.union(&one))
}

/// Fields that a write through this part does not change, whatever it says.
fn reset(resource: &Resource, part: &str) -> Set {
    match part {
        "status" => {
            let kept = resource.status_keeps().iter().map(|name| path(&["metadata", name]));
            kept.fold(path(&["spec"]), |all, one| all.union(&one))
        }
        _ if resource.has_status() => path(&["status"]),
        _ => Set::default(),
    }
}

fn filter(resource: &Resource, part: &str, changes: &mut Changes) {
    let reset = reset(resource, part);
    if !reset.is_empty() {
        changes.added.prune(&reset);
        changes.modified.prune(&reset);
        changes.removed.prune(&reset);
    }
}
