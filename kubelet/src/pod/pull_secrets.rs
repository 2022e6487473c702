//! The credentials for an image in the secrets that a pod names for pulling. Pure.
//!
//! A secret holds the file of a container client: `auths` by registry, some with a path, some with `*` for a part of the host's
//! name (Kubernetes, "Images", "Config.json interpretation"). Of those that match an image the longest come first.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use skiff_proto::cri::v1::AuthConfig;
use skiff_pulls::Secret as Shown;
use std::collections::BTreeMap;

/// The registry of names that have none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Keys under which clients keep what is for that registry.
const DEFAULT_KEYS: [&str; 3] = ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];

#[derive(Deserialize, Default)]
#[serde(default)]
struct Config {
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
    email: String,
}

impl Entry {
    /// `auth` is `user:password` in base 64 and wins, as in the clients.
    fn credentials(&self) -> Option<AuthConfig> {
        let decoded = STANDARD.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (username, password) = match decoded.as_deref().and_then(|text| text.split_once(':')) {
            Some((user, password)) => (user.to_owned(), password.trim_end_matches('\0').to_owned()),
            None => (self.username.clone(), self.password.clone()),
        };
        (!username.is_empty()).then(|| AuthConfig { username, password, ..Default::default() })
    }
}

/// The sum by which a kubelet knows credentials again: of the JSON that Go makes of them.
fn sum(credentials: &AuthConfig, email: &str) -> String {
    let fields = [("username", credentials.username.as_str()), ("password", &credentials.password), ("email", email)];
    let given = fields.iter().filter(|(_, value)| !value.is_empty());
    let text = given.map(|(key, value)| format!("\"{key}\":{}", serde_json::Value::from(*value))).collect::<Vec<_>>();
    let text =
        format!("{{{}}}", text.join(",")).replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Which secret holds these credentials.
fn shown(secret: &Secret, credentials: &AuthConfig, email: &str) -> Shown {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let meta = &secret.metadata;
    let credential_hash = sum(credentials, email);
    Shown { uid: text(&meta.uid), namespace: text(&meta.namespace), name: text(&meta.name), credential_hash }
}

/// What `secrets` hold for `image`, the most fitting first, each once. A secret that does not parse holds nothing.
pub(super) fn for_image(image: &str, secrets: &[Secret]) -> Vec<(AuthConfig, Shown)> {
    let entries =
        secrets.iter().flat_map(|secret| entries(secret).into_iter().map(move |(key, entry)| (secret, key, entry)));
    let (host, path) = parts(image);
    let mut found: Vec<_> = entries
        .filter(|(_, key, _)| matches(key, &host, &path))
        .filter_map(|(secret, key, entry)| {
            let credentials = entry.credentials()?;
            let shown = shown(secret, &credentials, &entry.email);
            Some((key.len(), (credentials, shown)))
        })
        .collect();
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    let mut once: Vec<(AuthConfig, Shown)> = Vec::new();
    for (_, credentials) in found {
        if !once.iter().any(|(known, _)| *known == credentials.0) {
            once.push(credentials);
        }
    }
    once
}

fn entries(secret: &Secret) -> Vec<(String, Entry)> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.as_slice());
    let new = data(".dockerconfigjson").map(|text| serde_json::from_slice::<Config>(text).unwrap_or_default().auths);
    let old = || data(".dockercfg").and_then(|text| serde_json::from_slice::<BTreeMap<String, Entry>>(text).ok());
    new.or_else(old).unwrap_or_default().into_iter().collect()
}

/// The registry and the path of an image's name.
fn parts(image: &str) -> (String, String) {
    match image.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host.to_owned(), path.to_owned()),
        _ => (DEFAULT_REGISTRY.to_owned(), image.to_owned()),
    }
}

fn matches(key: &str, host: &str, path: &str) -> bool {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (of, below) = key.split_once('/').unwrap_or((key, ""));
    let below = below.trim_end_matches('/');
    // Clients keep the address of the interface, not of the images.
    let below = if matches!(below, "v1" | "v2") { "" } else { below };
    let of = if DEFAULT_KEYS.contains(&of) { DEFAULT_REGISTRY } else { of };
    let inside = below.is_empty()
        || path == below
        || path.strip_prefix(below).is_some_and(|rest| rest.starts_with(['/', ':', '@']));
    same_host(of, host) && inside
}

/// Part by part, `*` standing for any characters of one; the port has to be the same.
fn same_host(pattern: &str, host: &str) -> bool {
    let split =
        |text: &str| text.split_once(':').map_or((text.to_owned(), None), |(a, b)| (a.to_owned(), Some(b.to_owned())));
    let ((pattern, port), (host, of_host)) = (split(pattern), split(host));
    let (patterns, parts): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), host.split('.').collect());
    port == of_host
        && patterns.len() == parts.len()
        && patterns.iter().zip(parts).all(|(pattern, part)| glob(pattern, part))
}

fn glob(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).any(|at| rest.is_char_boundary(at) && glob(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use serde_json::{Value, json};

    fn secret(key: &str, value: Value) -> Secret {
        let data = BTreeMap::from([(key.to_owned(), ByteString(value.to_string().into_bytes()))]);
        Secret { data: Some(data), ..Default::default() }
    }

    fn users(image: &str, auths: Value) -> Vec<String> {
        let found = for_image(image, &[secret(".dockerconfigjson", json!({ "auths": auths }))]);
        found.into_iter().map(|(one, _)| format!("{}:{}", one.username, one.password)).collect()
    }

    #[test]
    fn the_longest_match_comes_first() {
        let auths = json!({"example.com": {"auth": STANDARD.encode("a:1")}, "example.com/team": {"username": "b", "password": "2"},
            "other.com": {"username": "c"}, "*.com": {"username": "d"}});
        assert_eq!(users("example.com/team/app:1", auths.clone()), ["b:2", "a:1", "d:"]);
        assert_eq!(users("example.com/teams/app", auths.clone()), ["a:1", "d:"]);
        assert_eq!(users("example.org/app", auths), [""; 0]);
    }

    /// As `sha256sum` has it of what Go's encoder writes.
    #[test]
    fn credentials_are_known_by_their_sum_as_in_other_kubelets() {
        let auth = AuthConfig { username: "a".to_owned(), password: "b<".to_owned(), ..Default::default() };
        let expected = hex::encode(Sha256::digest(b"{\"username\":\"a\",\"password\":\"b\\u003c\"}"));
        assert_eq!(sum(&auth, ""), expected);
        assert_ne!(sum(&auth, "a@b"), expected);
    }

    #[test]
    fn names_without_a_registry_are_the_default_one_s() {
        let auths = json!({"https://index.docker.io/v1/": {"username": "a", "password": "b"}});
        assert_eq!(users("nginx", auths.clone()), ["a:b"]);
        assert_eq!(users("library/nginx:1", auths), ["a:b"]);
        assert_eq!(users("localhost:5000/x", json!({"localhost:5000": {"username": "p"}})), ["p:"]);
    }

    #[test]
    fn the_old_form_is_read_and_rubbish_is_nothing() {
        let old = secret(".dockercfg", json!({"example.com": {"username": "a", "password": "b"}}));
        assert_eq!(for_image("example.com/x", &[old]).len(), 1);
        assert_eq!(for_image("example.com/x", &[secret(".dockerconfigjson", json!([1]))]), Vec::new());
    }
}
