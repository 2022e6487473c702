//! What a cluster has to know before nodes join it: roles, and a token for a while.
//!
//! A token is for asking for a node's certificate and for nothing else; the certificate is approved because the token's group may have
//! it (Kubernetes "TLS bootstrapping"). What the cluster is known by stands in the config map `kube-public/cluster-info`, as kubeadm
//! writes it: anybody may read it, and the controllers sign it with every token, so that who has a token needs nothing else. A node that has joined may read what its proxy, its routes, its DNS server and its network
//! policies are made of.

use anyhow::Context;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use rand::Rng;
use serde_json::{Value, json};
use std::time::Duration;

/// The group of those who have a token of ours.
const BOOTSTRAPPERS: &str = "system:bootstrappers:skiff:nodes";
/// The group of nodes that have joined.
const NODES: &str = "system:nodes";
const NETWORK: &str = "skiff:node-network";
const CERTIFICATES: &str = "system:certificates.k8s.io:certificatesigningrequests";
const RBAC: &str = "rbac.authorization.k8s.io";
/// What every cluster that nodes join publishes (kubeadm).
const PUBLIC: &str = "kube-public";
const CLUSTER_INFO: &str = "cluster-info";
/// The role by which it is read, in kubeadm's name: a cluster has it once, whoever made it.
const PUBLISHED: &str = "kubeadm:bootstrap-signer-clusterinfo";

/// A bootstrap token.
pub(crate) struct Token {
    id: String,
    secret: String,
}

impl Token {
    /// What is shown to the API server.
    pub(crate) fn text(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    fn random() -> Self {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut random = rand::rng();
        let mut word =
            |length: usize| (0..length).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect();
        Self { id: word(6), secret: word(16) }
    }

    fn secret_name(&self) -> String {
        format!("bootstrap-token-{}", self.id)
    }

    /// A kubeconfig with it.
    pub(crate) fn kubeconfig(&self, cluster: &Known<'_>) -> String {
        let mut config = cluster.config("join");
        config["current-context"] = "join".into();
        config["contexts"] = json!([{"name": "join", "context": {"cluster": "join", "user": "join"}}]);
        config["users"] = json!([{"name": "join", "user": {"token": self.text()}}]);
        format!("{config:#}")
    }
}

/// What a cluster is known by.
pub(crate) struct Known<'a> {
    /// Where its API server is reached.
    pub(crate) server: &'a str,
    /// Who vouches for it, PEM.
    pub(crate) authority: &'a str,
}

impl Known<'_> {
    /// A kubeconfig of it without a user.
    fn config(&self, name: &str) -> Value {
        let cluster = json!({"server": self.server, "certificate-authority-data": BASE64.encode(self.authority)});
        json!({"apiVersion": "v1", "kind": "Config", "clusters": [{"name": name, "cluster": cluster}]})
    }
}

/// Lets nodes join with a token that holds for `life`.
///
/// # Errors
/// The API server refuses.
pub(crate) async fn make_token(client: &Client, life: Duration, cluster: &Known<'_>) -> anyhow::Result<Token> {
    prepare(client).await?;
    publish(client, cluster).await?;
    let token = Token::random();
    let ends = Timestamp::now().checked_add(life).context("how long the token holds")?;
    let secret = json!({
        "metadata": {"name": token.secret_name(), "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": token.id, "token-secret": token.secret, "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true", "auth-extra-groups": BOOTSTRAPPERS, "description": "with which nodes of Skiff join",
            "expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        },
    });
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "kube-system");
    let secret = serde_json::from_value(secret).context("describe the token")?;
    let _made = secrets.create(&PostParams::default(), &secret).await.context("write the token")?;
    Ok(token)
}

/// Ends a token before its time.
///
/// # Errors
/// The API server refuses.
pub(crate) async fn end_token(client: &Client, token: &Token) -> anyhow::Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "kube-system");
    let deleted = secrets.delete(&token.secret_name(), &DeleteParams::default()).await;
    deleted.map(drop).context("remove the token")
}

/// Writes the roles.
async fn prepare(client: &Client) -> anyhow::Result<()> {
    let apply = PatchParams::apply("skiff-join").force();
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let role = roles.patch(NETWORK, &apply, &Patch::Apply(network_role())).await;
    let _written = role.with_context(|| format!("write cluster role {NETWORK}"))?;
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    for (name, role, group) in [
        ("skiff:node-bootstrap", "system:node-bootstrapper".to_owned(), BOOTSTRAPPERS),
        ("skiff:node-autoapprove-bootstrap", format!("{CERTIFICATES}:nodeclient"), BOOTSTRAPPERS),
        ("skiff:node-autoapprove-rotation", format!("{CERTIFICATES}:selfnodeclient"), NODES),
        (NETWORK, NETWORK.to_owned(), NODES),
    ] {
        let bound = bindings.patch(name, &apply, &Patch::Apply(binding(name, &role, group))).await;
        let _written = bound.with_context(|| format!("write cluster role binding {name}"))?;
    }
    Ok(())
}

/// Lets everybody read what the cluster is known by. A config map that is there keeps what others have written into it.
async fn publish(client: &Client, cluster: &Known<'_>) -> anyhow::Result<()> {
    let apply = PatchParams::apply("skiff-join").force();
    let info = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CLUSTER_INFO},
        "data": {"kubeconfig": format!("{:#}", cluster.config(""))}});
    let rules =
        json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CLUSTER_INFO], "verbs": ["get"]}]);
    let named = |kind: &str| json!({"apiVersion": format!("{RBAC}/v1"), "kind": kind, "metadata": {"name": PUBLISHED}});
    let (mut role, mut binding) = (named("Role"), named("RoleBinding"));
    role["rules"] = rules;
    binding["roleRef"] = json!({"apiGroup": RBAC, "kind": "Role", "name": PUBLISHED});
    binding["subjects"] = json!([{"apiGroup": RBAC, "kind": "User", "name": "system:anonymous"}]);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), PUBLIC);
    let written = maps.patch(CLUSTER_INFO, &apply, &Patch::Apply(info)).await;
    let _map = written.with_context(|| format!("write config map {PUBLIC}/{CLUSTER_INFO}"))?;
    let roles: Api<Role> = Api::namespaced(client.clone(), PUBLIC);
    let written = roles.patch(PUBLISHED, &apply, &Patch::Apply(role)).await;
    let _role = written.with_context(|| format!("write role {PUBLIC}/{PUBLISHED}"))?;
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), PUBLIC);
    let written = bindings.patch(PUBLISHED, &apply, &Patch::Apply(binding)).await;
    written.map(drop).with_context(|| format!("write role binding {PUBLIC}/{PUBLISHED}"))
}

fn network_role() -> Value {
    let verbs = ["get", "list", "watch"];
    json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": {"name": NETWORK},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "endpoints", "nodes", "namespaces", "pods"], "verbs": verbs},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
            {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": verbs},
            {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
        ],
    })
}

fn binding(name: &str, role: &str, group: &str) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": group}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_as_kubernetes_wants_it() {
        let token = Token::random();
        let text = token.text();
        let (id, secret) = text.split_once('.').unwrap();
        assert_eq!((id.len(), secret.len()), (6, 16));
        assert!(text.chars().all(|c| c == '.' || c.is_ascii_lowercase() || c.is_ascii_digit()), "{text}");
        assert_ne!(text, Token::random().text());
        let cluster = Known { server: "https://192.0.2.1:6443", authority: "pem" };
        let config: Value = serde_json::from_str(&token.kubeconfig(&cluster)).unwrap();
        assert_eq!(config["users"][0]["user"]["token"], text);
    }
}
