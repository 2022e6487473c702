//! Access by chance: who may do what, and what admission makes of objects of random users, asked of ours and of a real server that have the
//! same roles, bindings and policies.

use crate::dice::{Dice, MARK, NAMESPACES, ROLES, USERS};
use crate::server::{Answer, Question, Server};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1";
const BINDINGS: usize = 30;
const POLICIES: usize = 24;

fn question(method: Method, path: &str, body: &Value) -> Question {
    Question {
        method,
        path: path.to_owned(),
        content: "application/json",
        body: body.to_string(),
        ..Question::default()
    }
}

/// The same objects on both servers.
struct Both<'a> {
    real: &'a Server,
    ours: &'a Server,
}

impl Both<'_> {
    async fn ask(&self, question: &Question) -> (Option<Answer>, Option<Answer>) {
        tokio::join!(self.real.ask(question), self.ours.ask(question))
    }

    async fn make(&self, path: &str, object: &Value) {
        let (real, ours) = self.ask(&question(Method::POST, path, object)).await;
        for (who, answer) in [("the real server", real), ("ours", ours)] {
            let answer = answer.expect("an answer");
            assert!(matches!(answer.code, 201 | 409), "{who}: POST {path}: {answer:?}");
        }
    }

    async fn prepare(&self, dice: &mut Dice) {
        for (number, name) in NAMESPACES[..2].iter().enumerate() {
            let labels = json!({"team": (["a", "b"][number]), "pod-security.kubernetes.io/enforce": (["baseline", "restricted"][number])});
            self.make("/api/v1/namespaces", &json!({"metadata": {"name": name, "labels": labels}})).await;
            for account in ["default", "bot"] {
                self.make(
                    &format!("/api/v1/namespaces/{name}/serviceaccounts"),
                    &json!({"metadata": {"name": account}}),
                )
                .await;
            }
        }
        // Whoever asks may write what is asked about; what more is needed roles decide.
        let rules = json!([{"apiGroups": ["", "rbac.authorization.k8s.io"], "verbs": ["create", "update", "get"],
            "resources": ["pods", "configmaps", "roles", "clusterroles", "rolebindings", "clusterrolebindings"]}]);
        self.make(&format!("{RBAC}/clusterroles"), &json!({"metadata": {"name": "chance-writer"}, "rules": rules}))
            .await;
        let subjects: Vec<Value> = USERS
            .iter()
            .map(|user| json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}))
            .collect();
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "chance-writer"});
        let binding = json!({"metadata": {"name": "chance-writer"}, "roleRef": role, "subjects": subjects});
        self.make(&format!("{RBAC}/clusterrolebindings"), &binding).await;
        for number in 0..ROLES {
            self.make(&format!("{RBAC}/clusterroles"), &dice.role("ClusterRole", number)).await;
            for namespace in &NAMESPACES[..2] {
                self.make(&format!("{RBAC}/namespaces/{namespace}/roles"), &dice.role("Role", number)).await;
            }
        }
        for number in 0..BINDINGS {
            if number % 5 == 0 {
                self.make(
                    &format!("{RBAC}/clusterrolebindings"),
                    &dice.binding("ClusterRoleBinding", "ClusterRole", number),
                )
                .await;
            }
            for namespace in &NAMESPACES[..2] {
                let roles = dice.pick(&["Role", "ClusterRole"]);
                self.make(
                    &format!("{RBAC}/namespaces/{namespace}/rolebindings"),
                    &dice.binding("RoleBinding", roles, number),
                )
                .await;
            }
        }
    }

    /// Policies, the last of which is seen to hold on both.
    async fn prepare_policies(&self, dice: &mut Dice) {
        let mark =
            json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]});
        let expression = "object.metadata.name != 'chance-probe'";
        let spec = json!({"validations": [{"expression": expression}], "matchConstraints": {"resourceRules": [mark]}});
        let last = [
            ("validatingadmissionpolicies", spec),
            ("validatingadmissionpolicybindings", json!({"policyName": "chance-zz", "validationActions": ["Deny"]})),
        ];
        for number in 0..POLICIES {
            let [policy, binding] = dice.policy(number);
            self.make(&format!("{REGISTRATION}/validatingadmissionpolicies"), &policy).await;
            self.make(&format!("{REGISTRATION}/validatingadmissionpolicybindings"), &binding).await;
        }
        for (plural, spec) in last {
            self.make(&format!("{REGISTRATION}/{plural}"), &json!({"metadata": {"name": "chance-zz"}, "spec": spec}))
                .await;
        }
        let probe = json!({"metadata": {"name": "chance-probe"}});
        let probe = question(Method::POST, "/api/v1/namespaces/chance-a/configmaps?dryRun=All", &probe);
        for _ in 0..600 {
            let (real, ours) = self.ask(&probe).await;
            if [real, ours]
                .into_iter()
                .flatten()
                .all(|answer| answer.code != 201 && answer.value.to_string().contains("chance-zz"))
            {
                // Policies come one after the other; the others are there a moment later at most.
                return tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("policies do not hold");
    }

    async fn clear(&self) {
        for (folder, plural) in [
            (REGISTRATION.to_owned(), "validatingadmissionpolicybindings"),
            (REGISTRATION.to_owned(), "validatingadmissionpolicies"),
            (RBAC.to_owned(), "clusterrolebindings"),
            (RBAC.to_owned(), "clusterroles"),
            (format!("{RBAC}/namespaces/chance-a"), "roles"),
            (format!("{RBAC}/namespaces/chance-b"), "roles"),
            (format!("{RBAC}/namespaces/chance-a"), "rolebindings"),
            (format!("{RBAC}/namespaces/chance-b"), "rolebindings"),
        ] {
            for server in [self.real, self.ours] {
                let list = server.get(&format!("{folder}/{plural}")).await;
                for object in list.value["items"].as_array().cloned().unwrap_or_default() {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    if name.starts_with(MARK) {
                        server.ask(&question(Method::DELETE, &format!("{folder}/{plural}/{name}"), &Value::Null)).await;
                    }
                }
            }
        }
    }
}

/// What of an answer is compared. Messages are told with it where it differs.
fn decision(answer: &Answer) -> Value {
    let value = &answer.value;
    if value["kind"] == "SubjectAccessReview" {
        return json!({"allowed": value["status"]["allowed"], "denied": value["status"]["denied"]});
    }
    let status = (value["kind"] == "Status").then(|| json!([value["reason"], value["message"], value["details"]]));
    let warnings: Vec<String> = answer.warnings.clone();
    json!({"code": answer.code, "status": status, "warnings": warnings})
}

/// Differences by kind, with how many there are and one example.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) asked: usize,
    pub(crate) allowed: usize,
    pub(crate) different: BTreeMap<String, (usize, String)>,
}

impl Seen {
    fn compare(&mut self, what: &str, question: &Question, (real, ours): (Option<Answer>, Option<Answer>)) {
        let (Some(real), Some(ours)) = (real, ours) else { return };
        self.asked += 1;
        self.allowed += usize::from(real.code < 300 && real.value["status"]["allowed"] != false);
        let (wanted, got) = (decision(&real), decision(&ours));
        if wanted == got {
            return;
        }
        let class = format!("{what}: {} instead of {}", ours.code, real.code);
        let example =
            format!("{} {} {}\n   they: {wanted}\n   ours: {got}", question.method, question.path, question.body);
        let entry = self.different.entry(class).or_insert((0, example));
        entry.0 += 1;
    }
}

/// Asks both so many questions about access, as many about writes, and as many about writes under policies.
pub(crate) async fn compare(real: &Server, ours: &Server, count: usize, dice: &mut Dice) -> Seen {
    let (both, mut seen) = (Both { real, ours }, Seen::default());
    both.clear().await;
    both.prepare(dice).await;
    // Roles are known a moment after they are written.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    for _ in 0..count {
        let review = dice.review();
        let asked = question(Method::POST, "/apis/authorization.k8s.io/v1/subjectaccessreviews", &review);
        let answers = both.ask(&asked).await;
        seen.compare("access", &asked, answers);
    }
    for what in ["writes", "policies"] {
        if what == "policies" {
            both.prepare_policies(dice).await;
        }
        for _ in 0..count {
            let (method, path, object) = dice.write();
            let caller = dice.caller();
            let mut asked = question(method.parse().expect("a method"), &format!("{path}?dryRun=All"), &object);
            asked.headers = [("impersonate-user", caller.user.to_owned())].to_vec();
            asked.headers.extend(caller.groups.iter().map(|group| ("impersonate-group", (*group).to_owned())));
            let answers = both.ask(&asked).await;
            seen.compare(what, &asked, answers);
        }
    }
    both.clear().await;
    seen
}
