//! Files of variables that containers leave in volumes for those after them (KEP-3721). Pure.
//!
//! ```text
//!  # a comment
//!  NAME='value, on as many lines as it takes'   # another
//! ```
//!
//! Values stand in single quotes and are taken as they are. One that begins after a blank is empty, as in a shell.

/// The value of `key` in the file `text`; nothing if the file has no such variable before its end.
///
/// # Errors
/// A line before it is no assignment; the sentence says which.
pub(super) fn value(text: &str, key: &str) -> Result<Option<String>, String> {
    let wrong = |line: usize, why: &str| Err(format!("invalid environment variable format at line {line}: {why}"));
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, assigned)) = line.split_once('=') else { return wrong(number, "missing '='") };
        if name.trim().is_empty() {
            return wrong(number, "empty variable name");
        }
        if name.ends_with([' ', '\t']) {
            return wrong(number, "whitespace before '=' is not allowed");
        }
        if assigned.starts_with([' ', '\t']) {
            if name == key {
                return Ok(Some(String::new()));
            }
            continue;
        }
        let Some(opened) = assigned.strip_prefix('\'') else {
            return wrong(number, "value must be enclosed in single quotes");
        };
        let mut found = opened.to_owned();
        let rest = loop {
            if let Some((value, rest)) = found.split_once('\'') {
                let rest = rest.trim_start_matches([' ', '\t']).to_owned();
                found = value.to_owned();
                break rest;
            }
            let Some((_, next)) = lines.next() else { return wrong(number, "unclosed single quote") };
            found = format!("{found}\n{next}");
        };
        if !rest.is_empty() && !rest.starts_with('#') {
            return wrong(number, "unexpected content after closing quote");
        }
        if name == key {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_taken_as_they_are() {
        let text = "# c\n\n  A='x $HOME'  # y\nB='two\nlines'\nC= 'z'\nD='last'";
        let of = |key: &str| value(text, key).unwrap();
        assert_eq!(of("A").as_deref(), Some("x $HOME"));
        assert_eq!(of("B").as_deref(), Some("two\nlines"));
        assert_eq!(of("C").as_deref(), Some(""));
        assert_eq!(of("D").as_deref(), Some("last"));
        assert_eq!(of("E"), None);
    }

    #[test]
    fn what_is_no_assignment_is_named_by_its_line() {
        for (text, why) in [
            ("A", "line 1: missing '='"),
            ("\n='x'", "line 2: empty variable name"),
            ("A ='x'", "line 1: whitespace before"),
            ("A=x", "line 1: value must be enclosed"),
            ("A='x\n", "line 1: unclosed"),
            ("A='x' y", "line 1: unexpected content"),
        ] {
            let said = value(text, "K").unwrap_err();
            assert!(said.contains(why), "{text:?}: {said}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(plain in "[^'\r]{0,30}", before in "[A-Z]{1,3}") {
            let text = format!("{before}0='-'\nKEY='{plain}'\n");
            prop_assert_eq!(value(&text, "KEY").unwrap(), Some(plain));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,60}") {
            let _either_way = value(&text, "A");
        }
    }
}
