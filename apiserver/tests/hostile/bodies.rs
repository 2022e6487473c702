//! Bodies: too large, too deep, cut off, repeated, and in another form than they say.

use super::{JSON, MAPS, Sent, ask, lives, refused};
use crate::common::World;
use serde_json::json;

const YAML: &str = "application/yaml";
const CBOR: &str = "application/cbor";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const APPLY: &str = "application/apply-patch+yaml";
const MIB: usize = 1 << 20;
/// What may be allocated for each byte of a document that repeats itself: the reader gives up after a number of repetitions, some megabytes on.
const LAUGHED: usize = 200_000;

fn post(what: &str, kind: &str, body: impl Into<Vec<u8>>) -> Sent {
    Sent::new(what, "POST", MAPS, kind, body)
}

/// Nine lists, each of nine of the one before: a billion words in a few hundred bytes.
fn laughs() -> String {
    let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    text
}

#[tokio::test]
async fn what_is_too_large_or_too_deep_is_refused() {
    let world = World::new().await;
    let padded = |bytes: usize| format!("{{\"data\": {{\"a\": \"{}\"}}}}", "x".repeat(bytes));
    let deep = |open: &str, close: &str, times: usize| format!("{}1{}", open.repeat(times), close.repeat(times));
    let cases = [
        (post("three MiB and more", JSON, padded(3 * MIB)), vec![413], 4),
        (post("two MiB, which the store does not take", JSON, padded(2 * MIB)), vec![400, 413, 422], 40),
        (post("deep lists", JSON, deep("[", "]", MIB)), vec![400], 8),
        (post("deep objects", JSON, deep("{\"a\":", "}", MIB / 4)), vec![400], 8),
        (post("deep lists in a field", JSON, format!("{{\"data\":{}}}", deep("[", "]", 10_000))), vec![400], 8),
        (post("lists that never end", JSON, "[".repeat(MIB)), vec![400], 8),
        (post("deep YAML", YAML, deep("[", "]", 100_000)), vec![400], 500),
        (
            post(
                "deep YAML by indentation",
                YAML,
                (0..1000).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>(),
            ),
            vec![400],
            300,
        ),
        (post("deep CBOR", CBOR, [vec![0x81; MIB], vec![0]].concat()), vec![400, 415], 8),
        (post("deep Protobuf", PROTOBUF, nested_protobuf(5_000)), vec![400, 422], 300),
    ];
    for (sent, codes, times) in &cases {
        refused(&world, sent, codes, *times).await;
    }
    lives(&world).await;
}

/// A ConfigMap whose metadata stand in each other `times` times.
fn nested_protobuf(times: usize) -> Vec<u8> {
    let mut inner = Vec::new();
    for _ in 0..times {
        inner = field(1, &inner);
    }
    let kind = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
    [b"k8s\0".to_vec(), field(1, &kind), field(2, &inner)].concat()
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut out = vec![number << 3 | 2];
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

#[tokio::test]
async fn what_grows_when_it_is_read_grows_little() {
    let world = World::new().await;
    let head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: laughs}\n";
    let many = |count: usize| (0..count).map(|n| format!("k{n}: &k{n} v\n")).collect::<String>();
    let apply = |what: &str, body: String| {
        let path = format!("{MAPS}/laughs?fieldManager=m&fieldValidation=Strict");
        Sent::new(what, "PATCH", &path, APPLY, body)
    };
    let merge_keys = format!("{head}data:\n  <<: {}*a{}\n", "", 9);
    let cases = [
        (post("a billion laughs", YAML, format!("{head}{}", laughs())), LAUGHED),
        (post("a billion laughs as data", YAML, format!("{}{head}data: *a9\n", laughs())), LAUGHED),
        (post("a billion laughs merged", YAML, format!("{}{merge_keys}", laughs())), LAUGHED),
        (post("an anchor in itself", YAML, format!("{head}data: &a [*a]\n")), LAUGHED),
        (post("an anchor that is nowhere", YAML, format!("{head}data: *nowhere\n")), LAUGHED),
        (post("many anchors and a wrong end", YAML, format!("{head}data: {{\n{}", many(20_000))), 300),
        (apply("a billion laughs applied", format!("{head}{}", laughs())), LAUGHED),
        (apply("a billion laughs applied as data", format!("{}{head}data: *a9\n", laughs())), LAUGHED),
    ];
    for (sent, times) in &cases {
        refused(&world, sent, &[400, 422], *times).await;
    }
    lives(&world).await;
}

/// Whatever is missing at the end, the answer is a refusal, or the object if nothing that counts is missing.
#[tokio::test]
async fn pieces_of_bodies_are_refused() {
    let world = World::new().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "labels": {"a": "b"}},
        "data": {"key": "ä\u{1F600}"}, "immutable": true});
    let forms = [
        (JSON, map.to_string().into_bytes()),
        (PROTOBUF, skiff_schema::protobuf::from_json(&map).expect("encoded")),
        (CBOR, skiff_schema::cbor::from_json(&map).expect("encoded")),
        (YAML, map.to_string().into_bytes()),
    ];
    for (kind, whole) in &forms {
        for end in 0..whole.len() {
            let sent = post(&format!("{end} bytes of {kind}"), kind, &whole[..end]);
            let answer = ask(&world, &sent).await;
            let known = matches!(answer.code.as_u16(), 201 | 400 | 415 | 422);
            assert!(known && answer.body["kind"].is_string(), "{}: {} {}", sent.what, answer.code, answer.body);
            if answer.code == 201 {
                world.must("DELETE", &format!("{MAPS}/m"), &json!({})).await;
            }
        }
    }
    lives(&world).await;
}

/// Every form under every other's name.
#[tokio::test]
async fn what_is_called_something_else_is_refused() {
    let world = World::new().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    let protobuf = skiff_schema::protobuf::from_json(&map).expect("encoded");
    let cbor = skiff_schema::cbor::from_json(&map).expect("encoded");
    let json = map.to_string().into_bytes();
    let zipped = [&[0x1f, 0x8b, 8, 0][..], &json].concat();
    let cases = [
        (JSON, &protobuf),
        (JSON, &cbor),
        (JSON, &zipped),
        (YAML, &protobuf),
        (YAML, &zipped),
        (PROTOBUF, &json),
        (PROTOBUF, &cbor),
        (CBOR, &json),
        (CBOR, &protobuf),
        ("text/html", &json),
        ("application/xml", &json),
        ("application/json;;;=;charset=\"", &protobuf),
        ("*/*", &json),
        ("multipart/form-data; boundary=x", &json),
    ];
    for (kind, body) in cases {
        let sent = post(&format!("{} bytes as {kind}", body.len()), kind, body.clone());
        refused(&world, &sent, &[400, 415], 3_000).await;
    }
    let sent = post("a body that says it is zipped", JSON, zipped).with("content-encoding", "gzip");
    refused(&world, &sent, &[400, 415], 3_000).await;
    lives(&world).await;
}

/// Lists and numbers whose announced size is larger than what follows allocate nothing for it.
#[tokio::test]
async fn announced_sizes_are_not_believed() {
    let world = World::new().await;
    let huge = [0xff; 8];
    let cases = [
        post("a CBOR list of 2^64", CBOR, [&[0xd9, 0xd9, 0xf7, 0x9b][..], &huge].concat()),
        post("a CBOR map of 2^64", CBOR, [&[0xbb][..], &huge].concat()),
        post("CBOR bytes of 2^64", CBOR, [&[0x5b][..], &huge].concat()),
        post("CBOR text of 2^64", CBOR, [&[0x7b][..], &huge].concat()),
        post("a CBOR number with a long tag", CBOR, [&[0xc2, 0x5a, 0x7f, 0xff, 0xff, 0xff][..], &huge].concat()),
        post("Protobuf of 2^63 bytes", PROTOBUF, [&b"k8s\0\x0a"[..], &[0xff; 9], &[0x7f]].concat()),
        post("Protobuf of endless numbers", PROTOBUF, [&b"k8s\0\x0a"[..], &[0xff; 100]].concat()),
        post("a number of a megabyte", JSON, format!("{{\"metadata\": {{\"generation\": {}}}}}", "9".repeat(MIB))),
        post("an exponent", JSON, "{\"metadata\": {\"generation\": 1e999999999}}"),
        post("half a surrogate", JSON, "{\"data\": {\"a\": \"\\ud800\"}}"),
        post("a null byte", JSON, b"{\"data\": {\"a\": \"\0\"}}".to_vec()),
        post("no UTF-8", JSON, b"{\"data\": {\"a\": \"\xff\xfe\"}}".to_vec()),
    ];
    for sent in &cases {
        refused(&world, sent, &[400, 415, 422], 16).await;
    }
    lives(&world).await;
}
