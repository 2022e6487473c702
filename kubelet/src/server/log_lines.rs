//! What a line of a CRI log says: `<time> <stream> <tag> <content>`, with tag `P` for a part of a longer line.
//!
//! Pure.

use jiff::Timestamp;

/// What of a log is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// Lines before this moment are left out.
    pub(super) since: Option<Timestamp>,
    /// Each line begins with its time.
    pub(super) timestamps: bool,
}

/// What `line` (without its newline) contributes, or nothing. `in_line` says whether the line before was a part.
pub(super) fn render(line: &[u8], wish: &Wish, in_line: &mut bool) -> Option<Vec<u8>> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let (time, _stream, tag) = (fields.next()?, fields.next()?, fields.next()?);
    let content = fields.next().unwrap_or_default();
    let time_text = std::str::from_utf8(time).ok()?;
    let at: Timestamp = time_text.parse().ok()?;
    if wish.since.is_some_and(|since| at < since) {
        return None;
    }
    let mut out = Vec::with_capacity(line.len() + 1);
    if wish.timestamps && !*in_line {
        out.extend_from_slice(time);
        out.push(b' ');
    }
    out.extend_from_slice(content);
    // Tags are separated by colons; the first says whether the line goes on.
    *in_line = tag.split(|byte| *byte == b':').next() == Some(b"P");
    if !*in_line {
        out.push(b'\n');
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(log: &str, wish: &Wish) -> String {
        let mut in_line = false;
        let lines = log.lines().filter_map(|line| render(line.as_bytes(), wish, &mut in_line));
        String::from_utf8(lines.flatten().collect()).unwrap()
    }

    #[test]
    fn parts_become_one_line_with_one_time() {
        let log =
            "2026-01-01T00:00:00.1Z stdout P he\n2026-01-01T00:00:00.2Z stdout F llo\n2026-01-01T00:00:01Z stderr F \n";
        assert_eq!(all(log, &Wish::default()), "hello\n\n");
        let timed = Wish { timestamps: true, since: None };
        assert_eq!(all(log, &timed), "2026-01-01T00:00:00.1Z hello\n2026-01-01T00:00:01Z \n");
        let late = Wish { since: Some("2026-01-01T00:00:01Z".parse().unwrap()), timestamps: false };
        assert_eq!(all(log, &late), "\n");
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _either_way = render(&line, &Wish::default(), &mut false);
        }
    }
}
