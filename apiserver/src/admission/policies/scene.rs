//! What expressions see of a request: the object before and after, the request itself, its namespace, and who may do what.

use super::super::webhooks::{review, versions};
use super::super::{Attributes, built_in};
use crate::auth::{self, Act};
use crate::authority::Authority;
use crate::registry::Target;
use crate::status::Status;
use serde_json::Value;
use skiff_authz::Attributes as AskedOf;
use skiff_cel::{Authorizer, Decision, Question};
use skiff_client::Identity;
use skiff_policy::Scene;
use skiff_schema::Resource;
use std::borrow::Cow;
use std::sync::Arc;

static NOTHING: Value = Value::Null;

/// Everything that expressions see but their parameters.
pub(in super::super) struct Stage<'a> {
    object: Cow<'a, Value>,
    old: Cow<'a, Value>,
    request: Value,
    namespace: Option<Arc<Value>>,
    authorizer: Arc<dyn Authorizer>,
    question: Question,
}

impl<'a> Stage<'a> {
    /// For expressions that want the object as one of `resource`.
    ///
    /// # Errors
    /// The namespace is not there, or the store failed.
    pub(in super::super) async fn set(
        seen: &'a Attributes<'a>,
        object: &'a Value,
        resource: &Resource,
    ) -> Result<Self, Status> {
        let mut stage = Self::without_namespace(seen, object, resource).await?;
        stage.namespace = namespace(seen).await?;
        Ok(stage)
    }

    /// The same for expressions that do not look at the namespace.
    pub(in super::super) async fn without_namespace(
        seen: &'a Attributes<'a>,
        object: &'a Value,
        resource: &Resource,
    ) -> Result<Self, Status> {
        let asked = seen.request;
        let own = &*asked.resource;
        Ok(Self {
            object: version(seen, object, resource).await?,
            old: version(seen, seen.before().unwrap_or(&NOTHING), resource).await?,
            request: review::request("", seen, resource, &NOTHING, &NOTHING),
            namespace: None,
            authorizer: Arc::new(Asker { authority: Arc::clone(&seen.setting.authority), who: asked.who.clone() }),
            question: Question {
                group: own.group.to_string(),
                resource: own.plural.to_string(),
                subresource: asked.part.clone(),
                namespace: seen.namespace().to_owned(),
                name: seen.name.to_owned(),
                ..Question::default()
            },
        })
    }

    /// The object as one of the version that the expressions want.
    pub(super) fn object(&self) -> &Value {
        &self.object
    }

    /// Evaluates something with these parameters.
    pub(in super::super) fn play<T>(&self, params: Option<&Value>, evaluate: impl FnOnce(&Scene<'_>) -> T) -> T {
        let authorizer = Some((Arc::clone(&self.authorizer), self.question.clone()));
        let scene = Scene {
            object: &self.object,
            old: &self.old,
            params: params.unwrap_or(&NOTHING),
            request: &self.request,
            namespace: self.namespace.as_deref().unwrap_or(&NOTHING),
            authorizer,
        };
        evaluate(&scene)
    }
}

/// An object as one of `resource`; of a part, its body.
async fn version<'a>(seen: &Attributes<'_>, object: &'a Value, resource: &Resource) -> Result<Cow<'a, Value>, Status> {
    if object.is_null() || *seen.request.resource == *resource && seen.request.part.is_empty() {
        return Ok(Cow::Borrowed(object));
    }
    versions::shown(seen, resource, object).await.map(Cow::Owned)
}

/// The namespace of what is written; a namespace itself has none.
async fn namespace(seen: &Attributes<'_>) -> Result<Option<Arc<Value>>, Status> {
    if seen.request.resource.is("", "namespaces") || seen.namespace().is_empty() {
        return Ok(None);
    }
    let target = Target { resource: built_in("", "namespaces")?, namespace: "", name: seen.namespace() };
    seen.stored.get(target).await.map(Some)
}

/// Whether somebody may do something, asked by an expression on behalf of who made the request.
struct Asker {
    authority: Arc<Authority>,
    who: Identity,
}

impl Authorizer for Asker {
    fn decide(&self, question: &Question) -> Decision {
        let account = question.service_account.as_ref().map(|(namespace, name)| Identity {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                auth::AUTHENTICATED.to_owned(),
            ],
            ..Identity::default()
        });
        let who = account.as_ref().unwrap_or(&self.who);
        let verb = &*question.verb;
        let act = match &question.path {
            Some(path) => Act::Path { verb, path },
            None => Act::Resource {
                verb,
                group: &question.group,
                resource: &question.resource,
                part: &question.subresource,
                namespace: &question.namespace,
                name: &question.name,
            },
        };
        // An expression cannot wait: webhooks that authorize are not asked.
        let decided = self.authority.decide_now(&AskedOf::new(auth::user(who), act));
        let error = Some(decided.error.clone()).filter(|error| !error.is_empty());
        Decision { allowed: decided.is_allowed(), reason: decided.reason.to_string(), error }
    }
}
