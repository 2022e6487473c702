//! What Kubernetes' serializer writes is read, and the other way round; bodies in hexadecimal, as RFC 8949 has them.

use super::*;
use serde_json::{Value, json};

fn read(hexadecimal: &str) -> Result<Value, CborError> {
    to_json(&hex::decode(hexadecimal).expect("hexadecimal"))
}

#[test]
fn values_are_read_as_the_standard_writes_them() {
    for (body, expected) in [
        ("00", json!(0)),
        ("3903e7", json!(-1000)),
        ("1b7fffffffffffffff", json!(i64::MAX)),
        ("f93e00", json!(1.5)),
        ("f90001", json!(5.960_464_477_539_063e-8)),
        ("f9c400", json!(-4.0)),
        ("fb3ff199999999999a", json!(1.1)),
        ("f5", json!(true)),
        ("f6", json!(null)),
        ("6449455446", json!("IETF")),
        ("4449455446", json!("IETF")),
        ("7f657374726561646d696e67ff", json!("streaming")),
        ("83010203", json!([1, 2, 3])),
        ("9f0102ff", json!([1, 2])),
        ("a26161014162820203", json!({"a": 1, "b": [2, 3]})),
        ("bf61610161629f0203ffff", json!({"a": 1, "b": [2, 3]})),
        ("c074323031332d30332d32315432303a30343a30305a", json!("2013-03-21T20:04:00Z")),
        ("c11a514b67b0", json!("2013-03-21T20:04:00Z")),
        ("d64401020304", json!("AQIDBA==")),
        ("d74401020304", json!("01020304")),
        ("d9d9f7a0", json!({})),
    ] {
        assert_eq!(read(body), Ok(expected), "{body}");
    }
}

#[test]
fn what_json_cannot_say_is_refused() {
    for body in
        ["f7", "f0", "f97e00", "f97c00", "1bffffffffffffffff", "c249010000000000000000", "41ff", "a10102", "d60a"]
    {
        assert!(matches!(read(body), Err(CborError::Foreign(_))), "{body}: {:?}", read(body));
    }
    for body in ["", "19", "8301", "a1", "ff", "0000", "1c"] {
        assert!(matches!(read(body), Err(CborError::Malformed(_))), "{body}: {:?}", read(body));
    }
    assert_eq!(read("a2616101616102"), Err(CborError::Duplicate("a".to_owned())));
    let deep = "81".repeat(200) + "00";
    assert!(matches!(read(&deep), Err(CborError::Foreign(_))));
}

#[test]
fn bytes_travel_bare_where_the_schema_says_so() {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"k": "AQI="}});
    let body = from_json(&secret).expect("written");
    assert!(body.starts_with(&[0xd9, 0xd9, 0xf7]), "it describes itself");
    let bare = [0xd6, 0x42, 1, 2];
    assert!(body.windows(bare.len()).any(|part| part == bare), "{body:02x?}");
    assert_eq!(to_json(&body), Ok(secret.clone()));
    let list = json!({"apiVersion": "v1", "kind": "SecretList", "metadata": {}, "items": [secret]});
    assert_eq!(to_json(&from_json(&list).expect("written")), Ok(list));
    let custom = json!({"apiVersion": "x.example/v1", "kind": "Thing", "spec": {"a": [1, 2.5, null, true, "t"]}});
    assert_eq!(to_json(&from_json(&custom).expect("written")), Ok(custom));
}

#[test]
fn events_hold_their_object() {
    let object = json!({"apiVersion": "v1", "kind": "Status", "code": 410});
    let event = event("ERROR", &from_json(&object).expect("written")).expect("written");
    assert_eq!(to_json(&event), Ok(json!({"type": "ERROR", "object": object})));
}
