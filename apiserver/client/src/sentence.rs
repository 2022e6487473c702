//! What a person reads of an error.
//!
//! kube shows a refusal as `ApiError: MESSAGE: REASON (Status { status: Some(Failure), code: 422, … })`, which may fill a
//! screen, and most libraries put the text of their cause into their own. So an error is told here: by the part that each
//! error of its chain adds.

use kube::core::Status;
use kube::runtime::watcher;
use std::error::Error;

/// The error and its causes in one sentence: `register node a: nodes "a" is forbidden`.
#[must_use]
pub fn sentence(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let (part, cause) = part(error);
        // Most errors quote their cause.
        if !part.is_empty() && !parts.iter().any(|said| said.contains(&part)) {
            parts.push(part);
        }
        next = cause;
    }
    parts.join(": ")
}

/// What this error says apart from its cause, and its cause.
fn part<'a>(error: &'a (dyn Error + 'static)) -> (String, Option<&'a (dyn Error + 'static)>) {
    let cause = error.source();
    if let Some(kube::Error::Api(status)) = as_a(error) {
        return (message(status), None);
    }
    if let Some(status) = as_a::<Status>(error) {
        return (message(status), None);
    }
    if let (Some(_), Some(_)) = (as_a::<kube::Error>(error), cause) {
        return (String::new(), cause);
    }
    match as_a::<watcher::Error>(error) {
        Some(watcher::Error::InitialListFailed(_)) => ("list".to_owned(), cause),
        Some(watcher::Error::WatchStartFailed(_)) => ("start the watch".to_owned(), cause),
        Some(watcher::Error::WatchError(_)) => ("the server ended the watch".to_owned(), cause),
        Some(watcher::Error::WatchFailed(_)) => ("the watch failed".to_owned(), cause),
        _ => (error.to_string(), cause),
    }
}

/// The error as a `T`, boxed or not.
fn as_a<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    error.downcast_ref::<T>().or_else(|| error.downcast_ref::<Box<T>>().map(|boxed| &**boxed))
}

fn message(status: &Status) -> String {
    match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => format!("the server answered {}", status.code),
        ("", reason) => reason.to_owned(),
        (message, _) => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("register node a")]
    struct Register {
        source: Box<kube::Error>,
    }

    fn refusal() -> kube::Error {
        let text =
            r#"{"status": "Failure", "message": "nodes \"a\" is forbidden", "reason": "Forbidden", "code": 403}"#;
        kube::Error::Api(Box::new(serde_json::from_str(text).unwrap()))
    }

    /// Fault N12: a refusal filled the screen with Rust's debug form of it.
    #[test]
    fn a_refusal_is_the_servers_message() {
        assert!(refusal().to_string().contains("Status {"), "kube tells it well itself now: {}", refusal());
        assert_eq!(sentence(&refusal()), r#"nodes "a" is forbidden"#);
        let register = Register { source: Box::new(refusal()) };
        assert_eq!(sentence(&register), r#"register node a: nodes "a" is forbidden"#);
        assert_eq!(
            sentence(&watcher::Error::WatchStartFailed(refusal())),
            r#"start the watch: nodes "a" is forbidden"#
        );
    }

    #[test]
    fn a_cause_is_told_once() {
        let io = std::io::Error::other("the disk is gone");
        assert_eq!(sentence(&kube::Error::ReadEvents(io)), "the disk is gone");
        let service = kube::Error::Service(Box::new(std::io::Error::other("connection refused")));
        assert_eq!(sentence(&watcher::Error::WatchFailed(service)), "the watch failed: connection refused");
    }
}
