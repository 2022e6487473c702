//! What etcd answers over plain HTTP on its client port: probes, its version, a few figures.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::SERVED_VERSION;
use crate::Store;

/// `/health`, `/livez`, `/readyz`, `/version`, `/metrics`.
pub(crate) fn routes(store: Store) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/livez", get(probe))
        .route("/readyz", get(probe))
        .route("/metrics", get(metrics))
        .with_state(store)
        .route("/version", get(version))
}

async fn health(State(store): State<Store>) -> Response {
    match store.core().check() {
        Ok(()) => axum::Json(json!({ "health": "true", "reason": "" })).into_response(),
        Err(why) => {
            let answer = json!({ "health": "false", "reason": why.to_string() });
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json(answer)).into_response()
        }
    }
}

async fn probe(State(store): State<Store>) -> Response {
    match store.core().check() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("[-]store failed: {why}\n")).into_response(),
    }
}

async fn version() -> Response {
    axum::Json(json!({ "etcdserver": SERVED_VERSION, "etcdcluster": "3.5.0" })).into_response()
}

async fn metrics(State(store): State<Store>) -> Response {
    let core = store.core();
    let (revision, compacted, used, keys) = {
        let view = core.view();
        (view.durable, view.compacted, view.history_bytes, view.index.len())
    };
    let leases = core.leases().ids().len();
    let figures = [
        ("etcd_mvcc_db_total_size_in_bytes", core.engine.disk_bytes().to_string()),
        ("etcd_mvcc_db_total_size_in_use_in_bytes", used.to_string()),
        ("etcd_debugging_mvcc_current_revision", revision.to_string()),
        ("etcd_debugging_mvcc_compact_revision", compacted.to_string()),
        ("etcd_debugging_mvcc_keys_total", keys.to_string()),
        ("etcd_debugging_mvcc_watcher_total", core.hub.watchers().to_string()),
        ("etcd_debugging_server_lease_count", leases.to_string()),
        ("etcd_server_has_leader", "1".to_owned()),
    ];
    figures
        .iter()
        .map(|(name, value)| format!("# TYPE {name} gauge\n{name} {value}\n"))
        .collect::<String>()
        .into_response()
}
