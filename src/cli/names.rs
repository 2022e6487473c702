//! Names that the API takes, checked where they are typed.

/// Longest name of an object (RFC 1123, with the API's limit).
const NAME_BYTES_MAX: usize = 253;

/// A node's name: for clap.
///
/// # Errors
/// The API server would refuse it.
pub(crate) fn node(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_label =
        |label: &str| label.chars().all(|c| inner(c) || c == '-') && label.starts_with(inner) && label.ends_with(inner);
    if text.len() > NAME_BYTES_MAX {
        return Err(format!("a node's name has at most {NAME_BYTES_MAX} characters"));
    }
    if !text.split('.').all(is_label) {
        return Err(
            "a node's name has lower case letters, digits, '-' and '.', and each part between dots begins and ends \
             with a letter or digit"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::node;

    /// Fault N12: `--node-name 'A B'` was found out by the API server, and told as a debug dump.
    #[test]
    fn names_of_nodes_are_those_of_the_api() {
        for good in ["a", "node-1", "node-1.example", "10.0.0.1", &"a".repeat(253)] {
            assert_eq!(node(good).as_deref(), Ok(good));
        }
        for bad in ["", "A", "a b", "-a", "a-", "a..b", ".a", "a_b", "é", &"a".repeat(254)] {
            assert!(node(bad).is_err(), "{bad}");
        }
    }
}
