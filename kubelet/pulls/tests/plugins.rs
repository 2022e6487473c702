//! Plugins that are programs: scripts that count how often they run and answer from what they are asked.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use skiff_pulls::{Accounts, Found, Providers};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// An account, or none, and a token that is another one each time.
struct Pod(Option<&'static str>, std::sync::atomic::AtomicU32);

fn pod(account: Option<&'static str>) -> Pod {
    Pod(account, 0.into())
}

impl Accounts for Pod {
    fn name(&self) -> Option<(String, String)> {
        self.0.map(|name| ("ns".to_owned(), name.to_owned()))
    }
    fn about(&self) -> BoxFuture<'_, Result<(String, BTreeMap<String, String>), String>> {
        async { Ok(("uid".to_owned(), BTreeMap::from([("role".to_owned(), "reader".to_owned())]))) }.boxed()
    }
    fn token<'a>(&'a self, _: &'a str, audience: &'a str) -> BoxFuture<'a, Result<String, String>> {
        let number = self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move { Ok(format!("token-{number}-for-{audience}")) }.boxed()
    }
}

/// A plugin that answers `answer`, a line of shell, and writes a line to `runs` each time.
fn plugin(dir: &Path, answer: &str, changes: &Value) -> Providers {
    let script = format!("#!/bin/sh\nread request\necho \"$request\" >> {}\n{answer}\n", dir.join("runs").display());
    fs::write(dir.join("plugin"), script).unwrap();
    fs::set_permissions(dir.join("plugin"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut provider = json!({"name": "plugin", "matchImages": ["*.io"], "defaultCacheDuration": "1h",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "args": ["arg"], "env": [{"name": "WHO", "value": "env"}]});
    for (key, value) in changes.as_object().unwrap() {
        provider[key] = value.clone();
    }
    let config =
        json!({"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers": [provider]});
    fs::write(dir.join("config.yaml"), config.to_string()).unwrap();
    Providers::load(&dir.join("config.yaml"), dir).unwrap()
}

fn answer(scope: &str, password: &str) -> String {
    format!(
        r#"echo "{{\"kind\": \"CredentialProviderResponse\", \"apiVersion\": \"credentialprovider.kubelet.k8s.io/v1\",
            \"cacheKeyType\": \"{scope}\", \"auth\": {{\"*.io\": {{\"username\": \"$WHO-$1\", \"password\": \"{password}\"}}}}}}""#
    )
}

fn runs(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("runs")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_plugin_is_asked_once_for_what_its_answer_is_good_for() {
    let dir = tempfile::tempdir().unwrap();
    let providers = plugin(dir.path(), &answer("Registry", "secret"), &json!({}));
    let expected = Found { username: "env-arg".to_owned(), password: "secret".to_owned(), account: None };
    let nobody = pod(None);
    let (one, two) = tokio::join!(providers.find("r.io/a", &nobody), providers.find("r.io/a", &nobody));
    assert_eq!((one, two), (vec![expected.clone()], vec![expected.clone()]));
    assert_eq!(providers.find("r.io/b", &pod(Some("account"))).await, std::slice::from_ref(&expected));
    assert_eq!(providers.find("r.com/b", &pod(None)).await, [], "it is not for that registry");
    assert_eq!(runs(dir.path()).len(), 1);
    assert_eq!(runs(dir.path())[0]["image"], "r.io/a");
    assert_eq!(providers.find("other.io/b", &pod(None)).await, [expected]);
    assert_eq!(runs(dir.path()).len(), 2);
}

#[tokio::test]
async fn a_plugin_that_fails_or_talks_otherwise_has_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for answer in ["exit 3", "echo no", "echo '{}'", &answer("Pod", "x")] {
        let providers = plugin(dir.path(), answer, &json!({}));
        assert_eq!(providers.find("r.io/a", &pod(None)).await, [], "{answer}");
    }
    fs::remove_file(dir.path().join("plugin")).unwrap();
    assert!(Providers::load(&dir.path().join("config.yaml"), dir.path()).is_err());
}

#[tokio::test]
async fn tokens_of_accounts_are_passed_on_and_not_mixed_up() {
    let dir = tempfile::tempdir().unwrap();
    let token = |kind: &str| {
        json!({"tokenAttributes": {"serviceAccountTokenAudience": "r.io", "cacheType": kind, "requireServiceAccount": true,
            "requiredServiceAccountAnnotationKeys": ["role"], "optionalServiceAccountAnnotationKeys": ["none"]}})
    };
    let providers = plugin(dir.path(), &answer("Image", "secret"), &token("ServiceAccount"));
    assert_eq!(providers.find("r.io/a", &pod(None)).await, [], "it is for pods with an account only");
    let one = pod(Some("one"));
    let found = providers.find("r.io/a", &one).await;
    assert_eq!(found[0].account.as_ref().unwrap().name, "one");
    providers.find("r.io/a", &one).await;
    assert_eq!(runs(dir.path()).len(), 1, "another token of the same account");
    providers.find("r.io/a", &pod(Some("two"))).await;
    let asked = runs(dir.path());
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0]["serviceAccountToken"], "token-0-for-r.io");
    assert_eq!(asked[0]["serviceAccountAnnotations"], json!({"role": "reader"}));

    let providers = plugin(dir.path(), &answer("Image", "secret"), &token("Token"));
    providers.find("r.io/a", &one).await;
    providers.find("r.io/a", &one).await;
    assert_eq!(runs(dir.path()).len(), 4, "each token has an answer of its own");
    let echo = answer("Image", "token-0-for-r.io");
    let providers = plugin(dir.path(), &echo, &token("ServiceAccount"));
    assert_eq!(providers.find("r.io/a", &pod(Some("one"))).await, [], "a token is no password of an account");
    let mut other = token("ServiceAccount");
    other["tokenAttributes"]["requiredServiceAccountAnnotationKeys"] = json!(["missing"]);
    let providers = plugin(dir.path(), &answer("Image", "secret"), &other);
    assert_eq!(providers.find("r.io/a", &pod(Some("one"))).await, [], "the account does not ask for it");
}
