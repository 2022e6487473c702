//! Get and list.

use super::object::Object;
use super::selector::Selection;
use super::{Registry, Target, components, key, prefix};
use crate::status::Status;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Value, json};
use skiff_schema::Resource;
use skiff_store::backend::{BackendError, ListRange, Revision};
use std::sync::Arc;

/// Entries read at once when a selection has to look at all of them; a few megabytes of pods.
const PAGE: usize = 1000;

/// `resourceVersionMatch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum VersionMatch {
    /// At least as new (we always answer the newest).
    #[default]
    NotOlderThan,
    /// Exactly this revision.
    Exact,
    /// Whatever is at hand: `resourceVersion=0`.
    Any,
    /// What plugins decide by: not older than what this server has written itself.
    Own,
}

/// A token with this revision goes on in whatever state is newest.
const WHATEVER_IS_NEWEST: Revision = -1;

/// What to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListOptions {
    pub(crate) selection: Selection,
    /// 0: no limit.
    pub(crate) limit: usize,
    /// The token of an earlier answer; empty: from the beginning.
    pub(crate) continue_token: String,
    /// 0: whatever is newest.
    pub(crate) revision: Revision,
    pub(crate) version_match: VersionMatch,
}

/// The answer to a list.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) items: Vec<Object>,
    pub(crate) revision: Revision,
    /// Empty: this was the end.
    pub(crate) continue_token: String,
    /// How many follow; unknown under a selection.
    pub(crate) remaining: Option<i64>,
}

impl List {
    /// A list of nothing yet.
    pub(super) fn empty(revision: Revision) -> Self {
        Self { items: Vec::new(), revision, continue_token: String::new(), remaining: None }
    }

    /// The list's `metadata`.
    pub(crate) fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if !self.continue_token.is_empty() {
            metadata["continue"] = self.continue_token.as_str().into();
            if let Some(remaining) = self.remaining {
                metadata["remainingItemCount"] = remaining.into();
            }
        }
        metadata
    }
}

impl Registry {
    /// Reads one object.
    pub(crate) async fn get(&self, target: &Target<'_>) -> Result<Object, Status> {
        let got = self.backend.get(target.key()).await?;
        self.object(target, got.entry).await
    }

    /// Reads one object from a state that is not older than `revision`; 0: any.
    pub(crate) async fn get_not_older(&self, target: &Target<'_>, revision: Revision) -> Result<Object, Status> {
        if components::is_computed(target.resource) {
            return self.component(target).await;
        }
        let got = self.backend.get(target.key()).await?;
        if got.revision < revision {
            return Err(Status::future(revision, got.revision));
        }
        self.object(target, got.entry).await
    }

    /// Lists the objects of `namespace` (empty: all namespaces).
    pub(crate) async fn list(
        &self,
        resource: &Arc<Resource>,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<List, Status> {
        if components::is_computed(resource) {
            return self.components(resource, options).await;
        }
        let place = Place::of(options)?;
        if let (Some(name), 0, None) = (single_key(resource, namespace, options), place.revision, &place.from) {
            return self.list_one(resource, namespace, name, options).await;
        }
        match self.list_kept(resource, namespace, options, &place).await? {
            Some(list) => not_older(list, options),
            None => self.list_stored(resource, namespace, options, place).await,
        }
    }

    /// The same from the store alone.
    pub(super) async fn list_stored(
        &self,
        resource: &Arc<Resource>,
        namespace: &str,
        options: &ListOptions,
        place: Place,
    ) -> Result<List, Status> {
        let prefix = prefix(resource, namespace);
        let resumed = place.from.clone();
        let mut walk = ListRange { prefix: prefix.clone(), from: place.from, limit: 0, revision: place.revision };
        let mut list = List::empty(0);
        loop {
            walk.limit = page(options, list.items.len());
            let listed = self.backend.list(walk.clone()).await;
            let listed = listed.map_err(|error| old_list(error, options, &prefix, resumed.as_ref()))?;
            list.revision = listed.revision;
            let next = listed.entries.last().map(|entry| after(&entry.key));
            let read = i64::try_from(listed.entries.len()).unwrap_or(i64::MAX);
            for object in self.objects(resource, listed.entries).await? {
                if options.selection.selects(&object)? {
                    list.items.push(object);
                }
            }
            let remaining = listed.count.saturating_sub(read);
            let full = options.limit > 0 && list.items.len() >= options.limit;
            match next {
                Some(next) if remaining > 0 && full => {
                    list.continue_token = token(&prefix, &next, list.revision);
                    list.remaining = options.selection.is_everything().then_some(remaining);
                    break;
                }
                Some(next) if remaining > 0 => (walk.from, walk.revision) = (Some(next), list.revision),
                _ => break,
            }
        }
        not_older(list, options)
    }

    async fn list_one(
        &self,
        resource: &Arc<Resource>,
        namespace: &str,
        name: &str,
        options: &ListOptions,
    ) -> Result<List, Status> {
        let got = self.backend.get(key(resource, namespace, name)).await?;
        let mut list = List::empty(got.revision);
        if let Some(object) = self.objects(resource, got.entry.into_iter().collect()).await?.pop()
            && options.selection.selects(&object)?
        {
            list.items.push(object);
        }
        not_older(list, options)
    }
}

/// `metadata.name=x` in one namespace is one key.
fn single_key<'a>(resource: &Resource, namespace: &str, options: &'a ListOptions) -> Option<&'a str> {
    let addressed = !resource.namespaced || !namespace.is_empty();
    options.selection.single_name().filter(|name| addressed && !name.contains('/'))
}

/// How many entries to read next: never more than can still be answered, so that a page ends where its token says.
fn page(options: &ListOptions, have: usize) -> usize {
    match options.limit {
        // Everything is wanted, and selecting costs no memory that the answer would not cost.
        0 => 0,
        limit if options.selection.is_everything() => limit.saturating_sub(have).max(1),
        limit => limit.saturating_sub(have).clamp(1, PAGE),
    }
}

/// The first key behind `key`.
fn after(key: &Bytes) -> Bytes {
    let mut next = key.to_vec();
    next.push(0);
    next.into()
}

fn not_older(list: List, options: &ListOptions) -> Result<List, Status> {
    if options.version_match == VersionMatch::NotOlderThan && list.revision < options.revision {
        return Err(Status::future(options.revision, list.revision));
    }
    Ok(list)
}

/// Where a list begins and at which revision; 0: the newest.
pub(super) struct Place {
    pub(super) from: Option<Bytes>,
    pub(super) revision: Revision,
}

impl Place {
    pub(super) fn of(options: &ListOptions) -> Result<Self, Status> {
        if !options.continue_token.is_empty() {
            return parse_token(&options.continue_token)
                .ok_or_else(|| Status::bad_request("continue key is not valid: it is none that this server gave out"));
        }
        let revision = match options.version_match {
            VersionMatch::Exact => options.revision,
            VersionMatch::NotOlderThan | VersionMatch::Any | VersionMatch::Own => 0,
        };
        Ok(Self { from: None, revision })
    }
}

/// Kubernetes' form of a continue token. Clients treat it as opaque, but this one can be read when debugging.
pub(super) fn token(prefix: &Bytes, next: &Bytes, revision: Revision) -> String {
    let start = String::from_utf8_lossy(next);
    let token =
        json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start, "prefix": String::from_utf8_lossy(prefix)});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

fn parse_token(token: &str) -> Option<Place> {
    let token: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (start, prefix) = (token["start"].as_str()?, token["prefix"].as_str()?);
    // A forged token must not lead to other keys than its list's; the store checks its own prefix again.
    let revision = match token["rv"].as_i64()? {
        WHATEVER_IS_NEWEST => 0,
        revision => Some(revision).filter(|revision| *revision > 0)?,
    };
    start.starts_with(prefix).then(|| Place { from: Some(start.to_owned().into()), revision })
}

/// A list whose state is gone; one that was under way gets a token with which it goes on from the same key.
fn old_list(error: BackendError, options: &ListOptions, prefix: &Bytes, resumed: Option<&Bytes>) -> Status {
    match (error, resumed) {
        (BackendError::Compacted { .. }, Some(next)) => Status::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter, or use the continue token in this response to retrieve the remainder of \
             the results. Continuing with the provided token results in an inconsistent list - objects that were \
             created, modified, or deleted between the time the first chunk was returned and now may show up in the \
             list.",
        )
        .continued_at(token(prefix, next, WHATEVER_IS_NEWEST)),
        (BackendError::Compacted { .. }, None) => {
            Status::expired("The resourceVersion for the provided list is too old.")
        }
        (BackendError::Future { newest }, _) => Status::future(options.revision, newest),
        (error, _) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continue_token_comes_back_as_it_was() {
        let place = parse_token(&token(&"/registry/pods/".into(), &"/registry/pods/a/b\0".into(), 7)).expect("ours");
        assert_eq!((place.from, place.revision), (Some(Bytes::from("/registry/pods/a/b\0")), 7));
    }

    #[test]
    fn a_list_whose_state_is_gone_goes_on_in_the_newest_one() {
        let next = Bytes::from("/registry/pods/a/b\0");
        let gone = || BackendError::Compacted { oldest: 9 };
        let options = ListOptions::default();
        let status = old_list(gone(), &options, &"/registry/pods/".into(), Some(&next)).value();
        let place = parse_token(status["metadata"]["continue"].as_str().expect("a token")).expect("ours");
        assert_eq!((place.from, place.revision), (Some(next), 0));
        let status = old_list(gone(), &options, &"/registry/pods/".into(), None).value();
        assert_eq!((&status["reason"], &status["metadata"]), (&json!("Expired"), &json!({})));
    }

    #[test]
    fn foreign_tokens_are_refused() {
        for text in ["", "x", "e30", &URL_SAFE_NO_PAD.encode(r#"{"rv":1,"start":"/etc","prefix":"/registry/"}"#)] {
            assert!(parse_token(text).is_none(), "{text:?}");
        }
    }
}
