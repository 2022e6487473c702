//! One FlowSchema: which requests it takes.

use crate::asked::{Asked, Named};
use crate::plan::User;
use serde_json::Value;

/// What tells the flows of a schema apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Who asks.
    User,
    /// For what namespace.
    Namespace,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Schema {
    /// Its name.
    pub name: String,
    /// Its identity; empty as long as it is not stored.
    pub uid: String,
    /// The lowest of those that match wins; of two, the first by name.
    pub precedence: i64,
    /// The level of its requests.
    pub level: String,
    /// What tells its flows apart; `None`: they are one flow.
    pub by: Option<By>,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Debug, Clone)]
enum Subject {
    User(String),
    Group(String),
    /// A service account: namespace and name; `*` for each of the namespace.
    Account(String, String),
}

#[derive(Debug, Clone)]
struct ResourceRule {
    verbs: Words,
    groups: Words,
    resources: Words,
    namespaces: Words,
    cluster: bool,
}

#[derive(Debug, Clone)]
struct PathRule {
    verbs: Words,
    paths: Vec<String>,
}

/// Some words; `*` alone is all of them.
#[derive(Debug, Clone)]
struct Words(Vec<String>);

impl Words {
    fn of(list: &Value) -> Self {
        Self(items(list).iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    fn are_all(&self) -> bool {
        matches!(&self.0[..], [one] if one == "*")
    }

    fn have(&self, word: &str) -> bool {
        self.are_all() || self.0.iter().any(|one| one == word)
    }

    /// Whether they have `resource`, or a part of it as `resource/part`.
    fn have_part(&self, resource: &str, part: &str) -> bool {
        let is_it = |word: &String| match word.split_once('/') {
            Some(pair) => pair == (resource, part),
            None => part.is_empty() && word == resource,
        };
        self.are_all() || self.0.iter().any(is_it)
    }
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Schema {
    /// Reads a stored one; what is not as it should be matches nothing.
    #[must_use]
    pub fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        let by = match spec["distinguisherMethod"]["type"].as_str() {
            Some("ByUser") => Some(By::User),
            Some("ByNamespace") => Some(By::Namespace),
            _ => None,
        };
        Self {
            name: text(&object["metadata"]["name"]),
            uid: text(&object["metadata"]["uid"]),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
            level: text(&spec["priorityLevelConfiguration"]["name"]),
            by,
            rules: items(&spec["rules"]).iter().map(Rule::read).collect(),
        }
    }

    /// Whether it takes a request.
    #[must_use]
    pub fn takes(&self, user: &User<'_>, asked: &Asked<'_>) -> bool {
        self.rules.iter().any(|rule| rule.takes(user, asked))
    }
}

impl Rule {
    fn read(rule: &Value) -> Self {
        Self {
            subjects: items(&rule["subjects"]).iter().filter_map(Subject::read).collect(),
            resources: items(&rule["resourceRules"]).iter().map(ResourceRule::read).collect(),
            paths: items(&rule["nonResourceRules"]).iter().map(PathRule::read).collect(),
        }
    }

    fn takes(&self, user: &User<'_>, asked: &Asked<'_>) -> bool {
        self.subjects.iter().any(|subject| subject.is(user))
            && match &asked.named {
                Some(named) => self.resources.iter().any(|rule| rule.takes(asked.verb, named)),
                None => self.paths.iter().any(|rule| rule.takes(asked)),
            }
    }
}

impl Subject {
    fn read(subject: &Value) -> Option<Self> {
        let of = |kind: &str| subject[kind].is_object().then(|| text(&subject[kind]["name"]));
        match subject["kind"].as_str()? {
            "User" => of("user").map(Self::User),
            "Group" => of("group").map(Self::Group),
            "ServiceAccount" => {
                of("serviceAccount").map(|name| Self::Account(text(&subject["serviceAccount"]["namespace"]), name))
            }
            _ => None,
        }
    }

    fn is(&self, user: &User<'_>) -> bool {
        match self {
            Self::User(name) => name == "*" || name == user.name,
            Self::Group(name) => name == "*" || user.groups.iter().any(|group| group == name),
            Self::Account(namespace, name) => {
                let account = user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
                account.is_some_and(|(of, account)| of == namespace && (name == "*" || account == name))
            }
        }
    }
}

impl ResourceRule {
    fn read(rule: &Value) -> Self {
        Self {
            verbs: Words::of(&rule["verbs"]),
            groups: Words::of(&rule["apiGroups"]),
            resources: Words::of(&rule["resources"]),
            namespaces: Words::of(&rule["namespaces"]),
            cluster: rule["clusterScope"] == true,
        }
    }

    fn takes(&self, verb: &str, named: &Named<'_>) -> bool {
        self.verbs.have(verb)
            && self.resources.have_part(named.resource, named.part)
            && self.groups.have(named.group)
            && if named.namespace.is_empty() { self.cluster } else { self.namespaces.have(named.namespace) }
    }
}

impl PathRule {
    fn read(rule: &Value) -> Self {
        Self { verbs: Words::of(&rule["verbs"]), paths: Words::of(&rule["nonResourceURLs"]).0 }
    }

    fn takes(&self, asked: &Asked<'_>) -> bool {
        self.verbs.have(asked.verb) && self.paths.iter().any(|path| is_below(path, asked.path))
    }
}

/// Whether `path` is what a rule says, or below it: `/healthz` has `/healthz/etcd` below it, with or without `/*` behind it.
fn is_below(rule: &str, path: &str) -> bool {
    if rule == "*" || rule == path {
        return true;
    }
    let folder = rule.strip_suffix('*').unwrap_or(rule);
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::Query;
    use serde_json::json;

    fn takes(rule: Value, user: &str, groups: &[&str], (method, path): (&str, &str)) -> bool {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let schema = Schema::read(&json!({"spec": {"rules": [rule]}}));
        schema.takes(&User { name: user, groups: &groups }, &Asked::of(method, path, &Query::default()))
    }

    #[test]
    fn subjects_are_users_groups_and_accounts() {
        let rule = |subject: Value| json!({"subjects": [subject], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]});
        let user = |name: &str| rule(json!({"kind": "User", "user": {"name": name}}));
        let group = |name: &str| rule(json!({"kind": "Group", "group": {"name": name}}));
        let account = |namespace: &str, name: &str| {
            rule(json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}}))
        };
        let ask = ("GET", "/version");
        for (rule, name, expected) in [
            (user("u"), "u", true),
            (user("u"), "v", false),
            (user("*"), "v", true),
            (group("g"), "u", true),
            (group("h"), "u", false),
            (group("*"), "u", true),
            (account("a", "b"), "system:serviceaccount:a:b", true),
            (account("a", "*"), "system:serviceaccount:a:c", true),
            (account("a", "*"), "system:serviceaccount:ab:c", false),
            (account("a", "b"), "system:serviceaccount:a:c", false),
            (account("a", "b"), "a:b", false),
            (rule(json!({"kind": "User"})), "u", false),
            (rule(json!({"kind": "Robot", "user": {"name": "*"}})), "u", false),
        ] {
            assert_eq!(takes(rule.clone(), name, &["g"], ask), expected, "{rule} {name}");
        }
    }

    #[test]
    fn paths_are_exact_or_folders() {
        for (rule, path, expected) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/etcd", true),
            ("/healthz", "/healthzz", false),
            ("/healthz/*", "/healthz/etcd", true),
            ("/healthz/*", "/healthz", false),
            ("*", "/x", true),
            ("/x/", "/x/y", true),
        ] {
            assert_eq!(is_below(rule, path), expected, "{rule} {path}");
        }
    }
}
