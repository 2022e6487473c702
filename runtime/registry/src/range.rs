//! Ranges of bytes: those that a client wants of a blob (RFC 9110, 14.1) and those that it says to send (`Content-Range` of an upload).

use crate::refusal::{Code, Refusal};

/// More ranges than this in one request are answered with the whole blob: each costs a seek and a head of its own.
const RANGES_MAX: usize = 64;

/// A range, both ends within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Span {
    pub(crate) fn len(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What is to be sent of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// These parts, in the client's order.
    Parts(Vec<Span>),
    /// It asks for what lies behind the end only.
    Unsatisfiable,
}

/// Reads a `Range` header for something of `size` bytes. What is not understood is ignored, as the RFC wants it.
pub(crate) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(list) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Wanted::Whole };
    let mut parts = Vec::new();
    let mut asked = 0;
    for one in list.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        asked += 1;
        match part(one, size) {
            Err(()) => return Wanted::Whole,
            Ok(Some(span)) => parts.push(span),
            Ok(None) => {}
        }
    }
    let bytes: u64 = parts.iter().map(|span| span.len()).fold(0, u64::saturating_add);
    // More than all of it is no use to an honest client (RFC 9110, 14.2).
    match parts.len() {
        _ if asked == 0 || asked > RANGES_MAX || (parts.len() > 1 && bytes > size) => Wanted::Whole,
        0 => Wanted::Unsatisfiable,
        _ => Wanted::Parts(parts),
    }
}

/// `Err`: no range at all; `None`: nothing of it is there.
fn part(text: &str, size: u64) -> Result<Option<Span>, ()> {
    let (first, last) = text.split_once('-').ok_or(())?;
    if first.is_empty() {
        let count = number(last).ok_or(())?.min(size);
        return Ok((count > 0).then(|| Span { first: size - count, last: size - 1 }));
    }
    let first = number(first).ok_or(())?;
    let last = if last.is_empty() { u64::MAX } else { number(last).ok_or(())? };
    if last < first {
        return Err(());
    }
    Ok((first < size).then(|| Span { first, last: last.min(size - 1) }))
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The `Content-Range` of a chunk: `FIRST-LAST`, or the form of HTTP, `bytes FIRST-LAST/SIZE`, which some clients send.
///
/// # Errors
/// It is none, or the body has another length.
pub(crate) fn chunk(header: &str, length: Option<u64>) -> Result<Span, Refusal> {
    let bad = || Refusal::new(400, Code::BlobUploadInvalid, "Content-Range is not FIRST-LAST");
    let text = header.trim();
    let text = text.strip_prefix("bytes ").unwrap_or(text);
    let text = text.split_once('/').map_or(text, |(range, _)| range);
    let (first, last) = text.split_once('-').ok_or_else(bad)?;
    let (first, last) = (number(first).ok_or_else(bad)?, number(last).ok_or_else(bad)?);
    if last < first || last == u64::MAX {
        return Err(bad());
    }
    let span = Span { first, last };
    if length.is_some_and(|length| length != span.len()) {
        return Err(Refusal::new(
            400,
            Code::SizeInvalid,
            "Content-Range and Content-Length speak of different lengths",
        ));
    }
    Ok(span)
}

/// Whether a tag of `If-None-Match` or `If-Match` is among those of the header (RFC 9110, 13.1). Ours are digests in quotes.
pub(crate) fn names(header: &str, digest: &str) -> bool {
    header.split(',').map(str::trim).any(|one| {
        let tag = one.strip_prefix("W/").unwrap_or(one);
        tag == "*" || tag.trim_matches('"') == digest
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(header: &str, size: u64) -> Vec<(u64, u64)> {
        match wanted(Some(header), size) {
            Wanted::Parts(spans) => spans.iter().map(|span| (span.first, span.last)).collect(),
            Wanted::Whole => vec![(u64::MAX, 0)],
            Wanted::Unsatisfiable => vec![],
        }
    }

    #[test]
    fn ranges_are_read_as_http_has_them() {
        const WHOLE: (u64, u64) = (u64::MAX, 0);
        for (header, meant) in [
            ("bytes=0-0", vec![(0, 0)]),
            ("bytes=2-", vec![(2, 9)]),
            ("bytes=-3", vec![(7, 9)]),
            ("bytes=-30", vec![(0, 9)]),
            ("bytes=5-100", vec![(5, 9)]),
            ("bytes=0-1, 4-5", vec![(0, 1), (4, 5)]),
            ("bytes=0-1,50-60", vec![(0, 1)]),
            ("bytes=10-", vec![]),
            ("bytes=-0", vec![]),
            ("bytes=", vec![WHOLE]),
            ("bytes=4-2", vec![WHOLE]),
            ("bytes=a-b", vec![WHOLE]),
            ("bytes=0x1-2", vec![WHOLE]),
            ("lines=0-1", vec![WHOLE]),
            ("bytes=0-,0-", vec![WHOLE]),
            ("bytes=99999999999999999999-", vec![WHOLE]),
        ] {
            assert_eq!(parts(header, 10), meant, "{header}");
        }
        assert_eq!(wanted(Some("bytes=0-0"), 0), Wanted::Unsatisfiable);
        assert_eq!(wanted(None, 10), Wanted::Whole);
        assert_eq!(parts(&format!("bytes=0-0{}", ",0-0".repeat(64)), 1 << 20), vec![WHOLE]);
    }

    #[test]
    fn a_chunk_says_what_it_is() {
        assert_eq!(chunk("0-9", Some(10)).unwrap(), Span { first: 0, last: 9 });
        assert_eq!(chunk("bytes 5-9/10", None).unwrap(), Span { first: 5, last: 9 });
        for bad in ["", "-", "5", "9-5", "a-b", "0--1", "0-18446744073709551615", "0-99999999999999999999"] {
            assert_eq!(chunk(bad, None).unwrap_err().status, 400, "{bad}");
        }
        assert_eq!(chunk("0-9", Some(9)).unwrap_err().code, Code::SizeInvalid);
    }

    proptest! {
        #[test]
        fn nothing_outside_is_ever_sent(header in "bytes=[0-9,\\- ]{0,30}", size in 0u64..100) {
            if let Wanted::Parts(spans) = wanted(Some(&header), size) {
                prop_assert!(!spans.is_empty());
                for span in spans {
                    prop_assert!(span.first <= span.last && span.last < size);
                }
            }
        }
    }
}
