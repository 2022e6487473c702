//! Chance, and the words of its roles, questions and policies.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
/// How many roles of each sort there are.
pub(crate) const ROLES: usize = 40;
/// What everything is called by that this makes.
pub(crate) const MARK: &str = "chance-";
pub(crate) const USERS: [&str; 5] =
    ["ann", "bob", "cat", "system:serviceaccount:chance-a:default", "system:serviceaccount:chance-b:bot"];
const GROUPS: [&str; 6] = [
    "dev",
    "ops",
    "system:authenticated",
    "system:serviceaccounts",
    "system:serviceaccounts:chance-a",
    "system:masters",
];
pub(crate) const NAMESPACES: [&str; 4] = ["chance-a", "chance-b", "kube-system", ""];
const VERBS: [&str; 12] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "bind",
    "escalate",
    "impersonate",
    "*",
];
const API_GROUPS: [&str; 5] = ["", "apps", "rbac.authorization.k8s.io", "example.com", "*"];
const RESOURCES: [&str; 12] = [
    "pods",
    "pods/log",
    "configmaps",
    "secrets",
    "deployments",
    "deployments/scale",
    "roles",
    "clusterroles",
    "users",
    "groups",
    "*",
    "*/scale",
];
const NAMES: [&str; 4] = ["one", "two", "chance-1", ""];
const PATHS: [&str; 7] = ["/healthz", "/metrics", "/apis", "/logs/*", "/logs/a", "*", "/version"];

/// Chance, and words.
pub(crate) struct Dice(StdRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.0).expect("not empty")
    }

    fn some<T: Copy>(&mut self, of: &[T], most: usize) -> Vec<T> {
        let count = self.0.random_range(1..=most);
        (0..count).map(|_| self.pick(of)).collect()
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.0.random_ratio(1, count)
    }

    /// A rule of a role; those of roles in namespaces have no paths.
    fn rule(&mut self, paths: bool) -> Value {
        if paths && self.one_in(6) {
            return json!({"nonResourceURLs": self.some(&PATHS, 2), "verbs": self.some(&["get", "head", "*"], 2)});
        }
        let mut rule = json!({"apiGroups": self.some(&API_GROUPS, 2), "resources": self.some(&RESOURCES, 3), "verbs": self.some(&VERBS, 4)});
        if self.one_in(5) {
            rule["resourceNames"] = json!(self.some(&NAMES[..3], 2));
        }
        rule
    }

    fn rules(&mut self, paths: bool) -> Value {
        let count = self.0.random_range(1..=3);
        (0..count).map(|_| self.rule(paths)).collect()
    }

    fn subject(&mut self) -> Value {
        match self.0.random_range(0..3) {
            0 => json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": self.pick(&USERS)}),
            1 => json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": self.pick(&GROUPS[..5])}),
            _ => {
                json!({"kind": "ServiceAccount", "name": self.pick(&["default", "bot"]), "namespace": self.pick(&NAMESPACES[..2])})
            }
        }
    }

    pub(crate) fn binding(&mut self, kind: &str, roles: &str, number: usize) -> Value {
        let subjects: Vec<Value> = (0..self.0.random_range(1..=2)).map(|_| self.subject()).collect();
        let role = self.0.random_range(0..ROLES);
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": format!("{MARK}{number}")}, "subjects": subjects,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": roles, "name": format!("{MARK}{role}")}})
    }

    pub(crate) fn role(&mut self, kind: &str, number: usize) -> Value {
        let rules = self.rules(kind == "ClusterRole");
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": format!("{MARK}{number}")}, "rules": rules})
    }

    /// Who asks, as headers of impersonation.
    pub(crate) fn caller(&mut self) -> Caller {
        let user = self.pick(&USERS);
        let mut groups: Vec<&'static str> = match user.split(':').nth(2) {
            Some("chance-a") => vec!["system:serviceaccounts", "system:serviceaccounts:chance-a"],
            Some(_) => vec!["system:serviceaccounts"],
            None => Vec::new(),
        };
        if self.one_in(2) {
            groups.push(self.pick(&["dev", "ops"]));
        }
        Caller { user, groups }
    }

    /// A question about what somebody may do.
    pub(crate) fn review(&mut self) -> Value {
        let Caller { user, mut groups } = self.caller();
        groups.push("system:authenticated");
        if self.one_in(40) {
            groups.push("system:masters");
        }
        let spec = if self.one_in(8) {
            json!({"user": user, "groups": groups, "nonResourceAttributes": {"path": self.pick(&PATHS), "verb": self.pick(&["get", "head", "post"])}})
        } else {
            let (resource, part) = self.pick(&RESOURCES).split_once('/').unwrap_or_else(|| (self.pick(&RESOURCES), ""));
            let resource = resource.split('/').next().unwrap_or_default();
            let attributes = json!({"namespace": self.pick(&NAMESPACES), "verb": self.pick(&VERBS), "group": self.pick(&API_GROUPS),
                "resource": resource, "subresource": part, "name": self.pick(&NAMES)});
            json!({"user": user, "groups": groups, "resourceAttributes": attributes})
        };
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec})
    }

    /// A write that admission and the checks of roles decide about.
    pub(crate) fn write(&mut self) -> (&'static str, String, Value) {
        let namespace = self.pick(&NAMESPACES[..2]);
        let number = self.0.random_range(1000..2000);
        match self.0.random_range(0..8) {
            0 => ("POST", format!("{RBAC}/namespaces/{namespace}/roles"), self.role("Role", number)),
            1 => ("POST", format!("{RBAC}/clusterroles"), self.role("ClusterRole", number)),
            2 => ("POST", format!("{RBAC}/namespaces/{namespace}/rolebindings"), {
                let roles = self.pick(&["Role", "ClusterRole"]);
                self.binding("RoleBinding", roles, number)
            }),
            3 => (
                "POST",
                format!("{RBAC}/clusterrolebindings"),
                self.binding("ClusterRoleBinding", "ClusterRole", number),
            ),
            4 => {
                let old = self.0.random_range(0..ROLES);
                ("PUT", format!("{RBAC}/clusterroles/{MARK}{old}"), self.role("ClusterRole", old))
            }
            5 => ("POST", format!("/api/v1/namespaces/{namespace}/pods"), self.pod(number)),
            _ => ("POST", format!("/api/v1/namespaces/{namespace}/configmaps"), self.map(number)),
        }
    }

    fn labels(&mut self) -> Value {
        let mut labels = serde_json::Map::new();
        for key in ["tier", "team", "stage"] {
            if self.one_in(2) {
                labels.insert(key.to_owned(), self.pick(&["a", "b", "c"]).into());
            }
        }
        labels.into()
    }

    fn map(&mut self, number: usize) -> Value {
        let mut data = serde_json::Map::new();
        for key in self.some(&["k", "size", "color", "x.y"], 3) {
            data.insert(key.to_owned(), self.pick(&["", "1", "red", "some longer text"]).into());
        }
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{MARK}{number}"), "labels": self.labels()}, "data": data})
    }

    fn pod(&mut self, number: usize) -> Value {
        let mut container = json!({"name": "c", "image": self.pick(&["a", "registry.example.com/a:1", "b:latest"])});
        if self.one_in(2) {
            container["securityContext"] = json!({"privileged": self.one_in(3), "runAsNonRoot": self.one_in(2), "allowPrivilegeEscalation": false});
        }
        if self.one_in(3) {
            container["resources"] = json!({"limits": {"cpu": self.pick(&["1", "100m", "4"]), "memory": "64Mi"}});
        }
        let mut spec = json!({"containers": [container], "automountServiceAccountToken": false});
        if self.one_in(4) {
            spec[self.pick(&["hostNetwork", "hostPID", "hostIPC"])] = true.into();
        }
        if self.one_in(4) {
            spec["volumes"] = json!([{"name": "v", "hostPath": {"path": "/"}}]);
        }
        if self.one_in(6) {
            spec["priorityClassName"] = self.pick(&["system-node-critical", "none"]).into();
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("{MARK}{number}"), "labels": self.labels()}, "spec": spec})
    }

    fn selector(&mut self) -> Value {
        match self.0.random_range(0..4) {
            0 => json!({"matchLabels": {self.pick(&["tier", "team"]): self.pick(&["a", "b"])}}),
            1 => {
                json!({"matchExpressions": [{"key": self.pick(&["tier", "stage"]), "operator": self.pick(&["Exists", "DoesNotExist"])}]})
            }
            2 => {
                json!({"matchExpressions": [{"key": "team", "operator": self.pick(&["In", "NotIn"]), "values": self.some(&["a", "b"], 2)}]})
            }
            _ => json!({}),
        }
    }

    fn match_rule(&mut self) -> Value {
        json!({"apiGroups": [self.pick(&["", "*", "apps"])], "apiVersions": ["*"], "operations": [self.pick(&["CREATE", "UPDATE", "*"])],
            "resources": [self.pick(&["configmaps", "pods", "*", "pods/*", "secrets"])], "scope": self.pick(&["*", "Namespaced", "Cluster"])})
    }

    /// A policy and its binding.
    pub(crate) fn policy(&mut self, number: usize) -> [Value; 2] {
        let name = format!("{MARK}{number}");
        let validations: Vec<Value> = (0..self.0.random_range(1..=2))
            .map(|_| {
                let mut validation = json!({"expression": self.pick(&EXPRESSIONS)});
                match self.0.random_range(0..3) {
                    0 => validation["message"] = "a message".into(),
                    1 => validation["messageExpression"] = self.pick(&MESSAGES).into(),
                    _ => {}
                }
                if self.one_in(3) {
                    validation["reason"] = self.pick(&["Forbidden", "Invalid", "RequestEntityTooLarge"]).into();
                }
                validation
            })
            .collect();
        let mut spec = json!({"failurePolicy": self.pick(&["Fail", "Ignore"]), "validations": validations,
            "variables": [{"name": "v", "expression": self.pick(&VARIABLES)}],
            "matchConstraints": {"resourceRules": [self.match_rule()], "objectSelector": self.selector(), "namespaceSelector": self.selector(),
                "matchPolicy": self.pick(&["Exact", "Equivalent"])}});
        if self.one_in(3) {
            spec["matchConstraints"]["excludeResourceRules"] = json!([self.match_rule()]);
        }
        if self.one_in(3) {
            spec["matchConditions"] = json!([{"name": "c", "expression": self.pick(&CONDITIONS)}]);
        }
        let kind = |kind: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let mut bound = json!({"policyName": name, "validationActions": self.pick(&[["Deny"].as_slice(), &["Warn"], &["Deny", "Audit"]])});
        if self.one_in(2) {
            bound["matchResources"] = json!({"objectSelector": self.selector()});
        }
        [kind("ValidatingAdmissionPolicy", spec), kind("ValidatingAdmissionPolicyBinding", bound)]
    }
}

const EXPRESSIONS: [&str; 12] = [
    "object.metadata.name.size() % 2 == 0",
    "!has(object.metadata.labels) || !('tier' in object.metadata.labels) || object.metadata.labels['tier'] != 'a'",
    "object.metadata.labels['team'] == 'b'",
    "!has(object.data) || object.data.all(k, object.data[k].size() < 10)",
    "object.data['color'] == 'red'",
    "request.userInfo.username.startsWith('system:') || 'dev' in request.userInfo.groups",
    "authorizer.group('').resource('secrets').namespace('chance-a').check('get').allowed()",
    "namespaceObject.metadata.name != 'chance-b'",
    "variables.v",
    "!has(object.spec) || object.spec.containers.all(c, c.image.contains(':'))",
    "oldObject == null && request.operation == 'CREATE'",
    "int(object.data['size']) < 5",
];
const MESSAGES: [&str; 4] =
    ["'not ' + object.metadata.name", "string(object.data['missing'])", "'several\\nlines'", "string(variables.v)"];
const VARIABLES: [&str; 3] = [
    "has(object.metadata.labels)",
    "object.metadata.labels.exists(k, k == 'stage')",
    "request.namespace == 'chance-a'",
];
const CONDITIONS: [&str; 4] = [
    "has(object.data)",
    "request.userInfo.username != 'ann'",
    "object.metadata.labels['stage'] == 'c'",
    "request.dryRun",
];

/// Who asks.
pub(crate) struct Caller {
    pub(crate) user: &'static str,
    pub(crate) groups: Vec<&'static str>,
}
