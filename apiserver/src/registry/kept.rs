//! Lists and single objects from the state that a feed keeps.

use super::feed::{At, Wanted};
use super::object::Object;
use super::read::{List, ListOptions, Place, VersionMatch, token};
use super::{Registry, Target, prefix};
use crate::status::Status;
use serde_json::Value;
use skiff_schema::Resource;
use std::sync::Arc;

impl Registry {
    /// The list that the store would answer; `None`: the store has to be asked.
    pub(super) async fn list_kept(
        &self,
        resource: &Arc<Resource>,
        namespace: &str,
        options: &ListOptions,
        place: &Place,
    ) -> Result<Option<List>, Status> {
        let (folder, range) = (prefix(resource, ""), prefix(resource, namespace));
        let from = place.from.as_ref().unwrap_or(&range);
        // What lies elsewhere is no place of this list.
        let from = from.strip_prefix(&folder[..]).filter(|_| from.starts_with(&range));
        let Some(Ok(from)) = from.map(std::str::from_utf8) else { return Ok(None) };
        let end = behind(namespace);
        let wanted =
            Wanted { resource, from, end: end.as_deref(), value: options.selection.value(), pages: options.limit > 0 };
        let at = match (place.revision, options.version_match) {
            (0, VersionMatch::Any) => At::Since(0),
            (0, VersionMatch::Own) => At::Own,
            (0, _) if options.revision > 0 => At::Since(options.revision),
            (0, _) => At::Newest,
            (revision, _) => At::Exactly(revision),
        };
        let Some(found) = self.feeds.find(at, &wanted).await else { return Ok(None) };
        let mut list = List::empty(found.revision);
        for object in found.objects(&wanted) {
            if options.limit > 0 && list.items.len() == options.limit {
                break;
            }
            let face = object.face(resource);
            if !options.selection.selects_face(&face)? {
                continue;
            }
            list.items.push(face.object.clone());
            if list.items.len() != options.limit {
                continue;
            }
            let behind = found.behind(object.place(), &wanted);
            if behind > 0 {
                let next = [&folder[..], object.place().as_bytes(), b"\0"].concat();
                list.continue_token = token(&range, &next.into(), list.revision);
                list.remaining = options.selection.is_everything().then_some(i64::try_from(behind).unwrap_or(i64::MAX));
            }
        }
        Ok(Some(list))
    }

    /// One object of the newest state, as plugins look at it many times a second; `None`: it has to be waited for.
    pub(super) fn get_now(&self, target: &Target<'_>) -> Option<Result<Arc<Value>, Status>> {
        let object = self.feeds.get_now(target.resource, &place(target))??;
        Some(object.face(target.resource).object.parsed())
    }

    /// All objects of the newest state in a namespace, as plugins look at them; `None`: they have to be waited for.
    pub(super) fn list_now(
        &self,
        resource: &Arc<Resource>,
        namespace: &str,
    ) -> Option<Result<Vec<Arc<Value>>, Status>> {
        let (from, end) = (begin(namespace), behind(namespace));
        let wanted = Wanted { resource, from: &from, end: end.as_deref(), value: None, pages: false };
        let found = self.feeds.find_now(&wanted)?;
        Some(found.objects(&wanted).map(|object| object.face(resource).object.parsed()).collect())
    }

    /// The same, waiting for it.
    pub(super) async fn get_kept(&self, target: &Target<'_>) -> Result<Object, Status> {
        match self.feeds.get(target.resource, &place(target)).await {
            Some(Some(object)) => Ok(object.face(target.resource).object.clone()),
            // As informers do, what is missing is looked for where it would be.
            Some(None) | None => self.get(target).await,
        }
    }
}

/// Where a state has the object.
fn place(target: &Target<'_>) -> String {
    format!("{}{}", begin(target.namespace), target.name)
}

/// With what the places of a namespace begin.
fn begin(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!("{namespace}/") }
}

/// The first place behind those of a namespace; `None`: there is none.
fn behind(namespace: &str) -> Option<String> {
    // The character behind '/'.
    (!namespace.is_empty()).then(|| format!("{namespace}0"))
}
