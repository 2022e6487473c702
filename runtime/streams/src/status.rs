//! What the error stream says at the end: a Kubernetes Status since version 4, text before.

use crate::protocol::Version;
use crate::{ExitStatus, StreamError};
use serde_json::{Value, json};

/// The bytes of the error stream, none if the version stays silent about success.
pub(crate) fn last_words(version: Version, result: &Result<ExitStatus, StreamError>) -> Vec<u8> {
    match (version >= Version::V4, result) {
        (true, result) => status(result).to_string().into_bytes(),
        (false, Ok(ExitStatus(0))) => Vec::new(),
        (false, Ok(ExitStatus(code))) => format!("command terminated with exit code {code}").into_bytes(),
        (false, Err(error)) => error.to_string().into_bytes(),
    }
}

fn status(result: &Result<ExitStatus, StreamError>) -> Value {
    match result {
        Ok(ExitStatus(0)) => json!({ "metadata": {}, "status": "Success" }),
        Ok(ExitStatus(code)) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
        Err(error) => failure(error),
    }
}

fn failure(error: &StreamError) -> Value {
    let (reason, code) = match error {
        StreamError::NotFound(_) => ("NotFound", 404),
        StreamError::Invalid(_) => ("BadRequest", 400),
        StreamError::Failed(_) => ("InternalError", 500),
    };
    let message = error.to_string();
    json!({ "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_find_the_exit_code_where_they_look() {
        let said = |version, result| String::from_utf8(last_words(version, &result)).unwrap();
        assert_eq!(said(Version::V4, Ok(ExitStatus(0))), r#"{"metadata":{},"status":"Success"}"#);
        let failed: Value = serde_json::from_str(&said(Version::V5, Ok(ExitStatus(3)))).unwrap();
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(failed["details"]["causes"], json!([{ "reason": "ExitCode", "message": "3" }]));
        assert_eq!(said(Version::V3, Ok(ExitStatus(0))), "");
        assert_eq!(said(Version::V1, Err(StreamError::Failed("no shell".into()))), "no shell");
        let broken: Value =
            serde_json::from_str(&said(Version::V4, Err(StreamError::NotFound("gone".into())))).unwrap();
        assert_eq!((&broken["code"], &broken["message"]), (&json!(404), &json!("gone")));
    }
}
