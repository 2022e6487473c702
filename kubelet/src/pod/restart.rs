//! Whether a container starts again after it has ended. Pure.
//!
//! A container's own policy, and before that its rules about exit codes, win over the pod's policy (KEP-5307). Rules without a
//! policy of the container's own do not count, as in Kubernetes.

use k8s_openapi::api::core::v1::{Container, ContainerRestartRule, PodSpec};

/// Which containers start again after they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    /// All.
    Always,
    /// Those that failed.
    OnFailure,
    /// None.
    Never,
}

impl RestartPolicy {
    /// Kubernetes takes what it does not know for the first of them.
    fn of(text: Option<&str>) -> Self {
        match text {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }
}

/// What becomes of one container after its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Restart {
    policy: RestartPolicy,
    rules: Vec<Rule>,
}

/// Exit codes after which the container starts again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    codes: Vec<i32>,
    /// Whether these are meant, or all others.
    listed: bool,
}

impl Rule {
    fn of(rule: &ContainerRestartRule) -> Option<Self> {
        let codes = rule.exit_codes.as_ref().filter(|_| rule.action == "Restart")?;
        let listed = match codes.operator.as_str() {
            "In" => true,
            "NotIn" => false,
            _ => return None,
        };
        Some(Self { codes: codes.values.clone().unwrap_or_default(), listed })
    }

    fn matches(&self, code: i32) -> bool {
        self.codes.contains(&code) == self.listed
    }
}

impl Restart {
    /// As `container` of `spec` says.
    pub(crate) fn of(spec: &PodSpec, container: &Container) -> Self {
        let own = container.restart_policy.as_deref();
        let rules = container.restart_policy_rules.iter().flatten().filter(|_| own.is_some());
        let policy = RestartPolicy::of(own.or(spec.restart_policy.as_deref()));
        Self { policy, rules: rules.filter_map(Rule::of).collect() }
    }

    /// As a policy alone says.
    pub(crate) const fn by(policy: RestartPolicy) -> Self {
        Self { policy, rules: Vec::new() }
    }

    /// Whether it starts again after it ended with `code`.
    pub(crate) fn after(&self, code: i32) -> bool {
        let by_policy = match self.policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Never => false,
        };
        by_policy || self.rules.iter().any(|rule| rule.matches(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn restarts(pod: &str, container: Value) -> Vec<i32> {
        let spec = serde_json::from_value(json!({"containers": [], "restartPolicy": pod})).unwrap();
        let mut container = container;
        container["name"] = json!("a");
        let restart = Restart::of(&spec, &serde_json::from_value(container).unwrap());
        [0, 1, 42, 137].into_iter().filter(|code| restart.after(*code)).collect()
    }

    #[test]
    fn the_container_s_own_policy_wins() {
        assert_eq!(restarts("Always", json!({})), [0, 1, 42, 137]);
        assert_eq!(restarts("OnFailure", json!({})), [1, 42, 137]);
        assert_eq!(restarts("Never", json!({})), [0i32; 0]);
        assert_eq!(restarts("Always", json!({"restartPolicy": "Never"})), [0i32; 0]);
        assert_eq!(restarts("Never", json!({"restartPolicy": "OnFailure"})), [1, 42, 137]);
    }

    #[test]
    fn rules_come_before_the_policy() {
        let rule = |operator: &str| json!([{"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}}]);
        assert_eq!(restarts("Never", json!({"restartPolicy": "Never", "restartPolicyRules": rule("In")})), [42]);
        assert_eq!(
            restarts("Never", json!({"restartPolicy": "Never", "restartPolicyRules": rule("NotIn")})),
            [0, 1, 137]
        );
        let without_policy = json!({"restartPolicyRules": rule("In")});
        assert_eq!(restarts("Never", without_policy), [0i32; 0], "rules need a policy beside them");
    }
}
