//! Patches of those who may only update: the object is read, changed as the patch says, and written with the version that was read.

use super::Account;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

/// How often somebody else may write in between.
const TRIES: usize = 5;

/// Whether a request is a patch that can be made of an update (RFC 7386).
pub(super) fn is_merge_patch(request: &Request<Body>) -> bool {
    let content = request.headers().get(CONTENT_TYPE);
    request.method() == Method::PATCH && content.is_some_and(|content| content == "application/merge-patch+json")
}

/// Patches, or updates where patching is forbidden. What is refused then is what was refused first.
pub(super) async fn patch(account: &Account, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
    let (parts, body) = request.into_parts();
    let patch = body.collect().await?.to_bytes();
    let refused = account.forward(Request::from_parts(parts.clone(), Body::from(patch.to_vec()))).await?;
    if refused.status() != StatusCode::FORBIDDEN {
        return Ok(refused);
    }
    let Ok(patch) = serde_json::from_slice::<Value>(&patch) else { return Ok(refused) };
    for _ in 0..TRIES {
        let Some(response) = update(account, &parts, &patch).await? else { return Ok(refused) };
        match response.status() {
            StatusCode::CONFLICT if patch["metadata"]["resourceVersion"].is_null() => {}
            StatusCode::FORBIDDEN => break,
            _ => return Ok(response),
        }
    }
    Ok(refused)
}

/// One try; `None`: the object cannot be read.
async fn update(account: &Account, parts: &Parts, patch: &Value) -> Result<Option<Response<Body>>, kube::Error> {
    let mut read = parts.clone();
    (read.method, read.uri) = (Method::GET, whole(&parts.uri));
    read.headers.remove(CONTENT_LENGTH);
    let read = account.forward(Request::from_parts(read, Body::empty())).await?;
    if !read.status().is_success() {
        return Ok(None);
    }
    let read = read.into_body().collect().await?.to_bytes();
    let mut object = serde_json::from_slice(&read).map_err(kube::Error::SerdeError)?;
    merge(&mut object, patch);
    let body = serde_json::to_vec(&object).map_err(kube::Error::SerdeError)?;
    let mut write = parts.clone();
    write.method = Method::PUT;
    write.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    write.headers.remove(CONTENT_LENGTH);
    account.forward(Request::from_parts(write, Body::from(body))).await.map(Some)
}

/// Where the object is of which a part is patched: roles let controllers read objects, and not their status by itself.
fn whole(uri: &Uri) -> Uri {
    let path = uri.path().strip_suffix("/status").unwrap_or(uri.path());
    path.parse().unwrap_or_else(|_| uri.clone())
}

/// RFC 7386, section 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else { return target.clone_from(patch) };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_are_merged_as_the_rfc_has_it() {
        for (target, patch, merged) in [
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": null, "d": [1]}}), json!({"a": {"c": 2, "d": [1]}})),
            (json!({"a": [1, 2]}), json!({"a": {"b": {"c": null}}}), json!({"a": {"b": {}}})),
            (json!({"a": 1}), json!({"a": null, "b": null}), json!({})),
            (json!(["a"]), json!("b"), json!("b")),
        ] {
            let mut object = target.clone();
            merge(&mut object, &patch);
            assert_eq!(object, merged, "{target} with {patch}");
        }
    }

    #[test]
    fn a_status_is_read_with_its_object() {
        let uri: Uri = "/apis/apps/v1/namespaces/w/deployments/d/status?fieldManager=x".parse().unwrap();
        assert_eq!(whole(&uri), "/apis/apps/v1/namespaces/w/deployments/d");
    }
}
