//! Bootstrap tokens: with which a machine asks for its node's certificate (`--enable-bootstrap-token-auth`).

use super::Known;
use crate::registry::{Registry, Target, built_in};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use skiff_authn::bootstrap::{Home, NAMESPACE, Token};

/// Whose `token` is; `None`: it is no bootstrap token, or none that may be used so.
pub(super) async fn authenticate(
    registry: &Registry,
    token: &str,
    audiences: &[String],
) -> Result<Option<Known>, String> {
    let Some(token) = Token::parse(token) else { return Ok(None) };
    let resource = built_in("", "secrets").map_err(|status| status.to_string())?;
    let target = Target { resource, namespace: NAMESPACE, name: &token.secret_name() };
    let secret = match registry.get(&target).await {
        Ok(secret) => secret.value().map_err(|status| status.to_string())?,
        Err(status) if status.reason == "NotFound" => return Ok(None),
        Err(status) => return Err(status.to_string()),
    };
    let user = token.holds(&home(&secret), Timestamp::now().as_second());
    Ok(user.map(|user| Known { user, audiences: audiences.to_vec() }))
}

/// What the secret says.
fn home(secret: &Value) -> Home {
    let text = |value: &Value| {
        let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    };
    let data = secret["data"].as_object().into_iter().flatten();
    let data: std::collections::BTreeMap<String, String> =
        data.map(|(key, value)| (key.clone(), text(value))).collect();
    let ends = data.get("expiration").filter(|text| !text.is_empty());
    Home {
        kind: secret["type"].as_str().unwrap_or_default().to_owned(),
        deleted: !secret["metadata"]["deletionTimestamp"].is_null(),
        ends: ends.map(|text| text.parse().map(Timestamp::as_second).map_err(drop)),
        data,
    }
}
