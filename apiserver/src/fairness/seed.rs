//! The objects that every cluster has: what is stored becomes what it should be.

use super::follow::Stored;
use crate::registry::object::name_of;
use crate::registry::{Change, ListOptions, Owners, Registry, Target, built_in};
use crate::request::Request;
use crate::status::Status;
use serde_json::Value;
use skiff_fairness::{GROUP, Kind, Step, objects, step, step_of_other};
use skiff_schema::Decoded;

/// Who owns what is written (kube-apiserver's word).
const PRODUCER: &str = "api-priority-and-fairness-config-producer-v1";

/// What the store has of both kinds.
pub(super) async fn stored(registry: &Registry) -> Result<Stored, Status> {
    let mut stored = Stored::default();
    for kind in Kind::ALL {
        let list = registry.list(built_in(GROUP, kind.plural())?, "", &ListOptions::default()).await?;
        for object in &list.items {
            let value = object.value()?;
            stored.of_mut(kind).insert(name_of(&value).to_owned(), value);
        }
        stored.revisions.push((kind, list.revision));
    }
    Ok(stored)
}

/// What it lacks, or has too much.
pub(super) fn steps(stored: &Stored) -> Vec<(Kind, String, Step)> {
    let all = objects();
    let mut steps = Vec::new();
    for (kind, expected, is_mandatory) in &all {
        let name = name_of(expected);
        let next = match step(expected, *is_mandatory, stored.of(*kind).get(name)) {
            Step::Create => Step::Update(Box::new(expected.clone())),
            other => other,
        };
        steps.push((*kind, name.to_owned(), next));
    }
    for kind in Kind::ALL {
        let is_known = |name: &str| all.iter().any(|(of, expected, _)| *of == kind && name_of(expected) == name);
        let others = stored.of(kind).iter().filter(|(name, _)| !is_known(name));
        steps.extend(others.map(|(name, object)| (kind, name.clone(), step_of_other(object))));
    }
    steps.retain(|(.., step)| *step != Step::Keep);
    steps
}

/// Does what is to be done, one after the other; that another server was faster is as good.
pub(super) async fn write(registry: &Registry) -> Result<(), Status> {
    for (kind, name, step) in steps(&stored(registry).await?) {
        let target = Target { resource: built_in(GROUP, kind.plural())?, namespace: "", name: &name };
        let done = match step {
            Step::Update(object) => put(registry, &target, kind, *object).await,
            Step::Delete => registry.delete(&Request::own("delete", &target)).await.map(drop),
            Step::Keep | Step::Create => Ok(()),
        };
        done.or_else(|status| match status.reason {
            "AlreadyExists" | "NotFound" | "Conflict" => Ok(()),
            _ => Err(status),
        })?;
    }
    Ok(())
}

async fn put(registry: &Registry, target: &Target<'_>, kind: Kind, object: Value) -> Result<(), Status> {
    let by = |verb| {
        let mut request = Request::own(verb, target);
        PRODUCER.clone_into(&mut request.options.manager);
        request
    };
    if object["metadata"]["uid"].is_null() {
        let draft = Decoded { object, warnings: Vec::new() };
        return registry.create(&by("create"), draft).await.map(drop);
    }
    let expected = objects().into_iter().find(|(of, expected, _)| *of == kind && name_of(expected) == target.name);
    let Some((_, expected, is_mandatory)) = expected else { return Ok(()) };
    let change = Change::of_present(|current| {
        let object = match step(&expected, is_mandatory, Some(current)) {
            Step::Update(next) => *next,
            _ => current.clone(),
        };
        Ok(Decoded { object, warnings: Vec::new() })
    });
    registry.write(&by("update"), &change.owned(Owners::Track)).await.map(drop)
}
