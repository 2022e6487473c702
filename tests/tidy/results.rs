//! Results that nobody needs.

use crate::words::none_is;

/// Whoever ignores a failure says why in the name that it gets: `let _client_may_be_gone = reply.send(answer);`.
#[test]
fn a_result_is_ignored_for_a_reason() {
    let nameless =
        |line: &str| line.contains("let _ = ") || line.contains("drop(fs::") || line.contains("drop(std::fs::");
    none_is("bind it to a name that says why: let _may_not_be_there = …", |_, line| nameless(line));
}
