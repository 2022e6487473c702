//! Pods, and what they get from their accounts.

use super::super::testing::{Shelf, play};
use super::*;
use serde_json::json;

const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": spec})
}

fn shelf() -> Shelf {
    let account = |name: &str, more: Value| {
        let mut account = json!({"metadata": {"name": name}});
        account.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        account
    };
    let limited = json!({"metadata": {"name": "limited", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
        "secrets": [{"name": "s"}], "imagePullSecrets": [{"name": "i"}], "automountServiceAccountToken": false});
    Shelf::default()
        .with("serviceaccounts", "a", account("default", json!({})))
        .with("serviceaccounts", "a", account("bare", json!({"automountServiceAccountToken": false})))
        .with(
            "serviceaccounts",
            "a",
            account("puller", json!({"imagePullSecrets": [{"name": "i"}], "automountServiceAccountToken": false})),
        )
        .with("serviceaccounts", "a", limited)
}

async fn create(spec: Value) -> Result<Value, String> {
    let made = play(&PLUGIN, &shelf(), (Operation::Create, "pods"), None, pod(spec)).await;
    made.map(|(pod, _)| pod["spec"].clone()).map_err(|status| status.message)
}

#[tokio::test]
async fn a_pod_runs_as_an_account_that_exists() {
    for (spec, name) in [
        (json!({}), "default"),
        (json!({"serviceAccountName": "bare"}), "bare"),
        (json!({"serviceAccountName": "", "serviceAccount": "bare"}), "bare"),
    ] {
        let spec = create(spec).await.expect("admitted");
        assert_eq!((&spec["serviceAccountName"], &spec["serviceAccount"]), (&name.into(), &name.into()));
    }
    let refused = create(json!({"serviceAccountName": "x"})).await.expect_err("no such account");
    assert_eq!(
        refused,
        "pods \"p\" is forbidden: error looking up service account a/x: serviceaccount \"x\" not found"
    );
    // An update by a client that keeps a manifest of its own.
    let update = (Operation::Update, "pods");
    let changed = play(&PLUGIN, &shelf(), update, None, pod(json!({"serviceAccountName": "gone"}))).await;
    assert_eq!(changed.expect("admitted").0["spec"]["serviceAccount"], "gone");
}

#[tokio::test]
async fn the_default_account_is_waited_for() {
    let made = play(&PLUGIN, &Shelf::default(), (Operation::Create, "pods"), None, pod(json!({}))).await;
    assert!(made.expect_err("it never comes").message.contains("a/default"));
}

#[tokio::test]
async fn a_token_is_mounted_where_nothing_else_is() {
    let spec = create(json!({
        "initContainers": [{"name": "i"}],
        "containers": [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            {"name": "d", "volumeMounts": [{"name": "v", "mountPath": PATH}]}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    }));
    let spec = spec.await.expect("admitted");
    let volume = &spec["volumes"][1];
    let name = volume["name"].as_str().unwrap();
    assert!(name.starts_with("kube-api-access-") && name.len() == 21, "{name}");
    assert_eq!(volume["projected"], json!({"defaultMode": 420, "sources": sources()}));
    let mount = json!({"mountPath": PATH, "name": name, "readOnly": true});
    assert_eq!(spec["initContainers"][0]["volumeMounts"], json!([mount]));
    assert_eq!(spec["containers"][0]["volumeMounts"][1], mount);
    assert_eq!(spec["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn who_wants_no_token_gets_none() {
    for (spec, mounted) in [
        (json!({"containers": [{}]}), true),
        (json!({"containers": [{}], "automountServiceAccountToken": false}), false),
        (json!({"containers": [{}], "serviceAccountName": "bare"}), false),
        (json!({"containers": [{}], "serviceAccountName": "bare", "automountServiceAccountToken": true}), true),
        (json!({"containers": [{"volumeMounts": [{"name": "v", "mountPath": PATH}]}]}), false),
    ] {
        let made = create(spec.clone()).await.expect("admitted");
        assert_eq!(made["volumes"].is_array(), mounted, "{spec}");
    }
    let own = json!({"containers": [{}], "volumes": [{"name": "kube-api-access-x", "emptyDir": {}}]});
    let made = create(own).await.expect("admitted");
    assert_eq!(made["volumes"].as_array().unwrap().len(), 1);
    assert_eq!(made["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-x");
}

#[tokio::test]
async fn pull_secrets_come_from_the_account() {
    let made = create(json!({"serviceAccountName": "puller"})).await.expect("admitted");
    assert_eq!(made["imagePullSecrets"], json!([{"name": "i"}]));
    let own = json!({"serviceAccountName": "puller", "imagePullSecrets": [{"name": "mine"}]});
    assert_eq!(create(own).await.expect("admitted")["imagePullSecrets"], json!([{"name": "mine"}]));
}

#[tokio::test]
async fn an_account_may_limit_the_secrets_of_its_pods() {
    let key = |name: &str| json!({"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}]});
    let all = json!({"name": "c", "envFrom": [{"secretRef": {"name": "x"}}]});
    for (spec, part) in [
        (json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}], "containers": [key("s")]}), ""),
        (json!({"volumes": [{"name": "v", "secret": {"secretName": "x"}}]}), "volume with secret.secretName=\"x\""),
        (json!({"containers": [key("x")]}), "container c with envVar E referencing"),
        (json!({"initContainers": [all]}), "init container c with envFrom referencing"),
        (json!({"imagePullSecrets": [{"name": "s"}]}), "imagePullSecrets[0].name=\"s\""),
    ] {
        let mut spec = spec;
        spec["serviceAccountName"] = "limited".into();
        let refused = create(spec.clone()).await.err().unwrap_or_default();
        assert!(refused.contains(part) && refused.is_empty() == part.is_empty(), "{spec}: {refused}");
    }
}

#[tokio::test]
async fn a_mirror_pod_refers_to_nothing() {
    let mirror = |spec: Value| json!({"metadata": {"name": "p", "annotations": {"kubernetes.io/config.mirror": "x"}}, "spec": spec});
    let token = json!({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]});
    for (spec, refused) in [
        (json!({"containers": [{}]}), ""),
        (json!({"serviceAccountName": "bare"}), "a mirror pod may not reference service accounts"),
        (json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}), "a mirror pod may not reference secrets"),
        (token, "a mirror pod may not use ServiceAccountToken volume projections"),
    ] {
        let made = play(&PLUGIN, &shelf(), (Operation::Create, "pods"), None, mirror(spec.clone())).await;
        match made {
            Ok((pod, _)) => assert_eq!((pod["spec"].clone(), ""), (spec, refused)),
            Err(status) => assert!(!refused.is_empty() && status.message.ends_with(refused), "{status}"),
        }
    }
}
