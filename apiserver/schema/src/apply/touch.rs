//! The common change: whoever makes it owns all that it changes already, and nobody else does. Then only a time changes in the managed
//! fields, and no set is read from them or written anew.

use super::Author;
use super::compare::Changes;
use super::fields::Set;
use super::managers::UPDATERS_MAX;
use crate::view::text;
use serde_json::Value;

/// Where in `entries` the one is who owns all of the changes alone, as somebody who updates; `None`: it is not as simple as that.
pub(super) fn owner(entries: &Value, changes: &Changes, api_version: &str, author: &Author<'_>) -> Option<usize> {
    let entries = entries.as_array()?;
    let updaters = entries.iter().filter(|entry| text(entry, "operation") == "Update").count();
    let changed = [&changes.added, &changes.modified];
    if updaters > UPDATERS_MAX || !changes.removed.is_empty() || changed.iter().all(|set| set.is_empty()) {
        return None;
    }
    let mut places = entries.iter().enumerate().filter(|(_, entry)| is_by(entry, api_version, author));
    let (place, entry) = places.next()?;
    let owns_all = changed.iter().all(|set| holds(&entry["fieldsV1"], set));
    let others = entries.iter().enumerate().filter(|(at, _)| *at != place);
    let owned_alone = !others.into_iter().any(|(_, entry)| changed.iter().any(|set| meets(&entry["fieldsV1"], set)));
    (places.next().is_none() && owns_all && owned_alone).then_some(place)
}

/// Sets the time of one entry, and puts all in order.
pub(super) fn touch(mut entries: Value, place: usize, time: &str) -> Value {
    if let Some(list) = entries.as_array_mut() {
        list[place]["time"] = time.into();
        let key = |entry: &Value| text(entry, "operation") != "Apply";
        let rest =
            |entry: &Value| ["time", "manager", "apiVersion", "subresource"].map(|name| text(entry, name).to_owned());
        list.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| rest(a).cmp(&rest(b))));
    }
    entries
}

fn is_by(entry: &Value, api_version: &str, author: &Author<'_>) -> bool {
    text(entry, "operation") == "Update"
        && text(entry, "manager") == author.name()
        && text(entry, "apiVersion") == api_version
        && text(entry, "subresource") == author.part
}

/// Whether `fieldsV1` has a step as a member.
fn is_member(below: &Value) -> bool {
    below.get(".").is_some() || below.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Whether `fieldsV1` has all of a set.
fn holds(fields: &Value, set: &Set) -> bool {
    set.iter().all(|(element, entry)| {
        let below = fields.get(element.text());
        below.is_some_and(|below| (!entry.member || is_member(below)) && holds(below, &entry.below))
    })
}

/// Whether `fieldsV1` has something of a set.
fn meets(fields: &Value, set: &Set) -> bool {
    set.iter().any(|(element, entry)| {
        let below = fields.get(element.text());
        below.is_some_and(|below| entry.member && is_member(below) || meets(below, &entry.below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(manager: &str, time: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1",
            "fieldsV1": fields})
    }

    #[test]
    fn who_owns_all_of_it_alone_is_found() {
        let both = json!([
            entry("a", "t1", json!({"f:data": {".": {}, "f:x": {}}})),
            entry("b", "t2", json!({"f:data": {"f:y": {}}})),
        ]);
        let changes = |fields: Value| Changes { modified: Set::of(&fields), ..Changes::default() };
        let find = |manager: &str, fields: Value| {
            let author = Author { manager, part: "", time: "t3" };
            owner(&both, &changes(fields), "v1", &author)
        };
        assert_eq!(find("a", json!({"f:data": {"f:x": {}}})), Some(0));
        assert_eq!(find("b", json!({"f:data": {"f:y": {}}})), Some(1));
        assert_eq!(find("b", json!({"f:data": {"f:x": {}}})), None, "it is another's");
        assert_eq!(find("a", json!({"f:data": {"f:x": {}, "f:y": {}}})), None, "some is another's");
        assert_eq!(find("a", json!({"f:data": {"f:z": {}}})), None, "it is nobody's");
        assert_eq!(find("a", json!({})), None, "nothing has changed");
        let touched = touch(both, 0, "t3");
        assert_eq!((&touched[0]["manager"], &touched[1]["time"]), (&"b".into(), &"t3".into()), "the later one is last");
    }
}
