//! `authorizer`: questions are put step by step.

use super::dispatch::Body;
use super::format::{is_label, is_subdomain};
use crate::authorizer::{Check, Question, Stage};
use crate::eval::Outcome;
use crate::fault::Fault;
use crate::value::Value;
use std::sync::Arc;

pub(super) fn body(id: &'static str) -> Option<Body> {
    Some(match id {
        "authorizer_path" => |args| {
            let path = text(&args[1])?;
            if path.trim().is_empty() {
                return Err(Fault::new("path must not be empty"));
            }
            then(&args[0], Stage::Path, |question| question.path = Some(path))
        },
        "authorizer_group" => |args| put(args, Stage::Group, |question, group| question.group = group),
        "authorizer_serviceaccount" => |args| {
            let (namespace, name) = (text(&args[1])?, text(&args[2])?);
            if !is_subdomain(&name) {
                return Err(Fault::new("Invalid service account name"));
            }
            if !is_label(&namespace) {
                return Err(Fault::new("Invalid service account namespace"));
            }
            then(&args[0], Stage::Authorizer, |question| question.service_account = Some((namespace, name)))
        },
        "groupcheck_resource" => |args| {
            if text(&args[1])?.trim().is_empty() {
                return Err(Fault::new("resource must not be empty"));
            }
            put(args, Stage::Resource, |question, resource| question.resource = resource)
        },
        "resourcecheck_subresource" => |args| put(args, Stage::Resource, |q, subresource| q.subresource = subresource),
        "resourcecheck_namespace" => |args| put(args, Stage::Resource, |q, namespace| q.namespace = namespace),
        "resourcecheck_name" => |args| put(args, Stage::Resource, |q, name| q.name = name),
        "authorizer_fieldselector" => |args| put(args, Stage::Resource, |q, selector| q.field_selector = selector),
        "authorizer_labelselector" => |args| put(args, Stage::Resource, |q, selector| q.label_selector = selector),
        "pathcheck_check" | "resourcecheck_check" => {
            |args| Ok(Value::Check(Arc::new(check(&args[0])?.decide(&text(&args[1])?))))
        }
        "decision_errored" => |args| Ok(Value::Bool(check(&args[0])?.decision.error.is_some())),
        "decision_error" => |args| Ok(Value::text(check(&args[0])?.decision.error.clone().unwrap_or_default())),
        "decision_allowed" => |args| Ok(Value::Bool(check(&args[0])?.decision.allowed)),
        "decision_reason" => |args| Ok(Value::text(check(&args[0])?.decision.reason.clone())),
        _ => return None,
    })
}

fn check<'v>(value: &'v Value<'_>) -> Result<&'v Check, Fault> {
    match value {
        Value::Check(check) => Ok(check),
        _ => Err(Fault::no_overload()),
    }
}

fn text(value: &Value<'_>) -> Result<String, Fault> {
    value.as_str().map(str::to_owned).ok_or_else(Fault::no_overload)
}

fn put<'a>(args: &[Value<'a>], stage: Stage, set: impl FnOnce(&mut Question, String)) -> Outcome<'a> {
    let said = text(&args[1])?;
    then(&args[0], stage, |question| set(question, said))
}

fn then<'a>(value: &Value<'a>, stage: Stage, set: impl FnOnce(&mut Question)) -> Outcome<'a> {
    Ok(Value::Check(Arc::new(check(value)?.then(stage, set))))
}
