//! Application to `scale`, a part with a form of its own. Who owns the replicas there owns a field of the object, and the other way round.

use super::fields::Set;
use super::managers::Managers;
use super::{Applied, ApplyError, Author, apply, manager_of, path};
use crate::{Resource, find_auxiliary};
use serde_json::Value;

/// The kind of the part.
const SCALE: (&str, &str) = ("autoscaling/v1", "Scale");

/// What `config`, applied by `author` to the scale of `live`, makes of that scale, which is `scale` now. The managed fields are those of
/// the object.
///
/// # Errors
/// As [`apply`].
pub fn apply_scale(
    resource: &Resource,
    live: &Value,
    scale: &Value,
    config: &Value,
    author: &Author<'_>,
    force: bool,
) -> Result<Applied, ApplyError> {
    let unreadable = |why| ApplyError::Failed(format!("failed to decode managed fields: {why}"));
    let part = find_auxiliary(SCALE.0, SCALE.1);
    let part = part.ok_or_else(|| ApplyError::Failed("there is no kind Scale".to_owned()))?;
    let replicas = path(&resource.replicas_path());
    let managers = Managers::parse(&live["metadata"]["managedFields"]).map_err(unreadable)?;
    let mut shown = scale.clone();
    if let Some(managers) = seen(&managers, &replicas).into_json() {
        shown["metadata"]["managedFields"] = managers;
    }
    let applied = apply(part, Some(&shown), config, author, force)?;
    let after = Managers::parse(&applied.managed_fields.unwrap_or_default()).map_err(unreadable)?;
    let managers = merged(resource, managers, after, &replicas, author);
    Ok(Applied { object: applied.object, managed_fields: managers.into_json() })
}

fn wanted() -> Set {
    path(&["spec", "replicas"])
}

fn owns(fields: &Set, replicas: &Set) -> bool {
    !fields.intersection(replicas).is_empty()
}

/// The owners of the object's replicas, as owners of the scale's.
fn seen(managers: &Managers, replicas: &Set) -> Managers {
    let owners = managers.0.iter().filter(|manager| owns(&manager.fields, replicas)).cloned();
    let owners = owners.map(|mut manager| {
        manager.api_version = SCALE.0.to_owned();
        manager.fields = wanted();
        manager
    });
    Managers(owners.collect())
}

/// The owners of the object after its scale has the owners `after`.
fn merged(
    resource: &Resource,
    mut managers: Managers,
    mut after: Managers,
    replicas: &Set,
    author: &Author<'_>,
) -> Managers {
    after.0.retain(|manager| owns(&manager.fields, &wanted()));
    for manager in managers.0.iter_mut().filter(|manager| owns(&manager.fields, replicas)) {
        let still = after
            .0
            .iter()
            .position(|it| it.name == manager.name && it.applied == manager.applied && it.part == manager.part);
        match still {
            Some(at) => drop(after.0.remove(at)),
            None => manager.fields = manager.fields.difference(replicas),
        }
    }
    let own = manager_of(resource, author, true);
    managers.0.extend(after.0.into_iter().map(|mut manager| {
        manager.api_version.clone_from(&own.api_version);
        manager.fields = replicas.clone();
        manager
    }));
    managers.drop_empty();
    managers
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn author<'a>(manager: &'a str, part: &'a str) -> Author<'a> {
        Author { manager, part, time: "2026-01-01T00:00:00Z" }
    }

    #[test]
    fn replicas_have_one_owner_in_both() {
        let resource = crate::find("apps", "v1", "deployments").expect("served");
        let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {"replicas": 2, "paused": true}});
        let made = apply(resource, None, &config, &author("maker", ""), false).expect("applied");
        let mut live = made.object;
        live["metadata"]["managedFields"] = made.managed_fields.expect("owned");
        let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 2}});
        let mut more = scale.clone();
        more["spec"]["replicas"] = 5.into();
        let scaler = author("scaler", "scale");
        let refused = apply_scale(resource, &live, &scale, &more, &scaler, false);
        let Err(ApplyError::Conflict { message, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(message, "Apply failed with 1 conflict: conflict with \"maker\": .spec.replicas");
        // The same number is no conflict: both own it.
        let shared = apply_scale(resource, &live, &scale, &scale, &scaler, false).expect("applied");
        let owners = |applied: &Applied| -> Vec<(String, String, Value)> {
            let entries = applied.managed_fields.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
            let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            entries
                .iter()
                .map(|it| (text(it, "manager"), text(it, "subresource"), it["fieldsV1"]["f:spec"].clone()))
                .collect()
        };
        let (replicas, both) = (json!({"f:replicas": {}}), json!({"f:paused": {}, "f:replicas": {}}));
        let of = |name: &str, part: &str, fields: &Value| (name.to_owned(), part.to_owned(), fields.clone());
        assert_eq!(owners(&shared), [of("maker", "", &both), of("scaler", "scale", &replicas)]);
        let taken = apply_scale(resource, &live, &scale, &more, &scaler, true).expect("applied");
        assert_eq!(taken.object["spec"]["replicas"], 5);
        assert_eq!(owners(&taken), [of("maker", "", &json!({"f:paused": {}})), of("scaler", "scale", &replicas)]);
        let entry = &taken.managed_fields.as_ref().expect("owned")[1];
        assert_eq!((&entry["apiVersion"], &entry["operation"]), (&json!("apps/v1"), &json!("Apply")));
    }
}
