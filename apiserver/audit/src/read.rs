//! A policy as it is written: read as Kubernetes reads it, with its words for what is wrong. What it does not know it is told beside it.

use crate::policy::{Decision, Policy, Resources, Rule};
use crate::{API_VERSION, Level, Stage, Stages};
use serde_json::{Map, Value, json};

/// A policy, and what in it means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPolicy {
    /// The policy.
    pub policy: Policy,
    /// Fields that are not known: `unknown field "rules[0].lvel"`.
    pub unknown: Vec<String>,
}

/// Why a policy is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is of another kind or version.
    #[error("unknown group version field {api_version}, Kind={kind} in policy: want {API_VERSION}, Kind=Policy")]
    Kind {
        /// What it says.
        api_version: String,
        /// What it says.
        kind: String,
    },
    /// It has no rules, so that nothing would be recorded.
    #[error("loaded illegal policy with 0 rules")]
    Empty,
    /// A field has another type.
    #[error("{field}: want {wanted}")]
    Type {
        /// Its path.
        field: String,
        /// `a list of strings`.
        wanted: &'static str,
    },
    /// Fields have values that they cannot have: one sentence for each.
    #[error("{}", .0.join(", "))]
    Invalid(Vec<String>),
}

/// Reads and remembers what is wrong.
#[derive(Default)]
struct Reader {
    unknown: Vec<String>,
    invalid: Vec<String>,
}

type Result<T> = std::result::Result<T, PolicyError>;

impl ReadPolicy {
    /// Reads `policy`.
    ///
    /// # Errors
    /// It is no policy, or one that Kubernetes refuses too.
    pub fn of(policy: &Value) -> Result<Self> {
        let word = |key: &str| policy[key].as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (word("apiVersion"), word("kind"));
        if api_version != API_VERSION || kind != "Policy" {
            return Err(PolicyError::Kind { api_version, kind });
        }
        let fields = object(policy, "policy")?;
        let mut reader = Reader::default();
        reader.know(fields, "", &["apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"]);
        let omit = reader.stages(fields, "omitStages", "omitStages")?;
        let bare = flag(fields, "omitManagedFields", "omitManagedFields")?.unwrap_or_default();
        let mut rules = Vec::new();
        for (at, rule) in list(fields, "rules", "rules")?.iter().enumerate() {
            let mut rule = reader.rule(rule, &format!("rules[{at}]"), bare)?;
            rule.decision.omit = rule.decision.omit.union(omit);
            rules.push(rule);
        }
        if !reader.invalid.is_empty() {
            return Err(PolicyError::Invalid(reader.invalid));
        }
        if rules.is_empty() {
            return Err(PolicyError::Empty);
        }
        Ok(Self { policy: Policy { rules }, unknown: reader.unknown })
    }
}

impl Reader {
    fn know(&mut self, fields: &Map<String, Value>, at: &str, known: &[&str]) {
        let dot = if at.is_empty() { "" } else { "." };
        let strange = fields.keys().filter(|key| !known.contains(&key.as_str()));
        self.unknown.extend(strange.map(|key| format!("unknown field \"{at}{dot}{key}\"")));
    }

    fn rule(&mut self, rule: &Value, at: &str, bare: bool) -> Result<Rule> {
        let fields = object(rule, at)?;
        self.know(
            fields,
            at,
            &[
                "level",
                "users",
                "userGroups",
                "verbs",
                "resources",
                "namespaces",
                "nonResourceURLs",
                "omitStages",
                "omitManagedFields",
            ],
        );
        let words = |key: &str| strings(fields, key, &format!("{at}.{key}"));
        let level = self.level(fields, at)?;
        let paths = words("nonResourceURLs")?;
        self.check_paths(&paths, at);
        let mut resources = Vec::new();
        for some in list(fields, "resources", &format!("{at}.resources"))? {
            resources.push(self.resources(some, &format!("{at}.resources"))?);
        }
        let omit = self.stages(fields, "omitStages", &format!("{at}.omitStages"))?;
        let own = flag(fields, "omitManagedFields", &format!("{at}.omitManagedFields"))?;
        let namespaces = words("namespaces")?;
        let about_resources = !resources.is_empty() || !namespaces.is_empty();
        if !paths.is_empty() && about_resources {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            self.invalid.push(format!("{at}.nonResourceURLs: Invalid value: {}: {why}", json!(paths)));
        }
        let decision = Decision { level, omit, omit_managed_fields: own.unwrap_or(bare) };
        let (users, groups, verbs) = (words("users")?, words("userGroups")?, words("verbs")?);
        Ok(Rule { decision, users, groups, verbs, resources, namespaces, paths })
    }

    fn level(&mut self, fields: &Map<String, Value>, at: &str) -> Result<Level> {
        let word = text(fields, "level", &format!("{at}.level"))?;
        if let Some(level) = Level::ALL.into_iter().find(|level| level.text() == word) {
            return Ok(level);
        }
        self.invalid.push(match word {
            "" => format!("{at}.level: Required value"),
            word => {
                let known: Vec<String> = Level::ALL.iter().map(|level| format!("{:?}", level.text())).collect();
                format!("{at}.level: Unsupported value: {word:?}: supported values: {}", known.join(", "))
            }
        });
        Ok(Level::None)
    }

    fn stages(&mut self, fields: &Map<String, Value>, key: &str, at: &str) -> Result<Stages> {
        let mut stages = Stages::default();
        for (index, word) in strings(fields, key, at)?.iter().enumerate() {
            match Stage::ALL.into_iter().find(|stage| stage.text() == word) {
                Some(stage) => stages = stages.with(stage),
                None => {
                    let known = Stage::ALL.map(Stage::text).join(",");
                    self.invalid.push(format!("{at}[{index}]: Invalid value: {word:?}: allowed stages are {known}"));
                }
            }
        }
        Ok(stages)
    }

    fn resources(&mut self, some: &Value, at: &str) -> Result<Resources> {
        let fields = object(some, at)?;
        self.know(fields, at, &["group", "resources", "resourceNames"]);
        let group = text(fields, "group", &format!("{at}.group"))?.to_owned();
        let resources = strings(fields, "resources", &format!("{at}.resources"))?;
        let names = strings(fields, "resourceNames", &format!("{at}.resourceNames"))?;
        if !group.is_empty() && group != "*" && !is_subdomain(&group) {
            let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                       and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
                       validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
            self.invalid.push(format!("{at}.group: Invalid value: {group:?}: {why}"));
        }
        if !names.is_empty() && resources.is_empty() {
            let why = "using resourceNames requires at least one resource";
            self.invalid.push(format!("{at}.resourceNames: Invalid value: {}: {why}", json!(names)));
        }
        Ok(Resources { group, resources, names })
    }

    fn check_paths(&mut self, paths: &[String], at: &str) {
        for (index, path) in paths.iter().enumerate().filter(|(_, path)| *path != "*") {
            let mut wrong = |why: &str| {
                self.invalid.push(format!("{at}.nonResourceURLs[{index}]: Invalid value: {path:?}: {why}"));
            };
            if !path.starts_with('/') {
                wrong("non-resource URL rules must begin with a '/' character");
            }
            if path.find('*').is_some_and(|star| star + 1 < path.len()) {
                wrong("non-resource URL wildcards '*' must be the final character of the rule");
            }
        }
    }
}

fn is_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        let inside = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        inside && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn object<'a>(value: &'a Value, at: &str) -> Result<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| PolicyError::Type { field: at.to_owned(), wanted: "an object" })
}

fn list<'a>(fields: &'a Map<String, Value>, key: &str, at: &str) -> Result<&'a [Value]> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(PolicyError::Type { field: at.to_owned(), wanted: "a list" }),
    }
}

fn strings(fields: &Map<String, Value>, key: &str, at: &str) -> Result<Vec<String>> {
    let wrong = || PolicyError::Type { field: at.to_owned(), wanted: "a list of strings" };
    list(fields, key, at)?.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

fn text<'a>(fields: &'a Map<String, Value>, key: &str, at: &str) -> Result<&'a str> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(PolicyError::Type { field: at.to_owned(), wanted: "a string" }),
    }
}

fn flag(fields: &Map<String, Value>, key: &str, at: &str) -> Result<Option<bool>> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(PolicyError::Type { field: at.to_owned(), wanted: "true or false" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: Value) -> std::result::Result<ReadPolicy, String> {
        let mut policy = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy"});
        for (key, value) in fields.as_object().expect("fields") {
            policy[key] = value.clone();
        }
        ReadPolicy::of(&policy).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (fields, expected) in [
            (json!({}), "loaded illegal policy with 0 rules"),
            (json!({"rules": [{}]}), "rules[0].level: Required value"),
            (
                json!({"rules": [{"level": "All"}]}),
                "rules[0].level: Unsupported value: \"All\": supported values: \"None\", \"Metadata\", \"Request\", \
                 \"RequestResponse\"",
            ),
            (
                json!({"rules": [{"level": "None", "omitStages": ["x"]}]}),
                "rules[0].omitStages[0]: Invalid value: \"x\": allowed stages are \
                 RequestReceived,ResponseStarted,ResponseComplete,Panic",
            ),
            (
                json!({"rules": [{"level": "None", "nonResourceURLs": ["a", "/a*b"]}]}),
                "rules[0].nonResourceURLs[0]: Invalid value: \"a\": non-resource URL rules must begin with a '/' \
                 character, rules[0].nonResourceURLs[1]: Invalid value: \"/a*b\": non-resource URL wildcards '*' must be \
                 the final character of the rule",
            ),
            (
                json!({"rules": [{"level": "None", "nonResourceURLs": ["/a"], "namespaces": ["b"]}]}),
                "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: rules cannot apply to both regular resources and \
                 non-resource URLs",
            ),
            (
                json!({"rules": [{"level": "None", "resources": [{"resourceNames": ["b"]}]}]}),
                "rules[0].resources.resourceNames: Invalid value: [\"b\"]: using resourceNames requires at least one \
                 resource",
            ),
            (json!({"rules": [{"level": 1}]}), "rules[0].level: want a string"),
            (json!({"rules": [{"level": "None", "users": "x"}]}), "rules[0].users: want a list"),
            (
                json!({"apiVersion": "audit.k8s.io/v1beta1"}),
                "unknown group version field audit.k8s.io/v1beta1, Kind=Policy in policy: want audit.k8s.io/v1, \
                 Kind=Policy",
            ),
        ] {
            assert_eq!(read(fields.clone()).expect_err("refused"), expected, "{fields}");
        }
        assert!(read(json!({"rules": [{"level": "None", "resources": [{"group": "a/v1"}]}]})).is_err());
    }

    #[test]
    fn what_is_not_known_is_told() {
        let read = read(json!({"rule": 1, "rules": [{"level": "None", "lvl": 1}]})).expect("a policy");
        assert_eq!(read.unknown, ["unknown field \"rule\"", "unknown field \"rules[0].lvl\""]);
    }

    #[test]
    fn what_holds_for_all_rules_is_in_each() {
        let read = read(json!({
            "omitStages": ["RequestReceived"], "omitManagedFields": true,
            "rules": [{"level": "Request", "omitStages": ["Panic"], "omitManagedFields": false}, {"level": "Metadata"}],
        }));
        let [first, second] = &read.expect("a policy").policy.rules[..] else { panic!("two rules") };
        let (one, two) = (first.decision, second.decision);
        assert!(one.omit.has(Stage::RequestReceived) && one.omit.has(Stage::Panic) && !one.omit_managed_fields);
        assert!(two.omit.has(Stage::RequestReceived) && !two.omit.has(Stage::Panic) && two.omit_managed_fields);
    }
}
