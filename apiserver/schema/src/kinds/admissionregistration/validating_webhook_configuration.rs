//! ValidatingWebhookConfiguration: who may refuse requests.

use crate::kinds::{Row, Rules};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    categories: &["api-extensions"],
    rules: Rules {
        defaults: super::webhooks::defaults,
        validate: super::webhooks::validate,
        warnings: super::warnings,
        printer: &super::webhooks::PRINTER,
        ..super::RULES
    },
    ..Row::cluster(
        ["admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration"],
        ["validatingwebhookconfigurations", "validatingwebhookconfiguration"],
        "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration",
    )
};

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, set, update_errors};
    use serde_json::{Value, json};

    fn configuration() -> Value {
        let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
        json!({"metadata": {"name": "a"}, "webhooks": [{"name": "a.b.c", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://h.example/x"}, "rules": [rule]}]})
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(errors(&super::ROW, &configuration()), [""; 0]);
        let cases = [
            ("/name", json!("a.b"), "name: Invalid"),
            ("/sideEffects", json!("Some"), "sideEffects: NotSupported"),
            ("/sideEffects", Value::Null, "sideEffects: Required"),
            ("/admissionReviewVersions", json!([]), "admissionReviewVersions: Required"),
            ("/admissionReviewVersions", json!(["v2"]), "admissionReviewVersions: Invalid"),
            ("/admissionReviewVersions", json!(["v1", "v1"]), "admissionReviewVersions[1]: Invalid"),
            ("/timeoutSeconds", json!(31), "timeoutSeconds: Invalid"),
            ("/clientConfig", json!({}), "clientConfig: Required"),
            ("/clientConfig/url", json!("http://h"), "clientConfig.url: Invalid"),
            ("/clientConfig/url", json!("https:///x"), "clientConfig.url: Invalid"),
            ("/clientConfig/url", json!("https://u@h"), "clientConfig.url: Invalid"),
            ("/clientConfig/url", json!("https://h:x"), "clientConfig.url: Required"),
            ("/clientConfig", json!({"service": {"name": "s"}}), "clientConfig.service.name: Required"),
            ("/rules/0/operations", json!(["*", "CREATE"]), "rules[0].operations: Invalid"),
            ("/rules/0/operations", json!(["PATCH"]), "rules[0].operations[0]: NotSupported"),
            ("/rules/0/resources", json!(["pods/*", "pods/status"]), "rules[0].resources[1]: Invalid"),
            ("/rules/0/resources", json!(["*", "pods"]), "rules[0].resources: Invalid"),
            ("/rules/0/scope", json!("Node"), "rules[0].scope: NotSupported"),
            ("/failurePolicy", json!(""), "failurePolicy: NotSupported"),
            ("/matchConditions", json!([{"name": "n", "expression": " "}]), "matchConditions[0].expression: Required"),
        ];
        for (at, value, expected) in cases {
            let mut object = configuration();
            set(&mut object, &format!("/webhooks/0{at}"), value);
            assert_eq!(errors(&super::ROW, &object), [format!("webhooks[0].{expected}")], "{at}");
        }
    }

    #[test]
    fn what_was_wrong_before_may_stay() {
        let mut old = configuration();
        set(&mut old, "/webhooks/0/sideEffects", json!("Unknown"));
        set(&mut old, "/webhooks/0/matchConditions", json!([{"name": "", "expression": ""}]));
        assert_eq!(update_errors(&super::ROW, &old, &old), [""; 0]);
        let mut new = old.clone();
        set(&mut new, "/webhooks/0/matchConditions/0/expression", json!("true"));
        assert_eq!(update_errors(&super::ROW, &new, &old), ["webhooks[0].matchConditions[0].name: Required"]);
    }
}
