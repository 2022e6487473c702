//! The server's error, with the line of the manifest it is about.
//!
//! Our server sends the Kubernetes `Status` object as JSON in the binary trailer `status-json-bin`; its causes name fields.

use super::Document;
use serde_json::Value;

/// The Kubernetes Status in a gRPC error, if it carries one.
fn status_object(error: &tonic::Status) -> Option<Value> {
    let bytes = error.metadata().get_bin("status-json-bin")?.to_bytes().ok()?;
    serde_json::from_slice(&bytes).ok().filter(|value: &Value| value["kind"] == "Status")
}

/// One sentence for an error that has no manifest behind it.
pub(crate) fn explain(error: &tonic::Status) -> anyhow::Error {
    let text = status_object(error).and_then(|status| status["message"].as_str().map(str::to_owned));
    anyhow::anyhow!(text.unwrap_or_else(|| error.message().to_owned()))
}

/// A sentence for each cause, with the line in `document`; trouble of the server's own, of which the code tells, is in no line.
pub(crate) fn refusal(error: &tonic::Status, document: &Document) -> anyhow::Error {
    let about_document = |status: &Value| status["code"].as_u64().is_none_or(|code| code < 500);
    let Some(status) = status_object(error).filter(about_document) else { return explain(error) };
    let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
    let message = status["message"].as_str().unwrap_or_default();
    let lines: Vec<String> = causes.iter().filter_map(|cause| cause_line(cause, document)).collect();
    if !lines.is_empty() {
        return anyhow::anyhow!(lines.join("\n       "));
    }
    anyhow::anyhow!("{}, line {}: {message}", document.source, document.line(field_of(message)))
}

/// The field that a message is about which has no causes: `… cannot be handled as a Pod: spec.replicas: expected …`, or
/// `… strict decoding error: unknown field "spec.replica"`.
fn field_of(message: &str) -> &str {
    let about = match message.split_once(" cannot be handled as a ") {
        Some((_, about)) => about.split_once(": ").map_or("", |(_, about)| about),
        None => message,
    };
    match about.split_once(": expected ") {
        Some((field, _)) => field,
        None => about.split('"').nth(1).unwrap_or_default(),
    }
}

fn cause_line(cause: &Value, document: &Document) -> Option<String> {
    let field = cause["field"].as_str()?;
    let message = cause["message"].as_str().unwrap_or_default();
    Some(format!("{}, line {}: {field}: {message}", document.source, document.line(field)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Document {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  replica: 1\n")
            .unwrap();
        let mut documents = crate::client::read_manifests(file.path()).unwrap();
        documents[0].source = "pod.yaml".into();
        documents.remove(0)
    }

    fn error(status: &Value) -> tonic::Status {
        let mut error = tonic::Status::invalid_argument("plain");
        let bytes = tonic::metadata::MetadataValue::from_bytes(status.to_string().as_bytes());
        error.metadata_mut().insert_bin("status-json-bin", bytes);
        error
    }

    #[test]
    fn causes_become_lines() {
        let status = json!({"kind": "Status", "message": "Pod \"web\" is invalid", "details": {"causes": [
            {"field": "metadata.name", "message": "Invalid value: \"web\": no"}]}});
        let text = refusal(&error(&status), &document()).to_string();
        assert_eq!(text, "pod.yaml, line 4: metadata.name: Invalid value: \"web\": no");
    }

    #[test]
    fn a_full_disk_is_in_no_line() {
        let status = json!({"kind": "Status", "code": 507, "message": "the object cannot be stored"});
        assert_eq!(refusal(&error(&status), &document()).to_string(), "the object cannot be stored");
    }

    #[test]
    fn messages_name_fields() {
        for (message, field) in [
            (
                r#"Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.a""#,
                "spec.a",
            ),
            (r#"Pod in version "v1" cannot be handled as a Pod: spec.a: expected a list, got "x""#, "spec.a"),
            (r#"strict decoding error: unknown field "spec.a""#, "spec.a"),
            ("no", ""),
        ] {
            assert_eq!(field_of(message), field, "{message}");
        }
    }

    #[test]
    fn a_message_that_names_a_field_gets_its_line() {
        let status = json!({"kind": "Status", "message": "strict decoding error: unknown field \"spec.replica\""});
        let text = refusal(&error(&status), &document()).to_string();
        assert_eq!(text, "pod.yaml, line 6: strict decoding error: unknown field \"spec.replica\"");
    }
}
