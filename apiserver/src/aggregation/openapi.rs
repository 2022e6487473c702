//! OpenAPI 3 of servers behind this one: the index names their documents, which they themselves answer with.

use super::availability::document;
use crate::app::App;
use crate::status::Status;
use bytes::Bytes;
use serde_json::Value;

/// The index with theirs too.
pub(crate) fn with_v3(app: &App, mut index: Value) -> Value {
    for remote in app.aggregation.remotes().iter() {
        let Some(url) = remote.learned().openapi_v3.clone() else { continue };
        index["paths"][format!("apis/{}/{}", remote.group, remote.version)]["serverRelativeURL"] = url.into();
    }
    index
}

/// The document at `path` (`apis/{group}/{version}`), if another server answers for it.
///
/// # Errors
/// It does not answer.
pub(crate) async fn answer_v3(app: &App, path: &str, query: &str) -> Result<Option<Bytes>, Status> {
    let Some(remote) = app.aggregation.of_path(&format!("/{path}")) else { return Ok(None) };
    if remote.is_own() {
        return Err(Status::no_such_path());
    }
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    let (shown, answer) = document(&app.registry, &remote, &format!("/openapi/v3/{path}{query}")).await;
    match answer {
        Ok((code, body)) if code.is_success() => Ok(Some(body)),
        Ok((code, _)) => Err(Status::unavailable(format!("{shown} answered {}", code.as_u16()))),
        Err(why) => Err(Status::unavailable(format!("{shown}: {why}"))),
    }
}
