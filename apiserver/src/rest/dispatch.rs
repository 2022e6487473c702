//! Which path, which verb: one match, one call per arm.

use super::deadline::within;
use super::options::Parameters;
use super::path::{self, ResourcePath};
use super::respond::{Style, with_warnings};
use super::{discovery, metrics, stream, verbs};
use crate::aggregation;
use crate::app::App;
use crate::audit;
use crate::auth::{Act, authorize, authorize_selected, sender};
use crate::connections;
use crate::kubelet;
use crate::proxy;
use crate::registry::Target;
use crate::registry::selector::Selection;
use crate::request::{Request, agent, manager};
use crate::status::Status;
use axum::extract::Request as HttpRequest;
use axum::response::Response;
use http::{Extensions, HeaderMap, Method, header};
use skiff_client::is_upgrade;
use skiff_schema::Resource;
use std::pin::pin;
use std::sync::Arc;

pub(super) async fn answer(app: &Arc<App>, request: HttpRequest) -> Result<Response, Status> {
    if let Some(remote) = app.aggregation.of_path(request.uri().path()) {
        if remote.is_own() {
            return Box::pin(metrics::answer(app, request)).await;
        }
        return Box::pin(aggregation::forward(app, &remote, request)).await;
    }
    let path = path::parse(&app.registry.catalog(), request.uri().path());
    // A stranger learns nothing from a path that does not exist.
    let Ok(Some(path)) = path else {
        let verb = request.method().as_str().to_ascii_lowercase();
        authorize(request.extensions(), Act::Path { verb: &verb, path: request.uri().path() }).await?;
        path?;
        let (parts, _) = request.into_parts();
        let parameters = Parameters::of(&parts.uri)?;
        let mut answer = Box::pin(discovery::answer(app, &parts, &parameters));
        return within(&parameters, answer.as_mut()).await;
    };
    let parameters = Parameters::of(request.uri())?;
    let streamed = parameters.flag("watch");
    let verb = verb(request.method(), &path, streamed)?;
    let resource = &path.resource;
    let (namespace, name, part) = (path.namespace.as_str(), path.name.as_str(), path.subresource.as_str());
    let narrowed = narrowed(&path, verb, &parameters);
    // Who may read one object may list and watch it by its name.
    let single = narrowed.as_ref().and_then(Selection::single_name).filter(|name| !name.contains(['/', '%']));
    let about = if name.is_empty() { single.unwrap_or_default() } else { name };
    let act = Act::Resource { verb, group: &resource.group, resource: &resource.plural, part, namespace, name: about };
    let selection = narrowed.as_ref().map(Selection::requirements).unwrap_or_default();
    authorize_selected(request.extensions(), act, &resource.version, &selection).await?;
    if runs_something(resource, part, &request) && verb != "create" {
        let act =
            Act::Resource { verb: "create", group: &resource.group, resource: &resource.plural, part, namespace, name };
        authorize(request.extensions(), act).await?;
    }
    if !serves(&path, verb) {
        return Err(Status::method_not_allowed());
    }
    let target = Target { resource, namespace, name };
    let record = audit::of(request.extensions());
    let mut asked = Request::new(sender(request.extensions()), verb, &target).of_part(part).recorded(record);
    asked.options.manager = manager(parameters.text("fieldManager"), agent(request.headers()));
    let told: Vec<String> = resource.deprecation().map(str::to_owned).into_iter().collect();
    if !told.is_empty() {
        asked.annotate("k8s.io/deprecated", "true".to_owned());
    }
    let answer = match part {
        "log" | "exec" | "attach" | "portforward" | "proxy" => {
            Box::pin(stream_request(app, &path, &asked, &parameters, request)).await
        }
        _ if verb == "watch" => {
            Box::pin(watch(app, &asked, &parameters, request.headers(), request.extensions())).await
        }
        _ => within(&parameters, pin!(object_request(app, asked, &parameters, request))).await,
    };
    match answer {
        Ok(answer) => Ok(with_warnings(answer, &told)),
        Err(status) => Err(status.warned(told)),
    }
}

/// What is passed on to where an object runs.
async fn stream_request(
    app: &Arc<App>,
    path: &ResourcePath,
    asked: &Request,
    parameters: &Parameters,
    request: HttpRequest,
) -> Result<Response, Status> {
    match &*asked.part {
        "log" => kubelet::logs(app, asked, request).await,
        _ if parameters.said("dryRun").is_some() => Err(Status::bad_request("dryRun is not supported")),
        part => {
            let admitted = connections::admit(&app.registry, asked, parameters.pairs(), &path.beyond).await;
            let told = asked.finish();
            if let Err(status) = admitted {
                return Err(status.warned(told));
            }
            let answer = match part {
                "proxy" => proxy::forward(app, asked, &path.beyond, request).await?,
                _ => kubelet::upgrade(app, asked, request).await?,
            };
            Ok(with_warnings(answer, &told))
        }
    }
}

async fn watch(
    app: &Arc<App>,
    asked: &Request,
    parameters: &Parameters,
    headers: &HeaderMap,
    door: &Extensions,
) -> Result<Response, Status> {
    let upgrade = headers.get(header::UPGRADE).is_some_and(|word| word.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if upgrade {
        return Err(Status::bad_request("watches are not served over WebSocket; ask without Upgrade"));
    }
    let style = Style::of(headers, parameters, door)?;
    stream::watch(app, asked, parameters, style).await
}

async fn object_request(
    app: &Arc<App>,
    asked: Request,
    parameters: &Parameters,
    request: HttpRequest,
) -> Result<Response, Status> {
    let style = Style::of(request.headers(), parameters, request.extensions())?;
    let columns = asked.resource.verbs.contains(&"get") && !matches!(&*asked.part, "binding" | "eviction");
    let style = if columns { style } else { style.without_tables()? };
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let (verb, part) = (asked.verb, asked.part.clone());
    let call = verbs::Call { app, request: asked, parameters, style };
    // Boxed each: together they would be as large as the largest.
    match (verb, part.as_str()) {
        ("get", _) => Box::pin(verbs::get(&call)).await,
        ("list", _) => Box::pin(verbs::list(&call)).await,
        ("create", _) => Box::pin(verbs::create(call, headers, body)).await,
        ("update", _) => Box::pin(verbs::update(call, headers, body)).await,
        ("patch", _) => Box::pin(verbs::patch(call, headers, body)).await,
        ("delete", "") => Box::pin(verbs::delete(call, headers, body)).await,
        ("deletecollection", "") => Box::pin(verbs::delete_collection(call, headers, body)).await,
        _ => Err(Status::method_not_allowed()),
    }
}

/// Kubernetes' verb for a method ("Authorization: determine the request verb").
fn verb(method: &Method, path: &ResourcePath, watch: bool) -> Result<&'static str, Status> {
    let one = !path.name.is_empty();
    match *method {
        Method::GET | Method::HEAD if watch && !one => Ok("watch"),
        Method::GET | Method::HEAD if one => Ok("get"),
        Method::GET | Method::HEAD => Ok("list"),
        Method::POST => Ok("create"),
        Method::PUT if one => Ok("update"),
        Method::PATCH if one => Ok("patch"),
        Method::DELETE if one => Ok("delete"),
        Method::DELETE => Ok("deletecollection"),
        // Kubernetes has no word for it: who may use every verb may send it.
        Method::OPTIONS if path.subresource == "proxy" => Ok(""),
        _ => Err(Status::method_not_allowed()),
    }
}

/// Whether a connection begins by which something runs in a container. A WebSocket begins with GET, and who may only read may not run
/// anything: that is a creation, whatever the method (KEP-4006; the same through a kubelet's own paths).
fn runs_something(resource: &Resource, part: &str, request: &HttpRequest) -> bool {
    match part {
        "exec" | "attach" | "portforward" => true,
        // Of what has no namespace only nodes are reached so.
        "proxy" => !resource.namespaced && is_upgrade(request),
        _ => false,
    }
}

/// What selectors leave of a collection; one that cannot be read leaves it as it is, and is refused later.
fn narrowed(path: &ResourcePath, verb: &str, parameters: &Parameters) -> Option<Selection> {
    let (labels, fields) = (parameters.text("labelSelector"), parameters.text("fieldSelector"));
    let is_collection = matches!(verb, "list" | "watch" | "deletecollection");
    if !is_collection || (labels.is_empty() && fields.is_empty()) {
        return None;
    }
    Selection::parse(&path.resource, labels, fields).ok()
}

fn serves(path: &ResourcePath, verb: &str) -> bool {
    match path.resource.subresource(&path.subresource) {
        Some(subresource) => subresource.verbs.contains(&verb) || verb.is_empty(),
        None => path.resource.verbs.contains(&verb) && (verb != "create" || path.name.is_empty()),
    }
}
