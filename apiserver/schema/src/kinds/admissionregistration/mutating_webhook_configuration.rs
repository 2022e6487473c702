//! MutatingWebhookConfiguration: who may change requests.

use crate::kinds::{Row, Rules};
use crate::view::{default_absent, list_mut};
use serde_json::Value;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    categories: &["api-extensions"],
    rules: Rules {
        defaults,
        validate: super::webhooks::validate,
        warnings: super::warnings,
        printer: &super::webhooks::PRINTER,
        ..super::RULES
    },
    ..Row::cluster(
        ["admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration"],
        ["mutatingwebhookconfigurations", "mutatingwebhookconfiguration"],
        "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration",
    )
};

fn defaults(it: &mut Value) {
    super::webhooks::defaults(it);
    list_mut(it, "webhooks").iter_mut().for_each(|hook| default_absent(hook, "reinvocationPolicy", "Never"));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn webhooks_get_what_kubernetes_gives() {
        let mut it = json!({"webhooks": [{"name": "a.b.c", "rules": [{}], "clientConfig": {"service": {}}}]});
        super::defaults(&mut it);
        assert_eq!(
            it["webhooks"][0],
            json!({"name": "a.b.c", "rules": [{"scope": "*"}], "clientConfig": {"service": {"port": 443}},
                "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
                "timeoutSeconds": 10, "reinvocationPolicy": "Never"})
        );
    }
}
