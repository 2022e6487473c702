//! The operations of a JSON Patch (RFC 6902), with bounds on what they make of an object: a few bytes can ask for a value to be copied
//! into itself again and again, or to be nested deeper than whoever reads it afterwards can follow.

use json_patch::jsonptr::{Pointer, PointerBuf};
use json_patch::{PatchError, PatchErrorKind, PatchOperation};
use serde_json::Value;
use skiff_schema::DEPTH_MAX;
use std::fmt;

/// More operations than this in one patch are refused (kube-apiserver).
pub(crate) const OPERATIONS_MAX: usize = 10_000;
/// Bytes of JSON that all copies of a patch may add together (kube-apiserver: `JSONPatchMaxCopyBytes`).
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Values that are looked at on behalf of one patch, so that moving a large one to and fro is no work for minutes.
const LOOKS_MAX: usize = 10_000_000;

/// Why operations cannot be applied.
#[derive(Debug)]
pub(crate) enum Inapplicable {
    /// One of them fails.
    Operation(PatchError),
    /// Together they copy so many bytes.
    Copied(usize),
    /// The operation with this number nests too deep.
    Deep(usize),
    /// The operation with this number would be one look too many.
    Costly(usize),
}

impl Inapplicable {
    /// Whether a `test` found something else.
    pub(crate) fn is_failed_test(&self) -> bool {
        matches!(self, Self::Operation(error) if matches!(error.kind, PatchErrorKind::TestFailed))
    }
}

impl fmt::Display for Inapplicable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(error) => error.fmt(out),
            // The words of Kubernetes' library.
            Self::Copied(bytes) => write!(
                out,
                "Unable to complete the copy, the accumulated size increase of copy is {bytes}, exceeding the limit {COPIED_BYTES_MAX}"
            ),
            Self::Deep(index) => write!(out, "operation '/{index}' nests the object deeper than {DEPTH_MAX} levels"),
            Self::Costly(index) => {
                write!(out, "operation '/{index}': the values that the patch moves have more than {LOOKS_MAX} parts")
            }
        }
    }
}

/// Applies one operation after the other to `object`.
///
/// # Errors
/// One of them fails or exceeds a bound; `object` is then whatever those before it have made of it.
pub(crate) fn apply(object: &mut Value, operations: &[PatchOperation]) -> Result<(), Inapplicable> {
    let mut bounds = Bounds { copied: 0, looks: LOOKS_MAX };
    for (index, operation) in operations.iter().enumerate() {
        if is_null_for_want_of_field(operation, object) {
            continue;
        }
        bounds.admit(index, operation, object)?;
        json_patch::patch(object, std::slice::from_ref(operation)).map_err(|mut error| {
            error.operation = index;
            Inapplicable::Operation(error)
        })?;
    }
    Ok(())
}

/// Unlike in RFC 6902, a field that is not there passes for `null`: Kubernetes' library has it so, and controllers test in this way that
/// nobody has set finalizers yet.
fn is_null_for_want_of_field(operation: &PatchOperation, object: &Value) -> bool {
    let PatchOperation::Test(test) = operation else { return false };
    let Some((parent, field)) = test.path.split_back().filter(|_| test.value.is_null()) else { return false };
    let parent = parent.resolve(object).ok().and_then(Value::as_object);
    parent.is_some_and(|fields| !fields.contains_key(field.decoded().as_ref()))
}

/// What is left of a patch's bounds.
struct Bounds {
    copied: usize,
    looks: usize,
}

impl Bounds {
    /// Whether the operation may be applied to `object`. One that fails anyway may.
    fn admit(&mut self, index: usize, operation: &PatchOperation, object: &Value) -> Result<(), Inapplicable> {
        match operation {
            PatchOperation::Add(add) => self.nest(index, &add.path, &add.value),
            PatchOperation::Replace(replace) => self.nest(index, &replace.path, &replace.value),
            PatchOperation::Move(moved) => match moved.from.resolve(object) {
                Ok(value) => self.nest(index, &moved.path, value),
                Err(_) => Ok(()),
            },
            PatchOperation::Copy(copy) => match copy.from.resolve(object) {
                Ok(value) => {
                    self.nest(index, &copy.path, value)?;
                    self.copy(value)
                }
                Err(_) => Ok(()),
            },
            PatchOperation::Remove(_) | PatchOperation::Test(_) => Ok(()),
        }
    }

    fn nest(&mut self, index: usize, path: &PointerBuf, value: &Value) -> Result<(), Inapplicable> {
        let path: &Pointer = path;
        let room = DEPTH_MAX.saturating_sub(path.count());
        match is_deeper(value, room, &mut self.looks) {
            Some(false) => Ok(()),
            Some(true) => Err(Inapplicable::Deep(index)),
            None => Err(Inapplicable::Costly(index)),
        }
    }

    fn copy(&mut self, value: &Value) -> Result<(), Inapplicable> {
        self.copied += encoded_length(value);
        if self.copied > COPIED_BYTES_MAX { Err(Inapplicable::Copied(self.copied)) } else { Ok(()) }
    }
}

/// Whether lists and objects stand in each other more often than `most` times; `None`: there are no `looks` left to say so.
fn is_deeper(value: &Value, most: usize, looks: &mut usize) -> Option<bool> {
    *looks = looks.checked_sub(1)?;
    let below = |inner: &Value| is_deeper(inner, most - 1, looks);
    let settles = |below: &Option<bool>| *below != Some(false);
    match value {
        Value::Array(_) | Value::Object(_) if most == 0 => Some(true),
        Value::Array(list) => list.iter().map(below).find(settles).unwrap_or(Some(false)),
        Value::Object(fields) => fields.values().map(below).find(settles).unwrap_or(Some(false)),
        _ => Some(false),
    }
}

fn encoded_length(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Neither counting nor a tree of JSON fails; if it did, what was counted until then would stand.
    let _never_fails = serde_json::to_writer(&mut count, value);
    count.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn operated(object: Value, operations: Value) -> Result<Value, String> {
        let mut object = object;
        let operations: Vec<PatchOperation> = serde_json::from_value(operations).expect("operations");
        apply(&mut object, &operations).map(|()| object).map_err(|error| error.to_string())
    }

    /// The first write of kube-rs' finalizer helper.
    #[test]
    fn a_field_that_is_not_there_passes_for_null() {
        let object = json!({"metadata": {"name": "n", "a/b": 1}, "list": [1]});
        let add = json!({"op": "add", "path": "/metadata/finalizers", "value": ["f"]});
        let test = |path: &str, value: Value| json!({"op": "test", "path": path, "value": value});
        let added = operated(object.clone(), json!([test("/metadata/finalizers", json!(null)), add])).expect("applied");
        assert_eq!(added["metadata"]["finalizers"], json!(["f"]));
        for wrong in [
            test("/metadata/name", json!(null)),
            test("/metadata/a~1b", json!(null)),
            test("/metadata/finalizers", json!([])),
            test("/nowhere/finalizers", json!(null)),
            test("/list/1", json!(null)),
        ] {
            let operations = json!([add, {"op": "remove", "path": "/metadata/finalizers"}, wrong]);
            let said = operated(object.clone(), operations).expect_err("refused");
            assert!(said.contains("operation '/2' failed"), "{said}");
        }
    }

    #[test]
    fn copies_do_not_grow_without_end() {
        let copies: Vec<Value> =
            (0..40).map(|n| json!({"op": "copy", "from": "/a", "path": format!("/a/{n}")})).collect();
        let said = operated(json!({"a": {"x": "y"}}), json!(copies)).expect_err("2^40 copies");
        assert!(said.starts_with("Unable to complete the copy, the accumulated size increase of copy is "), "{said}");
        assert!(said.ends_with(" exceeding the limit 3145728"), "{said}");
        let few = operated(json!({"a": {"x": "y"}}), json!(copies[..8])).expect("some are no harm");
        assert_eq!(few["a"]["1"]["0"]["x"], "y");
    }

    #[test]
    fn nothing_is_nested_deeper_than_can_be_read() {
        let deeper = |times: usize| -> Vec<Value> {
            let once = json!([{"op": "move", "from": "/a", "path": "/t"}, {"op": "add", "path": "/a", "value": {}},
                {"op": "move", "from": "/t", "path": "/a/x"}]);
            let once = once.as_array().expect("a list").clone();
            (0..times).flat_map(|_| once.clone()).collect()
        };
        let reached = operated(json!({"a": 1}), json!(deeper(DEPTH_MAX - 1))).expect("as deep as may be");
        assert_eq!(is_deeper(&reached, DEPTH_MAX, &mut 10_000), Some(false));
        assert_eq!(is_deeper(&reached, DEPTH_MAX - 1, &mut 10_000), Some(true));
        let said = operated(json!({"a": 1}), json!(deeper(DEPTH_MAX))).expect_err("one level more");
        assert!(said.ends_with("nests the object deeper than 100 levels"), "{said}");
        let long = "/a".repeat(DEPTH_MAX + 1);
        operated(json!({"a": 1}), json!([{"op": "add", "path": long, "value": 1}]))
            .expect_err("a path that is too long");
    }

    #[test]
    fn moving_much_to_and_fro_ends() {
        let large: Vec<u8> = vec![0; 100_000];
        let moves: Vec<Value> = (0..200)
            .map(|n| if n % 2 == 0 { ("/a", "/b") } else { ("/b", "/a") })
            .map(|(from, path)| json!({"op": "move", "from": from, "path": path}))
            .collect();
        let said = operated(json!({"a": large}), json!(moves)).expect_err("too much");
        assert!(said.ends_with("have more than 10000000 parts"), "{said}");
    }
}
