//! How the server refuses: Kubernetes' `Status` object, with the reasons, codes and sentences that clients know
//! (API conventions, "Response Status Kind").

use http::StatusCode;
use serde_json::{Value, json};
use skiff_schema::{FieldError, Resource};
use skiff_step::Injected;
use skiff_store::backend::{BackendError, Revision};
use std::fmt;

/// A refusal, as it goes over the wire.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Status {
    pub(crate) code: StatusCode,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    details: Option<Value>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl Status {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        let mut details = json!({"name": name, "kind": resource.plural});
        if !resource.group.is_empty() {
            details["group"] = resource.group.into();
        }
        self.details = Some(details);
        self
    }

    /// Names what is to blame: objects with `reason`, `message` and `field`.
    pub(crate) fn caused_by(mut self, causes: Vec<Value>) -> Self {
        let details = self.details.get_or_insert_with(|| json!({}));
        details["causes"] = causes.into();
        self
    }

    /// The object for the body.
    pub(crate) fn value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code.as_u16(),
        });
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.group_resource());
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(resource, name)
    }

    /// A path that names nothing.
    pub(crate) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource")
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.group_resource());
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(resource, name)
    }

    /// Somebody else was faster.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        let advice = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, advice)
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", resource.group_resource());
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(resource, name)
    }

    pub(crate) fn invalid(resource: &Resource, name: &str, errors: &[FieldError]) -> Self {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let list = if let [one] = &texts[..] { one.clone() } else { format!("[{}]", texts.join(", ")) };
        let message = if list == "[]" {
            format!("{} {name:?} is invalid", group_kind(resource))
        } else {
            format!("{} {name:?} is invalid: {list}", group_kind(resource))
        };
        let causes = errors
            .iter()
            .map(|error| json!({"reason": error.kind.reason(), "message": error.body(), "field": error.field}))
            .collect();
        let mut status = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).about(resource, name);
        if let Some(details) = &mut status.details {
            details["kind"] = resource.kind.into();
        }
        status.caused_by(causes)
    }

    pub(crate) fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let what = if name.is_empty() {
            format!("{} is forbidden", resource.group_resource())
        } else {
            format!("{} {name:?} is forbidden", resource.group_resource())
        };
        Self::new(StatusCode::FORBIDDEN, "Forbidden", format!("{what}: {why}")).about(resource, name)
    }

    /// Creation in a namespace that is going away; clients look for the cause.
    pub(crate) fn namespace_terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let message = format!("namespace {namespace} is being terminated");
        let cause = json!({"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"});
        Self::forbidden(resource, name, &why).caused_by(vec![cause])
    }

    pub(crate) fn forbidden_path(message: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// A patch that parses but cannot be applied to this object.
    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    pub(crate) fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json, application/yaml, \
                       application/json;as=Table;v=v1;g=meta.k8s.io, \
                       application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    pub(crate) fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        let message = format!("Request entity is too large: limit is {limit_bytes}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// A revision that is no longer kept: list again.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// A revision that has not happened yet.
    pub(crate) fn future(asked: Revision, newest: Revision) -> Self {
        let message = format!("Too large resource version: {asked}, current: {newest}");
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        let mut status = Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).caused_by(vec![cause]);
        if let Some(details) = &mut status.details {
            details["retryAfterSeconds"] = 1.into();
        }
        status
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let message = format!("Internal error occurred: {}", message.into());
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    pub(crate) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
    }

    /// The kubelet knows nothing of it (yet, or any more).
    pub(crate) fn kubelet_not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// The kubelet could not be reached or answered nonsense.
    pub(crate) fn bad_gateway(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "InternalError", message)
    }
}

/// `Pod`, `Deployment.apps`: how an Invalid names the kind.
fn group_kind(resource: &Resource) -> String {
    if resource.group.is_empty() { resource.kind.to_owned() } else { format!("{}.{}", resource.kind, resource.group) }
}

/// The body of an answer that is no object: `{"kind":"Status","status":"Success"}` with what it was about.
pub(crate) fn success(resource: &Resource, name: &str, uid: Option<&str>, code: StatusCode) -> Value {
    let mut details = json!({"name": name, "kind": resource.plural});
    if !resource.group.is_empty() {
        details["group"] = resource.group.into();
    }
    if let Some(uid) = uid {
        details["uid"] = uid.into();
    }
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    if code != StatusCode::OK {
        status["code"] = code.as_u16().into();
    }
    status
}

impl From<BackendError> for Status {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::Compacted { .. } => Self::expired(format!("The resourceVersion is too old: {error}")),
            BackendError::Future { newest } => Self::future(newest.saturating_add(1), newest),
            BackendError::TooLarge => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", "etcdserver: request is too large")
            }
            BackendError::Unavailable(_) => Self::unavailable(error.to_string()),
            BackendError::NoSpace | BackendError::Internal(_) => Self::internal(error.to_string()),
        }
    }
}

impl From<Injected> for Status {
    fn from(fault: Injected) -> Self {
        Self::internal(format!("{}: planned fault, errno {}", fault.step, fault.errno))
    }
}
