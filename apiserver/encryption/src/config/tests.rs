//! Configurations, right and wrong.

use super::*;

fn read(resources: Value) -> Result<Configuration, String> {
    let value = json!({"apiVersion": API_VERSION, "kind": KIND, "resources": resources});
    Configuration::read(&value).map_err(|error| error.to_string())
}

fn with(resources: &[&str], providers: Value) -> Value {
    json!([{"resources": resources, "providers": providers}])
}

fn key(bytes: usize) -> Value {
    json!({"keys": [{"name": "k", "secret": BASE64.encode(vec![1; bytes])}]})
}

fn kms(fields: Value) -> Value {
    let mut kms = json!({"apiVersion": "v2", "name": "p", "endpoint": "unix:///run/kms.sock"});
    for (name, value) in fields.as_object().expect("fields") {
        kms[name] = value.clone();
    }
    json!([{"kms": kms}])
}

#[test]
fn what_is_written_is_read() {
    let providers = json!([{"aesgcm": key(16)}, {"aescbc": key(32)}, {"secretbox": key(32)}, {"identity": {}}]);
    let rules = read(with(&["secrets", "pandas.awesome.bears.example"], providers)).expect("sound").rules;
    assert_eq!(rules[0].resources[1], GroupResource::parse("pandas.awesome.bears.example"));
    assert!(matches!(
        rules[0].providers[..],
        [Provider::AesGcm(_), Provider::AesCbc(_), Provider::Secretbox(_), Provider::Identity]
    ));
    let rules = read(with(&["*.*"], kms(json!({"timeout": "500ms"})))).expect("sound").rules;
    let Provider::Kms(kms) = &rules[0].providers[0] else { panic!("a plugin") };
    assert_eq!((kms.socket.as_str(), kms.timeout), ("/run/kms.sock", Duration::from_millis(500)));
    let shown = format!("{:?}", read(with(&["secrets"], json!([{"aesgcm": key(16)}]))));
    assert!(!shown.contains("[1, 1"), "keys are not shown: {shown}");
}

#[test]
fn mistakes_are_told_with_their_places() {
    let identity = json!([{"identity": {}}]);
    for (resources, expected) in [
        (json!([]), "resources: Required value: at least one resources is required"),
        (
            with(&[], identity.clone()),
            "resources[0].resources: Required value: at least one resources[0].resources is required",
        ),
        (
            with(&["secrets"], json!([])),
            "resources[0].providers: Required value: at least one resources[0].providers is required",
        ),
        (
            with(&["Secrets"], identity.clone()),
            "resources[0].resources[0]: Invalid value: \"Secrets\": resource name should not contain capital letters",
        ),
        (with(&["*"], identity.clone()), "resources[0].resources[0]: Invalid value: \"*\": use '*.' to encrypt"),
        (with(&["secrets.*"], identity.clone()), "encrypting the same resource across groups is not supported"),
        (with(&["events.events.k8s.io"], identity.clone()), "Use 'events' instead"),
        (with(&["secrets", "secrets"], identity.clone()), "the same resource cannot be specified multiple times"),
        (with(&["secrets", "*."], identity.clone()), "using overlapping resources"),
        (with(&["secrets", "*.*"], identity.clone()), "using overlapping resources"),
        (with(&["secrets"], json!([{}])), "provider does not contain any of the expected providers"),
        (with(&["secrets"], json!([{"identity": {}, "aesgcm": key(16)}])), "more than one provider specified"),
        (with(&["secrets"], json!([{"rot13": {}}])), "unknown field \"resources[0].providers[0].rot13\""),
        (
            with(&["secrets"], json!([{"aesgcm": key(17)}])),
            "secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 17, expected one of [16 24 32]",
        ),
        (with(&["secrets"], json!([{"secretbox": key(16)}])), "got 16, expected one of [32]"),
        (
            with(&["secrets"], json!([{"aescbc": {"keys": [{"name": "k", "secret": "%"}]}}])),
            "secrets must be base64 encoded",
        ),
        (
            with(&["secrets"], json!([{"aescbc": {"keys": [{"secret": "eA=="}]}}])),
            "keys[0].name: Required value: name is a mandatory field",
        ),
        (with(&["secrets"], kms(json!({"apiVersion": "v1"}))), "KMS v1 is off in Kubernetes 1.36"),
        (with(&["secrets"], kms(json!({"name": "a:b"}))), "must not contain ':'"),
        (
            with(&["secrets"], kms(json!({"endpoint": "tcp://x"}))),
            "unsupported scheme \"tcp\" for KMS provider, only unix is supported",
        ),
        (with(&["secrets"], kms(json!({"timeout": "-1s"}))), "timeout should be a positive value"),
        (
            json!([{"resources": ["*."], "providers": identity}, {"resources": ["secrets"], "providers": identity}]),
            "resource \"secrets\" is masked by earlier rule \"*.\"",
        ),
    ] {
        let said = read(resources.clone()).expect_err("refused");
        assert!(said.contains(expected), "{resources}: {said}");
        assert!(!said.contains(&BASE64.encode(vec![1; 16])), "no keys: {said}");
    }
    assert!(Configuration::read(&json!({"kind": "Policy"})).is_err());
}
