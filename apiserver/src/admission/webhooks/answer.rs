//! What a hook said: an AdmissionReview with a response, checked as kube-apiserver checks it, with its words for what is wrong.

use crate::status::Status;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::{Value, json};

/// A response that is in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    /// A JSON patch as it came; empty: nothing is to be changed.
    pub(super) patch: Vec<u8>,
    /// Why it is not allowed: a Status, or nothing.
    result: Value,
    pub(super) warnings: Vec<String>,
    /// What the audit record of the request is to say.
    pub(super) annotations: Vec<(String, String)>,
}

/// Whether a hook may change objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Mutating,
    Validating,
}

/// Reads the body of an answer to the review with this `uid` in `version`.
///
/// # Errors
/// It is not one: a sentence.
pub(super) fn read(body: &[u8], version: &str, uid: &str, sort: Sort) -> Result<Answer, Wrong> {
    let review = decode(body, version)?;
    let response = &review["response"];
    let wrong = |why: String| Err(Wrong::Response(why));
    if !response.is_object() {
        return wrong("webhook response was absent".to_owned());
    }
    let text = |field: &str| response[field].as_str().unwrap_or_default();
    if version == "v1" && text("uid") != uid {
        return wrong(format!("expected response.uid={uid:?}, got {:?}", text("uid")));
    }
    let patch = BASE64.decode(text("patch"));
    let patch = patch.map_err(|error| Wrong::Call(format!("response.patch is not base64: {error}")))?;
    check_patch(&patch, response["patchType"].as_str(), version, sort)?;
    let texts = response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let annotations = response["auditAnnotations"].as_object().into_iter().flatten();
    Ok(Answer {
        allowed: response["allowed"] == true,
        patch: if sort == Sort::Mutating { patch } else { Vec::new() },
        result: response["status"].clone(),
        warnings: texts.map(str::to_owned).collect(),
        annotations: annotations.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
    })
}

/// Why an answer does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is no review at all.
    Call(String),
    /// It is one that says something wrong.
    Response(String),
}

fn decode(body: &[u8], version: &str) -> Result<Value, Wrong> {
    if body.is_empty() {
        return Err(Wrong::Call("0-length response with status code: 200".to_owned()));
    }
    let review: Value = serde_json::from_slice(body)
        .map_err(|error| Wrong::Call(format!("couldn't get version/kind; json parse error: {error}")))?;
    let (kind, api_version) = (review["kind"].as_str().unwrap_or_default(), review["apiVersion"].as_str());
    let wanted = format!("admission.k8s.io/{version}");
    if review["kind"].is_null() || !review.is_object() {
        return Err(Wrong::Call(format!("Object 'Kind' is missing in '{}'", shown(body))));
    }
    if version == "v1" && (kind, api_version) != ("AdmissionReview", Some(&*wanted)) {
        let (group, got) =
            api_version.unwrap_or_default().rsplit_once('/').unwrap_or(("", api_version.unwrap_or_default()));
        return Err(Wrong::Response(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {group}/{got}, Kind={kind}"
        )));
    }
    Ok(review)
}

/// The beginning of what came.
fn shown(body: &[u8]) -> String {
    const SHOWN_MAX: usize = 256;
    String::from_utf8_lossy(body).chars().take(SHOWN_MAX).collect()
}

fn check_patch(patch: &[u8], patch_type: Option<&str>, version: &str, sort: Sort) -> Result<(), Wrong> {
    // v1beta1 was never looked at so closely.
    if version != "v1" {
        return Ok(());
    }
    let wrong = |why: &str| Err(Wrong::Response(why.to_owned()));
    match (sort, patch.is_empty(), patch_type) {
        (Sort::Mutating, false, None) => wrong("webhook returned response.patch but not response.patchType"),
        (Sort::Mutating, true, Some(_)) => wrong("webhook returned response.patchType but not response.patch"),
        (Sort::Mutating, false, Some("")) => wrong("webhook returned invalid response.patchType of \"\""),
        (Sort::Mutating, false, Some(other)) if other != "JSONPatch" => {
            Err(Wrong::Call(format!("unsupported patch type {other:?}")))
        }
        (Sort::Validating, false, _) => wrong("validating webhook may not return response.patch"),
        (Sort::Validating, true, Some(_)) => wrong("validating webhook may not return response.patchType"),
        _ => Ok(()),
    }
}

impl Answer {
    /// The refusal of the hook called `name`.
    pub(super) fn refusal(&self, name: &str) -> Status {
        let mut status = if self.result.is_object() { self.result.clone() } else { json!({}) };
        let denied = format!("admission webhook {name:?} denied the request");
        let text = |status: &Value, field: &str| status[field].as_str().unwrap_or_default().to_owned();
        let message = match (&*text(&status, "message"), &*text(&status, "reason")) {
            ("", "") => format!("{denied} without explanation"),
            ("", reason) => format!("{denied}: {reason}"),
            (message, _) => format!("{denied}: {message}"),
        };
        status["message"] = message.into();
        let code = status["code"].as_u64().filter(|code| (400..1000).contains(code)).unwrap_or(400);
        status["code"] = code.into();
        if matches!(&*text(&status, "status"), "" | "Success") {
            status["status"] = "Failure".into();
        }
        Status::said(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_v1(response: Value, sort: Sort) -> Result<Answer, Wrong> {
        let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
        read(review.to_string().as_bytes(), "v1", "u", sort)
    }

    #[test]
    fn answers_are_checked_in_kubernetes_words() {
        let wrong = |response, sort| match read_v1(response, sort) {
            Err(Wrong::Response(why) | Wrong::Call(why)) => why,
            Ok(answer) => panic!("{answer:?}"),
        };
        let patch = BASE64.encode("[]");
        for (response, sort, expected) in [
            (Value::Null, Sort::Mutating, "webhook response was absent"),
            (json!({"uid": "x"}), Sort::Mutating, "expected response.uid=\"u\", got \"x\""),
            (
                json!({"uid": "u", "patch": patch}),
                Sort::Mutating,
                "webhook returned response.patch but not response.patchType",
            ),
            (
                json!({"uid": "u", "patchType": "JSONPatch"}),
                Sort::Mutating,
                "webhook returned response.patchType but not response.patch",
            ),
            (
                json!({"uid": "u", "patch": patch, "patchType": "JSONPatch"}),
                Sort::Validating,
                "validating webhook may not return response.patch",
            ),
            (
                json!({"uid": "u", "patchType": "JSONPatch"}),
                Sort::Validating,
                "validating webhook may not return response.patchType",
            ),
            (json!({"uid": "u", "patch": patch, "patchType": "X"}), Sort::Mutating, "unsupported patch type \"X\""),
        ] {
            assert_eq!(wrong(response, sort), expected);
        }
        let other = br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v2","response":{"uid":"u"}}"#;
        assert_eq!(
            read(other, "v1", "u", Sort::Mutating),
            Err(Wrong::Response(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v2, \
                 Kind=AdmissionReview"
                    .to_owned()
            ))
        );
        for garbage in ["", "no", "[]", "{}", "\u{0}"] {
            assert!(matches!(read(garbage.as_bytes(), "v1", "u", Sort::Mutating), Err(Wrong::Call(_))), "{garbage:?}");
        }
    }

    #[test]
    fn refusals_name_the_hook() {
        let refusal = |status: Value| {
            let answer = read_v1(json!({"uid": "u", "status": status}), Sort::Validating).expect("in order");
            let status = answer.refusal("a.b.c");
            (status.code.as_u16(), status.reason, status.message.clone(), status.value()["status"].clone())
        };
        let denied = "admission webhook \"a.b.c\" denied the request";
        let failure = || Value::from("Failure");
        assert_eq!(refusal(Value::Null), (400, "", format!("{denied} without explanation"), failure()));
        assert_eq!(
            refusal(json!({"code": 403, "reason": "Forbidden", "message": "no", "status": "Success"})),
            (403, "Forbidden", format!("{denied}: no"), failure())
        );
        assert_eq!(refusal(json!({"reason": "Odd", "code": 200})), (400, "", format!("{denied}: Odd"), failure()));
    }
}
