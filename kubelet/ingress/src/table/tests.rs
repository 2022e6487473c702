//! Kubernetes' own examples, and any rules and requests against a plain model: of all that match, the one that precedes the others.

use super::*;
use crate::route::{Order, PathMatch};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use std::cmp::Ordering;

fn rule(host: &str, path: PathMatch, index: usize) -> Rule<usize> {
    let order = Order { index, ..Order::default() };
    Rule::new(Host::of_ingress(host), path, order, index)
}

fn found(rules: Vec<Rule<usize>>, host: &str, path: &str) -> Option<usize> {
    let (table, headers) = (Table::new(rules), HeaderMap::new());
    let asked = Asked { host, path, query: None, method: &Method::GET, headers: &headers };
    table.find(&asked).map(|rule| rule.action)
}

/// The table of examples in Kubernetes' documentation of Ingress ("Path types").
#[test]
fn paths_match_as_kubernetes_says() {
    let exact = |path: &str| PathMatch::Exact(path.to_owned());
    for (path, asked, matches) in [
        (PathMatch::prefix("/"), "/any/path", true),
        (exact("/foo"), "/foo", true),
        (exact("/foo"), "/bar", false),
        (exact("/foo"), "/foo/", false),
        (exact("/foo/"), "/foo", false),
        (PathMatch::prefix("/foo"), "/foo", true),
        (PathMatch::prefix("/foo"), "/foo/", true),
        (PathMatch::prefix("/foo/"), "/foo", true),
        (PathMatch::prefix("/foo/"), "/foo/", true),
        (PathMatch::prefix("/aaa/bb"), "/aaa/bbb", false),
        (PathMatch::prefix("/aaa/bbb"), "/aaa/bbb", true),
        (PathMatch::prefix("/aaa/bbb/"), "/aaa/bbb", true),
        (PathMatch::prefix("/aaa/bbb"), "/aaa/bbb/", true),
        (PathMatch::prefix("/aaa/bbb"), "/aaa/bbb/ccc", true),
        (PathMatch::prefix("/aaa/bbb"), "/aaa/bbbxyz", false),
    ] {
        assert_eq!(found(vec![rule("", path.clone(), 1)], "a", asked).is_some(), matches, "{path:?} {asked}");
    }
    let many = || vec![rule("", PathMatch::prefix("/"), 1), rule("", PathMatch::prefix("/aaa"), 2)];
    assert_eq!((found(many(), "a", "/aaa/ccc"), found(many(), "a", "/ccc")), (Some(2), Some(1)));
    let mixed = vec![rule("", PathMatch::prefix("/foo/"), 1), rule("", exact("/foo"), 2)];
    assert_eq!(found(mixed, "a", "/foo"), Some(2), "exact before prefix");
}

#[test]
fn hosts_match_as_kubernetes_says() {
    let all = |host: &str| vec![rule(host, PathMatch::prefix("/"), 1)];
    for (host, asked, matches) in [
        ("*.foo.com", "bar.foo.com", true),
        ("*.foo.com", "baz.bar.foo.com", false),
        ("*.foo.com", "foo.com", false),
        ("*.foo.com", ".foo.com", false),
        ("foo.bar.com", "foo.bar.com", true),
        ("foo.bar.com", "bar.com", false),
        ("FOO.com", "foo.com", true),
        ("", "whatever", true),
    ] {
        assert_eq!(found(all(host), asked, "/").is_some(), matches, "{host} {asked}");
    }
    let below = Host::of_gateway("*.foo.com");
    assert!(below.is_for("a.foo.com") && below.is_for("a.b.foo.com"));
    assert!(!below.is_for("foo.com") && !below.is_for("xfoo.com") && !below.is_for(".foo.com"));
}

#[test]
fn a_name_comes_before_a_wildcard_and_the_default_backend_last() {
    let rules = vec![
        rule("", PathMatch::Otherwise, 1),
        rule("*.a.b", PathMatch::prefix("/x/y"), 2),
        rule("c.a.b", PathMatch::prefix("/x"), 3),
    ];
    assert_eq!(found(rules.clone(), "c.a.b", "/x/y"), Some(3));
    assert_eq!(found(rules.clone(), "d.a.b", "/x/y"), Some(2));
    assert_eq!(found(rules, "c.a.b", "/z"), Some(1));
}

#[test]
fn parameters_are_compared_as_they_are_meant() {
    let mut one = rule("", PathMatch::prefix("/"), 1);
    one.query = vec![("a b".into(), "ü&".into())];
    let (table, headers) = (Table::new(vec![one]), HeaderMap::new());
    let find = |query| {
        let asked = Asked { host: "h", path: "/", query, method: &Method::GET, headers: &headers };
        table.find(&asked).is_some()
    };
    assert!(find(Some("x=1&a+b=%C3%BC%26")) && find(Some("a%20b=%c3%bc%26&a+b=2")));
    assert!(!find(Some("a+b=2&a+b=%C3%BC%26")) && !find(Some("a+b=%")) && !find(None));
}

fn hosts() -> impl Strategy<Value = Host> {
    let name = prop::sample::select(vec!["a.b", "c.a.b", "d.c.a.b", "b"]);
    let kind = prop::sample::select(vec![0_u8, 1, 2, 3]);
    (name, kind).prop_map(|(name, kind)| match kind {
        0 => Host::Any,
        1 => Host::OneBelow(name.to_owned()),
        2 => Host::AllBelow(name.to_owned()),
        _ => Host::Exact(name.to_owned()),
    })
}

fn paths() -> impl Strategy<Value = PathMatch> {
    let text = prop::sample::select(vec!["/", "/x", "/x/", "/x/y", "/xy", "/x//y"]);
    (text, 0_u8..5).prop_map(|(text, kind)| match kind {
        0 => PathMatch::Otherwise,
        1 | 2 => PathMatch::Exact(text.to_owned()),
        _ => PathMatch::prefix(text),
    })
}

prop_compose! {
    fn rules()(host in hosts(), path in paths(), method in any::<bool>(), header in 0_usize..3, query in any::<bool>(),
               created in 0_i64..3, index in 0_usize..1000) -> Rule<usize> {
        let order = Order { created, object: String::new(), index };
        let mut rule = Rule::new(host, path, order, index);
        rule.method = method.then_some(Method::POST);
        rule.headers = ["a", "b"].iter().take(header)
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect();
        rule.query = if query { vec![("q".into(), "1".into())] } else { Vec::new() };
        rule
    }
}

proptest! {
    #[test]
    fn the_first_of_all_that_match(
        rules in prop::collection::vec(rules(), 0..24),
        host in prop::sample::select(vec!["a.b", "c.a.b", "d.c.a.b", "x.d.c.a.b", "z", ""]),
        path in prop::sample::select(vec!["/", "/x", "/x/", "/x/y", "/xy", "/x//y", "/z"]),
        (post, query) in (any::<bool>(), prop::sample::select(vec![None, Some("q=1"), Some("p&q=2")])),
        sent in 0_usize..3,
    ) {
        let mut headers = HeaderMap::new();
        for name in ["a", "b"].iter().take(sent) {
            headers.insert(*name, HeaderValue::from_static("1"));
        }
        let method = if post { Method::POST } else { Method::GET };
        let asked = Asked { host, path, query, method: &method, headers: &headers };
        let model = rules.iter().filter(|rule| rule.is_for(&asked)).min_by(|one, other| one.precedence(other));
        let wanted = model.map(|rule| (rule.order.clone(), rule.path.clone(), rule.host.clone()));
        let table = Table::new(rules.clone());
        prop_assert_eq!(table.len(), rules.len());
        let seen = table.find(&asked);
        // Two that nothing tells apart may stand for each other.
        match (seen, model) {
            (Some(seen), Some(model)) => prop_assert_eq!(seen.precedence(model), Ordering::Equal),
            (seen, _) => prop_assert_eq!(seen.map(|rule| (rule.order.clone(), rule.path.clone(), rule.host.clone())), wanted),
        }
    }

    #[test]
    fn precedence_is_an_order(one in rules(), other in rules(), third in rules()) {
        prop_assert_eq!(one.precedence(&other), other.precedence(&one).reverse());
        if one.precedence(&other) != Ordering::Greater && other.precedence(&third) != Ordering::Greater {
            prop_assert!(one.precedence(&third) != Ordering::Greater);
        }
    }
}
