//! LimitRanger: what a container asks for when it does not say, and how much a container, a pod or a claim may ask for.

use super::{Admitted, Attributes, Operation, Plugin, built_in, known, later};
use crate::registry::object::{metadata_mut, object_at};
use crate::status::Status;
use serde_json::{Map, Value};
use skiff_proto::quantity::Quantity;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "LimitRanger",
    handles: &[Operation::Create, Operation::Update],
    mutate: Some(fill_in),
    validate: Some(check),
};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Gives a new pod what its namespace says. The defaults have made a container's requests of its limits before.
fn fill_in<'a>(seen: &'a Attributes<'a>, pod: &'a mut Value) -> Admitted<'a> {
    if !seen.is_about("", "pods") || seen.operation != Operation::Create || !pod["spec"].is_object() {
        return known(Ok(()));
    }
    later(async move {
        for range in ranges(seen).await? {
            merge_into(items(&range["spec"]["limits"]), pod);
        }
        Ok(())
    })
}

/// Refuses a pod or a claim that asks for too little or too much. What a pod asks for does not change.
fn check<'a>(seen: &'a Attributes<'a>, object: &'a Value) -> Admitted<'a> {
    let leaving = seen.old.is_some_and(|old| !old["metadata"]["deletionTimestamp"].is_null());
    let broken_by = match () {
        () if seen.is_about("", "pods") && seen.operation == Operation::Create => broken_by_pod,
        () if seen.is_about("", "persistentvolumeclaims") && !leaving => broken_by_claim,
        () => return known(Ok(())),
    };
    later(async move {
        for range in ranges(seen).await? {
            let broken = broken_by(items(&range["spec"]["limits"]), &object["spec"]);
            match &broken[..] {
                [] => {}
                [one] => return Err(seen.forbidden(one)),
                several => return Err(seen.forbidden(&format!("[{}]", several.join(", ")))),
            }
        }
        Ok(())
    })
}

async fn ranges(seen: &Attributes<'_>) -> Result<Vec<Arc<Value>>, Status> {
    seen.stored.list(built_in("", "limitranges")?, &seen.request.namespace).await
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn of_type<'a>(limits: &'a [Value], name: &'static str) -> impl Iterator<Item = &'a Value> {
    limits.iter().filter(move |limit| limit["type"] == name)
}

/// Gives containers what they do not ask for themselves, and says so in an annotation.
fn merge_into(limits: &[Value], pod: &mut Value) {
    let mut told = Vec::new();
    for (field, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod["spec"][field].as_array_mut().into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            for (kind, from, word) in [("requests", "defaultRequest", "request"), ("limits", "default", "limit")] {
                let set = merge(of_type(limits, "Container").map(|limit| &limit[from]), container, kind);
                if !set.is_empty() {
                    told.push(format!("{} {word} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        let text = format!("LimitRanger plugin set: {}", told.join("; "));
        let annotations = metadata_mut(pod).entry("annotations").or_insert_with(|| Value::Object(Map::new()));
        annotations[ANNOTATION] = text.into();
    }
}

/// Sets the amounts that are missing, and names them.
fn merge<'a>(defaults: impl Iterator<Item = &'a Value>, container: &mut Value, kind: &str) -> Vec<String> {
    let mut amounts = BTreeMap::new();
    for (resource, amount) in defaults.filter_map(Value::as_object).flatten() {
        amounts.insert(resource.clone(), amount.clone());
    }
    amounts.retain(|resource, _| container["resources"][kind][resource].is_null());
    if !amounts.is_empty() {
        object_at(container, "resources");
        object_at(&mut container["resources"], kind).extend(amounts.clone());
    }
    amounts.into_keys().collect()
}

type Amounts = BTreeMap<String, Quantity>;

fn amounts(list: &Value) -> Amounts {
    let read = |(name, amount): (&String, &Value)| Some((name.clone(), Quantity::parse(amount.as_str()?).ok()?));
    list.as_object().into_iter().flatten().filter_map(read).collect()
}

/// What is asked for, by a container or a pod.
#[derive(Debug, Clone, Default)]
struct Asked {
    requests: Amounts,
    limits: Amounts,
}

impl Asked {
    fn of(resources: &Value) -> Self {
        Self { requests: amounts(&resources["requests"]), limits: amounts(&resources["limits"]) }
    }

    fn join(&mut self, other: &Self, how: fn(Quantity, Quantity) -> Quantity) {
        for (all, more) in [(&mut self.requests, &other.requests), (&mut self.limits, &other.limits)] {
            for (name, amount) in more {
                all.entry(name.clone()).and_modify(|it| *it = how(*it, *amount)).or_insert(*amount);
            }
        }
    }

    /// A pod needs the sum of its containers, or what one of the containers before them needs if that is more; those of them
    /// that stay need it all along.
    fn of_pod(spec: &Value) -> Self {
        let sum = |one: Quantity, other| one.plus(other);
        let most = |one: Quantity, other: Quantity| if other.nanos() > one.nanos() { other } else { one };
        let (mut all, mut staying, mut before) = (Self::default(), Self::default(), Self::default());
        for container in items(&spec["containers"]) {
            all.join(&Self::of(&container["resources"]), sum);
        }
        for container in items(&spec["initContainers"]) {
            let mut own = Self::of(&container["resources"]);
            if container["restartPolicy"] == "Always" {
                all.join(&own, sum);
                staying.join(&own, sum);
                own = staying.clone();
            } else {
                own.join(&staying, sum);
            }
            before.join(&own, most);
        }
        all.join(&before, most);
        let said = Self::of(&spec["resources"]);
        all.requests.extend(said.requests);
        all.limits.extend(said.limits);
        all
    }
}

fn broken_by_pod(limits: &[Value], spec: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    for limit in limits {
        if limit["type"] == "Container" {
            for container in ["containers", "initContainers"].iter().flat_map(|field| items(&spec[field])) {
                broken_by(limit, &Asked::of(&container["resources"]), &mut broken);
            }
        } else if limit["type"] == "Pod" {
            broken_by(limit, &Asked::of_pod(spec), &mut broken);
        }
    }
    broken
}

fn broken_by(limit: &Value, asked: &Asked, broken: &mut Vec<String>) {
    let what = limit["type"].as_str().unwrap_or_default();
    for (name, least) in amounts(&limit["min"]) {
        broken.extend(too_little(what, &name, least, asked));
    }
    for (name, most) in amounts(&limit["max"]) {
        broken.extend(too_much(what, &name, most, asked));
    }
    for (name, most) in amounts(&limit["maxLimitRequestRatio"]) {
        broken.extend(too_far_apart(what, &name, most, asked));
    }
}

/// A claim has no limits of its own.
fn broken_by_claim(limits: &[Value], spec: &Value) -> Vec<String> {
    let (requests, mut broken) = (amounts(&spec["resources"]["requests"]), Vec::new());
    for limit in of_type(limits, "PersistentVolumeClaim") {
        let what = "PersistentVolumeClaim";
        let asked = Asked { requests: requests.clone(), limits: Amounts::new() };
        for (name, least) in amounts(&limit["min"]) {
            broken.extend(too_little(what, &name, least, &asked));
        }
        for (name, most) in amounts(&limit["max"]) {
            // Measured like a limit, said of the request.
            let said = format!("maximum {name} usage per {what} is {}", most.canonical());
            match requests.get(&name) {
                None => broken.push(format!("{said}.  No request is specified")),
                Some(it) if it.nanos() > most.nanos() => {
                    broken.push(format!("{said}, but request is {}", it.canonical()))
                }
                Some(_) => {}
            }
        }
    }
    broken
}

fn too_little(what: &str, name: &str, least: Quantity, asked: &Asked) -> Option<String> {
    let said = format!("minimum {name} usage per {what} is {}", least.canonical());
    match (asked.requests.get(name), asked.limits.get(name)) {
        (None, _) => Some(format!("{said}.  No request is specified")),
        (Some(it), _) if it.nanos() < least.nanos() => Some(format!("{said}, but request is {}", it.canonical())),
        (_, Some(it)) if it.nanos() < least.nanos() => Some(format!("{said}, but limit is {}", it.canonical())),
        _ => None,
    }
}

fn too_much(what: &str, name: &str, most: Quantity, asked: &Asked) -> Option<String> {
    let said = format!("maximum {name} usage per {what} is {}", most.canonical());
    match (asked.requests.get(name), asked.limits.get(name)) {
        (_, None) => Some(format!("{said}.  No limit is specified")),
        (_, Some(it)) if it.nanos() > most.nanos() => Some(format!("{said}, but limit is {}", it.canonical())),
        (Some(it), _) if it.nanos() > most.nanos() => Some(format!("{said}, but request is {}", it.canonical())),
        _ => None,
    }
}

fn too_far_apart(what: &str, name: &str, most: Quantity, asked: &Asked) -> Option<String> {
    let said = format!("{name} max limit to request ratio per {what} is {}", most.canonical());
    let some = |amounts: &Amounts| amounts.get(name).map(|it| it.nanos()).filter(|nanos| *nanos != 0);
    let Some(request) = some(&asked.requests) else {
        return Some(format!("{said}, but no request is specified or request is 0"));
    };
    let Some(limit) = some(&asked.limits) else {
        return Some(format!("{said}, but no limit is specified or limit is 0"));
    };
    let ratio = limit as f64 / request as f64;
    (ratio * 1e9 > most.nanos() as f64).then(|| format!("{said}, but provided ratio is {ratio:.6}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Shelf, play};
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn a_pod_is_filled_in_then_measured() {
        let range = json!({"metadata": {"name": "l"}, "spec": {"limits": limits()}});
        let shelf = Shelf::default().with("limitranges", "a", range);
        let pod = |cpu: Value| {
            json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "c", "resources": {"limits": {"cpu": cpu}}}]}})
        };
        let made = play(&PLUGIN, &shelf, (Operation::Create, "pods"), None, pod(Value::Null)).await.expect("fits").0;
        assert_eq!(made["spec"]["containers"][0]["resources"]["requests"], json!({"cpu": "100m"}));
        let refused = play(&PLUGIN, &shelf, (Operation::Create, "pods"), None, pod("2".into())).await;
        let said = refused.expect_err("too much").message;
        assert!(
            said.starts_with("pods \"p\" is forbidden: [maximum cpu usage per Container is 1, but limit is 2"),
            "{said}"
        );
        play(&PLUGIN, &shelf, (Operation::Update, "pods"), Some(&made), pod("2".into()))
            .await
            .expect("not asked again");
    }

    fn limits() -> Value {
        json!([{"type": "Container", "default": {"cpu": "500m", "memory": "500Mi"}, "defaultRequest": {"cpu": "100m"},
            "min": {"cpu": "50m"}, "max": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "5"}}])
    }

    #[test]
    fn containers_get_what_they_do_not_say() {
        let said = json!({"limits": {"memory": "1Gi"}, "requests": {"cpu": "300m"}});
        let mut pod = json!({"metadata": {}, "spec": {
            "containers": [{"name": "a"}, {"name": "b", "resources": said}], "initContainers": [{"name": "i"}]}});
        merge_into(items(&limits()), &mut pod);
        let filled = json!({"limits": {"cpu": "500m", "memory": "500Mi"}, "requests": {"cpu": "100m"}});
        assert_eq!(pod["spec"]["containers"][0]["resources"], filled);
        assert_eq!(pod["spec"]["initContainers"][0]["resources"], filled);
        let merged = json!({"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "300m"}});
        assert_eq!(pod["spec"]["containers"][1]["resources"], merged);
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a; cpu limit for container \
             b; cpu request for init container i; cpu, memory limit for init container i"
        );
    }

    #[test]
    fn amounts_outside_the_limits_are_told() {
        let broken = |requests: &str, limits_: &str| {
            let resources = json!({"requests": {"cpu": requests}, "limits": {"cpu": limits_}});
            broken_by_pod(items(&limits()), &json!({"containers": [{"resources": resources}]}))
        };
        assert!(broken("100m", "500m").is_empty());
        assert_eq!(broken("10m", "50m"), ["minimum cpu usage per Container is 50m, but request is 10m"]);
        assert_eq!(broken("1", "2"), ["maximum cpu usage per Container is 1, but limit is 2"]);
        let far = "cpu max limit to request ratio per Container is 5, but provided ratio is 6.000000";
        assert_eq!(broken("100m", "600m"), [far]);
        let nothing = broken_by_pod(items(&limits()), &json!({"containers": [{}]}));
        assert_eq!(nothing.len(), 3, "{nothing:?}");
    }

    #[test]
    fn a_pod_asks_for_its_containers_together_or_for_the_largest_before_them() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let mut stays = container("100m");
        stays["restartPolicy"] = "Always".into();
        let spec =
            json!({"containers": [container("1"), container("500m")], "initContainers": [stays, container("2")]});
        assert_eq!(Asked::of_pod(&spec).requests["cpu"].canonical(), "2100m");
        let spec = json!({"containers": [container("1"), container("500m")], "initContainers": [container("1")]});
        assert_eq!(Asked::of_pod(&spec).requests["cpu"].canonical(), "1500m");
    }

    #[test]
    fn claims_ask_for_storage() {
        let limits = json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]);
        let broken =
            |storage: &str| broken_by_claim(items(&limits), &json!({"resources": {"requests": {"storage": storage}}}));
        assert!(broken("1Gi").is_empty());
        assert_eq!(broken("3Gi"), ["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]);
        assert_eq!(broken("1Mi"), ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"]);
    }
}
