//! Paths, queries, headers and tokens.

use super::{MAPS, Sent, ask, lives, refused};
use crate::common::{self, World};
use axum::body::Body;
use http::Request;
use serde_json::Value;
use tower::ServiceExt;

fn get(what: &str, path: impl AsRef<str>) -> Sent {
    Sent { what: what.to_owned(), method: "GET", path: path.as_ref().to_owned(), headers: Vec::new(), body: Vec::new() }
}

#[tokio::test]
async fn strange_questions_are_refused() {
    let world = World::new().await;
    let many = |part: &str, times: usize| vec![part; times].join(",");
    let cases = [
        get("a selector that is none", format!("{MAPS}?labelSelector=!!!")),
        get("open brackets", format!("{MAPS}?labelSelector=a%20in%20{}", "(".repeat(10_000))),
        get("a field that nobody selects by", format!("{MAPS}?fieldSelector=data.a=b")),
        get("very many fields", format!("{MAPS}?fieldSelector={}", many("data.a=b", 3_000))),
        get("a page of nowhere", format!("{MAPS}?limit=1&continue={}", "A".repeat(20_000))),
        get(
            "a page of another server",
            format!("{MAPS}?limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiLi4vLi4vIn0"),
        ),
        get("a negative page", format!("{MAPS}?limit=-99999999999999999999")),
        get("a revision that is none", format!("{MAPS}?resourceVersion=-1")),
        get("a revision of the far future", format!("{MAPS}?resourceVersion=18446744073709551615")),
        get("a broken escape", format!("{MAPS}?labelSelector=%zz%")),
        get("a name that leads elsewhere", format!("{MAPS}/..%2f..%2fsecrets%2fx")),
        get("a name with a null", format!("{MAPS}/a%00b")),
        get("a long name", format!("{MAPS}/{}", "a".repeat(20_000))),
        get("no group", "/apis//v1/widgets"),
        get("a watch of no time", format!("{MAPS}?watch=true&timeoutSeconds=abc")),
        get("a timeout that is none", format!("{MAPS}?timeout=NaN")),
    ];
    for sent in &cases {
        refused(&world, sent, &[400, 404, 410, 422, 504], 0).await;
    }
    lives(&world).await;
}

/// What is asked for by headers is answered or refused, never an error of the server's.
#[tokio::test]
async fn strange_headers_are_answered() {
    let world = World::new().await;
    let accepts = [
        "application/json;as=Table;g=meta.k8s.io;v=v99".to_owned(),
        format!("application/json;{}", "q=0.1;".repeat(5_000)),
        vec!["text/x"; 5_000].join(","),
        "application/json;q=NaN, */*;q=-1".to_owned(),
        ";;;,,,".to_owned(),
        "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1".to_owned(),
    ];
    for accept in accepts {
        let sent = get(&format!("Accept of {} bytes", accept.len()), MAPS).with("accept", accept);
        let answer = ask(&world, &sent).await;
        assert!(matches!(answer.code.as_u16(), 200 | 406), "{}: {} {}", sent.what, answer.code, answer.body);
    }
    let impersonated = get("very many groups", MAPS).with("impersonate-user", "a");
    let impersonated = (0..2_000).fold(impersonated, |sent, n| sent.with("impersonate-group", format!("g{n}")));
    let answer = ask(&world, &impersonated).await;
    assert!(matches!(answer.code.as_u16(), 200 | 403 | 431), "{} {}", answer.code, answer.body);
    lives(&world).await;
}

/// Tokens by the thousand, none of them good: each is refused in the same words, whatever it looks like, and none is remembered.
#[tokio::test]
async fn false_tokens_are_refused() {
    let world = World::new().await;
    let part = |text: &str| {
        use base64::Engine as _;
        base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text)
    };
    let token = |head: &str, claims: &str| format!("{}.{}.{}", part(head), part(claims), part("signature"));
    let claims = r#"{"iss":"https://kubernetes.default.svc.cluster.local","sub":"system:serviceaccount:kube-system:a","exp":9999999999}"#;
    let mut tokens = vec![
        token(r#"{"alg":"none"}"#, claims),
        token(r#"{"alg":"HS256","kid":"x"}"#, claims),
        token(r#"{"alg":"RS256","kid":"../../pki/sa.pub"}"#, claims),
        token(r#"{"alg":"ES256","crit":["exp"],"exp":1}"#, claims),
        token(&"[".repeat(3_000), claims),
        token(r#"{"alg":"ES256"}"#, &"{\"a\":".repeat(1_000)),
        "a".repeat(30_000),
        ".".repeat(5_000),
        "..".to_owned(),
        String::new(),
    ];
    tokens.extend((0..1_000).map(|n| token(r#"{"alg":"ES256"}"#, &format!("{{\"sub\":\"{n}\"}}"))));
    for token in &tokens {
        let request = Request::get(MAPS).header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).expect("a request");
        let response = world.server.router().oneshot(request).await.expect("infallible");
        let code = response.status().as_u16();
        // Without a token at all somebody is anonymous.
        assert!(code == 401 || (code == 403 && token.is_empty()), "{code} for {:.60}", token);
    }
    lives(&world).await;
    let (code, status) =
        common::send(world.server.router(), Request::get(MAPS).body(Body::empty()).expect("a request")).await;
    assert_eq!((code.as_u16(), &status["kind"]), (403, &Value::from("Status")));
}
