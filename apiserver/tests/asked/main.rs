//! Walks the table of what may be said beside an object (`src/asked.rs`) against a server: for each row and verb one request
//! without it and one with it, in twin namespaces. Honoured means that answer or state differ, without effect that they don't.

#[path = "../common/mod.rs"]
mod common;
mod grpc; // the same over gRPC
mod scene; // the requests that rows are tried on, and what is seen of them

use common::World;
use scene::{Scene, Seen};
use skiff_apiserver::asked::{Meaning, Place, Row, rows};

/// Verbs whose answers come from a kubelet or from what pods serve: `src/kubelet` and `src/proxy` walk those.
const STREAMS: [&str; 5] = ["log", "exec", "attach", "portforward", "proxy"];

/// Fault N4: nothing with a meaning is passed over in silence.
#[tokio::test]
async fn every_row_means_what_it_says() {
    let world = World::new().await;
    let (mut walked, mut wrong) = (0, Vec::new());
    for row in rows().filter(|row| row.place != Place::Grpc) {
        for verb in row.verbs.iter().filter(|verb| !STREAMS.contains(verb)) {
            walked += 1;
            if let Some(problem) = try_row(&world, row, verb).await {
                wrong.push(format!("{:?} {} on {verb} ({:?}): {problem}", row.place, row.name, row.meaning));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {walked} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(walked > 500, "{walked} rows and verbs");
}

async fn try_row(world: &World, row: &Row, verb: &str) -> Option<String> {
    let without = Scene::set(world, verb, beside(row)).await.play(world, None).await;
    let with = Scene::set(world, verb, beside(row)).await.play(world, Some(row)).await;
    let same = with == without;
    match row.meaning {
        Meaning::Honoured if same => Some(format!("it makes no difference: {with:?}")),
        Meaning::WithoutEffect if !same => Some(format!("it makes a difference: {without:?} against {with:?}")),
        Meaning::Refused(code) if with.code != code => Some(format!("it is answered {with:?}")),
        Meaning::Refused(_) if !with.says_why() => Some(format!("it is refused without a sentence: {with:?}")),
        _ => None,
    }
}

/// What stands beside a parameter that means nothing alone.
fn beside(row: &Row) -> &'static [(Place, &'static str, &'static str)] {
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    match (row.place, row.name) {
        (Place::Query, "allowWatchBookmarks") => {
            &[(Place::Query, "sendInitialEvents", "true"), (Place::Query, "resourceVersionMatch", "NotOlderThan")]
        }
        (Place::Query, "includeObject") => &[(Place::Header, "accept", TABLE)],
        (Place::Query, "exclude") => &[(Place::Query, "verbose", "1")],
        _ => &[],
    }
}

/// A parameter that the server publishes has a meaning, so it has a row for its verb.
#[tokio::test]
async fn what_is_published_has_a_row() {
    let world = World::new().await;
    let mut named = 0;
    for group in ["api/v1", "apis/apps/v1"] {
        let (_, document) = world.get(&format!("/openapi/v3/{group}")).await;
        let paths = document["paths"].as_object().expect("paths");
        for (path, item) in paths {
            for operation in item.as_object().expect("an item").values() {
                let Some(action) = operation["x-kubernetes-action"].as_str().map(verb) else { continue };
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    // `watch` makes a list another verb.
                    if parameter["in"] == "query" && parameter["name"] != "watch" {
                        named += 1;
                        let name = parameter["name"].as_str().expect("a name");
                        let known = rows()
                            .any(|row| row.place == Place::Query && row.name == name && row.verbs.contains(&action));
                        assert!(known, "{action} {path} has {name}, which has no row");
                    }
                }
            }
        }
    }
    assert!(named > 50, "{named} parameters");
}

fn verb(action: &str) -> &str {
    match action {
        "post" => "create",
        "put" => "update",
        other => other,
    }
}

impl Seen {
    /// Whether a refusal has a sentence, in JSON or YAML.
    fn says_why(&self) -> bool {
        self.body.contains("\"message\":") || self.body.contains("message: ")
    }
}
