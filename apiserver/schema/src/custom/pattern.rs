//! Regular expressions of schemas, which are written for Go's engine.
//!
//! Both engines take linear time. Go's classes `\d`, `\w`, `\s` and the edge `\b` are ASCII, a `[` or `&&` in a class is only
//! itself, and so is a brace that counts nothing; the expression is rewritten to say the same here.

use regex::Regex;
use std::sync::OnceLock;

/// An expression, compiled when it is asked for the first time.
#[derive(Debug)]
pub(super) struct Pattern {
    text: Box<str>,
    compiled: OnceLock<Result<Regex, String>>,
}

impl Pattern {
    /// The expression as the schema has it.
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.into(), compiled: OnceLock::new() }
    }

    /// The expression as the schema has it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn compiled(&self) -> &Result<Regex, String> {
        self.compiled.get_or_init(|| compile(&self.text))
    }

    /// Whether it is found in a text; a broken expression is found nowhere.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.compiled().as_ref().is_ok_and(|regex| regex.is_match(text))
    }

    /// What is wrong with the expression itself.
    pub(super) fn problem(&self) -> Option<&str> {
        self.compiled().as_ref().err().map(String::as_str)
    }
}

fn compile(text: &str) -> Result<Regex, String> {
    Regex::new(&rewrite(text)).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("error parsing regexp: expression nests too deeply: `{text}`"),
        _ => format!("error parsing regexp: `{text}`"),
    })
}

/// The expression in the syntax of this engine.
fn rewrite(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut class = 0_usize;
    while let Some(next) = rest.chars().next() {
        let after = &rest[next.len_utf8()..];
        rest = match next {
            '\\' => escape(after, class > 0, &mut out),
            '[' if class > 0 && !after.starts_with(':') => {
                out.push_str("\\[");
                after
            }
            '[' if class > 0 => {
                let end = after.find(":]").map_or(0, |at| at + 2);
                out.push('[');
                out.push_str(&after[..end]);
                &after[end..]
            }
            '[' => {
                class = 1;
                opened(after, &mut out)
            }
            ']' if class > 0 => {
                class = 0;
                out.push(']');
                after
            }
            '&' | '~' if class > 0 => {
                out.push('\\');
                out.push(next);
                after
            }
            '{' if class == 0 && !counts(after) => {
                out.push_str("\\{");
                after
            }
            _ => {
                out.push(next);
                after
            }
        };
    }
    out
}

/// The beginning of a class: a `^`, and a `]` that is only itself.
fn opened<'a>(after: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let after = match after.strip_prefix('^') {
        Some(after) => {
            out.push('^');
            after
        }
        None => after,
    };
    match after.strip_prefix(']') {
        Some(after) => {
            out.push_str("\\]");
            after
        }
        None => after,
    }
}

/// What follows a backslash.
fn escape<'a>(after: &'a str, in_class: bool, out: &mut String) -> &'a str {
    let Some(letter) = after.chars().next() else {
        out.push('\\');
        return after;
    };
    let rest = &after[letter.len_utf8()..];
    let plain = match letter {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        's' => "[\\t\\n\\f\\r ]",
        'S' => "[^\\t\\n\\f\\r ]",
        'b' if !in_class => "(?-u:\\b)",
        'Q' => {
            let (quoted, rest) = rest.split_once("\\E").unwrap_or((rest, ""));
            out.push_str(&regex::escape(quoted));
            return rest;
        }
        // A class or a letter by name or number, whose braces count nothing.
        'p' | 'P' | 'x' if rest.starts_with('{') => {
            let end = rest.find('}').map_or(rest.len(), |at| at + 1);
            out.push('\\');
            out.push(letter);
            out.push_str(&rest[..end]);
            return &rest[end..];
        }
        _ => {
            out.push('\\');
            out.push(letter);
            return rest;
        }
    };
    out.push_str(plain);
    rest
}

/// Whether what follows a brace is a count: `3}`, `3,}` or `3,5}`.
fn counts(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match inside.split_once(',') {
        Some((least, most)) => digits(least) && (most.is_empty() || digits(most)),
        None => digits(inside),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_mean_what_they_mean_to_go() {
        let cases = [
            (r"^\d+$", "12", true),
            (r"^\d+$", "١٢", false),
            (r"^[\w.-]+$", "a_b.c-d", true),
            (r"^[\w.-]+$", "é", false),
            (r"^[[]$", "[", true),
            (r"^[]a]+$", "]a", true),
            (r"^[a&&b]+$", "a&b", true),
            (r"^{x}$", "{x}", true),
            (r"^a{2,3}$", "aaa", true),
            (r"^a{,3}$", "a{,3}", true),
            (r"^\Qa.b\E+$", "a.bb", true),
            (r"^[[:alpha:]]+$", "abc", true),
            (r"^\/x\z", "/x", true),
            (r"^.$", "é", true),
            (r"^\p{Lu}$", "É", true),
            (r"b", "abc", true),
        ];
        for (pattern, text, expected) in cases {
            let pattern = Pattern::new(pattern);
            assert_eq!(pattern.problem(), None, "{}", pattern.text());
            assert_eq!(pattern.is_in(text), expected, "{} in {text}", pattern.text());
        }
        assert!(Pattern::new("(").problem().is_some());
        assert!(Pattern::new("(?=a)").problem().is_some(), "Go does not look ahead either");
    }
}
