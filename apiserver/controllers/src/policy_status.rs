//! The status of validating admission policies: whether their expressions fit the kinds that they will see (`status.typeChecking`).
//!
//! A warning changes nothing about what the policy does. Kinds and their schemas come from discovery and OpenAPI, as for everybody else.

mod plan; // which kinds, which schemas

use crate::context::{Context, ControllerError, On, absent_is_none};
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::api::{Api, Patch, PatchParams};
use plan::Kind;
use serde_json::{Value, json};
use skiff_client::{Cache, Key};
use skiff_policy::type_problems;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Who owns the status, as Kubernetes' controller calls itself.
const MANAGER: &str = "validatingadmissionpolicy-status";

struct Keeper {
    context: Context,
    own: Own,
    policies: Cache<ValidatingAdmissionPolicy>,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let policies = looking.over::<ValidatingAdmissionPolicy>();
    let keeper = Arc::new(Keeper { context: looking.context.clone(), own: looking.own.clone(), policies });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let Some(policy) = self.policies.get("", &key.name) else { return Ok(Again::OnChange) };
        let observed = policy.status.as_ref().and_then(|status| status.observed_generation);
        let generation = policy.metadata.generation;
        if observed >= generation {
            return Ok(Again::OnChange);
        }
        let value = serde_json::to_value(&*policy).map_err(|error| ControllerError::Malformed(error.to_string()))?;
        let warnings = self.warnings(&value).await?;
        let mut checking = json!({});
        if !warnings.is_empty() {
            checking["expressionWarnings"] = warnings.into();
        }
        let patch = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": key.name}, "status": {"observedGeneration": generation, "typeChecking": checking}});
        let api: Api<ValidatingAdmissionPolicy> = Api::all(self.context.client.clone());
        let params = PatchParams::apply(MANAGER).force();
        let written = absent_is_none(api.patch_status(&key.name, &params, &Patch::Apply(patch)).await);
        if let Some(written) = written.on(|| format!("apply status of validatingadmissionpolicy {}", key.name))? {
            self.own.wrote(&key, &self.policies, &written);
        }
        Ok(Again::OnChange)
    }

    async fn warnings(&self, policy: &Value) -> Result<Vec<Value>, ControllerError> {
        let mut seen = Served::default();
        let mut kinds = Vec::new();
        for kind in self.kinds(policy, &mut seen).await? {
            if let Some(schema) = self.schema(&kind, &mut seen).await? {
                kinds.push((kind.to_string(), schema));
            }
        }
        let params = match plan::param_kind(policy) {
            Some(kind) => self.schema(&kind, &mut seen).await?,
            None => None,
        };
        let problems = type_problems(policy, &kinds, params.as_ref());
        Ok(problems.into_iter().map(|problem| json!({"fieldRef": problem.field, "warning": problem.warning})).collect())
    }

    /// The kinds that the policy's rules name, in order.
    async fn kinds(&self, policy: &Value, seen: &mut Served) -> Result<Vec<Kind>, ControllerError> {
        let mut found = plan::Found::default();
        for rule in plan::rules(policy) {
            for version in &rule.versions {
                let path = version.discovery();
                let Some(list) = self.document(&path, &mut seen.discovery).await? else { continue };
                if found.add(version, &rule.resources, list) {
                    break;
                }
            }
            found.next_rule();
        }
        Ok(found.kinds())
    }

    async fn schema(&self, kind: &Kind, seen: &mut Served) -> Result<Option<Value>, ControllerError> {
        let path = kind.version.openapi();
        let document = self.document(&path, &mut seen.openapi).await?;
        Ok(document.and_then(|document| plan::schema(document, kind)))
    }

    /// A document of the server's; `None`: it serves no such thing.
    async fn document<'a>(
        &self,
        path: &str,
        seen: &'a mut BTreeMap<String, Option<Value>>,
    ) -> Result<Option<&'a Value>, ControllerError> {
        if !seen.contains_key(path) {
            let request = http::Request::get(path).body(Vec::new());
            let request = request.map_err(|error| ControllerError::Malformed(format!("{path}: {error}")))?;
            let found = absent_is_none(self.context.client.request::<Value>(request).await);
            seen.insert(path.to_owned(), found.on(|| format!("get {path}"))?);
        }
        Ok(seen.get(path).and_then(Option::as_ref))
    }
}

/// What the server said while one policy is looked at.
#[derive(Default)]
struct Served {
    discovery: BTreeMap<String, Option<Value>>,
    openapi: BTreeMap<String, Option<Value>>,
}
