//! Files that are read, and files that are refused.

use super::*;
use serde_json::json;

fn file(jwt: Value) -> Value {
    json!({"apiVersion": VERSIONS[0], "kind": "AuthenticationConfiguration", "jwt": [jwt]})
}

fn sound() -> Value {
    json!({
        "issuer": {"url": "https://i", "audiences": ["a", "b"], "audienceMatchPolicy": "MatchAny", "certificateAuthority": "pem"},
        "claimValidationRules": [{"claim": "hd", "requiredValue": "x"}],
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}, "groups": {"claim": "g", "prefix": "p:"}, "uid": {"claim": "o"}},
    })
}

fn claim(claim: &str, prefix: &str) -> Source {
    Source::Claim(Mapping { claim: claim.to_owned(), prefix: prefix.to_owned() })
}

#[test]
fn a_sound_file_is_read() {
    let mut whole = file(sound());
    whole["anonymous"] = json!({"enabled": true, "conditions": [{"path": "/livez"}]});
    let read = parse(&whole).unwrap();
    let issuer = &read.issuers[0];
    assert_eq!((issuer.url.as_str(), &issuer.audiences[..]), ("https://i", &["a".to_owned(), "b".to_owned()][..]));
    assert_eq!(issuer.groups, Some(claim("g", "p:")));
    assert_eq!(issuer.uid, Some(claim("o", "")));
    assert_eq!(issuer.required["hd"], "x");
    let anonymous = read.anonymous.unwrap();
    assert!(anonymous.allows("/livez") && !anonymous.allows("/livez/ping") && !anonymous.allows("/api"));
    assert!(Anonymous::default().allows("/api"));
}

#[test]
fn expressions_make_a_user() {
    let jwt = json!({
        "issuer": {"url": "https://i", "audiences": ["a"]},
        "claimValidationRules": [
            {"expression": "claims.exp - claims.nbf <= 86400", "message": "total token lifetime must not exceed 24 hours"},
            {"claim": "hd", "requiredValue": "x"},
        ],
        "claimMappings": {
            "username": {"expression": "claims.email_verified ? claims.email : 'unverified:' + claims.sub"},
            "groups": {"expression": "claims.roles.split(',')"},
            "uid": {"expression": "claims.sub"},
            "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"}],
        },
        "userValidationRules": [{"expression": "!user.username.startsWith('system:')", "message": "no system users"}],
    });
    let read = parse(&file(jwt)).unwrap();
    let user = |more: Value| {
        let mut claims = json!({"iss": "https://i", "aud": "a", "nbf": 0, "exp": 1000, "sub": "s", "hd": "x", "tenant": "t",
            "roles": "r,s", "email": "u@x", "email_verified": true});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read.issuers[0].user(claims.as_object().unwrap(), 500)
    };
    let known = user(json!({})).unwrap();
    assert_eq!((known.name.as_str(), known.uid.as_str()), ("u@x", "s"));
    assert_eq!(
        (&known.groups[..], &known.extra["example.com/tenant"][..]),
        (&["r".to_owned(), "s".to_owned()][..], &["t".to_owned()][..])
    );
    assert_eq!(user(json!({"email_verified": false})).unwrap().name, "unverified:s");
    for (more, why) in [
        (
            json!({"exp": 90_000}),
            "oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.nbf <= 86400' \
             failed: total token lifetime must not exceed 24 hours",
        ),
        (json!({"email": "system:admin"}), "failed: no system users"),
        (json!({"email": 1}), "username claim expression must return a string"),
        (json!({"email": ""}), "oidc: empty username via CEL expression is not allowed"),
        (json!({"roles": 1}), "oidc: error evaluating group claim expression: expression"),
        (json!({"hd": "y"}), "required claim hd value does not match"),
    ] {
        let error = user(more.clone()).unwrap_err();
        assert!(error.contains(why), "{more}: {error}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (pointer, value, why) in [
        ("/issuer/url", json!("http://i"), r#"jwt[0].issuer.url: Invalid value: "http://i": URL scheme must be https"#),
        ("/issuer/url", json!("https://u:p@i"), r#"jwt[0].issuer.url: Invalid value: "https://u:p@i": URL must not"#),
        ("/issuer/url", json!(""), "jwt[0].issuer.url: Required value"),
        (
            "/issuer/discoveryURL",
            json!("https://i/"),
            r#"jwt[0].issuer.discoveryURL: Invalid value: "https://i/": disc"#,
        ),
        ("/issuer/audiences", json!([]), "jwt[0].issuer.audiences: Required value"),
        ("/issuer/audiences", json!(["a", "a"]), r#"jwt[0].issuer.audiences[1]: Duplicate value: "a""#),
        ("/issuer/audienceMatchPolicy", json!(""), r#"jwt[0].issuer.audienceMatchPolicy: Invalid value: """#),
        ("/issuer/egressSelectorType", json!("cluster"), "jwt[0].issuer.egressSelectorType: egress"),
        ("/issuer/audiences", json!("a"), "jwt[0].issuer.audiences: must be a list"),
        ("/claimMappings", json!("a"), "jwt[0].claimMappings: must be an object"),
        ("/issuer/color", json!(1), "jwt[0].issuer.color: unknown field"),
        ("/claimMappings/username", json!({"claim": "sub"}), "jwt[0].claimMappings.username.prefix: Required value"),
        ("/claimMappings/username", json!({}), "jwt[0].claimMappings.username: Required value: claim or expression"),
        (
            "/claimMappings/username",
            json!({"claim": "a", "expression": "'b'"}),
            r#"jwt[0].claimMappings.username: Inv"#,
        ),
        ("/claimMappings/username", json!({"expression": "x"}), r#"jwt[0].claimMappings.username.expression: Invalid"#),
        ("/claimMappings/username", json!({"expression": "claims.email"}), r#"jwt[0].claimMappings.username.express"#),
        ("/claimMappings/extra", json!([{"key": "a"}]), r#"jwt[0].claimMappings.extra[0].key: Invalid value: "a""#),
        ("/claimMappings/extra", json!([{"key": "x.k8s.io/a"}]), r#"jwt[0].claimMappings.extra[0].key: Invalid value"#),
        ("/claimMappings/extra", json!([{"key": "x.io/A"}]), r#"jwt[0].claimMappings.extra[0].key: Invalid value"#),
        ("/claimMappings/extra", json!([{"key": "x.io/a"}]), "jwt[0].claimMappings.extra[0].valueExpression: Required"),
        ("/claimValidationRules", json!([{}]), "jwt[0].claimValidationRules[0]: Required value: claim or expression"),
        ("/claimValidationRules", json!([{"expression": "1"}]), "jwt[0].claimValidationRules[0].expression: Invalid"),
        ("/userValidationRules", json!([{"expression": "claims.a"}]), "jwt[0].userValidationRules[0].expression: Inv"),
        (
            "/userValidationRules",
            json!([{"expression": "true"}, {"expression": "true"}]),
            r#"jwt[0].userValidationRules[1].expression: Duplicate value: "true""#,
        ),
    ] {
        let mut jwt = sound();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        jwt.pointer_mut(parent).unwrap()[field] = value;
        let errors = parse(&file(jwt)).unwrap_err();
        assert!(errors.iter().any(|error| error.starts_with(why)), "{pointer}: {errors:?}");
    }
    let mut twice = file(sound());
    twice["jwt"] = json!([sound(), sound()]);
    assert!(parse(&twice).unwrap_err()[0].contains("Duplicate value"));
    assert!(parse(&json!({"kind": "Pod"})).is_err());
    let closed = json!({"apiVersion": VERSIONS[0], "kind": "AuthenticationConfiguration", "anonymous": {"enabled": false, "conditions": [{"path": "/x"}]}});
    assert!(parse(&closed).unwrap_err()[0].starts_with("anonymous.conditions"));
}
