//! Skiff's own API over gRPC (`proto/api/skiff.proto`): thin, on the same registry as REST.

mod objects; // every resource
mod pods; // logs and exec

use crate::app::App;
use crate::audit::{self, Call};
use crate::auth::{Act, authorize, sender};
use crate::fairness;
use crate::registry::Target;
use crate::request::Request;
use crate::status::Status;
use axum::Router;
use axum::extract::Request as HttpRequest;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use skiff_audit::{Attributes, Object};
use skiff_proto::api::v1::Address;
use skiff_proto::api::v1::objects_server::ObjectsServer;
use skiff_proto::api::v1::pods_server::PodsServer;
use skiff_schema::{Catalog, Resource};
use std::sync::Arc;
use tonic::Code;
use tonic::metadata::{MetadataMap, MetadataValue};

/// The largest message; the same as REST's largest body, and a list may be as long as it is.
const MESSAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Serves `/skiff.v1.Objects/…` and `/skiff.v1.Pods/…`.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let objects = ObjectsServer::new(objects::Service { app: app.clone() })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(usize::MAX);
    let pods = PodsServer::new(pods::Service { app: app.clone() });
    Router::new()
        .route_service("/skiff.v1.Objects/{method}", objects)
        .route_service("/skiff.v1.Pods/{method}", pods)
        .layer(axum::middleware::from_fn(only_calls))
}

/// Lets calls pass and nothing that merely looks like one: a browser that has a certificate sends text wherever a web page tells it to.
async fn only_calls(request: HttpRequest, next: Next) -> Response {
    if skiff_store::etcd::is_call(&request) {
        return next.run(request).await;
    }
    let what = "gRPC is served over HTTP/2, by POST, for the content type application/grpc\n";
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, what).into_response()
}

/// A refusal as gRPC says it: the nearest code, the same sentence, and the whole Status in `status-json-bin`.
fn refuse(status: &Status) -> tonic::Status {
    let code = match status.code {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Code::InvalidArgument
        }
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Code::Unimplemented,
        StatusCode::CONFLICT if status.reason == "AlreadyExists" => Code::AlreadyExists,
        StatusCode::CONFLICT => Code::Aborted,
        StatusCode::GONE => Code::OutOfRange,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::INSUFFICIENT_STORAGE | StatusCode::TOO_MANY_REQUESTS => {
            Code::ResourceExhausted
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY => Code::Unavailable,
        StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        _ => Code::Internal,
    };
    let mut metadata = MetadataMap::new();
    metadata.insert_bin("status-json-bin", MetadataValue::from_bytes(status.value().to_string().as_bytes()));
    tonic::Status::with_metadata(code, status.message.clone(), metadata)
}

/// A refusal as a whole answer.
pub(crate) fn refusal(status: &Status) -> axum::response::Response {
    refuse(status).into_http()
}

/// What is asked of the resource that an address names, if the sender may do this to it.
async fn admit<T: Sync>(
    catalog: &Catalog,
    request: &tonic::Request<T>,
    address: Option<&Address>,
    verb: &'static str,
) -> Result<Request, tonic::Status> {
    let address = address.ok_or_else(|| tonic::Status::invalid_argument("address is missing"))?;
    let resource = catalog
        .find(&address.group, &address.version, &address.resource)
        .cloned()
        .ok_or_else(|| refuse(&Status::no_such_path()))?;
    if let Some(call) = request.extensions().get::<Arc<Call>>() {
        call.begin(Some(asked(&resource, address, verb))).await.map_err(|status| refuse(&status))?;
    }
    let act = Act::Resource {
        verb,
        group: &resource.group,
        resource: &resource.plural,
        part: &address.subresource,
        namespace: &address.namespace,
        name: &address.name,
    };
    let seat = fairness::enter_call(request.extensions(), verb, address).await;
    let seat = seat.map_err(|status| refuse(&status))?;
    authorize(request.extensions(), act).await.map_err(|status| refuse(&status))?;
    refuse_part(&resource, &address.subresource, verb)?;
    if matches!(verb, "list" | "watch" | "create") && !address.name.is_empty() && address.subresource.is_empty() {
        let why = format!("address.name must be empty to {verb}; select by metadata.name, or name the object itself");
        return Err(tonic::Status::invalid_argument(why));
    }
    let one = matches!(verb, "get" | "update" | "patch" | "delete") || !address.subresource.is_empty();
    if one && address.name.is_empty() {
        return Err(tonic::Status::invalid_argument("address.name is missing"));
    }
    if resource.namespaced == address.namespace.is_empty() && (one || verb == "create" || !resource.namespaced) {
        let problem = if resource.namespaced { "is missing" } else { "must be empty: the resource is cluster-wide" };
        return Err(tonic::Status::invalid_argument(format!("address.namespace {problem}")));
    }
    let target = Target { resource: &resource, namespace: &address.namespace, name: &address.name };
    let record = audit::of(request.extensions());
    let asked = Request::new(sender(request.extensions()), verb, &target).of_part(&address.subresource);
    Ok(asked.recorded(record).seated(seat))
}

/// What is asked for, as its audit record says it.
fn asked(resource: &Resource, address: &Address, verb: &str) -> Attributes {
    let object = Object {
        group: resource.group.to_string(),
        version: resource.version.to_string(),
        resource: resource.plural.to_string(),
        part: address.subresource.clone(),
        namespace: address.namespace.clone(),
        name: address.name.clone(),
    };
    Attributes { verb: verb.to_owned(), path: String::new(), object: Some(object) }
}

/// Refuses a part that this resource has not, or not for this verb, and those that have services of their own.
fn refuse_part(resource: &Resource, part: &str, verb: &str) -> Result<(), tonic::Status> {
    if part.is_empty() {
        return Ok(());
    }
    let Some(subresource) = resource.subresource(part) else { return Err(refuse(&Status::no_such_path())) };
    match part {
        "status" | "scale" | "finalize" | "binding" | "eviction" if subresource.verbs.contains(&verb) => Ok(()),
        "status" | "scale" | "finalize" | "binding" | "eviction" => Err(refuse(&Status::method_not_allowed())),
        // The Pods service, which asks for these by name.
        "log" | "exec" if verb == "get" || verb == "create" => Ok(()),
        _ => Err(refuse(&Status::not_implemented(format!("{verb} of {part} over gRPC")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Version;
    use tower::ServiceExt;

    /// Fault S4: what is no call never reaches a service.
    #[tokio::test]
    async fn only_grpc_is_passed_on() {
        let router = Router::new()
            .route("/skiff.v1.Objects/{method}", axum::routing::any(|| async { "executed" }))
            .layer(axum::middleware::from_fn(only_calls));
        let answered = async |version, kind: &'static str| {
            let request = HttpRequest::post("/skiff.v1.Objects/Create").version(version).header("content-type", kind);
            let answer = router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
            answer.status()
        };
        assert_eq!(answered(Version::HTTP_2, "application/grpc").await, StatusCode::OK);
        assert_eq!(answered(Version::HTTP_11, "application/grpc").await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(answered(Version::HTTP_2, "text/plain").await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}
