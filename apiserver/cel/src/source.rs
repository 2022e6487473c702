//! The text of an expression, and errors that point into it.

/// What is wrong at one place of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Line, from 1; −1 if the error has no place.
    pub line: i64,
    /// Column in characters, from 1; 0 if the error has no place.
    pub column: i64,
    /// What is wrong.
    pub message: String,
}

/// The text of an expression by characters, since places count characters.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) chars: Vec<char>,
}

/// Lines longer than this are not shown below their error.
const SNIPPET_CHARS_MAX: usize = 16_384;

/// As many errors as one refusal lists.
const ISSUES_MAX: usize = 100;

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        Self { chars: text.chars().collect() }
    }

    /// An issue at an offset.
    pub(crate) fn issue(&self, offset: usize, message: String) -> Issue {
        let before = &self.chars[..offset.min(self.chars.len())];
        let line = before.iter().filter(|c| **c == '\n').count() + 1;
        // An empty text has no first column.
        let first = usize::from(!self.chars.is_empty());
        let column = before.iter().rev().take_while(|c| **c != '\n').count() + first;
        Issue { line: number(line), column: number(column), message }
    }

    fn line(&self, line: i64) -> Option<String> {
        let line = usize::try_from(line).ok()?.checked_sub(1)?;
        self.chars.split(|c| *c == '\n').nth(line).map(|line| line.iter().collect())
    }

    fn show(&self, issue: &Issue) -> String {
        let head = format!("ERROR: <input>:{}:{}: {}", issue.line, issue.column, issue.message);
        let shown = self.line(issue.line).filter(|line| issue.column > 0 && line.len() <= SNIPPET_CHARS_MAX);
        let Some(line) = shown else {
            return head;
        };
        let line = line.replace('\t', " ");
        let at = usize::try_from(issue.column - 1).unwrap_or(0);
        // Wide dots stand below characters of more than one byte, so that the mark is below its character in most fonts.
        let dots: String = line.chars().take(at).map(|c| if c.len_utf8() > 1 { '\u{ff0e}' } else { '.' }).collect();
        let mark = if line.chars().nth(at).is_some_and(|c| c.len_utf8() > 1) { '\u{ff3e}' } else { '^' };
        format!("{head}\n | {line}\n | {dots}{mark}")
    }

    /// All issues as one text, in the order of their places.
    pub(crate) fn show_all(&self, issues: &[Issue]) -> String {
        let mut sorted: Vec<&Issue> = issues.iter().take(ISSUES_MAX).collect();
        sorted.sort_by_key(|issue| (issue.line, issue.column));
        let mut shown: Vec<String> = sorted.into_iter().map(|issue| self.show(issue)).collect();
        if issues.len() > ISSUES_MAX {
            shown.push(format!("{} more errors were truncated", issues.len() - ISSUES_MAX));
        }
        shown.join("\n")
    }
}

/// An issue that has no place.
pub(crate) fn nowhere(message: String) -> Issue {
    Issue { line: -1, column: 0, message }
}

fn number(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
