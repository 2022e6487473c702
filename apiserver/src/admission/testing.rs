//! Plugins without a server: objects at keys, and one write at a time.

use super::{Attributes, Operation, Plugin, Setting, Soon, Stored, built_in, known};
use crate::registry::Target;
use crate::request::Request;
use crate::status::Status;
use futures::future::BoxFuture;
use serde_json::Value;
use skiff_schema::{Catalog, Resource};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Objects by plural, namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Shelf(BTreeMap<[String; 3], Arc<Value>>);

impl Shelf {
    pub(crate) fn with(mut self, plural: &str, namespace: &str, object: Value) -> Self {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        self.0.insert([plural, namespace, name].map(str::to_owned), Arc::new(object));
        self
    }
}

impl Stored for Shelf {
    fn get<'a>(&'a self, target: Target<'a>) -> Soon<'a, Arc<Value>> {
        let key = [&*target.resource.plural, target.namespace, target.name].map(str::to_owned);
        let found = self.0.get(&key).cloned().ok_or_else(|| Status::not_found(target.resource, target.name));
        known(found)
    }

    fn list<'a>(&'a self, resource: &'a Arc<Resource>, namespace: &'a str) -> Soon<'a, Vec<Arc<Value>>> {
        let is_of = |key: &[String; 3]| key[0] == resource.plural && (namespace.is_empty() || key[1] == namespace);
        known(Ok(self.0.iter().filter(|(key, _)| is_of(key)).map(|(_, object)| Arc::clone(object)).collect()))
    }

    fn make<'a>(&'a self, _: &'a Arc<Resource>, _: Value) -> Soon<'a, ()> {
        known(Ok(()))
    }

    fn convert<'a>(&'a self, _: &'a Resource, _: &'a str, object: Value) -> BoxFuture<'a, Result<Value, Status>> {
        Box::pin(async { Ok(object) })
    }
}

impl<'a> Attributes<'a> {
    /// Of an object without a name, where only what is built in is served and nothing is configured.
    pub(crate) fn new(request: &'a Request, operation: Operation, stored: &'a dyn Stored) -> Self {
        static NOTHING: LazyLock<Setting> =
            LazyLock::new(|| Setting::new(Arc::clone(Catalog::builtin()), Arc::default(), Arc::default()));
        Self { request, operation, name: "", old: None, stored, setting: &NOTHING }
    }
}

/// What `plugin` makes of an object of the core group, or of `group/plural`, with what the request is told.
pub(super) async fn play(
    plugin: &Plugin,
    shelf: &Shelf,
    (operation, plural): (Operation, &str),
    old: Option<&Value>,
    mut object: Value,
) -> Result<(Value, Vec<String>), Status> {
    let (group, plural) = plural.split_once('/').unwrap_or(("", plural));
    let resource = built_in(group, plural)?;
    let name = object["metadata"]["name"].as_str().or(old.and_then(|old| old["metadata"]["name"].as_str()));
    let name = name.unwrap_or_default().to_owned();
    let namespace = if resource.namespaced { "a" } else { "" };
    let request = Request::own("create", &Target { resource, namespace, name: &name });
    assert!(plugin.handles.contains(&operation), "{} is not asked", plugin.name);
    let seen = Attributes { name: &name, old, ..Attributes::new(&request, operation, shelf) };
    if let Some(mutate) = plugin.mutate {
        mutate(&seen, &mut object).await?;
    }
    if let Some(validate) = plugin.validate {
        validate(&seen, &object).await?;
    }
    Ok((object, request.finish()))
}
