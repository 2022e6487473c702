//! Classification against a plain model: whatever the objects say, a request goes to the schema that upstream's rules, written down here
//! once more in the plainest way, choose.

use proptest::prelude::*;
use serde_json::{Value, json};
use skiff_fairness::{Asked, Levels, Named, Query, User, Waiter};
use std::hash::RandomState;
use std::time::Duration;

struct Nobody;

impl Waiter for Nobody {
    fn wake(&mut self) {
        // Nobody waits here.
    }
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let some = prop::collection::vec(prop::sample::select(words), 1..3).prop_map(|words| json!(words));
    prop_oneof![1 => Just(json!(["*"])), 3 => some]
}

fn subject() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(&["u", "v", "*", "g", "h"][..]);
    let user = name.clone().prop_map(|name| json!({"kind": "User", "user": {"name": name}}));
    let group = name.prop_map(|name| json!({"kind": "Group", "group": {"name": name}}));
    let account = (prop::sample::select(&["a", "ab"][..]), prop::sample::select(&["x", "*"][..])).prop_map(
        |(namespace, name)| json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}}),
    );
    prop_oneof![user, group, account]
}

fn rule() -> impl Strategy<Value = Value> {
    let verbs = || word(&["get", "list", "create", "update"]);
    let resources =
        (verbs(), word(&["", "apps"]), word(&["pods", "pods/log", "nodes"]), word(&["a", "ab"]), any::<bool>())
            .prop_map(|(verbs, groups, resources, namespaces, cluster)| {
                json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "namespaces": namespaces,
                "clusterScope": cluster})
            });
    let paths = (verbs(), word(&["/x", "/x/*", "/y/"]))
        .prop_map(|(verbs, paths)| json!({"verbs": verbs, "nonResourceURLs": paths}));
    let some = |one| prop::collection::vec(one, 0..3);
    (prop::collection::vec(subject(), 1..3), some(resources.boxed()), some(paths.boxed())).prop_map(
        |(subjects, resources, paths)| json!({"subjects": subjects, "resourceRules": resources, "nonResourceRules": paths}),
    )
}

fn schemas() -> impl Strategy<Value = Vec<Value>> {
    let one = (1_u32..4, prop::collection::vec(rule(), 0..3));
    prop::collection::vec(one, 0..6).prop_map(|all| {
        let named = all.into_iter().enumerate().map(|(at, (precedence, rules))| {
            json!({"metadata": {"name": format!("s{at}")}, "spec": {"matchingPrecedence": precedence + 1,
                "priorityLevelConfiguration": {"name": "catch-all"}, "rules": rules}})
        });
        named.collect()
    })
}

fn has(list: &Value, word: &str) -> bool {
    let list: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    list == ["*"] || list.contains(&word)
}

fn each<'a>(holder: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    holder[field].as_array().into_iter().flatten()
}

fn is_subject(subject: &Value, user: &str, groups: &[String]) -> bool {
    let name = |kind: &str| subject[kind]["name"].as_str().unwrap_or_default();
    match subject["kind"].as_str().unwrap_or_default() {
        "User" => name("user") == "*" || name("user") == user,
        "Group" => name("group") == "*" || groups.iter().any(|group| group == name("group")),
        _ => {
            let begin = format!(
                "system:serviceaccount:{}:",
                subject["serviceAccount"]["namespace"].as_str().unwrap_or_default()
            );
            match name("serviceAccount") {
                "*" => user.starts_with(&begin),
                name => user == format!("{begin}{name}"),
            }
        }
    }
}

fn is_resource(rule: &Value, verb: &str, named: &Named<'_>) -> bool {
    let resource =
        if named.part.is_empty() { named.resource.to_owned() } else { format!("{}/{}", named.resource, named.part) };
    has(&rule["verbs"], verb)
        && has(&rule["resources"], &resource)
        && has(&rule["apiGroups"], named.group)
        && if named.namespace.is_empty() {
            rule["clusterScope"] == true
        } else {
            has(&rule["namespaces"], named.namespace)
        }
}

fn is_path(rule: &Value, verb: &str, path: &str) -> bool {
    let below = |rule: &str| {
        let folder = rule.trim_end_matches('*');
        let folder = if folder.ends_with('/') { folder.to_owned() } else { format!("{folder}/") };
        rule == "*" || rule == path || path.starts_with(&folder)
    };
    has(&rule["verbs"], verb) && each(rule, "nonResourceURLs").filter_map(Value::as_str).any(below)
}

/// The name of the schema that takes the request.
fn expected(schemas: &[Value], user: &str, groups: &[String], asked: &Asked<'_>) -> String {
    let takes = |schema: &&Value| {
        each(&schema["spec"], "rules").any(|rule| {
            each(rule, "subjects").any(|subject| is_subject(subject, user, groups))
                && match &asked.named {
                    Some(named) => each(rule, "resourceRules").any(|rule| is_resource(rule, asked.verb, named)),
                    None => each(rule, "nonResourceRules").any(|rule| is_path(rule, asked.verb, asked.path)),
                }
        })
    };
    if groups.iter().any(|group| group == "system:masters") {
        return "exempt".to_owned();
    }
    let mut all: Vec<&Value> = schemas.iter().collect();
    all.sort_by_key(|schema| {
        (
            schema["spec"]["matchingPrecedence"].as_u64(),
            schema["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        )
    });
    let first = all.into_iter().find(takes);
    first.map_or("catch-all", |schema| schema["metadata"]["name"].as_str().unwrap_or_default()).to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn requests_go_where_a_plain_model_sends_them(
        schemas in schemas(),
        user in prop::sample::select(&["u", "v", "w", "system:serviceaccount:a:x", "system:serviceaccount:ab:y"][..]),
        groups in prop::collection::vec(prop::sample::select(&["g", "h", "i", "system:masters"][..]), 0..3),
        method in prop::sample::select(&["GET", "POST", "PUT", "DELETE"][..]),
        path in prop::sample::select(&[
            "/api/v1/pods", "/api/v1/namespaces/a/pods", "/api/v1/namespaces/ab/pods/p", "/api/v1/namespaces/a/pods/p/log",
            "/api/v1/nodes/n", "/apis/apps/v1/namespaces/a/pods", "/x", "/x/y", "/xy", "/y", "/y/z", "/api", "/api/v1/namespaces/a",
        ][..]),
    ) {
        let groups: Vec<String> = groups.into_iter().map(str::to_owned).collect();
        let mut levels: Levels<Nobody> = Levels::new(600, RandomState::new());
        let catch_all = json!({"metadata": {"name": "catch-all"}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}}}});
        let (plan, _) = levels.digest(Duration::ZERO, &[catch_all], &schemas);
        let asked = Asked::of(method, path, &Query::default());
        let found = plan.find(&User { name: user, groups: &groups }, &asked).expect("there is one for all");
        prop_assert_eq!(&found.schema.name, &expected(&schemas, user, &groups, &asked));
    }
}
