//! Bootstrap tokens: what a machine has to know before it joins is signed with each of them, and those whose time is over go.
//!
//! A machine that joins (`kubeadm join`) has a token and nothing to know the API server by. It reads the config map
//! `kube-public/cluster-info` from whoever answers, and believes the kubeconfig in it if it is signed with its own token.

use crate::context::{Context, On, absent_is_none};
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use skiff_authn::bootstrap::{Home, NAMESPACE, TYPE, has_ended, signature};
use skiff_client::{Cache, Caches, Key};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const PUBLIC: &str = "kube-public";
const CLUSTER_INFO: &str = "cluster-info";
/// What is signed of it.
const KUBECONFIG: &str = "kubeconfig";
/// Before the id of the token, in the keys of signatures.
const SIGNATURE: &str = "jws-kubeconfig-";

fn tokens(caches: &Caches) -> Cache<Secret> {
    caches.chosen::<Secret>(&format!("type={TYPE}"))
}

/// The object's name, if it is where it counts.
fn within(namespace: &str, meta: &ObjectMeta) -> Vec<Key> {
    if meta.namespace.as_deref() == Some(namespace) { vec![Key::of(meta)] } else { Vec::new() }
}

/// Signs.
pub(crate) async fn sign(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let maps = looking.context.caches.chosen::<ConfigMap>(&format!("metadata.name={CLUSTER_INFO}"));
    let secrets = tokens(&looking.context.caches);
    looking.when(&maps, |change| within(PUBLIC, change.meta()));
    looking.when(&secrets, |change| {
        within(NAMESPACE, change.meta()).into_iter().map(|_| Key::new(PUBLIC, CLUSTER_INFO)).collect()
    });
    let (context, own) = (looking.context.clone(), looking.own.clone());
    let keeper = Arc::new(Keeper { context, own, maps, secrets });
    looking.run(shutdown, move |key| keeper.clone().sign(key).boxed()).await;
}

struct Keeper {
    context: Context,
    own: Own,
    maps: Cache<ConfigMap>,
    secrets: Cache<Secret>,
}

impl Keeper {
    async fn sign(self: Arc<Self>, key: Key) -> Outcome {
        let Some(map) = self.maps.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
        let secrets = self.secrets.within(NAMESPACE);
        let homes: Vec<(String, Home)> = secrets.iter().map(|secret| (secret.name_any(), home(secret))).collect();
        if let Some(data) = signed(map.data.as_ref(), &homes, Timestamp::now()) {
            let wanted = ConfigMap { data: Some(data), ..ConfigMap::clone(&map) };
            let api: Api<ConfigMap> = self.context.api(&key.namespace);
            let written = absent_is_none(api.replace(&key.name, &PostParams::default(), &wanted).await);
            if let Some(written) = written.on(|| format!("update configmap {key}"))? {
                self.own.wrote(&key, &self.maps, &written);
            }
        }
        Ok(Again::OnChange)
    }
}

/// What the secret says.
fn home(secret: &Secret) -> Home {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap_or_default();
    let data = secret.data.iter().flatten();
    let data: BTreeMap<String, String> = data.map(|(key, value)| (key.clone(), text(&value.0))).collect();
    let ends = data.get("expiration").filter(|text| !text.is_empty());
    Home {
        kind: secret.type_.clone().unwrap_or_default(),
        deleted: secret.metadata.deletion_timestamp.is_some(),
        ends: ends.map(|text| text.parse().map(Timestamp::as_second).map_err(drop)),
        data,
    }
}

/// The data with a signature for each token that signs, and no other; `None`: they are so already.
fn signed(
    data: Option<&BTreeMap<String, String>>,
    homes: &[(String, Home)],
    now: Timestamp,
) -> Option<BTreeMap<String, String>> {
    let present = data?;
    let content = present.get(KUBECONFIG)?;
    let mut wanted = present.clone();
    wanted.retain(|key, _| !key.starts_with(SIGNATURE));
    for (id, secret) in homes.iter().filter_map(|(name, home)| home.signer(name, now.as_second())) {
        wanted.insert(format!("{SIGNATURE}{id}"), signature(content, id, secret));
    }
    (wanted != *present).then_some(wanted)
}

/// Deletes tokens whose time is over.
pub(crate) async fn clean(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let secrets = tokens(&looking.context.caches);
    looking.when(&secrets, |change| within(NAMESPACE, change.meta()));
    let (context, own) = (looking.context.clone(), looking.own.clone());
    looking.run(shutdown, move |key| end(key, context.clone(), own.clone(), secrets.clone()).boxed()).await;
}

async fn end(key: Key, context: Context, own: Own, secrets: Cache<Secret>) -> Outcome {
    let Some(secret) = secrets.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
    let (home, now) = (home(&secret), Timestamp::now());
    if !has_ended(&home, now.as_second()) {
        // One second more: the end itself still counts.
        let left = home.ends.and_then(Result::ok).map(|end| SignedDuration::from_secs(end + 1 - now.as_second()));
        return Ok(Again::within(left));
    }
    let api: Api<Secret> = context.api(&key.namespace);
    own.delete(&api, &key, &secrets, &*secret, DeleteParams::default()).await.on(|| format!("delete token {key}"))?;
    Ok(Again::OnChange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(id: &str, ends: &str) -> (String, Home) {
        let secret: Secret = serde_json::from_value(json!({"type": TYPE, "stringData": {}, "data": {}})).unwrap();
        let mut home = home(&secret);
        for (key, value) in
            [("token-id", id), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-signing", "true")]
        {
            home.data.insert(key.to_owned(), value.to_owned());
        }
        home.ends = Some(ends.parse().map(Timestamp::as_second).map_err(drop));
        (format!("bootstrap-token-{id}"), home)
    }

    #[test]
    fn there_is_a_signature_for_each_token_and_no_other() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let homes = [token("aaaaaa", "2026-01-02T00:00:00Z"), token("bbbbbb", "2025-01-01T00:00:00Z")];
        let present = map(&[("kubeconfig", "k"), ("jws-kubeconfig-cccccc", "old"), ("other", "o")]);
        let data = signed(Some(&present), &homes, now).unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["jws-kubeconfig-aaaaaa", "kubeconfig", "other"]);
        assert_eq!(data["jws-kubeconfig-aaaaaa"], signature("k", "aaaaaa", "0123456789abcdef"));
        assert_eq!(signed(Some(&data), &homes, now), None);
        assert_eq!(signed(Some(&map(&[("other", "o")])), &homes, now), None, "nothing to sign");
        assert_eq!(signed(None, &homes, now), None);
    }
}
