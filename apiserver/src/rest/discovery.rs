//! What is served here: discovery, OpenAPI, version and health.

use super::negotiate::accepted;
use super::openapi;
use super::options::Parameters;
use super::respond::{self, Style, bytes, json_value};
use crate::aggregation::{answer_v3, with_aggregated, with_group, with_groups, with_v3};
use crate::app::App;
use crate::status::Status;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use skiff_schema::discovery::{
    AggregatedVersion, Root, aggregated, api_group, api_group_list, api_resource_list, api_versions,
};

/// The Kubernetes version whose API this is; clients decide by it what they may send.
const MAJOR: &str = "1";
const MINOR: &str = "36";

/// Prometheus' text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers a path that is no resource.
pub(super) async fn answer(app: &App, request: &Parts, parameters: &Parameters) -> Result<Response, Status> {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Err(Status::method_not_allowed());
    }
    let headers = &request.headers;
    let segments: Vec<&str> = request.uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
    let found = |value: Option<Value>| {
        let value = value.ok_or_else(Status::no_such_path)?;
        respond::plain(StatusCode::OK, Style::of(headers, parameters, &request.extensions)?, &value)
    };
    let catalog = app.registry.catalog();
    match &segments[..] {
        ["api"] => versions(app, headers, Root::Core, || found(Some(api_versions(&app.advertise.to_string())))),
        ["apis"] => versions(app, headers, Root::Groups, || {
            found(Some(with_groups(api_group_list(&catalog), &app.aggregation.remotes())))
        }),
        ["api", version] => found(api_resource_list(&catalog, "", version)),
        ["apis", group] => found(with_group(api_group(&catalog, group), group, &app.aggregation.remotes())),
        ["apis", group, version] => found(api_resource_list(&catalog, group, version)),
        ["version"] => Ok(json_value(StatusCode::OK, &version())),
        ["openapi", "v3", "apis", group, version]
            if app.aggregation.of_path(&format!("/apis/{group}/{version}")).is_some() =>
        {
            let body =
                answer_v3(app, &format!("apis/{group}/{version}"), request.uri.query().unwrap_or_default()).await?;
            Ok(bytes(StatusCode::OK, "application/json", body.unwrap_or_default()))
        }
        ["openapi", "v3"] => Ok(json_value(StatusCode::OK, &with_v3(app, catalog.documents().v3_index().clone()))),
        [".well-known", "openid-configuration"] => {
            Ok(published("application/json", app.callers.openid_configuration()?))
        }
        ["openid", "v1", "jwks"] => Ok(published("application/jwk-set+json", app.callers.key_set())),
        ["openapi", rest @ ..] => openapi::answer(catalog.documents(), headers, parameters, rest),
        ["healthz" | "livez" | "readyz", ..] => health(app, parameters, &segments).await,
        ["metrics"] => Ok(bytes(StatusCode::OK, METRICS, metrics(app))),
        ["debug", "api_priority_and_fairness", page] => {
            let details = parameters.text("includeRequestDetails");
            let text = app.fairness.page(page, !details.is_empty()).ok_or_else(Status::no_such_path)?;
            Ok(bytes(StatusCode::OK, "text/plain; charset=utf-8", text))
        }
        [] => found(Some(json!({"paths": [
            "/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks",
            "/metrics", "/readyz", "/version",
        ]}))),
        _ => Err(Status::no_such_path()),
    }
}

fn metrics(app: &App) -> String {
    let audited = app.auditor.get().map(|auditor| auditor.metrics()).unwrap_or_default();
    audited + &app.fairness.metrics() + &skiff_client::figures()
}

/// What anybody may keep who checks tokens of ours: the keys change seldom, and before a new one signs.
fn published(content_type: &'static str, value: &Value) -> Response {
    let mut response = bytes(StatusCode::OK, content_type, value.to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

/// The aggregated document if the client knows it (KEP-3352), the legacy one if not.
fn versions(
    app: &App,
    headers: &HeaderMap,
    root: Root,
    legacy: impl FnOnce() -> Result<Response, Status>,
) -> Result<Response, Status> {
    let version =
        accepted(headers).iter().find_map(|range| match (range.name, range.parameter("as"), range.parameter("v")) {
            ("application/json", "APIGroupDiscoveryList", "v2") => Some(Some(AggregatedVersion::V2)),
            ("application/json", "APIGroupDiscoveryList", "v2beta1") => Some(Some(AggregatedVersion::V2Beta1)),
            ("application/json" | "application/*" | "*/*", "", _) => Some(None),
            _ => None,
        });
    let Some(version) = version.flatten() else { return legacy() };
    let remotes = app.aggregation.remotes();
    let more = |items| if root == Root::Groups { with_aggregated(items, &remotes) } else { items };
    let document = aggregated(&app.registry.catalog(), root, version, more);
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == document.etag.as_bytes());
    let mut response = if known {
        bytes(StatusCode::NOT_MODIFIED, document.content_type, "")
    } else {
        bytes(StatusCode::OK, document.content_type, document.body)
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&document.etag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    Ok(response)
}

fn version() -> Value {
    json!({
        "major": MAJOR, "minor": MINOR,
        "gitVersion": format!("v{MAJOR}.{MINOR}.0+skiff-{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": format!("linux/{}", goarch()),
    })
}

/// Kubernetes names architectures as Go does.
fn goarch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `/livez`, `/readyz`, `/healthz`: `ok`, or what is wrong; `?verbose` lists the checks, `?exclude=<check>` leaves one out,
/// `/readyz/<check>` asks one.
async fn health(app: &App, parameters: &Parameters, segments: &[&str]) -> Result<Response, Status> {
    let store = app.registry.backend().health().await;
    let stopping = app.stopping.is_cancelled() && segments[0] == "readyz";
    let checks = [("ping", true), ("etcd", store.is_ok()), ("shutdown", !stopping)];
    let excluded: Vec<&str> = parameters.all("exclude").collect();
    let asked: Vec<&(&str, bool)> = match segments {
        [_] => checks.iter().collect(),
        [_, name] => checks.iter().filter(|(check, _)| check == name).collect(),
        _ => Vec::new(),
    };
    if asked.is_empty() {
        return Err(Status::no_such_path());
    }
    let healthy = asked.iter().all(|(name, fine)| *fine || excluded.contains(name));
    let code = if healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    let verbose = parameters.all("verbose").next().is_some();
    if healthy && !verbose {
        return Ok(bytes(code, "text/plain; charset=utf-8", "ok"));
    }
    let line = |(name, fine): &&(&str, bool)| match fine {
        _ if excluded.contains(name) => format!("[+]{name} excluded: ok\n"),
        true => format!("[+]{name} ok\n"),
        false => format!("[-]{name} failed: reason withheld\n"),
    };
    let mut text: String = asked.iter().map(line).collect();
    let unknown = excluded.iter().filter(|name| !asked.iter().any(|(check, _)| check == *name));
    let unknown: Vec<String> = unknown.map(|name| format!("{name:?}")).collect();
    if !unknown.is_empty() {
        text += &format!("warn: some health checks cannot be excluded: no matches for {}\n", unknown.join(", "));
    }
    text += &format!("{} check {}\n", segments[0], if healthy { "passed" } else { "failed" });
    Ok(bytes(code, "text/plain; charset=utf-8", text))
}
