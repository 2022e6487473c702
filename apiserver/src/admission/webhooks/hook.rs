//! One webhook, read.

use super::super::configured::Found;
use super::super::matching::{Matching, is_exempt};
use crate::remote::Asked;
use crate::remote::trust::Credentials;
use serde_json::Value;
use skiff_policy::Conditions;
use skiff_schema::Resource;
use std::sync::Arc;
use std::time::Duration;

/// If nothing is said (v1).
const TIMEOUT_SECONDS: u64 = 10;

/// Hooks of one kind, in the order in which they are asked.
pub(crate) type Hooks = Vec<Arc<Hook>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Hook {
    /// Its own name.
    pub(crate) name: String,
    /// Of the object that it stands in.
    pub(crate) configuration: String,
    pub(crate) matching: Matching,
    pub(crate) failure_policy: FailurePolicy,
    /// How long it may take to answer.
    pub(crate) timeout: Duration,
    /// Whether it is asked again if what it saw has changed since.
    pub(crate) reinvoked: bool,
    /// The version of AdmissionReview in which it is asked, if it knows one that we do.
    pub(super) review: Option<&'static str>,
    pub(super) dry_runs: DryRuns,
    /// When it is asked.
    pub(super) conditions: Conditions,
    /// Who is asked, or why nobody can be.
    pub(super) client: Result<Asked, String>,
    written: Value,
    /// Whether it comes from a file: it is asked about the kinds that configure admission, too.
    is_filed: bool,
}

/// What becomes of a write whose hook gives no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailurePolicy {
    Fail,
    Ignore,
}

/// What a hook says of dry runs (`sideEffects`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DryRuns {
    /// It may be asked.
    Fine,
    /// It would do something that a dry run must not.
    Refused,
    /// It does not say.
    Unsaid,
}

/// All hooks of `found`, by name of their configurations; those of `before` that are the same are kept, with their connections.
pub(crate) fn compile(found: &Found<'_>, before: &Hooks, credentials: &Credentials) -> Hooks {
    let mut hooks = Hooks::new();
    for (configuration, object, is_filed) in found.each() {
        for written in object["webhooks"].as_array().into_iter().flatten() {
            let is_same = |hook: &&Arc<Hook>| {
                hook.configuration == *configuration && hook.written == *written && hook.is_filed == is_filed
            };
            let same = before.iter().find(is_same);
            let read = || Arc::new(Hook { is_filed, ..Hook::read(configuration, written, credentials) });
            hooks.push(same.map_or_else(read, Arc::clone));
        }
    }
    hooks
}

impl Hook {
    /// Whether it is not asked about `resource`, whatever it says.
    pub(super) fn spares(&self, resource: &Resource) -> bool {
        !self.is_filed && is_exempt(resource)
    }

    pub(super) fn read(configuration: &str, written: &Value, credentials: &Credentials) -> Self {
        let versions = written["admissionReviewVersions"].as_array().into_iter().flatten();
        let known = |version: &str| ["v1", "v1beta1"].into_iter().find(|known| *known == version);
        let fails = written["failurePolicy"] != "Ignore";
        Self {
            name: written["name"].as_str().unwrap_or_default().to_owned(),
            configuration: configuration.to_owned(),
            matching: Matching::of_webhook(written),
            failure_policy: if fails { FailurePolicy::Fail } else { FailurePolicy::Ignore },
            timeout: Duration::from_secs(written["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT_SECONDS)),
            reinvoked: written["reinvocationPolicy"] == "IfNeeded",
            review: versions.filter_map(Value::as_str).find_map(known),
            dry_runs: match written["sideEffects"].as_str() {
                None => DryRuns::Unsaid,
                Some("None" | "NoneOnDryRun") => DryRuns::Fine,
                Some(_) => DryRuns::Refused,
            },
            conditions: Conditions::of_webhook(written),
            client: Asked::read(&written["clientConfig"], credentials),
            written: written.clone(),
            is_filed: false,
        }
    }
}
