//! Query parameters (`meta/v1` ListOptions, CreateOptions, UpdateOptions, PatchOptions, DeleteOptions). `asked.rs` lists them.

use crate::options;
use crate::registry::selector::Selection;
use crate::registry::{ListOptions, VersionMatch, WatchOptions, delete_options};
use crate::request::Options;
use crate::status::Status;
use axum::extract::Query;
use http::{HeaderMap, Uri, header};
use rand::Rng;
use serde_json::{Value, json};
use skiff_schema::{FieldError, IncludeObject, Resource};
use std::time::Duration;

const EXACT: &str = "Exact";
const NOT_OLDER_THAN: &str = "NotOlderThan";

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

    /// All of them, as they came.
    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// The first value of `name`; empty if it is missing.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of `name`, if it is there at all.
    fn given(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Kubernetes reads everything as true but `0` and `false`; a parameter without a value says yes.
    pub(super) fn said(&self, name: &str) -> Option<bool> {
        self.given(name).map(|text| text != "0" && !text.eq_ignore_ascii_case("false"))
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.said(name).unwrap_or(false)
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        match self.text(name) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Status::bad_request(format!("invalid {name}: {text:?} is not a number"))),
        }
    }

    /// CreateOptions, UpdateOptions or PatchOptions, as `kind` says.
    pub(super) fn write(&self, kind: &str, options: &mut Options) -> Result<(), Status> {
        let mut errors = Vec::new();
        if kind == "PatchOptions" {
            options::force(self.given("force").is_some(), &mut errors);
        }
        options::field_manager(self.text("fieldManager"), &mut errors);
        self.run_and_validation(kind, options, errors)
    }

    /// PatchOptions of a configuration that is applied.
    pub(super) fn apply(&self, options: &mut Options) -> Result<(), Status> {
        let mut errors = Vec::new();
        options::applier(self.text("fieldManager"), &mut errors);
        options.force = self.flag("force");
        self.run_and_validation("PatchOptions", options, errors)
    }

    fn run_and_validation(&self, kind: &str, options: &mut Options, mut errors: Vec<FieldError>) -> Result<(), Status> {
        let stages: Vec<&str> = self.all("dryRun").collect();
        options.run = options::run(&stages, &mut errors);
        options.validation = options::field_validation(self.text("fieldValidation"), &mut errors);
        if errors.is_empty() { Ok(()) } else { Err(Status::invalid_options(kind, &errors)) }
    }

    /// DeleteOptions: those of the body, and of the query what the body leaves open.
    pub(super) fn delete(&self, mut body: Value) -> Result<Options, Status> {
        let mut fill = |field: &str, value: Option<Value>| {
            if let (true, Some(value)) = (body[field].is_null(), value) {
                body[field] = value;
            }
        };
        fill("gracePeriodSeconds", self.number("gracePeriodSeconds")?.map(Value::from));
        fill("orphanDependents", self.said("orphanDependents").map(Value::from));
        fill("propagationPolicy", self.given("propagationPolicy").filter(|policy| !policy.is_empty()).map(Value::from));
        let stages: Vec<&str> = self.all("dryRun").collect();
        fill("dryRun", Some(stages.into()).filter(|stages: &Value| *stages != json!([])));
        if body["preconditions"]["uid"].is_null() && !self.text("uid").is_empty() {
            body["preconditions"]["uid"] = self.text("uid").into();
        }
        delete_options(&body)
    }

    /// What a table shows of its objects.
    pub(super) fn include_object(&self) -> Result<IncludeObject, Status> {
        match self.text("includeObject") {
            "" | "Metadata" => Ok(IncludeObject::Metadata),
            "None" => Ok(IncludeObject::None),
            "Object" => Ok(IncludeObject::Object),
            other => {
                let error =
                    options::invalid("includeObject", other.into(), "must be 'Metadata', 'Object', 'None', or empty");
                Err(Status::bad_request(format!("Unable to convert to Table as requested: {error}")))
            }
        }
    }

    pub(super) fn selection(&self, resource: &Resource) -> Result<Selection, Status> {
        Selection::parse(resource, self.text("labelSelector"), self.text("fieldSelector"))
    }

    /// `resourceVersion`; 0: any will do.
    pub(super) fn revision(&self) -> Result<i64, Status> {
        match self.text("resourceVersion") {
            "" => Ok(0),
            text => text.parse().ok().filter(|revision| *revision >= 0).ok_or_else(|| {
                Status::bad_request(format!("resourceVersion: Invalid value: {text:?}: invalid resource version"))
            }),
        }
    }

    pub(super) fn list(&self, resource: &Resource) -> Result<ListOptions, Status> {
        let (continue_token, word) = (self.text("continue").to_owned(), self.text("resourceVersionMatch"));
        let mut errors = Vec::new();
        if !word.is_empty() {
            if self.text("resourceVersion").is_empty() {
                errors.push(match_forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"));
            }
            if !continue_token.is_empty() {
                errors.push(match_forbidden("resourceVersionMatch is forbidden when continue is provided"));
            }
            if word == EXACT && self.text("resourceVersion") == "0" {
                errors.push(match_forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
            }
        }
        let version_match = version_match(word, &[EXACT, NOT_OLDER_THAN, ""], &mut errors);
        if self.given("sendInitialEvents").is_some() {
            errors.push(options::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        self.refuse_shards(&mut errors);
        if !errors.is_empty() {
            return Err(Status::invalid_options("ListOptions", &errors));
        }
        // How long a watch would last: it must be a number all the same.
        self.number("timeoutSeconds")?;
        let revision = self.revision()?;
        if !continue_token.is_empty() && revision != 0 {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        Ok(ListOptions {
            selection: self.selection(resource)?,
            // Less than nothing is no limit, as in Kubernetes' store.
            limit: self.number("limit")?.map_or(0, |limit| usize::try_from(limit).unwrap_or(0)),
            continue_token,
            revision,
            version_match: version_match.unwrap_or(if self.text("resourceVersion") == "0" {
                VersionMatch::Any
            } else {
                VersionMatch::NotOlderThan
            }),
        })
    }

    pub(super) fn watch(&self, resource: &Resource) -> Result<WatchOptions, Status> {
        let (word, send_initial) = (self.text("resourceVersionMatch"), self.said("sendInitialEvents"));
        let mut errors = Vec::new();
        // KEP-3157: a client that wants the present state through a watch must say both.
        if send_initial.is_some() && word != NOT_OLDER_THAN {
            errors.push(match_forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
        }
        if !word.is_empty() {
            if send_initial.is_none() {
                let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                errors.push(match_forbidden(detail));
            }
            version_match(word, &[NOT_OLDER_THAN], &mut errors);
            if !self.text("continue").is_empty() {
                errors.push(match_forbidden("resourceVersionMatch is forbidden when continue is provided"));
            }
        }
        self.refuse_shards(&mut errors);
        if !errors.is_empty() {
            return Err(Status::invalid_options("ListOptions", &errors));
        }
        let (after, bookmarks) = (self.revision()?, self.flag("allowWatchBookmarks"));
        Ok(WatchOptions {
            selection: self.selection(resource)?,
            after,
            initial: send_initial.unwrap_or(after == 0),
            mark_initial_end: send_initial == Some(true) && bookmarks,
            bookmarks,
        })
    }

    /// A shard is a part of a list; the whole instead would be taken for it.
    fn refuse_shards(&self, errors: &mut Vec<FieldError>) {
        if !self.text("shardSelector").is_empty() {
            errors.push(options::forbidden("shardSelector", "this server does not divide lists into shards"));
        }
    }

    pub(super) fn watch_timeout(&self) -> Result<Duration, Status> {
        let default = || rand::rng().random_range(WATCH_SECONDS_MIN..2 * WATCH_SECONDS_MIN);
        // Less than nothing is over at once.
        Ok(Duration::from_secs(match self.number("timeoutSeconds")? {
            None | Some(0) => default(),
            Some(seconds) => u64::try_from(seconds).unwrap_or(0),
        }))
    }

    /// Whether JSON is to be indented: `pretty`, or a program that shows it to people as it is.
    pub(super) fn pretty(&self, headers: &HeaderMap) -> bool {
        let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        match self.text("pretty") {
            "" => ["curl", "Wget", "Mozilla/5.0"].iter().any(|people| agent.starts_with(people)),
            // Kubernetes reads this one with Go's own words for true.
            word => matches!(word, "1" | "t" | "T" | "true" | "TRUE" | "True"),
        }
    }
}

fn match_forbidden(detail: &str) -> FieldError {
    options::forbidden("resourceVersionMatch", detail)
}

fn version_match(word: &str, supported: &[&str], errors: &mut Vec<FieldError>) -> Option<VersionMatch> {
    if !word.is_empty() && !supported.contains(&word) {
        errors.push(options::not_supported("resourceVersionMatch", word.into(), supported));
    }
    match word {
        EXACT => Some(VersionMatch::Exact),
        NOT_OLDER_THAN => Some(VersionMatch::NotOlderThan),
        _ => None,
    }
}
