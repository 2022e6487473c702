//! Physical lines to logical ones: comments, continued lines, and the directives at the top.
//!
//! Source: docs.docker.com, Dockerfile reference, "Format" and "Parser directives".

use crate::BuildError;

/// Bytes of a Dockerfile: generated ones have hundreds of kilobytes.
const BYTES_MAX: usize = 4 << 20;
/// Who may be named as the reader of the file; another one would read another language.
const OUR_SYNTAX: [&str; 2] = ["docker/dockerfile", "docker.io/docker/dockerfile"];

/// A logical line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Of its first physical line, from 1.
    pub(crate) number: u32,
    /// Without comments and line ends.
    pub(crate) text: String,
}

/// A file's logical lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) lines: Vec<Line>,
    /// What takes a character's meaning away: a backslash, or a grave accent.
    pub(crate) escape: char,
}

/// Reads the whole file.
pub(crate) fn read(text: &str) -> Result<Lines, BuildError> {
    if text.len() > BYTES_MAX {
        return Err(BuildError::Whole(format!("the Dockerfile has {} bytes, more than {BYTES_MAX}", text.len())));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = directives(text)?;
    let mut lines: Vec<Line> = Vec::new();
    let mut open = false;
    for (number, physical) in (1_u32..).zip(text.lines()) {
        let is_nothing = |line: &str| line.trim_start().is_empty() || line.trim_start().starts_with('#');
        if is_nothing(physical) {
            // Between continued lines, too, a comment is none of the text.
            continue;
        }
        let (kept, goes_on) = continued(physical, escape);
        match lines.last_mut().filter(|_| open) {
            Some(line) => line.text.push_str(kept),
            None => lines.push(Line { number, text: kept.trim_start().to_owned() }),
        }
        open = goes_on;
    }
    Ok(Lines { lines, escape })
}

/// The line without its end, and whether the next one belongs to it. Two escapes at the end are a character.
fn continued(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end();
    match trimmed.strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before, true),
        _ => (trimmed, false),
    }
}

/// `# escape=` and others, which stand before everything else. The escape character.
fn directives(text: &str) -> Result<char, BuildError> {
    let mut escape = None;
    for (number, line) in (1_u32..).zip(text.lines()) {
        let Some((name, value)) = line.trim().strip_prefix('#').and_then(|line| line.split_once('=')) else { break };
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "escape" if escape.is_some() => return Err(BuildError::at(number, "a second escape directive")),
            "escape" => match value {
                "\\" => escape = Some('\\'),
                "`" => escape = Some('`'),
                _ => return Err(BuildError::at(number, format!("escape={value}: only \\ and ` can be the escape"))),
            },
            "syntax" => check_syntax(number, value)?,
            // What Docker's own checker is told.
            "check" => {}
            // Anything else is a comment, and ends the directives.
            _ => break,
        }
    }
    Ok(escape.unwrap_or('\\'))
}

fn check_syntax(number: u32, value: &str) -> Result<(), BuildError> {
    let name = value.split(['@', ':']).next().unwrap_or_default();
    if OUR_SYNTAX.contains(&name) {
        return Ok(());
    }
    Err(BuildError::at(number, format!("syntax={value}: only the language of docker/dockerfile is implemented")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(u32, String)> {
        read(text).unwrap().lines.into_iter().map(|line| (line.number, line.text)).collect()
    }

    #[test]
    fn continued_lines_are_one_and_comments_are_none() {
        let text = "# a\n\nFROM x\nRUN a \\\n  # not me\n\n  b\\\n c \\\\\n  ENV a=b  \n";
        let expected = [(3, "FROM x"), (4, "RUN a   b c \\\\"), (9, "ENV a=b")];
        assert_eq!(texts(text), expected.map(|(line, text)| (line, text.to_owned())));
        assert_eq!(texts("# escape=`\nRUN a `\n b\n"), [(2, "RUN a  b".to_owned())]);
        assert_eq!(texts("\u{feff}RUN a\r\nRUN b\\\r\n"), [(1, "RUN a".to_owned()), (2, "RUN b".to_owned())]);
    }

    #[test]
    fn directives_stand_at_the_top() {
        assert_eq!(read("# note\n# escape=`\n").unwrap().escape, '\\');
        assert_eq!(read("# syntax=docker/dockerfile:1\n# Escape = `\n").unwrap().escape, '`');
        for bad in ["# escape=x", "# escape=`\n# escape=`", "# syntax=example.com/other"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
