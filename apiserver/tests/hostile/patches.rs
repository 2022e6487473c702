//! Patches that ask for much more than they are.

use super::{MAPS, Sent, lives, refused};
use crate::common::World;
use serde_json::{Value, json};

const OPERATIONS: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn patch(what: &str, kind: &str, body: impl Into<Vec<u8>>) -> Sent {
    Sent::new(what, "PATCH", &format!("{MAPS}/m"), kind, body)
}

fn applied(what: &str, body: &str) -> Sent {
    Sent::new(what, "PATCH", &format!("{MAPS}/m?fieldManager=m"), APPLY, body)
}

#[tokio::test]
async fn a_patch_costs_what_it_is() {
    let world = World::new().await;
    world.must("POST", MAPS, &json!({"metadata": {"name": "m"}, "data": {"a": "x".repeat(100_000)}})).await;
    let list = |operation: Value, times: usize| json!(vec![operation; times]).to_string();
    let doubling: Vec<Value> =
        (0..60).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/{n}")})).collect();
    let add = json!({"op": "add", "path": "/data/b", "value": "c"});
    let cases = [
        (patch("copies of copies", OPERATIONS, json!(doubling).to_string()), vec![422], 3_000),
        (patch("too many operations", OPERATIONS, list(add, 10_001)), vec![413], 40),
        (
            patch(
                "a path of a megabyte",
                OPERATIONS,
                list(json!({"op": "add", "path": "/a".repeat(500_000), "value": 1}), 1),
            ),
            vec![400, 422],
            80,
        ),
        (patch("no list", OPERATIONS, "{}"), vec![400], 0),
        (
            patch("operations that are none", OPERATIONS, list(json!({"op": "steal", "path": "/"}), 5_000)),
            vec![400, 422],
            40,
        ),
        (patch("a deep merge", MERGE, format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000))), vec![400], 40),
        (
            patch(
                "a deep strategic merge",
                STRATEGIC,
                format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)),
            ),
            vec![400],
            40,
        ),
        (patch("a merge that is a list", MERGE, "[1]"), vec![400], 0),
        (patch("a strategic merge that is text", STRATEGIC, "\"x\""), vec![400], 0),
        (
            patch("an unknown directive", STRATEGIC, json!({"metadata": {"$patch": "explode"}}).to_string()),
            vec![400, 422, 500],
            3_000,
        ),
        (applied("nothing applied", ""), vec![400], 0),
        (applied("a list applied", "[]"), vec![400], 0),
    ];
    for (sent, codes, times) in &cases {
        refused(&world, sent, codes, *times).await;
    }
    lives(&world).await;
}

/// Ten thousand elements with a key each, patched by ten thousand others: no search of one list for each element of the other.
#[tokio::test]
async fn lists_with_keys_are_merged_at_the_cost_of_both() {
    let world = World::new().await;
    let ports = |from: usize, count: usize| -> Vec<Value> {
        (from..from + count).map(|n| json!({"name": format!("e{n}"), "value": "v"})).collect()
    };
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "env": ports(0, 5_000)}]}});
    world.must("POST", PODS, &pod).await;
    let change = json!({"spec": {"containers": [{"name": "c", "env": ports(2_500, 5_000)}]}}).to_string();
    let sent = Sent::new("ten thousand keys", "PATCH", &format!("{PODS}/p"), STRATEGIC, change);
    // A pod's environment cannot be changed, which is found out after the merge.
    refused(&world, &sent, &[422], 1_200).await;
    lives(&world).await;
}
