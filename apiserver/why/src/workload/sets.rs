//! Deployments, replica sets, stateful sets and daemon sets.

use super::{is_owned, of_pods, pods_of, refused, unseen};
use crate::answer::{Answer, Finding};
use crate::facts::Facts;
use crate::look::{condition, is_true, list, name, number, pairs, shown, text};
use crate::paths;
use crate::pod;
use crate::words::{for_so_long, sentence};
use serde_json::Value;

fn at(object: &Value, pointer: &str) -> i64 {
    number(object, pointer).unwrap_or(0)
}

fn wanted(object: &Value) -> i64 {
    number(object, "/spec/replicas").unwrap_or(1)
}

/// A deployment.
pub(super) fn deployment(facts: &Facts, object: &Value, about: String) -> Answer {
    let (wanted, updated, available) =
        (wanted(object), at(object, "/status/updatedReplicas"), at(object, "/status/availableReplicas"));
    let summary = format!("{available} of {wanted} pods are available, {updated} of the newest template.");
    let mut found: Vec<Finding> = unseen(object, &about).into_iter().collect();
    let done =
        found.is_empty() && updated >= wanted && available >= wanted && at(object, "/status/replicas") <= updated;
    if done {
        return Answer::new(about, summary, true);
    }
    if is_true(object, "/spec/paused") {
        let cause = "It is paused: its controller changes nothing.";
        found.push(Finding::new("Paused", &about, cause).advice(format!(
            "kubectl rollout resume deployment/{} -n {}",
            name(object),
            text(object, "/metadata/namespace")
        )));
    }
    let sets =
        facts.list(&paths::of_group("apps/v1", text(object, "/metadata/namespace"), "replicasets")).unwrap_or_default();
    let newest = sets.iter().filter(|set| is_owned(set, object)).max_by_key(|set| revision(set));
    let Some(newest) = newest else {
        if found.is_empty() {
            found.push(
                Finding::new(
                    "NoReplicaSet",
                    &about,
                    "It has no replica set yet: its controller does not run or is behind.",
                )
                .advice("See whether the controllers run, and what they log."),
            );
        }
        return Answer::new(about, summary, false).with(found);
    };
    found.push(stuck(facts, object, newest, &about));
    found.extend(refused(
        facts,
        newest,
        &format!("replicaset {}/{}", text(newest, "/metadata/namespace"), name(newest)),
    ));
    let pods = pods_of(facts, newest);
    found.extend(of_pods(facts, &pods));
    let old: Vec<_> = sets
        .iter()
        .filter(|set| is_owned(set, object) && name(set) != name(newest))
        .flat_map(|set| pods_of(facts, set))
        .collect();
    let leaving: Vec<_> = old.into_iter().filter(|pod| !text(pod, "/metadata/deletionTimestamp").is_empty()).collect();
    found.extend(of_pods(facts, &leaving));
    Answer::new(about, summary, false).with(found)
}

fn revision(set: &Value) -> i64 {
    let all = pairs(set, "/metadata/annotations");
    all.iter()
        .find(|(key, _)| *key == "deployment.kubernetes.io/revision")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0)
}

/// Where a rollout stands, and what it may do.
fn stuck(facts: &Facts, object: &Value, newest: &Value, about: &str) -> Finding {
    let (made, available, wanted) =
        (at(newest, "/status/replicas"), at(newest, "/status/availableReplicas"), wanted(object));
    let age = for_so_long(facts.now, text(newest, "/metadata/creationTimestamp"));
    let cause = format!(
        "Its newest replica set {} has {made} of {wanted} pods, {available} of them available{age}.",
        name(newest)
    );
    let strategy = text(object, "/spec/strategy/type");
    let part = |field: &str| {
        object.pointer(&format!("/spec/strategy/rollingUpdate/{field}")).map_or_else(|| "25%".to_owned(), shown)
    };
    let rules = match strategy {
        "Recreate" => "It replaces pods by Recreate: new ones come when all old ones are gone.".to_owned(),
        _ => format!(
            "It may have {} pods more (maxSurge) and {} fewer (maxUnavailable) than it wants, and has {} in all.",
            part("maxSurge"),
            part("maxUnavailable"),
            at(object, "/status/replicas")
        ),
    };
    let of = |kind: &str, status: &str| condition(object, kind).filter(|one| one["status"] == status);
    let late = of("Progressing", "False")
        .map(|one| format!("It has stopped waiting ({}): {}", text(one, "/reason"), sentence(text(one, "/message"))));
    let failure = of("ReplicaFailure", "True")
        .map(|one| format!("Pods cannot be made ({}): {}", text(one, "/reason"), sentence(text(one, "/message"))));
    Finding::new("RolloutStuck", about, cause).facts(late).facts(failure).fact(rules)
}

/// A replica set or replication controller.
pub(super) fn replica_set(facts: &Facts, object: &Value, about: String) -> Answer {
    let (wanted, made, available) =
        (wanted(object), at(object, "/status/replicas"), at(object, "/status/availableReplicas"));
    let summary = format!("{made} of {wanted} pods, {available} of them available.");
    let mut found: Vec<Finding> = unseen(object, &about).into_iter().collect();
    let well = found.is_empty() && available >= wanted && made == wanted;
    if !well {
        found.extend(refused(facts, object, &about).filter(|_| made < wanted));
        found.extend(of_pods(facts, &pods_of(facts, object)));
    }
    Answer::new(about, summary, well).with(found)
}

/// A stateful set: one pod after the other, unless it says otherwise.
pub(super) fn stateful_set(facts: &Facts, object: &Value, about: String) -> Answer {
    let (wanted, ready, updated) =
        (wanted(object), at(object, "/status/readyReplicas"), at(object, "/status/updatedReplicas"));
    let partition = at(object, "/spec/updateStrategy/rollingUpdate/partition");
    let summary = format!("{ready} of {wanted} pods are ready, {updated} of the newest template.");
    let mut found: Vec<Finding> = unseen(object, &about).into_iter().collect();
    let by_hand = text(object, "/spec/updateStrategy/type") == "OnDelete";
    let current = by_hand
        || text(object, "/status/updateRevision") == text(object, "/status/currentRevision")
        || updated >= wanted - partition;
    let well = found.is_empty() && ready >= wanted && current;
    if well {
        return Answer::new(about, summary, true);
    }
    let mut pods = pods_of(facts, object);
    pods.sort_by_key(|pod| name(pod).rsplit('-').next().and_then(|number| number.parse::<i64>().ok()));
    let first = pods.iter().copied().find(|pod| !pod::is_well(pod));
    if let Some(first) = first.filter(|_| text(object, "/spec/podManagementPolicy") != "Parallel") {
        let cause = format!(
            "It makes and replaces its pods one after the other (OrderedReady), and pod {} is not ready: the others wait for it.",
            name(first)
        );
        found.push(
            Finding::new("WaitsForPod", &about, cause)
                .advice("Mend that pod; one of an old template that cannot become ready has to be deleted by hand."),
        );
    }
    found.extend(refused(facts, object, &about));
    found.extend(of_pods(facts, &pods));
    Answer::new(about, summary, false).with(found)
}

/// A daemon set: a pod on every node that it is for.
pub(super) fn daemon_set(facts: &Facts, object: &Value, about: String) -> Answer {
    let (wanted, ready) = (at(object, "/status/desiredNumberScheduled"), at(object, "/status/numberReady"));
    let summary = format!("{ready} of {wanted} pods are ready, one for each node that it is for.");
    let mut found: Vec<Finding> = unseen(object, &about).into_iter().collect();
    if found.is_empty() && wanted == 0 {
        let selector: Vec<_> = pairs(object, "/spec/template/spec/nodeSelector")
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let selector = if selector.is_empty() {
            "its affinity and tolerations".to_owned()
        } else {
            format!("its node selector {}", selector.join(","))
        };
        let nodes = facts.list(&paths::all("nodes")).map_or(0, <[Value]>::len);
        let cause =
            format!("It is for none of the {nodes} nodes: {selector} and the nodes' labels and taints do not meet.");
        found.push(
            Finding::new("NoNodeFits", &about, cause)
                .advice("Label a node, or change nodeSelector or tolerations of the template."),
        );
    }
    let well = found.is_empty() && ready >= wanted;
    if !well && wanted > 0 {
        found.extend(refused(facts, object, &about));
        found.extend(of_pods(facts, &pods_of(facts, object)));
    }
    let wrong = at(object, "/status/numberMisscheduled");
    let more = if wrong > 0 { format!(" {wrong} run where they should not.") } else { String::new() };
    let lists = list(object, "/status/conditions");
    Answer::new(about, summary + &more, well && lists.iter().all(|one| one["status"] != "False")).with(found)
}
