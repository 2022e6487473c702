//! Which certificate is shown to whom, and when it changes.

use super::*;

/// A secret with a certificate for a name, and the certificate.
fn secret(name: &str, of: &str) -> (Value, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed([of.to_owned()]).unwrap();
    let secret = json!({"metadata": {"name": name, "namespace": "n"}, "stringData": {}, "data": {
        "tls.crt": base64(made.cert.pem().as_bytes()), "tls.key": base64(made.signing_key.serialize_pem().as_bytes())}});
    (secret, made.cert.der().to_vec())
}

fn base64(bytes: &[u8]) -> Value {
    serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec())).unwrap()
}

#[tokio::test]
async fn each_name_has_its_certificate_and_a_new_one_when_the_secret_changes() {
    let world = World::new();
    let one = Backend::new("one").await;
    world.service("s", None, &[&one]);
    let ((first, of_first), (second, of_second)) = (secret("first", "a.test"), secret("second", "*.b.test"));
    world.cluster.put("secrets", first);
    world.cluster.put("secrets", second);
    world.ingress(
        "i",
        json!({"skiff.dev/https-redirect": "true"}),
        json!({
            "tls": [{"hosts": ["a.test"], "secretName": "first"}, {"hosts": ["*.b.test"], "secretName": "second"}],
            "rules": [host("a.test", &[("/", "Prefix", "s")]), host("plain.test", &[("/", "Prefix", "s")])],
        }),
    );
    world.answers("plain.test", "/", 200).await;
    let shown = |name: &'static str| client::shown(world.encrypted(), name);
    assert_eq!(shown("a.test").await.unwrap(), of_first);
    assert_eq!(shown("x.b.test").await.unwrap(), of_second);
    assert!(shown("other.test").await.is_err(), "nobody has a certificate for it");
    let sent = client::get(world.plain(), "a.test", "/p?q").await.unwrap();
    assert_eq!((sent.status, sent.header("location")), (308, "https://a.test:8443/p?q"));
    let answer =
        client::get_h2(world.encrypted(), "a.test", "/h2", &[("cookie", "a=1"), ("cookie", "b=2")]).await.unwrap();
    let told = answer.told();
    assert_eq!((&told["version"], &told["length"]), (&json!("HTTP/1.1"), &json!(5)));
    assert_eq!((&told["headers"]["cookie"], &told["headers"]["host"]), (&json!("a=1; b=2"), &json!("a.test")));
    assert_eq!(told["headers"]["x-forwarded-proto"], "https");
    let (next, of_next) = secret("first", "a.test");
    world.cluster.put("secrets", next);
    until("the new one is shown", async || shown("a.test").await.unwrap() == of_next).await;
    world.cluster.put("secrets", json!({"metadata": {"name": "first", "namespace": "n"}, "data": {}}));
    until("it is told", async || {
        world.cluster.all("events").iter().any(|event| event["message"] == "secret n/first: it has no tls.crt")
    })
    .await;
    assert_eq!(shown("a.test").await.unwrap(), of_next, "the last one that was good is shown still");
    world.end().await;
}
