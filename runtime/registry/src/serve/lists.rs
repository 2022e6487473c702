//! Tags, repositories, referrers.

use super::{Answer, Registry};
use crate::Name;
use crate::access::Caller;
use crate::body::Body;
use crate::digest::Digest;
use crate::lists::{self, Listed, Page};
use crate::manifest::OCI_INDEX;
use crate::refusal::Refusal;
use crate::route::Filter;
use http::StatusCode;

fn answer(listed: Listed, content_type: &'static str) -> Answer {
    let answer = Answer::new(StatusCode::OK)
        .header("content-type", content_type)
        .body(Body::Bytes(listed.body.to_string().into()));
    match listed.next {
        Some(next) => answer.header("link", next),
        None => answer,
    }
}

impl Registry {
    /// Repositories that the caller may pull from.
    pub(super) fn catalog(&self, page: &Page, caller: &Caller) -> Answer {
        let state = self.store.state();
        let after = state.repositories_after(page.last.as_deref().unwrap_or_default()).map(|(name, _)| name);
        answer(lists::catalog(after.filter(|name| self.may_see(caller, name)), page), "application/json")
    }

    pub(super) fn tags(&self, name: &Name, page: &Page) -> Result<Answer, Refusal> {
        let state = self.store.state();
        let held = state.repository(name).ok_or_else(|| Refusal::no_repository(name))?;
        Ok(answer(lists::tags(name, held, page), "application/json"))
    }

    /// "If the registry supports the referrers API, the registry MUST NOT return a 404": of what is not there, nobody speaks.
    pub(super) fn referrers(&self, name: &Name, subject: &Digest, filter: &Filter) -> Answer {
        let state = self.store.state();
        let (artifact_type, last) = (filter.artifact_type.as_deref(), filter.last.as_deref());
        let listed = lists::referrers(name, state.repository(name), subject, artifact_type, last);
        let answer = answer(listed, OCI_INDEX);
        match artifact_type {
            Some(_) => answer.header("oci-filters-applied", "artifactType"),
            None => answer,
        }
    }
}
