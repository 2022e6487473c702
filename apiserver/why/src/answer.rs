//! What an explanation says.

use serde_json::{Value, json};

/// One cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// One word for scripts, such as `InsufficientResources`.
    pub reason: &'static str,
    /// Whom it is about, such as `pod shop/web`.
    pub about: String,
    /// The cause, in one sentence with its figures.
    pub cause: String,
    /// What else is known of it, a sentence each.
    pub facts: Vec<String>,
    /// What can be done about it, a sentence each.
    pub advice: Vec<String>,
}

impl Finding {
    pub(crate) fn new(reason: &'static str, about: impl Into<String>, cause: impl Into<String>) -> Self {
        let (about, cause) = (about.into(), cause.into());
        Self { reason, about, cause, facts: Vec::new(), advice: Vec::new() }
    }

    /// With one more sentence, unless it is empty.
    pub(crate) fn fact(mut self, sentence: impl Into<String>) -> Self {
        self.facts.extend(Some(sentence.into()).filter(|sentence| !sentence.is_empty()));
        self
    }

    /// With more sentences.
    pub(crate) fn facts(mut self, sentences: impl IntoIterator<Item = String>) -> Self {
        self.facts.extend(sentences);
        self
    }

    /// With one more thing to do, unless it is empty.
    pub(crate) fn advice(mut self, sentence: impl Into<String>) -> Self {
        self.advice.extend(Some(sentence.into()).filter(|sentence| !sentence.is_empty()));
        self
    }
}

/// What an answer amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Nothing,
    /// At least one cause was found.
    Cause,
    /// Something is wrong or could be, and what is known does not say why.
    Unknown,
}

impl Verdict {
    /// As an exit code: 0, 1 and 2.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Cause => 1,
            Self::Unknown => 2,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Cause => "cause",
            Self::Unknown => "unknown",
        }
    }
}

/// All that can be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whom it is about, such as `pod shop/web`.
    pub about: String,
    /// How it is, in one sentence.
    pub summary: String,
    /// Whether it is as it should be, as far as can be seen.
    pub well: bool,
    /// The causes, the most telling one first.
    pub findings: Vec<Finding>,
    /// What could not be known, a sentence each.
    pub unknown: Vec<String>,
}

/// How texts are set off on a terminal.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Around what is wrong.
    wrong: (&'static str, &'static str),
    /// Around what can be done.
    to_do: (&'static str, &'static str),
}

impl Style {
    /// Without colours.
    pub const PLAIN: Self = Self { wrong: ("", ""), to_do: ("", "") };
    /// With them (ECMA-48).
    pub const COLOURS: Self = Self { wrong: ("\x1b[1;31m", "\x1b[0m"), to_do: ("\x1b[1;32m", "\x1b[0m") };
}

impl Answer {
    pub(crate) fn new(about: impl Into<String>, summary: impl Into<String>, well: bool) -> Self {
        let (about, summary) = (about.into(), summary.into());
        Self { about, summary, well, findings: Vec::new(), unknown: Vec::new() }
    }

    pub(crate) fn with(mut self, findings: impl IntoIterator<Item = Finding>) -> Self {
        for finding in findings {
            // Two ways may lead to the same cause.
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
        self
    }

    pub(crate) fn with_unknown(mut self, unknown: Vec<String>) -> Self {
        self.unknown.extend(unknown);
        self
    }

    /// What it amounts to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.findings.is_empty(), self.well) {
            (false, _) => Verdict::Cause,
            (true, true) => Verdict::Nothing,
            (true, false) => Verdict::Unknown,
        }
    }

    /// For scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        let finding = |one: &Finding| json!({"reason": one.reason, "about": one.about, "cause": one.cause, "facts": one.facts, "advice": one.advice});
        json!({
            "about": self.about, "summary": self.summary, "verdict": self.verdict().word(),
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(), "unknown": self.unknown,
        })
    }

    /// For people.
    #[must_use]
    pub fn text(&self, style: Style) -> String {
        let mut out = format!("{}: {}\n", self.about, self.summary);
        for finding in &self.findings {
            let (on, off) = style.wrong;
            out += &format!("\n{on}{}{off}", finding.reason);
            if finding.about != self.about {
                out += &format!(" ({})", finding.about);
            }
            out += &format!("\n  {}\n", indented(&finding.cause));
            for fact in &finding.facts {
                out += &format!("  {}\n", indented(fact));
            }
            let (on, off) = style.to_do;
            for advice in &finding.advice {
                out += &format!("  {on}To do:{off} {}\n", indented(advice));
            }
        }
        if self.findings.is_empty() && !self.well {
            out += "\nWhy is not known from what could be asked.\n";
        }
        if !self.unknown.is_empty() {
            out += "\nNot known:\n";
        }
        for unknown in &self.unknown {
            out += &format!("  {}\n", indented(unknown));
        }
        out
    }
}

/// Texts of others have lines; a terminal's control characters in them are not for ours.
fn indented(text: &str) -> String {
    let clean = |letter: char| if letter.is_control() && letter != '\n' { '\u{fffd}' } else { letter };
    text.trim_end().chars().map(clean).collect::<String>().replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_do_not_reach_the_terminal_as_commands() {
        let finding = Finding::new("R", "pod a/b", "it said \x1b[2J\nand more").advice("look");
        let answer = Answer::new("pod a/b", "Pending.", false).with([finding.clone(), finding]);
        let text = answer.text(Style::PLAIN);
        assert_eq!(text, "pod a/b: Pending.\n\nR\n  it said \u{fffd}[2J\n    and more\n  To do: look\n");
        assert!(answer.text(Style::COLOURS).contains("\x1b[1;31mR\x1b[0m\n"));
        assert_eq!((answer.verdict().code(), answer.json()["verdict"].as_str()), (1, Some("cause")));
    }

    #[test]
    fn without_a_cause_it_is_well_or_not_known() {
        let answer = |well| Answer::new("pod a/b", "Pending.", well).verdict().code();
        assert_eq!((answer(true), answer(false)), (0, 2));
    }
}
