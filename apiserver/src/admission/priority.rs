//! Priority: a pod has the number of its class, or that of the class which is the default of all.

use super::{Admitted, Attributes, Operation, Plugin, built_in, known, later};
use crate::registry::Target;
use crate::status::Status;
use serde_json::{Map, Value};

pub(super) const PLUGIN: Plugin =
    Plugin { name: "Priority", handles: &[Operation::Create, Operation::Update], mutate: Some(admit), validate: None };

/// What a pod may do to others that says nothing and has no class.
const PREEMPTION: &str = "PreemptLowerPriority";

fn admit<'a>(seen: &'a Attributes<'a>, pod: &'a mut Value) -> Admitted<'a> {
    let spec = pod.get_mut("spec").and_then(Value::as_object_mut);
    let Some(spec) = spec.filter(|_| seen.is_about("", "pods")) else { return known(Ok(())) };
    match seen.old {
        Some(old) => {
            keep(&old["spec"], spec);
            known(Ok(()))
        }
        None => later(set(seen, spec)),
    }
}

/// An update by a client that keeps a manifest of its own, without what was added when the pod was made.
fn keep(old: &Value, spec: &mut Map<String, Value>) {
    for field in ["priority", "preemptionPolicy"] {
        if spec.get(field).is_none_or(Value::is_null) && !old[field].is_null() {
            spec.insert(field.to_owned(), old[field].clone());
        }
    }
}

/// What a class says.
struct Class {
    name: String,
    value: i64,
    preemption: Option<String>,
}

impl Class {
    fn of(class: &Value) -> Self {
        Self {
            name: class["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            value: class["value"].as_i64().unwrap_or(0),
            preemption: class["preemptionPolicy"].as_str().map(str::to_owned),
        }
    }
}

async fn set(seen: &Attributes<'_>, spec: &mut Map<String, Value>) -> Result<(), Status> {
    let name = spec.get("priorityClassName").and_then(Value::as_str).unwrap_or_default();
    let class = if name.is_empty() { default_class(seen).await? } else { class(seen, name).await? };
    let from = "priority admission controller computed";
    if let Some(said) = spec.get("priority").and_then(Value::as_i64).filter(|said| *said != class.value) {
        return Err(seen.forbidden(&format!(
            "the integer value of priority ({said}) must not be provided in pod spec; {from} {} from the given PriorityClass name",
            class.value
        )));
    }
    spec.insert("priority".to_owned(), class.value.into());
    if !class.name.is_empty() {
        spec.insert("priorityClassName".to_owned(), class.name.into());
    }
    let Some(preemption) = class.preemption else { return Ok(()) };
    let said = spec.get("preemptionPolicy").and_then(Value::as_str).filter(|said| *said != preemption);
    if let Some(said) = said {
        return Err(seen.forbidden(&format!(
            "the string value of PreemptionPolicy ({said}) must not be provided in pod spec; {from} {preemption} from the given \
             PriorityClass name"
        )));
    }
    spec.insert("preemptionPolicy".to_owned(), preemption.into());
    Ok(())
}

async fn class(seen: &Attributes<'_>, name: &str) -> Result<Class, Status> {
    let target = Target { resource: built_in("scheduling.k8s.io", "priorityclasses")?, namespace: "", name };
    match seen.stored.get(target).await {
        Ok(class) => Ok(Class::of(&class)),
        Err(status) if status.reason == "NotFound" => {
            Err(seen.forbidden(&format!("no PriorityClass with name {name} was found")))
        }
        Err(status) => Err(status),
    }
}

/// The lowest of those that are the default of all: there should be one at most.
async fn default_class(seen: &Attributes<'_>) -> Result<Class, Status> {
    let all = seen.stored.list(built_in("scheduling.k8s.io", "priorityclasses")?, "").await?;
    let defaults = all.iter().filter(|class| class["globalDefault"] == true);
    let lowest = defaults.map(|class| Class::of(class)).min_by_key(|class| class.value);
    let none = || Class { name: String::new(), value: 0, preemption: Some(PREEMPTION.to_owned()) };
    Ok(lowest.unwrap_or_else(none))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shelf, play};
    use super::*;
    use serde_json::json;

    async fn admitted(shelf: &Shelf, spec: Value) -> Result<Value, String> {
        let pod = json!({"metadata": {"name": "p"}, "spec": spec});
        let outcome = play(&PLUGIN, shelf, (Operation::Create, "pods"), None, pod).await;
        outcome.map(|(pod, _)| pod["spec"].clone()).map_err(|status| status.message)
    }

    #[tokio::test]
    async fn a_pod_has_the_number_of_its_class() {
        let high = json!({"metadata": {"name": "high"}, "value": 9, "preemptionPolicy": "Never"});
        let shelf = Shelf::default().with("priorityclasses", "", high);
        let none = json!({"priority": 0, "preemptionPolicy": PREEMPTION});
        assert_eq!(admitted(&shelf, json!({})).await, Ok(none));
        let of_high = json!({"priorityClassName": "high", "priority": 9, "preemptionPolicy": "Never"});
        assert_eq!(admitted(&shelf, json!({"priorityClassName": "high"})).await, Ok(of_high.clone()));
        assert_eq!(admitted(&shelf, of_high).await.map(|spec| spec["priority"].clone()), Ok(9.into()));
        for (spec, why) in [
            (json!({"priorityClassName": "x"}), "no PriorityClass with name x was found"),
            (json!({"priority": 5}), "the integer value of priority (5) must not be provided in pod spec"),
            (
                json!({"priorityClassName": "high", "preemptionPolicy": PREEMPTION}),
                "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec",
            ),
        ] {
            let refused = admitted(&shelf, spec).await.expect_err(why);
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[tokio::test]
    async fn one_class_is_the_default_of_all() {
        let class = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value, "globalDefault": true});
        let shelf = Shelf::default().with("priorityclasses", "", class("much", 9));
        let shelf = shelf.with("priorityclasses", "", class("some", 3));
        let spec = admitted(&shelf, json!({})).await.expect("admitted");
        assert_eq!(spec, json!({"priorityClassName": "some", "priority": 3}));
    }

    /// Fault N29: an update with the client's own manifest changes nothing of what the server added.
    #[tokio::test]
    async fn an_update_without_what_was_added_keeps_it() {
        let old = json!({"metadata": {"name": "p"}, "spec": {"priority": 0, "preemptionPolicy": PREEMPTION}});
        let pod = json!({"metadata": {"name": "p"}, "spec": {}});
        let update = (Operation::Update, "pods");
        let (pod, _) = play(&PLUGIN, &Shelf::default(), update, Some(&old), pod).await.expect("admitted");
        assert_eq!(pod, old);
    }
}
