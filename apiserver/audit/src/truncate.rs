//! Events that are too large (`--audit-log-truncate-…`): first they lose what was sent and answered, and what is still too large is dropped.

use crate::{Event, Level};

/// What Kubernetes marks such events with.
const TRUNCATED: &str = "audit.k8s.io/truncated";

/// An event that fits, as JSON.
#[derive(Debug, PartialEq, Eq)]
pub enum Fit {
    /// As it is.
    Whole(String),
    /// Without what was sent and answered.
    Truncated(String),
    /// It is too large all the same.
    TooLarge,
}

/// `event` as JSON of at most `bytes_max` bytes.
#[must_use]
pub fn fitted(event: &Event, bytes_max: usize) -> Fit {
    let whole = event.json();
    if whole.len() <= bytes_max {
        return Fit::Whole(whole);
    }
    if event.level < Level::Request {
        return Fit::TooLarge;
    }
    let mut less = event.clone();
    (less.request_object, less.response_object) = (None, None);
    less.annotations.insert(TRUNCATED.to_owned(), "true".to_owned());
    let less = less.json();
    if less.len() <= bytes_max { Fit::Truncated(less) } else { Fit::TooLarge }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_loses_its_objects_first() {
        let large = Some(format!("\"{}\"", "x".repeat(2000)));
        let event = Event { level: Level::Request, request_object: large, ..Event::default() };
        let Fit::Truncated(text) = fitted(&event, 1000) else { panic!("it fits without its object") };
        assert!(text.contains(TRUNCATED) && !text.contains("xxx"), "{text}");
        assert!(matches!(fitted(&event, 10_000), Fit::Whole(_)));
        assert_eq!(fitted(&event, 10), Fit::TooLarge);
        let bare = Event { level: Level::Metadata, uri: "x".repeat(2000), ..Event::default() };
        assert_eq!(fitted(&bare, 1000), Fit::TooLarge);
    }
}
