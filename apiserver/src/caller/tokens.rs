//! Where tokens are asked for and asked about: `serviceaccounts/token`, TokenReview, and what is published about the issuer.

use super::{Callers, ERRORS_BEGIN};
use crate::admission::{self, Attributes, Operation};
use crate::registry::object::{Object, meta, now, rfc3339};
use crate::registry::{Registry, Target, built_in};
use crate::request::{Request, Run};
use crate::rest::body::{self, Sent};
use crate::reviews;
use crate::status::Status;
use crate::verbs::Answer;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use skiff_authn::account::Ref;
use skiff_authn::jws::sign;
use skiff_authn::request::{Asked, plan};
use skiff_client::Identity;
use skiff_schema::{FieldError, FieldErrorKind, Resource, apply_defaults, find_auxiliary, validate_review};

const KIND: (&str, &str) = ("authentication.k8s.io/v1", "TokenRequest");

impl Callers {
    /// Answers a TokenRequest for the account that `request` names.
    pub(crate) async fn issue(&self, registry: &Registry, request: &Request, sent: Sent<'_>) -> Result<Answer, Status> {
        let kind = find_auxiliary(KIND.0, KIND.1);
        let kind = kind.ok_or_else(|| Status::internal("the table of resources lacks TokenRequest"))?;
        let decoded = body::auxiliary(KIND.0, KIND.1, sent, request.options.validation)?;
        request.warn(decoded.warnings);
        let mut object = decoded.object;
        same_account(kind, request, &object)?;
        let account = registry.get(&request.target()).await?.value()?;
        let (operation, name, setting) = (Operation::Create, request.name.as_str(), &registry.setting());
        let seen = Attributes { request, operation, name, old: None, stored: registry, setting };
        // Before anything is filled in: a kubelet that names no audience asks for what its pod's volume asks for.
        admission::mutate(&seen, &mut object).await?;
        complete(kind, &mut object, &account, &self.accounts.terms.audiences)?;
        let errors = validate_review(kind, &object);
        if !errors.is_empty() {
            return Err(Status::invalid(kind, "", &errors));
        }
        admission::validate(&seen, &object).await?;
        let asked = asked(registry, request, &object, &account).await?;
        let id = uuid::Uuid::new_v4().to_string();
        let at = Timestamp::now();
        let plan = plan(asked, &self.accounts.terms, &id, at.as_second());
        request.warn(plan.warning);
        request.annotate("authentication.kubernetes.io/issued-credential-id", format!("JTI={id}"));
        let token = match request.run() {
            // Whoever only tries gets the same answer: a token is kept nowhere, and kube-apiserver issues it too.
            Run::Real | Run::Dry => sign(&self.accounts.signer, &plan.claims),
        };
        let token = token.map_err(|why| Status::internal(format!("failed to generate token: {why}")))?;
        object["spec"]["expirationSeconds"] = plan.seconds.into();
        let until = rfc3339(at + SignedDuration::from_secs(plan.seconds));
        object["status"] = json!({"token": token, "expirationTimestamp": until});
        Ok(Answer::Value { value: object, made: true })
    }

    /// Answers a TokenReview: whose a token is.
    pub(crate) async fn review(&self, registry: &Registry, request: &Request, object: Value) -> Result<Object, Status> {
        let token = object["spec"]["token"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        let given = object["spec"]["audiences"].as_array().into_iter().flatten();
        let mut audiences: Vec<String> = given.filter_map(Value::as_str).map(str::to_owned).collect();
        if audiences.is_empty() {
            audiences.clone_from(&self.accounts.terms.audiences);
        }
        let mut answer = object;
        answer["apiVersion"] = request.resource.api_version().into();
        answer["kind"] = (&*request.resource.kind).into();
        answer["status"] = match self.of_token(registry, token.trim(), &audiences).await {
            Ok(known) => {
                let user = reviews::user_info(&super::authenticated(known.user));
                json!({"authenticated": true, "user": user, "audiences": known.audiences})
            }
            Err(errors) => {
                let error = match &errors[..] {
                    [] => ERRORS_BEGIN.to_owned(),
                    errors => format!("[{ERRORS_BEGIN}, {}]", errors.join(", ")),
                };
                json!({"user": {}, "error": error})
            }
        };
        Object::encode(&request.resource, &answer, 0)
    }

    /// What OpenID Connect calls the provider's configuration.
    pub(crate) fn openid_configuration(&self) -> Result<&Value, Status> {
        self.openid.as_ref().ok_or_else(Status::no_such_path)
    }

    /// The keys that tokens of ours are checked with.
    pub(crate) fn key_set(&self) -> &Value {
        &self.key_set
    }
}

/// Refuses a body that is about another account than the path.
fn same_account(kind: &Resource, request: &Request, object: &Value) -> Result<(), Status> {
    for (field, wanted) in [("name", &request.name), ("namespace", &request.namespace)] {
        let given = meta(object, field);
        if !given.is_empty() && given != wanted {
            let what = if field == "name" { "name" } else { "namespace" };
            let error = FieldError {
                kind: FieldErrorKind::Invalid,
                field: format!("metadata.{field}"),
                value: Some(given.into()),
                detail: format!("must match the service account {what} if specified"),
            };
            return Err(Status::invalid(kind, &request.name, &[error]));
        }
    }
    Ok(())
}

/// Fills in what whoever asks left out.
fn complete(kind: &Resource, object: &mut Value, account: &Value, audiences: &[String]) -> Result<(), Status> {
    let (given, present) = (meta(object, "uid").to_owned(), meta(account, "uid"));
    let (name, namespace) = (meta(account, "name"), meta(account, "namespace"));
    if !given.is_empty() && given != present {
        let why =
            format!("the UID in the token request ({given}) does not match the UID of the service account ({present})");
        return Err(Status::outdated(kind, name, &why));
    }
    if !object["spec"].is_object() {
        object["spec"] = json!({});
    }
    apply_defaults(kind, object);
    if object["spec"]["audiences"].as_array().is_none_or(Vec::is_empty) {
        object["spec"]["audiences"] = json!(audiences);
    }
    if object["spec"].get("boundObjectRef").is_none() {
        object["spec"]["boundObjectRef"] = Value::Null;
    }
    object["metadata"] = json!({"name": name, "namespace": namespace, "uid": present, "creationTimestamp": now()});
    Ok(())
}

fn reference(object: &Value) -> Ref {
    Ref { name: meta(object, "name").to_owned(), uid: meta(object, "uid").to_owned() }
}

/// What is asked for, with the objects that the token is to end with.
async fn asked(registry: &Registry, request: &Request, object: &Value, account: &Value) -> Result<Asked, Status> {
    let spec = &object["spec"];
    let texts = spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let mut asked = Asked {
        namespace: request.namespace.clone(),
        account: reference(account),
        audiences: texts.collect(),
        seconds: spec["expirationSeconds"].as_i64().unwrap_or_default(),
        ..Asked::default()
    };
    let bound = &spec["boundObjectRef"];
    if bound.is_null() {
        return Ok(asked);
    }
    let text = |field: &str| bound[field].as_str().unwrap_or_default();
    let (version, name) = (text("apiVersion"), text("name"));
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let (plural, namespace) = match (group, text("kind")) {
        ("", "Pod") => ("pods", request.namespace.as_str()),
        ("", "Secret") => ("secrets", request.namespace.as_str()),
        ("", "Node") => ("nodes", ""),
        (_, kind) => {
            let version = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
            let version = if version == "/" { "/".to_owned() } else { version };
            return Err(Status::bad_request(format!("cannot bind token to object of type {version}, Kind={kind}")));
        }
    };
    let resource = built_in("", plural)?;
    let found = registry.get(&Target { resource, namespace, name }).await?.value()?;
    match plural {
        "pods" => {
            asked.node = node_of(registry, request, &found).await?;
            asked.pod = Some(reference(&found));
        }
        "secrets" => asked.secret = Some(reference(&found)),
        _ => asked.node = Some(reference(&found)),
    }
    let wanted = text("uid");
    if !wanted.is_empty() && wanted != meta(&found, "uid") {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(Status::outdated(resource, name, &why));
    }
    Ok(asked)
}

/// Where a pod runs that runs as the account; a node that does not exist has a name all the same.
async fn node_of(registry: &Registry, request: &Request, pod: &Value) -> Result<Option<Ref>, Status> {
    let account = &request.name;
    if pod["spec"]["serviceAccountName"] != **account {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    let name = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    match registry.get(&Target { resource: built_in("", "nodes")?, namespace: "", name }).await {
        Ok(node) => Ok(Some(reference(&node.value()?))),
        Err(status) if status.reason == "NotFound" => Ok(Some(Ref { name: name.to_owned(), uid: String::new() })),
        Err(status) => Err(status),
    }
}

/// An identity as TokenReview shows it and requests carry it.
pub(super) fn identity(user: skiff_authn::User) -> Identity {
    let skiff_authn::User { name, uid, groups, extra } = user;
    Identity { user: name, groups, uid, extra }
}
