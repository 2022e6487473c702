//! ResourceQuota admission: no two writes get the same rest, and what is not stored is not charged.

mod common;

use common::World;
use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";

/// A world with a quota, counted as the controller does it.
async fn limited(name: &str, hard: &Value) -> World {
    let world = World::new().await;
    add(&world, name, hard).await;
    world
}

async fn add(world: &World, name: &str, hard: &Value) {
    let quota =
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}});
    let mut quota = world.must("POST", QUOTAS, &quota).await;
    let used: serde_json::Map<String, Value> =
        hard.as_object().expect("an object").keys().map(|key| (key.clone(), "0".into())).collect();
    quota["status"] = json!({"hard": hard, "used": used});
    world.must("PUT", &format!("{QUOTAS}/{name}/status"), &quota).await;
}

fn map(name: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}).to_string()
}

async fn used(world: &World, quota: &str) -> Value {
    world.get(&format!("{QUOTAS}/{quota}")).await.1["status"]["used"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_share_what_there_is() {
    let world = limited("q", &json!({"configmaps": "10"})).await;
    let made = join_all((0..64).map(|number| {
        let world = &world;
        async move { world.ask("POST", MAPS, JSON, &map(&format!("m{number}"))).await }
    }))
    .await;
    let count = |code: StatusCode| made.iter().filter(|(answer, _)| *answer == code).count();
    assert_eq!((count(StatusCode::CREATED), count(StatusCode::FORBIDDEN)), (10, 54));
    assert_eq!(used(&world, "q").await, json!({"configmaps": "10"}));
    let refused = made.iter().find(|(code, _)| *code == StatusCode::FORBIDDEN).map(|(_, body)| &body["message"]);
    let refused = refused.and_then(Value::as_str).expect("a message");
    assert!(
        refused.ends_with(
            "is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=10, limited: configmaps=10"
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn what_is_not_stored_is_not_charged() {
    let world = limited("q", &json!({"count/configmaps": "5"})).await;
    let dry = world.ask("POST", &format!("{MAPS}?dryRun=All"), JSON, &map("a")).await;
    assert_eq!((dry.0, used(&world, "q").await), (StatusCode::CREATED, json!({"count/configmaps": "0"})));
    assert_eq!(world.ask("POST", MAPS, JSON, &map("a")).await.0, StatusCode::CREATED);
    assert_eq!(world.ask("POST", MAPS, JSON, &map("a")).await.0, StatusCode::CONFLICT);
    assert_eq!(used(&world, "q").await, json!({"count/configmaps": "1"}));
    // A second quota that refuses gives back what the first one gave.
    add(&world, "r", &json!({"configmaps": "0"})).await;
    assert_eq!(world.ask("POST", MAPS, JSON, &map("b")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(used(&world, "q").await, json!({"count/configmaps": "1"}));
    let dry = world.ask("POST", &format!("{MAPS}?dryRun=All"), JSON, &map("b")).await;
    assert_eq!(dry.0, StatusCode::FORBIDDEN);
}

/// A quota that was never counted lets nothing through that it limits.
#[tokio::test]
async fn an_uncounted_quota_refuses() {
    let world = World::new().await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "1"}}});
    let mut quota = world.must("POST", QUOTAS, &quota).await;
    assert_eq!(world.ask("POST", MAPS, JSON, &map("free")).await.0, StatusCode::CREATED);
    quota["status"] = json!({"hard": {"configmaps": "1"}});
    world.must("PUT", &format!("{QUOTAS}/q/status"), &quota).await;
    let (code, body) = world.ask("POST", MAPS, JSON, &map("a")).await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert!(
        body["message"].as_str().is_some_and(|it| it.contains("status unknown for quota: q, resources: configmaps"))
    );
}
