//! Default roles and bindings are written at start, as kube-apiserver's hook `rbac/bootstrap-roles` does: those that are missing are made,
//! and those that lack something get it, unless they say that they are not to be changed.

use crate::registry::object::{meta, name_of};
use crate::registry::{Change, ListOptions, Owners, Registry, Target, built_in};
use crate::request::Request;
use crate::status::Status;
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use skiff_authz::{GROUP, Kind, defaults};
use skiff_schema::Decoded;
use std::collections::HashMap;

/// How many are written at a time: the store syncs them together.
const AT_A_TIME: usize = 16;

/// One object that is to be written.
#[derive(Debug, Clone)]
pub(super) struct Seed {
    pub(super) kind: Kind,
    /// How it will be.
    pub(super) object: Value,
    replaces: bool,
    makes: bool,
}

/// What the store lacks.
pub(super) async fn steps(registry: &Registry) -> Result<Vec<Seed>, Status> {
    let mut present: HashMap<(Kind, String, String), Value> = HashMap::new();
    for kind in Kind::ALL {
        let list = registry.list(built_in(GROUP, kind.plural())?, "", &ListOptions::default()).await?;
        for object in &list.items {
            let value = object.value()?;
            present.insert((kind, meta(&value, "namespace").to_owned(), name_of(&value).to_owned()), value);
        }
    }
    let mut seeds = Vec::new();
    // What is made has the rules that it would gather a moment later; what is there keeps those that it has gathered.
    for ((kind, expected), (_, object)) in defaults::objects().into_iter().zip(defaults::gathered()) {
        let key = (kind, meta(&expected, "namespace").to_owned(), name_of(&expected).to_owned());
        let seed = |object, replaces, makes| Seed { kind, object, replaces, makes };
        match defaults::step(kind, &expected, present.get(&key)) {
            defaults::Step::Keep => {}
            defaults::Step::Create => seeds.push(seed(object, false, true)),
            defaults::Step::Replace => seeds.push(seed(object, true, true)),
            defaults::Step::Update(next) => seeds.push(seed(next, false, false)),
        }
    }
    Ok(seeds)
}

/// Writes what the store lacks.
pub(super) async fn write(registry: &Registry) -> Result<(), Status> {
    let seeds = steps(registry).await?;
    let writes = seeds.into_iter().map(|seed| write_one(registry, seed));
    futures::stream::iter(writes).buffer_unordered(AT_A_TIME).try_collect::<()>().await
}

/// That another server was faster is as good.
async fn write_one(registry: &Registry, seed: Seed) -> Result<(), Status> {
    let resource = built_in(GROUP, seed.kind.plural())?;
    let (namespace, name) = (meta(&seed.object, "namespace").to_owned(), name_of(&seed.object).to_owned());
    let target = Target { resource, namespace: &namespace, name: &name };
    if seed.replaces {
        registry.delete(&Request::own("delete", &target)).await.map(drop).or_else(ignore("NotFound"))?;
    }
    if seed.makes {
        let draft = Decoded { object: seed.object, warnings: Vec::new() };
        return registry
            .create(&Request::own("create", &target), draft)
            .await
            .map(drop)
            .or_else(ignore("AlreadyExists"));
    }
    let change = Change::of_present(|current| {
        let object = match defaults::step(seed.kind, &seed.object, Some(current)) {
            defaults::Step::Update(next) => next,
            _ => current.clone(),
        };
        Ok(Decoded { object, warnings: Vec::new() })
    });
    let change = change.owned(Owners::Track);
    registry.write(&Request::own("update", &target), &change).await.map(drop).or_else(ignore("NotFound"))
}

fn ignore(reason: &'static str) -> impl Fn(Status) -> Result<(), Status> {
    move |status| if status.reason == reason { Ok(()) } else { Err(status) }
}
