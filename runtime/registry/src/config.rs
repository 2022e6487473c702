//! The configuration, as it is written. What is read of it are values; files that it names are read by whoever assembles the registry.

use crate::access::Policy;
use crate::lifecycle;
use crate::name::Name;
use crate::replicate::Replication;
use crate::rules::{Rules, matches};
use crate::scan::Scanning;
use crate::upstream::Upstream;
use serde::Deserialize;
use serde_json::Value;
use skiff_scan::Severity;
use std::path::PathBuf;

/// The configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Who is believed; without it everybody may do everything.
    pub authentication: Option<Authentication>,
    /// Who may do what; without any, whoever has said who they are may do everything.
    #[serde(default)]
    pub policies: Vec<Policy>,
    /// What holds for repositories; the first whose name matches counts.
    #[serde(default)]
    pub repositories: Vec<Repositories>,
    /// Where a record of each call is appended.
    pub audit: Option<PathBuf>,
    /// Who is told of pushes, pulls and deletions.
    #[serde(default)]
    pub webhooks: Vec<Webhook>,
    /// Registries whose images are had here, too.
    #[serde(default)]
    pub upstreams: Vec<Upstream>,
    /// Which images go to other registries, and which come from them.
    #[serde(default)]
    pub replication: Vec<Replication>,
    /// How images are scanned; without it they are not.
    pub scanning: Option<Scanning>,
    /// When what nobody needs is removed.
    #[serde(default)]
    pub garbage: Garbage,
}

/// Who is believed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Authentication {
    /// A file of users and passwords (bcrypt).
    pub htpasswd: Option<PathBuf>,
    /// Clusters whose service accounts are users.
    #[serde(default)]
    pub service_accounts: Vec<ServiceAccounts>,
    /// Where clients get tokens, if that is another address than the one they came to.
    pub realm: Option<String>,
    /// The name for which tokens are, if not the address that clients came to.
    pub service: Option<String>,
}

/// A cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ServiceAccounts {
    /// Its issuer of tokens.
    pub issuer: String,
    /// For whom tokens must be.
    pub audience: String,
    /// A file with its keys, as `/openid/v1/jwks` has them.
    pub keys: PathBuf,
}

/// What holds for some repositories.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Repositories {
    /// Their names, with `*` for any characters.
    pub name: String,
    /// Whether anybody may pull.
    #[serde(default)]
    pub public: bool,
    /// Tags that may not move.
    #[serde(default)]
    pub immutable_tags: Vec<String>,
    /// How many bytes each may hold.
    pub quota_bytes: Option<u64>,
    /// Whether indexes may list manifests that are not here.
    #[serde(default)]
    pub sparse_indexes: bool,
    /// From which severity of findings on images cannot be pulled.
    pub refuse_severity: Option<Severity>,
    /// Which images go, in ECR's form.
    pub lifecycle: Option<Value>,
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Webhook {
    /// Where: `http://HOST:PORT/PATH`.
    pub url: String,
    /// Of what: `push`, `pull`, `delete`, `scan`; everything if it is empty.
    #[serde(default)]
    pub events: Vec<String>,
}

/// When what nobody needs is removed.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Garbage {
    /// How often it is looked for.
    pub every_seconds: u64,
    /// How old a blob must be that no manifest needs.
    pub blobs_after_seconds: u64,
    /// How long an upload may rest.
    pub uploads_after_seconds: u64,
}

impl Default for Garbage {
    fn default() -> Self {
        Self { every_seconds: 3600, blobs_after_seconds: 24 * 3600, uploads_after_seconds: 24 * 3600 }
    }
}

impl Config {
    /// Whether its words are ones.
    ///
    /// # Errors
    /// What is wrong, with the field.
    pub fn check(&self) -> Result<(), String> {
        for (index, policy) in self.policies.iter().enumerate() {
            policy.check().map_err(|problem| format!("policies[{index}].{problem}"))?;
        }
        if !self.policies.is_empty() && self.authentication.is_none() {
            return Err("policies: they need authentication, without which nobody says who they are".to_owned());
        }
        for (index, one) in self.repositories.iter().enumerate() {
            let policy = one.lifecycle.as_ref().map(lifecycle::Policy::read).transpose();
            policy.map_err(|problem| format!("repositories[{index}].lifecycle.{problem}"))?;
        }
        for (index, upstream) in self.upstreams.iter().enumerate() {
            upstream.check().map_err(|problem| format!("upstreams[{index}].{problem}"))?;
        }
        for (index, rule) in self.replication.iter().enumerate() {
            rule.check().map_err(|problem| format!("replication[{index}].{problem}"))?;
        }
        let scanning = self.scanning.as_ref();
        scanning.map_or(Ok(()), Scanning::check).map_err(|problem| format!("scanning.{problem}"))?;
        if let Some(index) =
            self.repositories.iter().position(|one| one.refuse_severity.is_some() && scanning.is_none())
        {
            return Err(format!(
                "repositories[{index}].refuseSeverity: it needs scanning, without which nothing is found"
            ));
        }
        for (index, webhook) in self.webhooks.iter().enumerate() {
            let at = format!("webhooks[{index}]");
            let uri = webhook.url.parse::<http::Uri>().map_err(|error| format!("{at}.url: {error}"))?;
            if uri.scheme_str() != Some("http") || uri.host().is_none() {
                return Err(format!("{at}.url: only http://HOST:PORT/PATH is implemented"));
            }
            let is_event = |one: &&String| ["push", "pull", "delete", "scan"].contains(&one.as_str());
            if let Some(unknown) = webhook.events.iter().find(|one| !is_event(one)) {
                return Err(format!("{at}.events: \"{unknown}\" is not push, pull, delete or scan"));
            }
        }
        if self.garbage.every_seconds == 0 {
            return Err("garbage.everySeconds: a positive number is needed".to_owned());
        }
        Ok(())
    }

    fn of(&self, name: &Name) -> Option<&Repositories> {
        self.repositories.iter().find(|one| matches(&one.name, name.as_str()))
    }

    /// The rules of a repository.
    #[must_use]
    pub fn rules(&self, name: &Name) -> Rules {
        let Some(one) = self.of(name) else { return Rules::default() };
        Rules {
            public: one.public,
            immutable_tags: one.immutable_tags.clone(),
            quota_bytes: one.quota_bytes,
            sparse_indexes: one.sparse_indexes,
            through: false,
            refuse_severity: one.refuse_severity,
        }
    }

    /// Which of its images go.
    #[must_use]
    pub fn lifecycle(&self, name: &Name) -> Option<lifecycle::Policy> {
        lifecycle::Policy::read(self.of(name)?.lifecycle.as_ref()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(document: Value) -> Result<Config, String> {
        let config: Config = serde_json::from_value(document).map_err(|error| error.to_string())?;
        config.check().map(|()| config)
    }

    #[test]
    fn the_first_that_matches_counts() {
        let config = read(json!({"repositories": [
            {"name": "base/*", "public": true, "immutableTags": ["v*"]},
            {"name": "*", "quotaBytes": 100},
        ]}))
        .unwrap();
        let rules = |name: &str| config.rules(&name.parse().unwrap());
        assert!(rules("base/a").public && rules("base/a").quota_bytes.is_none());
        assert_eq!(rules("b"), Rules { quota_bytes: Some(100), ..Rules::default() });
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        for (document, said) in [
            (json!({"policy": []}), "unknown field `policy`"),
            (
                json!({"policies": [{"users": ["a"], "repositories": ["*"], "actions": ["write"]}]}),
                "policies[0].actions: \"write\"",
            ),
            (json!({"policies": [{"repositories": ["*"], "actions": ["*"]}]}), "policies[0].users and groups"),
            (
                json!({"policies": [{"users": ["a"], "repositories": ["*"], "actions": ["*"]}]}),
                "policies: they need authentication",
            ),
            (
                json!({"repositories": [{"name": "*", "lifecycle": {"rules": 1}}]}),
                "repositories[0].lifecycle.rules: a list",
            ),
            (
                json!({"repositories": [{"name": "*", "refuseSeverity": "high"}]}),
                "repositories[0].refuseSeverity: it needs scanning",
            ),
            (
                json!({"scanning": {"database": "/db", "suppressions": [{"id": "A", "reason": "b", "until": "soon"}]}}),
                "scanning.suppressions[0].until",
            ),
            (json!({"webhooks": [{"url": "ftp://x/"}]}), "webhooks[0].url: only http"),
            (json!({"webhooks": [{"url": "http://x/", "events": ["all"]}]}), "webhooks[0].events: \"all\""),
            (json!({"garbage": {"everySeconds": 0}}), "garbage.everySeconds"),
        ] {
            let refusal = read(document).unwrap_err();
            assert!(refusal.contains(said), "{refusal}");
        }
    }
}
