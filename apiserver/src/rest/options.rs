//! Query parameters (`meta/v1` ListOptions, CreateOptions, UpdateOptions, PatchOptions).

use crate::registry::selector::Selection;
use crate::registry::{ListOptions, Run, VersionMatch, WatchOptions};
use crate::status::Status;
use axum::extract::Query;
use http::Uri;
use rand::Rng;
use skiff_schema::{FieldValidation, IncludeObject, Resource};
use std::time::Duration;

/// Watches without `timeoutSeconds` end after half an hour to an hour (kube-apiserver `--min-request-timeout`), each at a
/// time of its own, so that not all clients come back at once.
const WATCH_SECONDS_MIN: u64 = 1800;

/// The parameters of one request, decoded.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn of(uri: &Uri) -> Result<Self, Status> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
        query.map(|Query(pairs)| Self(pairs)).map_err(|error| Status::bad_request(error.to_string()))
    }

    /// The first value of `name`; empty if it is missing.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Kubernetes reads `1`, `true` and their capital forms as true.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.text(name), "1" | "t" | "T" | "true" | "TRUE" | "True")
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Status> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Status::bad_request(format!("invalid {name}: {text:?}: it is not a number that is zero or more"))
            }),
        }
    }

    pub(super) fn run(&self) -> Result<Run, Status> {
        match self.text("dryRun") {
            "" => Ok(Run::Real),
            "All" => Ok(Run::Dry),
            other => {
                Err(Status::unprocessable(format!("dryRun: Unsupported value: {other:?}: supported values: \"All\"")))
            }
        }
    }

    pub(super) fn field_validation(&self) -> Result<FieldValidation, Status> {
        match self.text("fieldValidation") {
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Strict" => Ok(FieldValidation::Strict),
            "Ignore" => Ok(FieldValidation::Ignore),
            other => Err(Status::unprocessable(format!(
                "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }

    pub(super) fn include_object(&self) -> IncludeObject {
        match self.text("includeObject") {
            "None" => IncludeObject::None,
            "Object" => IncludeObject::Object,
            _ => IncludeObject::Metadata,
        }
    }

    pub(super) fn selection(&self, resource: &Resource) -> Result<Selection, Status> {
        Selection::parse(resource, self.text("labelSelector"), self.text("fieldSelector"))
    }

    fn revision(&self) -> Result<i64, Status> {
        match self.text("resourceVersion") {
            "" => Ok(0),
            text => text.parse().ok().filter(|revision| *revision >= 0).ok_or_else(|| {
                Status::bad_request(format!("resourceVersion: Invalid value: {text:?}: invalid resource version"))
            }),
        }
    }

    fn version_match(&self) -> Result<Option<VersionMatch>, Status> {
        match self.text("resourceVersionMatch") {
            "" => Ok(None),
            "NotOlderThan" => Ok(Some(VersionMatch::NotOlderThan)),
            "Exact" => Ok(Some(VersionMatch::Exact)),
            other => Err(Status::unprocessable(format!(
                "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\""
            ))),
        }
    }

    pub(super) fn list(&self, resource: &Resource) -> Result<ListOptions, Status> {
        let (revision, continue_token) = (self.revision()?, self.text("continue").to_owned());
        let version_match = self.version_match()?;
        if version_match.is_some() && self.text("resourceVersion").is_empty() {
            return Err(Status::unprocessable(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if version_match == Some(VersionMatch::Exact) && revision == 0 {
            return Err(Status::unprocessable(
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        if !continue_token.is_empty() && revision != 0 {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        Ok(ListOptions {
            selection: self.selection(resource)?,
            limit: self.number("limit")?.map_or(0, |limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            continue_token,
            revision,
            version_match: version_match.unwrap_or_default(),
        })
    }

    pub(super) fn watch(&self, resource: &Resource) -> Result<WatchOptions, Status> {
        let (after, mark_initial_end) = (self.revision()?, self.flag("sendInitialEvents"));
        let (version_match, bookmarks) = (self.version_match()?, self.flag("allowWatchBookmarks"));
        // KEP-3157: a client that wants the present state through a watch must say all three.
        if mark_initial_end && version_match != Some(VersionMatch::NotOlderThan) {
            return Err(Status::unprocessable(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if self.text("sendInitialEvents").is_empty() && version_match.is_some() {
            return Err(Status::unprocessable(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is \
                 provided",
            ));
        }
        let declined = !self.text("sendInitialEvents").is_empty() && !mark_initial_end;
        Ok(WatchOptions {
            selection: self.selection(resource)?,
            after,
            initial: mark_initial_end || (after == 0 && !declined),
            mark_initial_end: mark_initial_end && bookmarks,
            bookmarks,
        })
    }

    pub(super) fn watch_timeout(&self) -> Result<Duration, Status> {
        let seconds = self.number("timeoutSeconds")?.filter(|seconds| *seconds > 0);
        let default = || rand::rng().random_range(WATCH_SECONDS_MIN..2 * WATCH_SECONDS_MIN);
        Ok(Duration::from_secs(seconds.unwrap_or_else(default)))
    }
}
