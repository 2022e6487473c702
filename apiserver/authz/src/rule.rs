//! One rule of a role (`rbac.authorization.k8s.io/v1` PolicyRule): what it matches, and what of another rule it covers.

use crate::Act;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Stands for everything, in each of a rule's lists but that of names.
const ALL: &str = "*";

/// What may be done to which resources, or to which paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// `get`, `*`.
    pub verbs: Vec<String>,
    /// Empty text: the core group; `*`: every one.
    pub groups: Vec<String>,
    /// `pods`, `pods/log`, `*/scale`, `*`.
    pub resources: Vec<String>,
    /// Only objects of these names; none: of any name.
    pub names: Vec<String>,
    /// Paths that are no resources: `/healthz`, `/healthz/*`.
    pub paths: Vec<String>,
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == wanted)
}

fn has_or_all(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == ALL || one == wanted)
}

fn has_every(list: &[String], wanted: &[String]) -> bool {
    wanted.iter().all(|one| has(list, one))
}

/// Everything that can be granted: who may gather rules by label must have it.
#[must_use]
pub fn full_authority() -> [Rule; 2] {
    let all = || vec![ALL.to_owned()];
    [
        Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), paths: all(), ..Rule::default() },
    ]
}

impl Rule {
    /// Reads what is stored; lists that are missing are empty.
    #[must_use]
    pub fn read(value: &Value) -> Self {
        let texts = |field: &str| -> Vec<String> {
            value[field].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            verbs: texts("verbs"),
            groups: texts("apiGroups"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            paths: texts("nonResourceURLs"),
        }
    }

    /// As it is stored: empty lists are left out.
    #[must_use]
    pub fn write(&self) -> Value {
        let mut fields = Map::new();
        for (field, list) in [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.paths),
        ] {
            if !list.is_empty() {
                fields.insert(field.to_owned(), json!(list));
            }
        }
        Value::Object(fields)
    }

    /// Whether it allows `act`.
    #[must_use]
    pub fn allows(&self, act: &Act<'_>) -> bool {
        if !has_or_all(&self.verbs, act.verb()) {
            return false;
        }
        match act {
            Act::Path { path, .. } => self.paths.iter().any(|one| covers_path(one, path)),
            Act::Resource { group, resource, part, name, .. } => {
                has_or_all(&self.groups, group)
                    && self.resources.iter().any(|one| is_resource(one, resource, part))
                    && (self.names.is_empty() || has(&self.names, name))
            }
        }
    }

    /// Whether it covers a rule of one verb and one resource, or path.
    fn covers(&self, one: &Self) -> bool {
        let all_or_every = |list: &[String], wanted: &[String]| has(list, ALL) || has_every(list, wanted);
        let names = match one.names.is_empty() {
            true => self.names.is_empty(),
            false => self.names.is_empty() || has_every(&self.names, &one.names),
        };
        all_or_every(&self.verbs, &one.verbs)
            && all_or_every(&self.groups, &one.groups)
            && names
            && (has(&self.resources, ALL)
                || one.resources.iter().all(|resource| covers_resource(&self.resources, resource)))
            && one.paths.iter().all(|path| self.paths.iter().any(|own| covers_path(own, path)))
    }

    /// The same as rules of one verb and one resource, or path.
    fn broken_down(&self) -> Vec<Self> {
        let one = |text: &String| vec![text.clone()];
        let names = || -> Vec<Vec<String>> {
            if self.names.is_empty() { vec![Vec::new()] } else { self.names.iter().map(one).collect() }
        };
        let mut rules = Vec::new();
        for group in &self.groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    rules.extend(names().into_iter().map(|names| Self {
                        verbs: one(verb),
                        groups: one(group),
                        resources: one(resource),
                        names,
                        ..Self::default()
                    }));
                }
            }
        }
        for path in &self.paths {
            rules.extend(self.verbs.iter().map(|verb| Self { verbs: one(verb), paths: one(path), ..Self::default() }));
        }
        rules
    }

    /// `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`, as refusals show it.
    #[must_use]
    pub fn compact(&self) -> String {
        let lists = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let lists = lists.iter().filter(|(_, list)| !list.is_empty());
        let lists: Vec<String> = lists.map(|(title, list)| format!("{title}:{}", quoted(list))).collect();
        format!("{{{}}}", lists.join(", "))
    }
}

/// `["a" "b"]`, as Go prints a list of texts.
pub(crate) fn quoted(list: &[String]) -> String {
    let words: Vec<String> = list.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

/// `pods/log` is meant by itself, by `*` and by `*/log`.
fn is_resource(listed: &str, resource: &str, part: &str) -> bool {
    if listed == ALL {
        return true;
    }
    if part.is_empty() {
        return listed == resource;
    }
    let Some(whose) = listed.strip_suffix(part).and_then(|rest| rest.strip_suffix('/')) else {
        return false;
    };
    whose == ALL || whose == resource
}

fn covers_resource(list: &[String], resource: &str) -> bool {
    let of_any = || resource.split_once('/').is_some_and(|(_, part)| has(list, &format!("*/{part}")));
    has(list, resource) || of_any()
}

/// Paths may end in `*`, which stands for every ending.
fn covers_path(listed: &str, path: &str) -> bool {
    listed == path || (listed.ends_with(ALL) && path.starts_with(listed.trim_end_matches('*')))
}

/// What of `wanted` is in none of `held`: rules for the same resource are one rule with all its verbs.
#[must_use]
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let single = wanted.iter().flat_map(Rule::broken_down);
    let single = single.filter(|one| !held.iter().any(|rule| rule.covers(one)));
    let mut paths = Vec::new();
    let mut resources: BTreeMap<[Vec<String>; 3], Rule> = BTreeMap::new();
    for one in single {
        if !one.paths.is_empty() {
            paths.push(one);
            continue;
        }
        let key = [one.groups.clone(), one.resources.clone(), one.names.clone()];
        match resources.get_mut(&key) {
            Some(rule) => rule.verbs.extend(one.verbs),
            None => drop(resources.insert(key, one)),
        }
    }
    paths.into_iter().chain(resources.into_values()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        crate::defaults::rule(text).expect("a rule")
    }

    #[test]
    fn rules_match_by_verb_group_resource_and_name() {
        let act =
            |verb, group, resource, part, name| Act::Resource { verb, group, resource, part, namespace: "a", name };
        for (text, act, allowed) in [
            ("get - pods", act("get", "", "pods", "", "p"), true),
            ("get - pods", act("list", "", "pods", "", ""), false),
            ("get - pods", act("get", "apps", "pods", "", ""), false),
            ("get - pods", act("get", "", "pods", "log", ""), false),
            ("get - pods/log", act("get", "", "pods", "log", ""), true),
            ("get - */log", act("get", "", "pods", "log", ""), true),
            ("get - */log", act("get", "", "pods", "blog", ""), false),
            ("get - */log", act("get", "", "pods", "", ""), false),
            ("get * *", act("get", "x.io", "pods", "log", ""), true),
            ("* - pods", act("impersonate", "", "pods", "", ""), true),
            ("get - pods p,q", act("get", "", "pods", "", "q"), true),
            ("get - pods p,q", act("get", "", "pods", "", ""), false),
            ("get - pods p", act("get", "", "pods", "", "x"), false),
            ("paths get /a,/b/*", act("get", "", "pods", "", ""), false),
            ("* * *", act("", "", "pods", "proxy", ""), true),
        ] {
            assert_eq!(rule(text).allows(&act), allowed, "{text}: {act}");
        }
        for (text, path, allowed) in [
            ("paths get /a,/b/*", "/a", true),
            ("paths get /a,/b/*", "/a/", false),
            ("paths get /a,/b/*", "/b/c/d", true),
            ("paths get /a,/b/*", "/b", false),
            ("paths * *", "/anything", true),
            ("* * *", "/anything", false),
        ] {
            assert_eq!(rule(text).allows(&Act::Path { verb: "get", path }), allowed, "{text}: {path}");
        }
    }

    #[test]
    fn what_is_missing_is_said_in_few_rules() {
        let said = |held: &[&str], wanted: &[&str]| -> Vec<String> {
            let rules = |texts: &[&str]| texts.iter().map(|text| rule(text)).collect::<Vec<_>>();
            missing(&rules(held), &rules(wanted)).iter().map(Rule::compact).collect()
        };
        assert_eq!(said(&["* * *"], &["get,list - pods,pods/log"]), [""; 0]);
        assert_eq!(
            said(&["get - pods"], &["get,list,watch - pods"]),
            [r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#]
        );
        assert_eq!(said(&["get - */log"], &["get - pods/log"]), [""; 0]);
        assert_eq!(said(&["get - pods a"], &["get - pods a"]), [""; 0]);
        assert_eq!(
            said(&["get - pods a"], &["get - pods"]),
            [r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#]
        );
        assert_eq!(said(&["get - pods"], &["get - pods a"]), [""; 0]);
        assert_eq!(said(&["paths get /a/*"], &["paths get /a/b,/c"]), [r#"{NonResourceURLs:["/c"], Verbs:["get"]}"#]);
        assert_eq!(said(&[], &["* * *"]), [r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#]);
    }

    #[test]
    fn rules_read_and_write_the_same() {
        for text in ["get,list - pods,pods/log a,b", "paths get /x", "* * *"] {
            assert_eq!(Rule::read(&rule(text).write()), rule(text));
        }
    }
}
