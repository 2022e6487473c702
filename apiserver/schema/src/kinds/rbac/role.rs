//! Role: what may be done in a namespace.

use super::shared::{self, Scope};
use crate::kinds::{Row, Rules};
use crate::table::CREATED;
use crate::validate::names::Format;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules {
        name: Format::PathSegment,
        validate: |change, errors| shared::rules(change.new, Scope::Namespace, errors),
        printer: &CREATED,
        create_on_update: true,
        ..Rules::PLAIN
    },
    ..Row::namespaced(["rbac.authorization.k8s.io", "v1", "Role"], ["roles", "role"], "io.k8s.api.rbac.v1.Role")
};

#[cfg(test)]
mod tests {
    use super::super::{cluster_role, cluster_role_binding, role_binding};
    use crate::kinds::testing::{errors, update_errors};
    use serde_json::{Value, json};

    #[test]
    fn rules_name_resources_or_paths() {
        let role = |rule: Value| json!({"metadata": {"name": "a:b"}, "rules": [rule]});
        let get = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
        let paths = json!({"verbs": ["get"], "nonResourceURLs": ["/healthz"]});
        assert_eq!(errors(&super::ROW, &role(get)), [""; 0]);
        assert_eq!(errors(&super::ROW, &role(paths.clone())), ["rules[0].nonResourceURLs: Invalid"]);
        assert_eq!(errors(&cluster_role::ROW, &role(paths)), [""; 0]);
        let bare = ["rules[0].verbs: Required", "rules[0].apiGroups: Required", "rules[0].resources: Required"];
        assert_eq!(errors(&super::ROW, &role(json!({}))), bare);
        let aggregated = json!({"metadata": {"name": "a"}, "aggregationRule": {}});
        assert_eq!(errors(&cluster_role::ROW, &aggregated), ["aggregationRule.clusterRoleSelectors: Required"]);
    }

    #[test]
    fn bindings_name_roles_and_subjects() {
        let binding = |kind: &str, subject: Value| json!({"metadata": {"name": "a"}, "roleRef": {"kind": kind, "name": "r"}, "subjects": [subject]});
        let user = json!({"kind": "User", "name": "u"});
        assert_eq!(errors(&role_binding::ROW, &binding("Role", user.clone())), [""; 0]);
        assert_eq!(errors(&cluster_role_binding::ROW, &binding("Role", user.clone())), ["roleRef.kind: NotSupported"]);
        let account = json!({"kind": "ServiceAccount", "name": "s"});
        assert_eq!(errors(&role_binding::ROW, &binding("Role", account.clone())), [""; 0]);
        let cluster = binding("ClusterRole", account);
        assert_eq!(errors(&cluster_role_binding::ROW, &cluster), ["subjects[0].namespace: Required"]);
        let nobody = binding("Role", json!({"kind": "Pod"}));
        assert_eq!(
            errors(&role_binding::ROW, &nobody),
            ["subjects[0].name: Required", "subjects[0].kind: NotSupported"]
        );
        let (old, new) = (binding("Role", user.clone()), binding("ClusterRole", user));
        assert_eq!(update_errors(&role_binding::ROW, &new, &old), ["roleRef: Invalid"]);
    }
}
