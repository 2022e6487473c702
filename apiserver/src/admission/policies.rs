//! Admission policies: expressions that requests must satisfy (`ValidatingAdmissionPolicy`) or that change what they write
//! (`MutatingAdmissionPolicy`), where a binding says that they hold.
//!
//! ```text
//!  policies × bindings ──► rules and selectors of both ──► parameters ──► one invocation for each parameter ──► expressions
//! ```
//!
//! Compiled policies stand in [`super::Configured`] and are compiled anew when they change. What expressions mean is `skiff-policy`'s.

pub(super) mod mutating; // what changes requests
mod params; // which objects are the parameters
pub(super) mod scene; // what expressions see of a request
pub(super) mod validating; // what requests must satisfy

use super::Attributes;
use super::configured::Found;
use super::matching::{self, Matching};
use crate::status::Status;
use params::{ParamKind, ParamRef};
use serde_json::Value;
use skiff_schema::Resource;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A policy, with what its expressions were compiled to.
#[derive(Debug)]
pub(crate) struct Policy<E> {
    pub(crate) name: String,
    spec: Value,
    matching: Matching,
    param_kind: Option<ParamKind>,
    /// Whether requests fail about which it cannot decide.
    fail: bool,
    /// Whether it comes from a file: it holds for the kinds that configure admission, too.
    is_filed: bool,
    evaluator: E,
}

/// Where a policy holds.
#[derive(Debug)]
pub(crate) struct Binding {
    name: String,
    /// `None`: wherever the policy does.
    matching: Option<Matching>,
    params: Option<ParamRef>,
    /// `validationActions`
    actions: Vec<String>,
}

/// Policies of one kind by name.
pub(crate) type Policies<E> = BTreeMap<String, Arc<Policy<E>>>;
/// Bindings of one kind by the name of their policy, in the order of their own names.
pub(crate) type Bindings = BTreeMap<String, Vec<Arc<Binding>>>;

/// Compiles the policies of `found`; those of `before` that say the same are kept.
pub(crate) fn compile<E>(found: &Found<'_>, before: &Policies<E>, evaluator: fn(&Value) -> E) -> Policies<E> {
    let compile = |(name, object, is_filed): (&String, &Value, bool)| {
        let same = before.get(name).filter(|policy| policy.spec == object["spec"] && policy.is_filed == is_filed);
        let read = || Arc::new(Policy { is_filed, ..Policy::read(name, object, evaluator(object)) });
        (name.clone(), same.map_or_else(read, Arc::clone))
    };
    found.each().map(compile).collect()
}

/// Reads the bindings of `found`.
pub(crate) fn bindings(found: &Found<'_>) -> Bindings {
    let mut bindings = Bindings::new();
    for (name, object, _) in found.each() {
        let spec = &object["spec"];
        let policy = spec["policyName"].as_str().unwrap_or_default().to_owned();
        bindings.entry(policy).or_default().push(Arc::new(Binding::read(name, spec)));
    }
    bindings
}

impl<E> Policy<E> {
    fn read(name: &str, object: &Value, evaluator: E) -> Self {
        let spec = &object["spec"];
        Self {
            name: name.to_owned(),
            spec: spec.clone(),
            matching: Matching::of_resources(&spec["matchConstraints"]),
            param_kind: ParamKind::read(&spec["paramKind"]),
            fail: spec["failurePolicy"] != "Ignore",
            is_filed: false,
            evaluator,
        }
    }
}

impl Binding {
    fn read(name: &str, spec: &Value) -> Self {
        let resources = &spec["matchResources"];
        let actions = spec["validationActions"].as_array().into_iter().flatten();
        Self {
            name: name.to_owned(),
            matching: (!resources.is_null()).then(|| Matching::of_resources(resources)),
            params: ParamRef::read(&spec["paramRef"]),
            actions: actions.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }
}

/// One policy under one binding, about one request.
struct Bound<'a, E> {
    policy: &'a Policy<E>,
    binding: &'a Binding,
    /// The version in which the policy wants the object.
    resource: Arc<Resource>,
    /// The parameters, one after the other; a policy without some is asked once.
    params: Vec<Option<Arc<Value>>>,
}

/// What cannot be asked, because it is configured wrongly.
struct Misconfigured<'a, E> {
    policy: &'a Policy<E>,
    binding: Option<&'a Binding>,
    why: String,
}

/// Which policies are about a write, in the order of their names and of those of their bindings.
async fn bound<'a, E>(
    seen: &Attributes<'_>,
    object: &Value,
    policies: &'a Policies<E>,
    bindings: &'a Bindings,
) -> Vec<Result<Bound<'a, E>, Misconfigured<'a, E>>> {
    let mut found = Vec::new();
    if bindings.is_empty() {
        return found;
    }
    let is_exempt = matching::is_exempt(&seen.request.resource);
    for (name, policy) in policies.iter().filter(|(_, policy)| policy.is_filed || !is_exempt) {
        let Some(bindings) = bindings.get(name) else { continue };
        let resource = match policy.matching.matched(seen, object).await {
            Ok(Some(resource)) => resource,
            Ok(None) => continue,
            Err(status) => {
                found.push(Err(Misconfigured { policy, binding: None, why: status.message }));
                continue;
            }
        };
        let params = match policy.param_kind.as_ref().map(|kind| kind.resource(&seen.setting.catalog)).transpose() {
            Ok(params) => params,
            Err(why) => {
                found.push(Err(Misconfigured { policy, binding: None, why }));
                continue;
            }
        };
        for binding in bindings {
            match one(seen, object, binding, params.as_ref()).await {
                Ok(Some(params)) => found.push(Ok(Bound { policy, binding, resource: Arc::clone(&resource), params })),
                Ok(None) => {}
                Err(why) => found.push(Err(Misconfigured { policy, binding: Some(binding), why })),
            }
        }
    }
    found
}

/// The parameters under a binding; `None`: it is not about the write.
async fn one(
    seen: &Attributes<'_>,
    object: &Value,
    binding: &Binding,
    params: Option<&Arc<Resource>>,
) -> Result<Option<Vec<Option<Arc<Value>>>>, String> {
    let text = |status: Status| status.message;
    if let Some(matching) = &binding.matching
        && matching.matched(seen, object).await.map_err(text)?.is_none()
    {
        return Ok(None);
    }
    match (params, &binding.params) {
        (Some(resource), Some(reference)) => {
            let found = reference.find(seen, resource).await?;
            Ok(Some(found.into_iter().map(Some).collect()))
        }
        _ => Ok(Some(vec![None])),
    }
}

/// The name by which a refusal calls the object: its own, or what its name is made of.
fn told_name<'a>(seen: &'a Attributes<'_>, object: &'a Value) -> &'a str {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    [seen.name, text("name"), text("generateName")].into_iter().find(|name| !name.is_empty()).unwrap_or("Unknown")
}
