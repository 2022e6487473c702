//! Which field of a JSON text stands at a place in it.
//!
//! Reading config.json costs nothing extra this way: only when a value was refused is the text walked again, up to the line
//! and column where the reader stopped.

/// What is open around a place.
enum Open {
    Object(Option<String>),
    Array(usize),
}

/// The path of the value at or before `line` and `column` of `json` (as `serde_json` counts: lines from 1, bytes), as in
/// `mounts[3].options[1]`; empty for the whole.
pub(super) fn path_at(json: &[u8], line: usize, column: usize) -> String {
    let start: usize = json.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let before = &json[..json.len().min(start.saturating_add(column))];
    render(&walk(before))
}

fn walk(before: &[u8]) -> Vec<Open> {
    let mut open = Vec::new();
    let mut rest = before;
    while let Some((byte, more)) = rest.split_first() {
        rest = more;
        match (byte, open.last_mut()) {
            (b'{', _) => open.push(Open::Object(None)),
            (b'[', _) => open.push(Open::Array(0)),
            (b'}' | b']', _) => drop(open.pop()),
            (b',', Some(Open::Object(key))) => *key = None,
            (b',', Some(Open::Array(index))) => *index += 1,
            (b'"', top) => {
                let (text, after) = rest.split_at(string_bytes(rest));
                rest = after.get(1..).unwrap_or_default();
                if let Some(Open::Object(key @ None)) = top {
                    *key = Some(String::from_utf8_lossy(text).into_owned());
                }
            }
            _ => (),
        }
    }
    open
}

/// How many bytes stand before the closing quote.
fn string_bytes(text: &[u8]) -> usize {
    let mut is_escaped = false;
    let is_end = |byte: &u8| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    };
    text.iter().position(is_end).unwrap_or(text.len())
}

fn render(open: &[Open]) -> String {
    let mut path = String::new();
    for place in open {
        match place {
            Open::Object(Some(key)) => {
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(key);
            }
            Open::Object(None) => (),
            Open::Array(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_path_is_that_of_the_value_before_the_place() {
        let json = br#"{"a": [1, {"b \"c": "x,]"}],
"d": {"e": 7}, "f": 8}"#;
        assert_eq!(path_at(json, 1, 7), "a[0]");
        assert_eq!(path_at(json, 1, 20), "a[1].b \\\"c");
        assert_eq!(path_at(json, 1, 27), "a");
        assert_eq!(path_at(json, 2, 12), "d.e");
        assert_eq!(path_at(json, 2, 13), "d");
        assert_eq!(path_at(json, 2, 21), "f");
        assert_eq!(path_at(json, 9, 9), "");
    }

    proptest! {
        #[test]
        fn any_text_and_place_are_survived(text in "[\\[\\]{}\",:a\\\\\n]{0,40}", line in 0..9_usize, column: usize) {
            path_at(text.as_bytes(), line, column);
        }
    }
}
