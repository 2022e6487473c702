//! Decisions that a real kube-apiserver 1.36 gave (`decisions.txt`): roles and bindings in the form of the default policy, then a line for each
//! request, what became of it, and why.
//!
//! `SKIFF_DECISIONS` names further files of this form.

mod model;

use serde_json::Value;
use skiff_authz::{Act, Attributes, Kind, MASTERS, Nodes, Roles, User, defaults, node_then_roles};
use std::collections::BTreeSet;

const RECORDED: &str = include_str!("decisions.txt");

struct World {
    objects: Vec<(Kind, Value)>,
    roles: Roles,
    nodes: Nodes,
}

impl World {
    /// Kubernetes' own roles, none of them gathered yet, and those of `text`.
    fn new(text: &str) -> Self {
        let is_kubernetes =
            |object: &Value| !object["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("skiff:"));
        let mut objects: Vec<_> = defaults::objects().into_iter().filter(|(_, object)| is_kubernetes(object)).collect();
        objects.extend(defaults::read(text));
        let mut roles = Roles::default();
        for (kind, object) in &objects {
            roles.put(*kind, object);
        }
        Self { objects, roles, nodes: Nodes::default() }
    }

    /// What is wrong with the decision about one line, if anything.
    fn check(&self, line: &str) -> Result<(), String> {
        let (asked, answer) = line.split_once(" => ").ok_or("no answer")?;
        let words: Vec<&str> = asked.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
        let groups: Vec<String> = words[1].split(',').filter(|group| !group.is_empty()).map(str::to_owned).collect();
        let act = match words[2..] {
            ["path", verb, path] => Act::Path { verb, path },
            [verb, group, resource, namespace, name] => {
                let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
                Act::Resource { verb, group, resource, part, namespace, name }
            }
            _ => return Err("not a request".to_owned()),
        };
        let decision = node_then_roles(&self.nodes, &self.roles, &Attributes::new(User::new(words[0], &groups), act));
        let (allowed, reason) = answer.split_once(' ').unwrap_or((answer, ""));
        let said = decision.reason.to_string();
        if decision.is_allowed() != (allowed == "yes") {
            return Err(format!("we say {:?}: {said}", decision.verdict));
        }
        // Where several bindings give the same, which of them is named is chance.
        let given = |text: &str| text.strip_prefix("RBAC: allowed by ").map(str::to_owned);
        let same = match (given(reason), given(&said)) {
            (Some(theirs), Some(ours)) => {
                let all = model::reasons(&self.objects, words[0], &groups, &act);
                all.contains(&ours) && all.contains(&theirs)
            }
            _ => parts(&reason.replace("\\n", "\n")) == parts(&said),
        };
        if same { Ok(()) } else { Err(format!("we give the reason {said:?}")) }
    }
}

/// Errors of several bindings come in the order in which these were met.
fn parts(reason: &str) -> BTreeSet<String> {
    reason.split([',', '[', ']', '\n']).map(|part| part.trim().trim_start_matches("RBAC: ").to_owned()).collect()
}

fn check_all(text: &str) -> usize {
    let (policy, rows) = text.split_once("---\n").expect("roles, then requests");
    let world = World::new(policy);
    let problems = rows.lines().filter_map(|line| Some(format!("{line}\n    {}", world.check(line).err()?)));
    let problems: Vec<String> = problems.collect();
    assert!(problems.is_empty(), "{} of {}:\n{}", problems.len(), rows.lines().count(), problems.join("\n"));
    rows.lines().count()
}

#[test]
fn decisions_are_those_of_a_real_server() {
    assert!(check_all(RECORDED) >= 200);
    for file in std::env::var("SKIFF_DECISIONS").unwrap_or_default().split_whitespace() {
        check_all(&std::fs::read_to_string(file).expect("a file of decisions"));
    }
}

#[test]
fn masters_need_no_role() {
    let groups = [MASTERS.to_owned()];
    let asked = Attributes::new(User::new("root", &groups), Act::Path { verb: "get", path: "/anything" });
    assert!(node_then_roles(&Nodes::default(), &Roles::default(), &asked).is_allowed());
}
