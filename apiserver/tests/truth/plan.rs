//! Which cases a kind gets: its object changed in every way in a dry run, then one real life.

use crate::case::Case;
use crate::kinds::Kind;
use crate::mutate::change;
use crate::schema::Schemas;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;

/// Documents about what is served.
pub(crate) fn documents(kinds: &[Kind]) -> Vec<Case> {
    let mut paths: Vec<String> = [
        "/api",
        "/apis",
        "/apis/apps",
        "/apis/nothing.example",
        "/apis/apps/v9",
        "/api/v9",
        "/nothing",
        "/livez",
        "/readyz",
        "/healthz",
        "/openapi/v3",
        "/openapi/v3/apis/nothing/v1",
    ]
    .map(str::to_owned)
    .into();
    paths.extend(kinds.iter().filter(|kind| !kind.is_document()).map(Kind::group_path));
    paths.dedup();
    let plain = paths.iter().map(|path| Case::new("raw", path));
    let aggregated = ["/api", "/apis"].map(|path| Case::new("raw-aggregated", path));
    plain.chain(aggregated).collect()
}

/// Requests that leave nothing behind, made at random.
pub(crate) fn random(kind: &Kind, schemas: &Schemas, count: usize, random: &mut StdRng) -> Vec<Case> {
    let root = schemas.root(kind);
    (0..count)
        .map(|_| {
            let change = change(&kind.object, schemas, root, random);
            let verb = if kind.is_stored() { verb(kind, random) } else { "create".to_owned() };
            let mut query = if kind.is_stored() { "dryRun=All".to_owned() } else { String::new() };
            let validation = ["", "", "", "", "Strict", "Warn", "Ignore"][random.random_range(0..7)];
            if !validation.is_empty() {
                query = format!("{query}&fieldValidation={validation}");
            }
            if verb.starts_with("apply") {
                query = format!("{query}&fieldManager=m{}", if random.random() { "&force=true" } else { "" });
            }
            Case::new(&verb, query.trim_start_matches('&')).with_change(&change)
        })
        .collect()
}

fn verb(kind: &Kind, random: &mut StdRng) -> String {
    let verbs = [
        "create",
        "create",
        "create",
        "create",
        "create",
        "put",
        "put",
        "put",
        "merge",
        "json",
        "strategic",
        "apply",
        "create-yaml",
        "apply-missing",
        "put/status",
        "merge/status",
    ];
    let verb = verbs[random.random_range(0..verbs.len())];
    if verb.ends_with("/status") && !kind.parts.iter().any(|part| part == "status") { "put" } else { verb }.to_owned()
}

/// Options that fit every kind and those that fit none, of every verb.
pub(crate) fn options() -> Vec<Case> {
    [whole(), patches(), applied(), reads(), deletions()].concat()
}

/// A uid that no object has.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

fn whole() -> Vec<Case> {
    let with = |verb: &str, query: &str| Case::new(verb, query);
    vec![
        with("create", "dryRun=Some"),
        with("create", "dryRun=All&fieldManager=%07"),
        with("create", "dryRun=All&fieldValidation=Maybe"),
        with("create", "dryRun=All&pretty=true"),
        with("create", "dryRun=All").with_body(json!({})),
        with("create", "dryRun=All").with_body(json!({"kind": "Other", "apiVersion": "v1", "metadata": {"name": "x"}})),
        with("create", "dryRun=All").with_body(json!([])),
        with("create", "dryRun=All").with_body(json!("text")),
        with("put", "dryRun=All&fieldValidation=Strict"),
        with("put", "dryRun=Some"),
        with("put-blind", "dryRun=All"),
        with("put-missing", "dryRun=All"),
        with("merge", "dryRun=All&force=true"),
        with("merge", "dryRun=All&fieldValidation=Maybe"),
        with("merge-missing", ""),
    ]
}

fn patches() -> Vec<Case> {
    let merge = |body| Case::new("merge", "dryRun=All").with_body(body);
    let json = |body| Case::new("json", "dryRun=All").with_body(body);
    vec![
        merge(json!({"metadata": {"labels": {"l": "m"}}})),
        merge(json!({"metadata": {"labels": null, "annotations": {"k": null}}})),
        merge(json!({"metadata": {"resourceVersion": "1"}})),
        merge(json!({"metadata": {"uid": NOBODY}})),
        merge(json!({"metadata": {"name": "other"}})),
        merge(json!({"metadata": {"namespace": "other"}})),
        merge(json!({"metadata": {"creationTimestamp": null, "generation": 9}})),
        merge(json!({"metadata": {"finalizers": ["bad"]}})),
        merge(json!({"metadata": {"finalizers": ["a.example/b"]}})),
        merge(json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u"}]}})),
        merge(json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "", "name": "", "uid": ""}]}})),
        merge(json!({"metadata": {"labels": {"-": "a b"}, "annotations": {"-": ""}}})),
        merge(json!({"metadata": {"labels": {"a": 1}}})),
        merge(json!({"kind": "Other"})),
        merge(json!({"apiVersion": "other/v1"})),
        merge(json!([1])),
        json(json!([])),
        json(json!([{"op": "test", "path": "/metadata/name", "value": "no"}])),
        json(json!([{"op": "remove", "path": "/metadata/nothing"}])),
        json(json!([{"op": "bogus", "path": "/metadata/name"}])),
        json(json!([{"op": "replace", "path": "/metadata/labels", "value": {"x": "y"}}])),
        json(json!([{"op": "copy", "from": "/metadata/name", "path": "/metadata/labels/n"}])),
        json(json!({"op": "add"})),
        Case::new("strategic", "dryRun=All")
            .with_body(json!({"metadata": {"labels": {"$patch": "replace", "x": "y"}}})),
        Case::new("strategic", "dryRun=All")
            .with_body(json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/y"]}})),
        Case::new("strategic", "dryRun=All").with_body(json!({"$patch": "bogus"})),
    ]
}

fn applied() -> Vec<Case> {
    let with = |verb: &str, query: &str| Case::new(verb, query);
    vec![
        with("apply", "dryRun=All"),
        with("apply", "dryRun=All&fieldManager=a"),
        with("apply", "dryRun=All&fieldManager=a&force=true"),
        with("apply-missing", "dryRun=All&fieldManager=a"),
    ]
}

fn reads() -> Vec<Case> {
    let with = |verb: &str, query: &str| Case::new(verb, query);
    vec![
        with("get", ""),
        with("get-table", ""),
        with("get-table", "includeObject=Object"),
        with("get-table", "includeObject=None"),
        with("get-partial", ""),
        with("get-missing", ""),
        with("list", "labelSelector=truth%3Dyes"),
        with("list", "fieldSelector=metadata.name%3Dmissing&limit=1"),
        with("list", "labelSelector=%3D%3D"),
        with("list", "fieldSelector=metadata.name%3Dmissing"),
        with("list", "fieldSelector=bogus%3Dx"),
        with("list", "fieldSelector=spec.nodeName%3Dx"),
        with("list", "limit=-1&fieldSelector=metadata.name%3Dmissing"),
        with("list", "limit=x"),
        with("list", "continue=bogus"),
        with("list", "resourceVersion=x"),
        with("list", "resourceVersionMatch=Exact"),
        with("list", "resourceVersion=0&resourceVersionMatch=Bogus"),
        with("list", "resourceVersion=0&resourceVersionMatch=NotOlderThan&fieldSelector=metadata.name%3Dmissing"),
        with("list", "sendInitialEvents=true"),
        with("list-table", "labelSelector=truth%3Dyes"),
        with("list-partial", "labelSelector=truth%3Dyes"),
    ]
}

fn deletions() -> Vec<Case> {
    let with = |verb: &str, query: &str| Case::new(verb, query);
    let delete = |query: &str, body| Case::new("delete", query).with_body(body);
    vec![
        delete("dryRun=All", json!(null)),
        delete("dryRun=Some", json!(null)),
        delete("", json!({"preconditions": {"uid": NOBODY}})),
        delete("", json!({"preconditions": {"resourceVersion": "1"}})),
        delete("", json!({"propagationPolicy": "Bogus"})),
        delete("", json!({"propagationPolicy": "Orphan", "orphanDependents": true})),
        delete("", json!({"gracePeriodSeconds": -5, "dryRun": ["All"]})),
        delete("dryRun=All&propagationPolicy=Foreground", json!(null)),
        delete("dryRun=All&propagationPolicy=Orphan", json!(null)),
        delete("dryRun=All&gracePeriodSeconds=0", json!(null)),
        delete("dryRun=All&orphanDependents=x", json!(null)),
        delete("", json!({"kind": "Pod", "apiVersion": "v1"})),
        with("delete-missing", ""),
        Case::new("delete-all", "labelSelector=no%3Dsuch&dryRun=All"),
    ]
}

/// What really changes the object, to its end.
pub(crate) fn life(kind: &Kind) -> Vec<Case> {
    let with = |verb: &str, query: &str| Case::new(verb, query);
    let mut life = vec![
        with("put", ""),
        with("merge", "").with_body(json!({"metadata": {"annotations": {"x": "y"}}})),
        with("get", ""),
    ];
    if kind.parts.iter().any(|part| part == "status") {
        life.extend([
            with("get/status", ""),
            with("put/status", ""),
            with("merge/status", "").with_body(json!({"metadata": {"annotations": {"s": "t"}}, "spec": null})),
            with("merge/status", "").with_body(json!({"status": {"conditions": [{"type": "T", "status": "True",
                "reason": "R", "message": "m", "lastTransitionTime": "2020-01-01T00:00:00Z"}]}})),
            with("merge/status", "").with_body(json!({"status": {"observedGeneration": 1, "replicas": 1, "bogus": 1}})),
        ]);
    }
    life.extend(kind.parts.iter().flat_map(|part| of_part(part)));
    life.extend([
        with("merge", "").with_body(json!({"metadata": {"finalizers": ["truth.example/stays"]}})),
        with("delete", ""),
        with("get", ""),
        with("merge", "").with_body(json!({"metadata": {"finalizers": ["truth.example/stays", "truth.example/more"]}})),
        with("merge", "").with_body(json!({"metadata": {"finalizers": null}})),
        with("get", ""),
    ]);
    if WATCHED.contains(&&*kind.resource) {
        life.push(with("watch", "labelSelector=truth%3Dyes&timeoutSeconds=1"));
    }
    life
}

/// Kinds whose life is watched: one second each.
const WATCHED: &[&str] = &["configmaps", "deployments", "services"];

/// What really changes the object through a part of it.
fn of_part(part: &str) -> Vec<Case> {
    let send = |verb: &str, body| Case::new(&format!("{verb}/{part}"), "").with_body(body);
    match part {
        "scale" => vec![
            Case::new("get/scale", ""),
            send("merge", json!({"spec": {"replicas": 3}})),
            send("merge", json!({"spec": {"replicas": -1}})),
            send("put", json!({"spec": {"replicas": 1}})),
            send(
                "put",
                json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": 4}}),
            ),
        ],
        "binding" => vec![
            send("create-part", json!({"target": {"kind": "Node", "name": ""}})),
            send(
                "create-part",
                json!({"metadata": {"name": "a", "annotations": {"b": "c"}}, "target": {"kind": "Node", "name": "truth-n"}}),
            ),
            send("create-part", json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "truth-n"}})),
        ],
        "eviction" => vec![
            send("create-part", json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "other"}})),
            send(
                "create-part",
                json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}, "deleteOptions": {"dryRun": ["All"]}}),
            ),
        ],
        "ephemeralcontainers" | "resize" => of_pod_part(part),
        "finalize" => vec![
            send("put", json!({"metadata": {"name": "other"}, "spec": {"finalizers": ["kubernetes"]}})),
            send(
                "put",
                json!({"metadata": {"name": "truth-a"}, "spec": {"finalizers": ["kubernetes", "x.example/y", "bad"]}}),
            ),
        ],
        "approval" => vec![
            Case::new("get/approval", ""),
            send(
                "merge",
                json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "R", "message": "m"}]}}),
            ),
            send("merge", json!({"status": {"conditions": [{"type": "Denied", "status": "True"}]}})),
            send("merge", json!({"status": {"conditions": []}})),
        ],
        _ => vec![],
    }
}

fn of_pod_part(part: &str) -> Vec<Case> {
    let send = |verb: &str, body| Case::new(&format!("{verb}/{part}"), "").with_body(body);
    let debugger = json!({"name": "d", "image": "i", "targetContainerName": "c"});
    match part {
        "ephemeralcontainers" => vec![
            Case::new("get/ephemeralcontainers", ""),
            send("strategic", json!({"spec": {"ephemeralContainers": [debugger]}})),
            send("strategic", json!({"spec": {"ephemeralContainers": [{"name": "c", "image": "i"}]}})),
            send("merge", json!({"spec": {"ephemeralContainers": []}})),
            send("merge", json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "other"}]}})),
        ],
        "resize" => vec![
            Case::new("get/resize", ""),
            send("strategic", json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}]}})),
            send(
                "strategic",
                json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]}}),
            ),
            send("strategic", json!({"spec": {"containers": [{"name": "c", "image": "other"}]}})),
            send(
                "strategic",
                json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"memory": "32Mi"}}}]}}),
            ),
        ],
        _ => vec![],
    }
}
