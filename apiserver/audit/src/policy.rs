//! Which requests are recorded, and how much of each: the first rule that fits decides (`audit.k8s.io/v1` Policy).

use crate::{Attributes, Level, Object, Stages};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decision {
    /// How much is recorded.
    pub level: Level,
    /// Stages of which nothing is.
    pub omit: Stages,
    /// Whether objects lose their managed fields.
    pub omit_managed_fields: bool,
}

/// Rules, in order. What none of them fits is not recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pub(crate) rules: Vec<Rule>,
}

/// One rule: a request must fit everything that it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) decision: Decision,
    pub(crate) users: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) verbs: Vec<String>,
    pub(crate) resources: Vec<Resources>,
    pub(crate) namespaces: Vec<String>,
    pub(crate) paths: Vec<String>,
}

/// Resources of one API group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    /// `*`: any.
    pub(crate) group: String,
    /// `pods`, `pods/log`, `pods/*`, `*/scale`, `*`; empty: all.
    pub(crate) resources: Vec<String>,
    /// Empty: any.
    pub(crate) names: Vec<String>,
}

impl Policy {
    /// What becomes of a request by `user`, who is in `groups`; `None`: nobody is known to ask.
    #[must_use]
    pub fn decide(&self, user: Option<(&str, &[String])>, asked: &Attributes) -> Decision {
        let rule = self.rules.iter().find(|rule| rule.fits(user, asked));
        rule.map(|rule| rule.decision).unwrap_or_default()
    }
}

fn has(words: &[String], word: &str) -> bool {
    words.iter().any(|one| one == word)
}

impl Rule {
    fn fits(&self, user: Option<(&str, &[String])>, asked: &Attributes) -> bool {
        let by_user = self.users.is_empty() || user.is_some_and(|(name, _)| has(&self.users, name));
        let of_groups = |groups: &[String]| groups.iter().any(|group| has(&self.groups, group));
        let by_group = self.groups.is_empty() || user.is_some_and(|(_, groups)| of_groups(groups));
        let by_verb = self.verbs.is_empty() || has(&self.verbs, &asked.verb);
        by_user && by_group && by_verb && self.fits_place(asked)
    }

    fn fits_place(&self, asked: &Attributes) -> bool {
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return asked.object.as_ref().is_some_and(|object| {
                let in_namespace = self.namespaces.is_empty() || has(&self.namespaces, &object.namespace);
                in_namespace && (self.resources.is_empty() || self.resources.iter().any(|some| some.fits(object)))
            });
        }
        let by_path = |spec: &String| {
            let start = spec.trim_end_matches('*');
            spec == "*" || *spec == asked.path || (spec.ends_with('*') && asked.path.starts_with(start))
        };
        self.paths.is_empty() || (asked.object.is_none() && self.paths.iter().any(by_path))
    }
}

impl Resources {
    fn fits(&self, object: &Object) -> bool {
        if self.group != object.group && self.group != "*" {
            return false;
        }
        let Object { resource, part, name, .. } = object;
        let by_name = self.names.is_empty() || has(&self.names, name);
        let by_resource = |spec: &String| {
            let whole = match spec.split_once('/') {
                None => part.is_empty() && spec == resource,
                Some((of, at)) => !part.is_empty() && of == resource && at == part,
            };
            let any_resource = !part.is_empty() && spec.strip_prefix("*/").is_some_and(|at| at == part);
            let any_part = spec.strip_suffix("/*").is_some_and(|of| of == resource);
            whole || spec == "*" || any_resource || any_part
        };
        self.resources.is_empty() || (by_name && self.resources.iter().any(by_resource))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Attributes, Policy, ReadPolicy};
    use serde_json::{Value, json};

    fn level(rules: Value, user: &str, groups: &[&str], method: &str, uri: &str) -> &'static str {
        let read = ReadPolicy::of(&json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}));
        let policy: Policy = read.expect("a policy").policy;
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        policy.decide(Some((user, &groups)), &Attributes::of(method, path, query)).level.text()
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = json!([
            {"level": "None", "users": ["quiet"]},
            {"level": "Request", "userGroups": ["admins"], "verbs": ["create"]},
            {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets"]}]},
        ]);
        let of = |user, groups: &[&str], method, uri| level(rules.clone(), user, groups, method, uri);
        assert_eq!(of("quiet", &["admins"], "POST", "/api/v1/namespaces/a/secrets"), "None");
        assert_eq!(of("x", &["admins"], "POST", "/api/v1/namespaces/a/pods"), "Request");
        assert_eq!(of("x", &["admins"], "GET", "/api/v1/secrets"), "Metadata");
        assert_eq!(of("x", &[], "GET", "/healthz"), "None");
    }

    #[test]
    fn resources_have_wildcards() {
        for (resources, uri, fits) in [
            (json!({"resources": ["pods"]}), "/api/v1/namespaces/a/pods/p", true),
            (json!({"resources": ["pods"]}), "/api/v1/namespaces/a/pods/p/log", false),
            (json!({"resources": ["pods/log"]}), "/api/v1/namespaces/a/pods/p/log", true),
            (json!({"resources": ["pods/*"]}), "/api/v1/namespaces/a/pods/p/log", true),
            (json!({"resources": ["pods/*"]}), "/api/v1/namespaces/a/pods/p", true),
            (json!({"resources": ["*/scale"]}), "/apis/apps/v1/namespaces/a/deployments/d/scale", false),
            (
                json!({"group": "apps", "resources": ["*/scale"]}),
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                true,
            ),
            (json!({"group": "*", "resources": ["*"]}), "/apis/apps/v1/namespaces/a/deployments/d/scale", true),
            (json!({"group": "*"}), "/apis/apps/v1/deployments", true),
            (json!({"resources": ["pods"], "resourceNames": ["p"]}), "/api/v1/namespaces/a/pods/p", true),
            (json!({"resources": ["pods"], "resourceNames": ["p"]}), "/api/v1/namespaces/a/pods/q", false),
        ] {
            let rules = json!([{"level": "Metadata", "resources": [resources]}]);
            assert_eq!(level(rules.clone(), "x", &[], "GET", uri) == "Metadata", fits, "{rules} {uri}");
        }
    }

    #[test]
    fn paths_and_namespaces_narrow() {
        let rules = json!([
            {"level": "Request", "namespaces": ["a"]},
            {"level": "RequestResponse", "namespaces": [""]},
            {"level": "Metadata", "nonResourceURLs": ["/healthz*", "/version"]},
        ]);
        for (uri, expected) in [
            ("/api/v1/namespaces/a/pods", "Request"),
            ("/api/v1/namespaces/b/pods", "None"),
            ("/api/v1/nodes", "RequestResponse"),
            ("/healthz/etcd", "Metadata"),
            ("/version", "Metadata"),
            ("/version/x", "None"),
        ] {
            assert_eq!(level(rules.clone(), "x", &[], "GET", uri), expected, "{uri}");
        }
    }
}
