//! Pages: links in the attributes of their tags are rewritten, everything else stays as it is, byte for byte.

use super::links::Links;
use axum::body::{Body, Bytes};
use flate2::read::MultiGzDecoder;
use futures::StreamExt;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use std::io::Read;

/// How much of a page is read for its links. What is longer is no page for people, and goes on unread.
const PAGE_BYTES_MAX: usize = 8 << 20;

const GZIP: &str = "gzip";

/// Tags and those of their attributes that are links (HTML 4.01, index of attributes).
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Tags whose content is text, whatever it looks like.
const TEXT: [&str; 8] = ["iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp"];

/// Whether an answer is a page that can be read: one that is compressed otherwise than with gzip is passed on as it is.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html"))
        && headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding == GZIP)
}

/// The page with its links rewritten; its length may change.
pub(super) async fn with_links(body: Body, headers: &mut HeaderMap, links: &Links) -> Body {
    headers.remove(CONTENT_LENGTH);
    let mut chunks = body.into_data_stream();
    let mut page = Vec::new();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => page.extend_from_slice(&chunk),
            // The client must see that it has not all of it.
            Err(error) => {
                let broken = [Ok(Bytes::from(page)), Err(error)];
                return Body::from_stream(futures::stream::iter(broken));
            }
        }
        if page.len() > PAGE_BYTES_MAX {
            let begun = futures::stream::iter([Ok(Bytes::from(page))]);
            return Body::from_stream(begun.chain(chunks));
        }
    }
    if !headers.contains_key(CONTENT_ENCODING) {
        return Body::from(rewritten(&page, links));
    }
    let Some(plain) = unpacked(&page) else { return Body::from(page) };
    // Who takes gzip takes what is not compressed as well.
    headers.remove(CONTENT_ENCODING);
    Body::from(rewritten(&plain, links))
}

/// What gzip holds; `None`: it is damaged, or more than a page.
fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(packed).take(PAGE_BYTES_MAX as u64 + 1).read_to_end(&mut plain).ok()?;
    (plain.len() <= PAGE_BYTES_MAX).then_some(plain)
}

fn rewritten(page: &[u8], links: &Links) -> Vec<u8> {
    let mut scan = Scan { page, at: 0, copied: 0, out: Vec::with_capacity(page.len() + 256), links };
    while let Some(step) = find(&page[scan.at..], b"<") {
        scan.at += step;
        scan.markup();
    }
    scan.copy_to(page.len());
    scan.out
}

/// A place in a page. What lies before `copied` is in `out`.
struct Scan<'a> {
    page: &'a [u8],
    at: usize,
    copied: usize,
    out: Vec<u8>,
    links: &'a Links,
}

impl<'a> Scan<'a> {
    /// Passes what begins with `<`.
    fn markup(&mut self) {
        let rest = &self.page[self.at..];
        let end = match rest.get(1) {
            Some(b'!') if rest.starts_with(b"<!--") => find(&rest[4..], b"-->").map(|at| 4 + at + 3),
            Some(b'!' | b'?' | b'/') => find(rest, b">").map(|at| at + 1),
            Some(letter) if letter.is_ascii_alphabetic() => {
                self.at += 1;
                return self.tag();
            }
            _ => Some(1),
        };
        self.at += end.unwrap_or(rest.len());
    }

    fn tag(&mut self) {
        let tag = self.word(b"/>").to_ascii_lowercase();
        let known = LINKS.iter().find(|(name, _)| name.as_bytes() == tag).map_or(&[][..], |(_, links)| links);
        loop {
            self.skip(|byte| byte.is_ascii_whitespace() || byte == b'/');
            match self.page.get(self.at) {
                None => return,
                Some(b'>') => break,
                Some(_) => self.attribute(known),
            }
        }
        self.at += 1;
        if TEXT.iter().any(|name| name.as_bytes() == tag) {
            self.skip_text(&tag);
        }
    }

    fn attribute(&mut self, links: &[&str]) {
        let start = self.at;
        let name = self.word(b"=/>").to_ascii_lowercase();
        self.skip(|byte| byte.is_ascii_whitespace());
        if self.page.get(self.at) != Some(&b'=') {
            // A sign where a name should be is passed over, so that there is an end.
            self.at += usize::from(self.at == start);
            return;
        }
        self.at += 1;
        self.skip(|byte| byte.is_ascii_whitespace());
        let quote = self.page.get(self.at).copied().filter(|byte| matches!(byte, b'"' | b'\''));
        let begin = self.at;
        let value = match quote {
            Some(quote) => {
                let rest = &self.page[begin + 1..];
                let length = find(rest, &[quote]).unwrap_or(rest.len());
                self.at = (begin + 1 + length + 1).min(self.page.len());
                &rest[..length]
            }
            None => self.word(b">"),
        };
        if links.iter().any(|link| link.as_bytes() == name) {
            let link = std::str::from_utf8(value).ok().and_then(|value| self.links.rewritten(unescaped(value).trim()));
            if let Some(link) = link {
                self.copy_to(begin);
                self.out.extend_from_slice(format!("\"{}\"", escaped(&link)).as_bytes());
                self.copied = self.at;
            }
        }
    }

    /// What goes on to a space or one of `ends`.
    fn word(&mut self, ends: &[u8]) -> &'a [u8] {
        let start = self.at;
        self.skip(|byte| !byte.is_ascii_whitespace() && !ends.contains(&byte));
        &self.page[start..self.at]
    }

    fn skip(&mut self, passes: impl Fn(u8) -> bool) {
        let rest = &self.page[self.at..];
        self.at += rest.iter().position(|byte| !passes(*byte)).unwrap_or(rest.len());
    }

    /// Goes to the end tag of `tag`.
    fn skip_text(&mut self, tag: &[u8]) {
        let ends = |rest: &[u8]| {
            rest.starts_with(b"</") && rest.get(2..2 + tag.len()).is_some_and(|name| name.eq_ignore_ascii_case(tag))
        };
        while self.at < self.page.len() && !ends(&self.page[self.at..]) {
            self.at += 1;
        }
    }

    fn copy_to(&mut self, at: usize) {
        self.out.extend_from_slice(&self.page[self.copied..at]);
        self.copied = at;
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn unescaped(value: &str) -> String {
    let known = [("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    known.iter().fold(value.to_owned(), |value, (name, sign)| value.replace(name, sign))
}

fn escaped(value: &str) -> String {
    value.replace('&', "&amp;").replace('"', "&#34;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn links() -> Links {
        Links { prefix: "/p".into(), there: "10.0.0.1:80".into(), here: "localhost".into() }
    }

    fn page(html: &str) -> String {
        String::from_utf8(rewritten(html.as_bytes(), &links())).unwrap()
    }

    #[test]
    fn links_in_tags_are_rewritten_and_nothing_else() {
        for (html, expected) in [
            (r#"<a href="/rewriteme">test</a>"#, r#"<a href="/p/rewriteme">test</a>"#),
            ("<A class=x HREF=/a?b=1&amp;c>", r#"<A class=x HREF="/p/a?b=1&amp;c">"#),
            ("<img src='/i.png' alt=\"/i.png\"/>", "<img src=\"/p/i.png\" alt=\"/i.png\"/>"),
            ("<form action = '/f' ><input formaction=/g>", "<form action = \"/p/f\" ><input formaction=\"/p/g\">"),
            ("<p href=\"/a\">/b</p>", "<p href=\"/a\">/b</p>"),
            ("<a href=\"b\">, <a href=\"http://else/where\">", "<a href=\"b\">, <a href=\"http://else/where\">"),
            ("<!-- <a href=\"/a\"> --><a href=\"/b\">", "<!-- <a href=\"/a\"> --><a href=\"/p/b\">"),
            ("<script src=/s>x='<a href=\"/a\">'</script>", "<script src=\"/p/s\">x='<a href=\"/a\">'</script>"),
            ("<title><a href=/a></title><a href=/b>", "<title><a href=/a></title><a href=\"/p/b\">"),
            ("1 < 2 <a href=\"/a", "1 < 2 <a href=\"/p/a\""),
            ("<a href", "<a href"),
            ("<a ===/ href=/x>", "<a ===/ href=\"/p/x\">"),
            ("<", "<"),
        ] {
            assert_eq!(page(html), expected, "{html}");
        }
    }

    proptest! {
        #[test]
        fn a_page_without_our_links_is_not_touched(html in "[<>a-c!/= '\"-]{0,40}") {
            let none = Links { prefix: String::new(), ..links() };
            prop_assert!(rewritten(html.as_bytes(), &links()).len() >= html.len());
            let _ = rewritten(html.as_bytes(), &none);
        }

        #[test]
        fn any_bytes_have_an_end(html in proptest::collection::vec(any::<u8>(), 0..200)) {
            rewritten(&html, &links());
        }
    }
}
