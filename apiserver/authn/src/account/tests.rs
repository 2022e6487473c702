//! Tokens of accounts, pods, secrets and nodes that are gone, or are others of the same name.

use super::*;

fn reference(name: &str, uid: &str) -> Ref {
    Ref { name: name.to_owned(), uid: uid.to_owned() }
}

fn bound() -> Bound {
    Bound { namespace: "ns".to_owned(), account: reference("a", "u1"), ..Bound::default() }
}

fn present(uid: &str) -> Present {
    Present { uid: uid.to_owned(), deleted: None }
}

fn deleted(uid: &str, at: i64) -> Present {
    Present { deleted: Some(at), ..present(uid) }
}

fn all() -> Found {
    let here = |uid: &str| Some(present(uid));
    Found { account: Some(Ok(present("u1"))), secret: here("s1"), pod: here("p1"), node: here("n1") }
}

#[test]
fn a_token_ends_with_what_it_is_bound_to() {
    let pod = Bound { pod: Some(reference("p", "p1")), node: Some(reference("n", "gone")), ..bound() };
    let secret = Bound { secret: Some(reference("s", "s1")), ..bound() };
    let node = Bound { node: Some(reference("n", "n1")), ..bound() };
    let invalidated = "service account token has been invalidated";
    for (name, token, found, error) in [
        ("an account", bound(), all(), ""),
        (
            "no account",
            bound(),
            Found { account: Some(Err("serviceaccounts \"a\" not found".into())), ..all() },
            "serviceaccounts \"a\" not found",
        ),
        (
            "an account made again",
            bound(),
            Found { account: Some(Ok(present("u2"))), ..all() },
            "service account UID (u2) does not match claim (u1)",
        ),
        (
            "an account that goes",
            bound(),
            Found { account: Some(Ok(deleted("u1", 939))), ..all() },
            "service account ns/a has been deleted",
        ),
        ("an account that just goes", bound(), Found { account: Some(Ok(deleted("u1", 940))), ..all() }, ""),
        ("a pod, whose node may be gone", pod.clone(), Found { node: None, ..all() }, ""),
        ("a pod that is gone", pod.clone(), Found { pod: None, ..all() }, invalidated),
        (
            "a pod made again",
            pod.clone(),
            Found { pod: Some(present("p2")), ..all() },
            "pod UID (p2) does not match service account pod ref claim (p1)",
        ),
        ("a pod that goes", pod.clone(), Found { pod: Some(deleted("p1", 900)), ..all() }, invalidated),
        ("a secret", secret.clone(), all(), ""),
        ("a secret that is gone", secret.clone(), Found { secret: None, ..all() }, invalidated),
        (
            "a secret made again",
            secret,
            Found { secret: Some(present("s2")), ..all() },
            "secret UID (s2) does not match service account secret ref claim (s1)",
        ),
        ("a node", node.clone(), all(), ""),
        ("a node that is gone", node.clone(), Found { node: None, ..all() }, invalidated),
        (
            "a node made again",
            node,
            Found { node: Some(present("n2")), ..all() },
            "node UID (n2) does not match service account node ref claim (n1)",
        ),
    ] {
        let claims = Claims { expires: Some(1100), ..Claims::default() };
        let held = token.holds(&claims, &found, 1000);
        assert_eq!(held.err().unwrap_or_default(), error, "{name}");
        let late = token.holds(&claims, &found, 1161);
        assert_eq!(late.unwrap_err(), "service account token has expired", "{name}, late");
    }
}

#[test]
fn a_user_says_where_its_pod_was() {
    let token = Bound { pod: Some(reference("p", "p1")), node: Some(reference("n", "n1")), ..bound() };
    let claims = Claims { id: "j".to_owned(), ..Claims::default() };
    let user = token.holds(&claims, &all(), 0).unwrap();
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:ns:a", "u1"));
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns"]);
    let extra: Vec<(&str, &str)> =
        user.extra.iter().map(|(key, values)| (key.strip_prefix(EXTRA).unwrap(), values[0].as_str())).collect();
    let expected =
        [("credential-id", "JTI=j"), ("node-name", "n"), ("node-uid", "n1"), ("pod-name", "p"), ("pod-uid", "p1")];
    assert_eq!(extra, expected);
}

#[test]
fn what_is_claimed_is_read() {
    let token =
        Bound { pod: Some(reference("p", "p1")), node: Some(reference("n", "")), warn_after: Some(7), ..bound() };
    let (name, claim) = token.claim();
    assert_eq!(Bound::of(json!({name: claim}).as_object().unwrap()), token);
    assert_eq!(Bound::of(json!({"kubernetes.io": "x"}).as_object().unwrap()), Bound::default());
    let legacy = Legacy::new("ns", reference("a", "u1"), "s");
    assert_eq!(Legacy::of(legacy.claims().as_object().unwrap()), legacy);
}

#[test]
fn the_token_in_a_secret_ends_with_it() {
    let legacy = Legacy::new("ns", reference("a", "u1"), "s");
    let home = Home { token: b"t".to_vec(), ..Home::default() };
    let here = Ok(present("u1"));
    let check = |legacy: &Legacy, home: Option<&Home>, account: &Result<Present, String>| {
        legacy.holds("t", home, account).err().unwrap_or_default()
    };
    assert_eq!(check(&legacy, Some(&home), &here), "");
    assert_eq!(check(&legacy, None, &here), "Token has been invalidated");
    assert_eq!(check(&legacy, Some(&Home { deleted: true, ..home.clone() }), &here), "Token has been invalidated");
    assert_eq!(
        check(&legacy, Some(&Home { token: b"u".to_vec(), ..home.clone() }), &here),
        "Token does not match server's copy"
    );
    assert!(check(&legacy, Some(&home), &Ok(present("u2"))).contains("does not match claim"));
    assert!(check(&legacy, Some(&home), &Ok(deleted("u1", 0))).contains("has been deleted"));
    assert!(
        check(&legacy, Some(&Home { invalid_since: "2026-01-01".into(), ..home.clone() }), &here)
            .contains("marked invalid")
    );
    let other = Legacy { subject: "system:serviceaccount:ns:b".to_owned(), ..legacy.clone() };
    assert_eq!(check(&other, Some(&home), &here), "sub claim is invalid");
    let lacking = Legacy { secret: String::new(), ..legacy };
    assert_eq!(check(&lacking, Some(&home), &here), "secretName claim is missing");
}
