//! Who owns which fields: `metadata.managedFields`, read, changed and written.

use super::compare::Changes;
use super::fields::Set;
use crate::view::text;
use serde_json::{Map, Value, json};

/// More managers that updated an object than this are not kept; the oldest become one.
pub(super) const UPDATERS_MAX: usize = 10;
/// The name of what the oldest become.
const ANCIENT: &str = "ancient-changes";

/// One who owns fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manager {
    pub(super) name: String,
    /// Whether by server-side apply; if not, by anything else.
    pub(super) applied: bool,
    pub(super) api_version: String,
    pub(super) part: String,
    pub(super) time: Option<String>,
    pub(super) fields: Set,
}

impl Manager {
    /// Whether both are one manager. Who applies is one in all versions.
    fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.applied == other.applied
            && self.part == other.part
            && (self.applied || self.api_version == other.api_version)
    }

    fn parse(place: usize, entry: &Value) -> Result<Self, String> {
        let applied = match text(entry, "operation") {
            "Apply" => true,
            "Update" => false,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        if text(entry, "apiVersion").is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text(entry, "fieldsType") {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {place}")),
            other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {place}")),
        }
        Ok(Self {
            name: text(entry, "manager").to_owned(),
            applied,
            api_version: text(entry, "apiVersion").to_owned(),
            part: text(entry, "subresource").to_owned(),
            time: entry["time"].as_str().map(str::to_owned),
            fields: Set::from_json(&entry["fieldsV1"]).map_err(|why| format!("error decoding set: {why}"))?,
        })
    }

    fn to_json(&self) -> Value {
        let operation = if self.applied { "Apply" } else { "Update" };
        let mut entry = json!({"operation": operation, "apiVersion": self.api_version, "fieldsType": "FieldsV1"});
        // The macro would copy it.
        entry["fieldsV1"] = self.fields.to_json();
        for (key, text) in
            [("manager", Some(&self.name)), ("subresource", Some(&self.part)), ("time", self.time.as_ref())]
        {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                entry[key] = text.as_str().into();
            }
        }
        entry
    }

    /// As messages have it.
    pub(super) fn title(&self) -> String {
        let mut title = format!("{:?}", self.name);
        if !self.part.is_empty() {
            title.push_str(&format!(" with subresource {:?}", self.part));
        }
        if !self.applied {
            title.push_str(&format!(" using {}", self.api_version));
        }
        title
    }

    fn key(&self) -> (bool, &str, &str, &str, &str) {
        let time = self.time.as_deref().unwrap_or_default();
        (!self.applied, time, &self.name, &self.api_version, &self.part)
    }
}

/// All of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Managers(pub(super) Vec<Manager>);

impl Managers {
    pub(super) fn parse(entries: &Value) -> Result<Self, String> {
        let mut all = Self::default();
        for (place, entry) in entries.as_array().into_iter().flatten().enumerate() {
            let manager = Manager::parse(place, entry)?;
            all.0.retain(|it| !it.is(&manager));
            all.0.push(manager);
        }
        Ok(all)
    }

    /// Who applied comes before who updated, then by time and by name. `None`: there are none.
    pub(super) fn into_json(mut self) -> Option<Value> {
        self.0.sort_by(|a, b| a.key().cmp(&b.key()));
        let entries: Vec<Value> = self.0.iter().map(Manager::to_json).collect();
        (!entries.is_empty()).then(|| entries.into())
    }

    pub(super) fn position(&self, manager: &Manager) -> Option<usize> {
        self.0.iter().position(|it| it.is(manager))
    }

    /// What of the changes belongs to others than the manager at `place`.
    pub(super) fn conflicts(&self, place: Option<usize>, changes: &Changes) -> Vec<(usize, Set)> {
        if self.0.iter().enumerate().all(|(at, _)| Some(at) == place) {
            return Vec::new();
        }
        let changed = changes.modified.union(&changes.added);
        let others = self.0.iter().enumerate().filter(|(at, _)| Some(*at) != place);
        let owned = others.map(|(at, manager)| (at, manager.fields.intersection(&changed)));
        owned.filter(|(_, fields)| !fields.is_empty()).collect()
    }

    /// Takes from all but the manager at `place` what was changed or removed.
    pub(super) fn take(&mut self, place: Option<usize>, changes: &Changes) {
        for (at, fields) in self.conflicts(place, changes) {
            self.0[at].fields.subtract(&fields);
        }
        for (_, manager) in self.0.iter_mut().enumerate().filter(|(at, _)| Some(*at) != place) {
            if !changes.removed.is_empty() {
                manager.fields.subtract(&changes.removed);
            }
        }
    }

    pub(super) fn drop_empty(&mut self) {
        self.0.retain(|manager| !manager.fields.is_empty());
    }

    /// Makes one of the oldest, by version, as long as there are too many who updated.
    pub(super) fn cap(&mut self) {
        if self.0.iter().filter(|manager| !manager.applied).count() <= UPDATERS_MAX {
            return;
        }
        let mut updaters: Vec<Manager> = self.0.iter().filter(|manager| !manager.applied).cloned().collect();
        updaters.sort_by(|a, b| (&a.time, &a.name, &a.part).cmp(&(&b.time, &b.name, &b.part)));
        let mut count = updaters.len();
        let mut firsts: Vec<Manager> = Vec::new();
        for manager in updaters {
            if count <= UPDATERS_MAX {
                return;
            }
            let Some(first) = firsts.iter().find(|first| first.api_version == manager.api_version) else {
                firsts.push(manager);
                continue;
            };
            let bucket = Manager { name: ANCIENT.to_owned(), part: String::new(), ..manager.clone() };
            if self.position(&bucket).is_none()
                && let Some(at) = self.position(first)
            {
                self.0[at] = Manager { fields: self.0[at].fields.clone(), ..bucket.clone() };
            }
            self.0.retain(|it| !it.is(&manager) || it.is(&bucket));
            if let Some(at) = self.position(&bucket) {
                self.0[at].fields = self.0[at].fields.union(&manager.fields);
                self.0[at].time.clone_from(&manager.time);
            }
            count -= 1;
        }
    }
}

/// Whether a client says that it wants none: an empty list, or one entry that says nothing.
pub(super) fn is_reset(entries: &Value) -> bool {
    let says_nothing = |entry: &Value| entry.as_object().is_some_and(|entry| entry.values().all(is_nothing));
    entries.as_array().is_some_and(|list| match &list[..] {
        [] => true,
        [entry] => says_nothing(entry),
        _ => false,
    })
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}

/// Whether two lists say the same, their times aside.
pub(super) fn same_but_for_times(a: &Value, b: &Value) -> bool {
    let entries = |list| Value::as_array(list).map_or(&[][..], Vec::as_slice);
    let (a, b) = (entries(a), entries(b));
    a.len() == b.len() && a.iter().all(|entry| b.iter().any(|other| same_but_for_time(entry, other)))
}

fn same_but_for_time(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    let bare = |entry: &Map<String, Value>| entry.len() - usize::from(entry.contains_key("time"));
    bare(a) == bare(b) && a.iter().all(|(name, value)| name == "time" || b.get(name) == Some(value))
}
