//! A kubeconfig (`v1` Config) with the certificates inside, so that it can be copied to another machine as one file.

use super::CertKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// JSON is YAML, and this way every value is quoted as it must be.
pub(super) fn text(server_url: &str, user: &str, authority: &str, pair: &CertKey) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "skiff", "cluster": {
            "server": server_url,
            "certificate-authority-data": STANDARD.encode(authority),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": STANDARD.encode(&pair.certificate),
            "client-key-data": STANDARD.encode(&pair.private_key),
        }}],
        "contexts": [{"name": "skiff", "context": {"cluster": "skiff", "user": user}}],
        "current-context": "skiff",
    });
    format!("{config:#}\n")
}
