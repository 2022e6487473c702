//! How the server refuses: Kubernetes' `Status` object, with the reasons, codes and sentences that clients know
//! (API conventions, "Response Status Kind").

pub(crate) mod order; // in which order are its fields written?

use http::StatusCode;
use serde_json::{Value, json};
use skiff_schema::protobuf::ProtobufError;
use skiff_schema::{FieldError, FieldErrorKind, Resource};
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
    /// What else the object says, or says instead: it may be another server's.
    said: Option<Box<Value>>,
    /// What is told beside the refusal, in headers `Warning`.
    pub(crate) warnings: Vec<String>,
}

/// The reasons that clients know (`meta/v1` StatusReason).
const REASONS: [&str; 19] = [
    "Unauthorized",
    "Forbidden",
    "NotFound",
    "AlreadyExists",
    "Conflict",
    "Gone",
    "Invalid",
    "ServerTimeout",
    "StoreReadError",
    "Timeout",
    "TooManyRequests",
    "BadRequest",
    "MethodNotAllowed",
    "NotAcceptable",
    "RequestEntityTooLarge",
    "UnsupportedMediaType",
    "InternalError",
    "Expired",
    "ServiceUnavailable",
];

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl Status {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, said: None, warnings: Vec::new() }
    }

    /// What another server said, a Status with a code; its words are passed on, all of them.
    pub(crate) fn said(status: Value) -> Self {
        let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        let code = code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let reason = REASONS.into_iter().find(|known| status["reason"] == **known).unwrap_or_default();
        let message = status["message"].as_str().unwrap_or_default().to_owned();
        Self { said: Some(Box::new(status)), ..Self::new(code, reason, message) }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        let mut details = json!({"name": name, "kind": resource.plural});
        if !resource.group.is_empty() {
            details["group"] = (*resource.group).into();
        }
        self.details = Some(details);
        self
    }

    /// As a server answers that has nothing to say about it: clients read `details` without asking whether it is there.
    fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// Names what is to blame: objects with `reason`, `message` and `field`.
    pub(crate) fn caused_by(mut self, causes: Vec<Value>) -> Self {
        let details = self.details.get_or_insert_with(|| json!({}));
        details["causes"] = causes.into();
        self
    }

    /// Refuses for another reason, with the code that goes with it: one that a policy may give.
    pub(crate) fn because(mut self, reason: &str) -> Self {
        (self.code, self.reason) = match reason {
            "Forbidden" => (StatusCode::FORBIDDEN, "Forbidden"),
            "Unauthorized" => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            "RequestEntityTooLarge" => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
        };
        self
    }

    /// The same in other words, and for another reason.
    pub(crate) fn saying(mut self, message: String, reason: &'static str) -> Self {
        (self.message, self.reason) = (message, reason);
        self
    }

    /// Tells more beside the refusal.
    pub(crate) fn warned(mut self, warnings: Vec<String>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    /// Gives a list that cannot go on as it was a token for the rest.
    pub(crate) fn continued_at(mut self, token: String) -> Self {
        self.said = Some(Box::new(json!({"metadata": {"continue": token}})));
        self
    }

    /// The object for the body.
    pub(crate) fn value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code.as_u16(),
        });
        if let (true, Some(fields)) = (self.reason.is_empty(), status.as_object_mut()) {
            fields.remove("reason");
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        for (field, said) in self.said.iter().filter_map(|said| said.as_object()).flatten() {
            if !matches!(&**field, "kind" | "apiVersion") && !said.is_null() {
                status[field] = said.clone();
            }
        }
        status
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.group_resource());
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(resource, name)
    }

    /// The same of something that is no resource of the catalogue.
    pub(crate) fn none_of((group, plural): (&str, &str), name: &str) -> Self {
        let details = json!({"name": name, "group": group, "kind": plural});
        let message = format!("{plural}.{group} {name:?} not found");
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).with_details(details)
    }

    /// A path that names nothing.
    pub(crate) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource")
            .with_details(json!({}))
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.group_resource());
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(resource, name)
    }

    /// No name that the server made up was free.
    pub(crate) fn no_free_name(resource: &Resource, name: &str) -> Self {
        let message = format!(
            "{} {name:?} already exists, the server was not able to generate a unique name for the object",
            resource.group_resource()
        );
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(resource, name).retry_after(1)
    }

    /// Tells the client how long to wait; it goes into the header `Retry-After` too.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.details.get_or_insert_with(|| json!({}))["retryAfterSeconds"] = seconds.into();
        self
    }

    /// There is no room for the request, now.
    pub(crate) fn too_many_requests(seconds: u64) -> Self {
        let advice = "Too many requests, please try again later.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", advice).retry_after(seconds)
    }

    /// Whether a write that was refused so may have happened: the store did not answer, or not in words that we know.
    pub(crate) fn leaves_outcome_open(&self) -> bool {
        self.code.is_server_error() && self.code != StatusCode::INSUFFICIENT_STORAGE
    }

    /// How long the client should wait, if that was said.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        self.details.as_ref()?["retryAfterSeconds"].as_u64()
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

    /// Says that it is about a part of the object: `pods/binding`.
    pub(crate) fn of_part(mut self, part: &str) -> Self {
        let kind = self.details.as_mut().and_then(|details| details.get_mut("kind"));
        if let Some(Value::String(kind)) = kind {
            let title = kind.clone();
            kind.push('/');
            kind.push_str(part);
            self.message = self.message.replacen(&title, kind, 1);
        }
        self
    }

    /// Others own what would be applied: with whom each conflict is, and about which field.
    pub(crate) fn apply_conflict(message: String, causes: Vec<(String, String)>) -> Self {
        let causes = causes.into_iter();
        let causes = causes
            .map(|(message, field)| json!({"reason": "FieldManagerConflict", "message": message, "field": field}));
        Self::new(StatusCode::CONFLICT, "Conflict", message).caused_by(causes.collect())
    }

    /// An error of the server's that has no reason of its own.
    pub(crate) fn unnamed(message: String) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    /// A deletion meant another state or another object of that name. It speaks of the kind where others speak of the path.
    pub(crate) fn outdated(resource: &Resource, name: &str, why: &str) -> Self {
        let (kind, group) = (&*resource.kind, &*resource.group);
        let title = if group.is_empty() { kind.to_string() } else { format!("{kind}.{group}") };
        let message = format!("Operation cannot be fulfilled on {title} {name:?}: {why}");
        let mut status = Self::new(StatusCode::CONFLICT, "Conflict", message).about(resource, name);
        if let Some(details) = &mut status.details {
            details["kind"] = kind.into();
        }
        status
    }

    pub(crate) fn invalid(resource: &Resource, name: &str, errors: &[FieldError]) -> Self {
        Self::invalid_kind((&resource.group, &resource.kind), name, errors)
    }

    /// What is wrong with a write itself, not with its object: Kubernetes names the resource where the kind would stand.
    pub(crate) fn invalid_plural(resource: &Resource, name: &str, errors: &[FieldError]) -> Self {
        Self::invalid_kind((&resource.group, &resource.plural), name, errors)
    }

    /// A question that cannot be answered; Kubernetes names the group only.
    pub(crate) fn invalid_review(resource: &Resource, errors: &[FieldError]) -> Self {
        Self::invalid_kind((&resource.group, ""), "", errors)
    }

    /// Options that do not fit: `CreateOptions`, `DeleteOptions`.
    pub(crate) fn invalid_options(kind: &str, errors: &[FieldError]) -> Self {
        Self::invalid_kind(("meta.k8s.io", kind), "", errors)
    }

    /// Options of the core group that do not fit: `PodLogOptions`.
    pub(crate) fn invalid_core(kind: &str, errors: &[FieldError]) -> Self {
        Self::invalid_kind(("", kind), "", errors)
    }

    /// A patch whose result is no object of its kind, with what it made.
    pub(crate) fn invalid_patch(result: &Value, why: &str) -> Self {
        let error = FieldError {
            kind: FieldErrorKind::Invalid,
            field: "patch".to_owned(),
            value: Some(result.to_string().into()),
            detail: why.to_owned(),
        };
        Self::invalid_kind(("", ""), "", &[error])
    }

    fn invalid_kind((group, kind): (&str, &str), name: &str, errors: &[FieldError]) -> Self {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let list = if let [one] = &texts[..] { one.clone() } else { format!("[{}]", texts.join(", ")) };
        let title = if group.is_empty() { kind.to_string() } else { format!("{kind}.{group}") };
        let message = match &list[..] {
            "[]" => format!("{title} {name:?} is invalid"),
            list => format!("{title} {name:?} is invalid: {list}"),
        };
        let causes = errors
            .iter()
            .map(|error| json!({"reason": error.kind.reason(), "message": error.body(), "field": error.field}))
            .collect();
        let given = [("group", group), ("kind", kind), ("name", name)].into_iter().filter(|(_, text)| !text.is_empty());
        let details =
            given.map(|(key, text)| (key.to_owned(), text.into())).collect::<serde_json::Map<String, Value>>();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).with_details(details.into()).caused_by(causes)
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

    /// What a user may not do; `group` and `resource` are empty for a path that is no resource.
    pub(crate) fn may_not((group, resource): (&str, &str), name: &str, why: &str) -> Self {
        let title = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let message = match (resource, name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{title} is forbidden: {why}"),
            (_, name) => format!("{title} {name:?} is forbidden: {why}"),
        };
        let given = [("group", group), ("kind", resource), ("name", name)];
        let given = given.into_iter().filter(|(_, text)| !text.is_empty());
        let details =
            given.map(|(key, text)| (key.to_owned(), text.into())).collect::<serde_json::Map<String, Value>>();
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).with_details(details.into())
    }

    /// Credentials that nobody vouches for.
    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// A patch that parses but cannot be applied to this object.
    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).with_details(json!({}))
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message).with_details(json!({}))
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
        Self::too_large_because(&format!("limit is {limit_bytes}"))
    }

    pub(crate) fn too_large_because(why: &str) -> Self {
        let message = format!("Request entity too large: {why}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// A revision that is no longer kept: list again.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// A revision that has not happened yet.
    pub(crate) fn future(asked: Revision, newest: Revision) -> Self {
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        Self::timeout(&format!("Too large resource version: {asked}, current: {newest}"))
            .caused_by(vec![cause])
            .retry_after(1)
    }

    /// Asked too often.
    pub(crate) fn too_many(message: String) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
    }

    /// Not done in time; it may still happen.
    pub(crate) fn timeout(why: &str) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", format!("Timeout: {why}")).with_details(json!({}))
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let cause = json!({"message": message.into()});
        let message = format!("Internal error occurred: {}", cause["message"].as_str().unwrap_or_default());
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message).caused_by(vec![cause])
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    pub(crate) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
    }

    /// The kubelet knows nothing of it (yet, or any more).
    pub(crate) fn kubelet_not_found(message: impl Into<String>) -> Self {
        let status = Self::new(StatusCode::NOT_FOUND, "NotFound", message);
        let cause = json!({"reason": "UnexpectedServerResponse", "message": status.message});
        status.caused_by(vec![cause])
    }

    /// The kubelet could not be reached or answered nonsense.
    pub(crate) fn bad_gateway(message: impl Into<String>) -> Self {
        let status = Self::new(StatusCode::BAD_GATEWAY, "InternalError", message);
        let cause = json!({"message": status.message});
        status.caused_by(vec![cause])
    }
}

/// The body of an answer to what creates nothing that could be shown: a binding, an eviction.
pub(crate) fn done(code: StatusCode) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code.as_u16()})
}

/// The body of an answer that is no object: `{"kind":"Status","status":"Success"}` with what it was about.
pub(crate) fn success(resource: &Resource, name: &str, uid: Option<&str>) -> Value {
    let mut details = json!({"name": name, "kind": resource.plural});
    if !resource.group.is_empty() {
        details["group"] = (*resource.group).into();
    }
    if let Some(uid) = uid {
        details["uid"] = uid.into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

impl From<ProtobufError> for Status {
    fn from(error: ProtobufError) -> Self {
        Self::internal(error.to_string())
    }
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
            // Upstream has no reason of its own for it and says 500; it is no error of the server's, and reads go on.
            BackendError::NoSpace(why) => {
                let message = format!("the object cannot be stored because there is no space: {why}");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "InsufficientStorage", message)
            }
            BackendError::Transform { .. } | BackendError::Internal(_) => Self::internal(error.to_string()),
        }
    }
}

impl From<Injected> for Status {
    fn from(fault: Injected) -> Self {
        Self::internal(format!("{}: planned fault, errno {}", fault.step, fault.errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault N2: a full disk was "unavailable", as if waiting would help, and nobody learned why.
    #[test]
    fn what_the_store_refuses_has_a_code_of_its_own() {
        let why = || "no space is left on the filesystem of /d: 0 bytes are free, 4096 are needed".to_owned();
        let full = Status::from(BackendError::NoSpace(why()));
        let message = format!("the object cannot be stored because there is no space: {}", why());
        let wanted = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": "InsufficientStorage", "code": 507});
        assert_eq!(full.value(), wanted);
        // RESOURCE_EXHAUSTED and UNAVAILABLE, as etcd has them.
        let over_grpc = |status: &Status| crate::grpc::refusal(status).headers()["grpc-status"].clone();
        assert_eq!(over_grpc(&full), "8");
        for (error, code, reason, grpc) in [
            (BackendError::TooLarge, 413, "RequestEntityTooLarge", "8"),
            (BackendError::Unavailable(why()), 503, "ServiceUnavailable", "14"),
            (BackendError::Internal(why()), 500, "InternalError", "13"),
        ] {
            let status = Status::from(error);
            assert_eq!((status.code.as_u16(), status.reason), (code, reason));
            assert_eq!(over_grpc(&status), grpc, "{reason}");
        }
    }
}
