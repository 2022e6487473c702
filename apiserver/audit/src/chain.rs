//! Lines that hang on one another: each event carries its number, the mark of the line before it and its own mark in an annotation, so that
//! a line that was changed, taken away or put elsewhere shows. The lines stay events of the published format.
//!
//! ```text
//!  {…,"annotations":{…,"audit.skiff.dev/chain":"<number> <mark before> <own mark>"}}
//! ```
//!
//! The own mark is the SHA-256 of everything in the line before it. Who can write the whole file can make all marks anew: a mark that is
//! kept elsewhere (`skiff audit verify` prints the last one) shows that too.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

/// The annotation.
const KEY: &str = "audit.skiff.dev/chain";
/// How long a mark is: 256 bits, 6 a character.
const MARK_BYTES: usize = 43;
/// What the first line of all hangs on.
const BEGINNING: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The end of a chain, to which the next line is hung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The number of the last line; 0: there is none.
    number: u64,
    mark: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self { number: 0, mark: BEGINNING.to_owned() }
    }
}

impl Chain {
    /// The chain that ends with `line`; `None`: it is no whole line of a chain.
    #[must_use]
    pub fn ending(line: &str) -> Option<Self> {
        Link::of(line).filter(Link::holds).map(|link| Self { number: link.number, mark: link.mark.to_owned() })
    }

    /// Hangs an event on, which is JSON without the end of a line, and has its annotations last if it has some.
    #[must_use]
    pub fn link(&mut self, event: &str) -> String {
        let number = self.number + 1;
        let (begin, joint) = match event.strip_suffix("\"}}") {
            Some(begin) => (begin, "\","),
            None => (event.strip_suffix('}').unwrap_or(event), ",\"annotations\":{"),
        };
        let mut line = String::with_capacity(event.len() + 3 * MARK_BYTES + 64);
        for part in [begin, joint, "\"", KEY, "\":\"", &number.to_string(), " ", &self.mark, " "] {
            line.push_str(part);
        }
        self.mark = mark(&line);
        self.number = number;
        line.push_str(&self.mark);
        line.push_str("\"}}");
        line
    }

    /// Number and mark of the last line, to be kept elsewhere: `17 q83…`.
    #[must_use]
    pub fn end(&self) -> String {
        format!("{} {}", self.number, self.mark)
    }
}

fn mark(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// What a line says of its place.
struct Link<'a> {
    number: u64,
    before: &'a str,
    mark: &'a str,
    covered: &'a str,
}

impl<'a> Link<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let whole = line.strip_suffix("\"}}")?;
        let (covered, mark) = whole.split_at_checked(whole.len().checked_sub(MARK_BYTES)?)?;
        let words = &covered[covered.rfind(KEY)? + KEY.len()..];
        let (number, before) = words.strip_prefix("\":\"")?.strip_suffix(' ')?.split_once(' ')?;
        (before.len() == MARK_BYTES).then_some(())?;
        Some(Self { number: number.parse().ok()?, before, mark, covered })
    }

    fn holds(&self) -> bool {
        mark(self.covered) == self.mark
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It carries no mark, or is cut off.
    #[error("is no whole event of a chain")]
    Unlinked,
    /// Its mark is not that of its text.
    #[error("was changed: its mark is not that of what it says")]
    Changed,
    /// Lines before it are not there.
    #[error("comes too early: {}", missing(*.from, *.to))]
    Missing {
        /// The first number that is not there.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// It stood elsewhere, or twice.
    #[error("is event {number} and stands behind event {after}")]
    Misplaced {
        /// Its number.
        number: u64,
        /// That of the line before.
        after: u64,
    },
    /// The line before is not the one that it hangs on.
    #[error("does not hang on the line before it, which was changed")]
    Unhung,
}

fn missing(from: u64, to: u64) -> String {
    if from == to {
        format!("event {from} is missing before it")
    } else {
        format!("events {from} to {to} are missing before it")
    }
}

/// A line with a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// From 1, over all files.
    pub line: u64,
    /// What is wrong with it.
    pub fault: Fault,
}

/// Reads the lines of a chain, one after another.
#[derive(Debug, Default)]
pub struct Verifier {
    lines: u64,
    end: Option<Chain>,
}

impl Verifier {
    /// Looks at the next line.
    ///
    /// # Errors
    /// Something is wrong with it; the next one is judged by what it says of itself.
    pub fn next(&mut self, line: &str) -> Result<(), Finding> {
        self.lines += 1;
        let found = |fault| Finding { line: self.lines, fault };
        let link = Link::of(line).ok_or_else(|| found(Fault::Unlinked))?;
        let end = Chain { number: link.number, mark: link.mark.to_owned() };
        let before = self.end.replace(end);
        if !link.holds() {
            return Err(found(Fault::Changed));
        }
        let Some(before) = before else {
            let begins = link.number != 1 || link.before == BEGINNING;
            return if begins { Ok(()) } else { Err(found(Fault::Unhung)) };
        };
        let fault = match link.number.checked_sub(before.number) {
            Some(1) if link.before == before.mark => return Ok(()),
            Some(1) => Fault::Unhung,
            None | Some(0) => Fault::Misplaced { number: link.number, after: before.number },
            Some(_) => Fault::Missing { from: before.number + 1, to: link.number - 1 },
        };
        Err(found(fault))
    }

    /// How many lines there were.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Where the chain ends, as [`Chain::end`] says it; `None`: there was no line of one.
    #[must_use]
    pub fn end(&self) -> Option<String> {
        self.end.as_ref().map(Chain::end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use proptest::prelude::*;

    fn lines(count: u64) -> Vec<String> {
        let mut chain = Chain::default();
        let event = |at: u64| {
            let mut event = Event { audit_id: at.to_string(), ..Event::default() };
            if at.is_multiple_of(2) {
                event.annotate("a", at.to_string());
            }
            event.json()
        };
        (0..count).map(|at| chain.link(&event(at))).collect()
    }

    fn check(lines: &[String]) -> Vec<String> {
        let mut verifier = Verifier::default();
        let found = lines.iter().filter_map(|line| verifier.next(line).err());
        found.map(|Finding { line, fault }| format!("line {line} {fault}")).collect()
    }

    #[test]
    fn lines_stay_events_and_hang_on_one_another() {
        let lines = lines(5);
        for line in &lines {
            let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert!(event["annotations"][KEY].is_string(), "{line}");
        }
        assert_eq!(check(&lines), [""; 0]);
        let mut again = Chain::ending(&lines[4]).expect("a chain");
        let more = again.link(&Event::default().json());
        assert_eq!(check(&[lines, vec![more]].concat()), [""; 0]);
    }

    #[test]
    fn tampering_is_named() {
        let whole = lines(6);
        let mut gone = whole.clone();
        gone.drain(2..4);
        assert_eq!(check(&gone), ["line 3 comes too early: events 3 to 4 are missing before it"]);
        let mut swapped = whole.clone();
        swapped.swap(1, 2);
        assert_eq!(
            check(&swapped),
            [
                "line 2 comes too early: event 2 is missing before it",
                "line 3 is event 2 and stands behind event 3",
                "line 4 comes too early: event 3 is missing before it"
            ]
        );
        let mut changed = whole.clone();
        changed[3] = changed[3].replace("\"auditID\":\"3\"", "\"auditID\":\"9\"");
        assert_eq!(check(&changed), ["line 4 was changed: its mark is not that of what it says"]);
        let mut forged = whole.clone();
        let mut chain = Chain::ending(&whole[2]).expect("a chain");
        forged[3] = chain.link(&Event { audit_id: "9".to_owned(), ..Event::default() }.json());
        assert_eq!(check(&forged), ["line 5 does not hang on the line before it, which was changed"]);
        let torn = whole[5][..40].to_owned();
        assert_eq!(check(&[whole, vec![torn]].concat()), ["line 7 is no whole event of a chain"]);
    }

    proptest! {
        #[test]
        fn any_changed_byte_shows(line in 0_usize..6, place in 0_usize..10_000, byte in 0x20_u8..0x7f) {
            let mut lines = lines(6);
            let place = place % lines[line].len();
            let mut bytes = lines[line].clone().into_bytes();
            prop_assume!(bytes[place] != byte);
            bytes[place] = byte;
            lines[line] = String::from_utf8(bytes).expect("text");
            prop_assert!(!check(&lines).is_empty());
        }

        #[test]
        fn any_line_reads(text in ".{0,200}") {
            let _found = Verifier::default().next(&text);
        }
    }
}
