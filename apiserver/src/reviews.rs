//! Kinds that are answered and not kept: who asks, and who may do what, as the authority decides.

mod selectors; // which objects a question is about

use crate::auth::{Act, user};
use crate::authority::Authority;
use crate::registry::object::{Object, meta, metadata_mut, now};
use crate::request::Request;
use crate::status::Status;
use serde_json::{Value, json};
use skiff_authz::{Attributes, Rule, Verdict};
use skiff_client::Identity;
use skiff_schema::{Resource, Review, validate_review};
use std::collections::BTreeMap;

/// The answer to `object`, which `request` asks.
pub(crate) async fn answer(authority: &Authority, request: &Request, object: Value) -> Result<Object, Status> {
    let (resource, identity) = (&request.resource, &request.who);
    let object = placed(resource, &request.namespace, object)?;
    let errors = validate_review(resource, &object);
    if !errors.is_empty() {
        return Err(Status::invalid_review(resource, &errors));
    }
    let answer = match resource.review() {
        Review::WhoAsks => {
            json!({"metadata": {"creationTimestamp": now()}, "status": {"userInfo": user_info(identity)}})
        }
        Review::OwnAccess => decided(authority, object, identity).await,
        Review::Access => {
            let named = named(&object["spec"]);
            decided(authority, object, &named).await
        }
        Review::OwnRules => own_rules(authority, &object, identity)?,
        // Those about tokens are answered by who reads tokens.
        Review::Token | Review::No | Review::Parts => return Err(Status::method_not_allowed()),
    };
    let mut answer = answer;
    answer["apiVersion"] = resource.api_version().into();
    answer["kind"] = (&*resource.kind).into();
    Object::encode(resource, &answer, 0)
}

/// The object in the namespace of the request.
fn placed(resource: &Resource, namespace: &str, mut object: Value) -> Result<Value, Status> {
    let given = meta(&object, "namespace");
    if resource.namespaced && !given.is_empty() && given != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let metadata = metadata_mut(&mut object);
    metadata.remove("namespace");
    if resource.namespaced {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    Ok(object)
}

async fn decided(authority: &Authority, mut object: Value, identity: &Identity) -> Value {
    let spec = &object["spec"];
    let (selection, mut errors) = selectors::read(&spec["resourceAttributes"]);
    let version = spec["resourceAttributes"]["version"].as_str().filter(|version| !version.is_empty()).unwrap_or("*");
    let asked = Attributes { user: user(identity), act: act(spec), version, selection: &selection };
    let decision = authority.decide(&asked).await;
    let mut status = json!({ "allowed": decision.is_allowed() });
    if decision.verdict == Verdict::Deny {
        status["denied"] = true.into();
    }
    if !decision.error.is_empty() {
        errors.insert(0, decision.error);
    }
    for (field, text) in [("reason", decision.reason.to_string()), ("evaluationError", errors.join("; "))] {
        if !text.is_empty() {
            status[field] = text.into();
        }
    }
    object["status"] = status;
    object
}

/// What a question of access is about.
fn act(spec: &Value) -> Act<'_> {
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |field: &str| resource[field].as_str().unwrap_or_default();
    if resource.is_null() {
        let text = |field: &str| other[field].as_str().unwrap_or_default();
        return Act::Path { verb: text("verb"), path: text("path") };
    }
    Act::Resource {
        verb: text("verb"),
        group: text("group"),
        resource: text("resource"),
        part: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
    }
}

/// Who is asked about.
fn named(spec: &Value) -> Identity {
    let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    };
    let extra: BTreeMap<_, _> =
        spec["extra"].as_object().into_iter().flatten().map(|(key, values)| (key.clone(), texts(values))).collect();
    Identity { user: text("user"), groups: texts(&spec["groups"]), uid: text("uid"), extra }
}

/// Who somebody is (`authentication.k8s.io` UserInfo).
pub(crate) fn user_info(identity: &Identity) -> Value {
    let mut info = json!({"username": identity.user});
    if !identity.uid.is_empty() {
        info["uid"] = (&*identity.uid).into();
    }
    if !identity.groups.is_empty() {
        info["groups"] = json!(identity.groups);
    }
    if !identity.extra.is_empty() {
        info["extra"] = json!(identity.extra);
    }
    info
}

fn own_rules(authority: &Authority, object: &Value, identity: &Identity) -> Result<Value, Status> {
    let namespace = object["spec"]["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let listed = authority.rules(&user(identity), namespace);
    let of_paths = |is: bool| -> Vec<Value> {
        listed.rules.iter().filter(|rule| rule.paths.is_empty() != is).map(Rule::write).collect()
    };
    let mut status = json!({
        "resourceRules": of_paths(false), "nonResourceRules": of_paths(true), "incomplete": listed.incomplete,
    });
    if !listed.error.is_empty() {
        status["evaluationError"] = listed.error.into();
    }
    Ok(json!({"metadata": {}, "spec": {}, "status": status}))
}
