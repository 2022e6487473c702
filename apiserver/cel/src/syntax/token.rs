//! Characters to tokens.

use crate::source::{Issue, Source};

/// A token with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    /// First character.
    pub(crate) start: usize,
    /// After the last character.
    pub(crate) end: usize,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// An operator or bracket.
    Mark(&'static str),
    /// `true`, `false`, `null`, `in`.
    Word(&'static str),
    Int,
    Uint,
    Float,
    String,
    Bytes,
    Ident,
    Quoted,
    End,
}

const MARKS: [&str; 26] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*",
    "/", "%", "=", "&",
];

/// All tokens, the last one [`TokenKind::End`]; characters that begin none become issues.
pub(crate) fn tokens(source: &Source) -> (Vec<Token>, Vec<Issue>) {
    let chars = &source.chars;
    let (mut found, mut issues, mut at) = (Vec::new(), Vec::new(), 0);
    while at < chars.len() {
        if let Some(next) = skip_blank(chars, at) {
            at = next;
            continue;
        }
        match token(chars, at) {
            Some(token) => {
                at = token.end;
                found.push(token);
            }
            None => {
                let end = bad_end(chars, at);
                let text: String = chars[at..end].iter().collect();
                issues
                    .push(source.issue(at, format!("Syntax error: token recognition error at: '{}'", escaped(&text))));
                at = end;
            }
        }
    }
    found.push(Token { kind: TokenKind::End, start: chars.len(), end: chars.len() });
    (found, issues)
}

/// How far the lexer had read when it gave up: a lone operator half takes the character after it too, an open string everything.
fn bad_end(chars: &[char], at: usize) -> usize {
    match chars[at] {
        '|' | '&' | '=' => (at + 2).min(chars.len()),
        '"' | '\'' => open_end(chars, at),
        _ => at + 1,
    }
}

/// The end of a string that is not closed: the line's, or the character that no escape has.
fn open_end(chars: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(c) = chars.get(end) {
        match c {
            '\n' | '\r' => return end + 1,
            '\\' => match escape_length(&chars[end..]) {
                Some(length) => end += length,
                None => return bad_escape_end(chars, end),
            },
            _ => end += 1,
        }
    }
    chars.len()
}

/// After the first character of an escape that cannot stand there.
fn bad_escape_end(chars: &[char], at: usize) -> usize {
    let digits = |from: usize, most: usize, is: fn(&char) -> bool| {
        from + chars[from.min(chars.len())..].iter().take(most).take_while(|c| is(c)).count() + 1
    };
    let end = match chars.get(at + 1) {
        Some('x' | 'X') => digits(at + 2, 2, char::is_ascii_hexdigit),
        Some('u') => digits(at + 2, 4, char::is_ascii_hexdigit),
        Some('U') => digits(at + 2, 8, char::is_ascii_hexdigit),
        Some('0'..='3') => digits(at + 2, 2, |c| matches!(c, '0'..='7')),
        _ => at + 2,
    };
    end.min(chars.len())
}

fn escaped(text: &str) -> String {
    text.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

fn skip_blank(chars: &[char], at: usize) -> Option<usize> {
    match chars[at] {
        ' ' | '\t' | '\r' | '\n' | '\u{c}' => Some(at + 1),
        '/' if chars.get(at + 1) == Some(&'/') => {
            Some(chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n))
        }
        _ => None,
    }
}

fn token(chars: &[char], at: usize) -> Option<Token> {
    let make = |kind, end| Some(Token { kind, start: at, end });
    let first = chars[at];
    if first.is_ascii_digit() || (first == '.' && chars.get(at + 1).is_some_and(char::is_ascii_digit)) {
        let (kind, end) = number(chars, at);
        return make(kind, end);
    }
    if let Some((kind, end)) = text(chars, at) {
        return make(kind, end);
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let end = run(chars, at, |c| c.is_ascii_alphanumeric() || c == '_');
        let word: String = chars[at..end].iter().collect();
        let kind = match &*word {
            "true" => TokenKind::Word("true"),
            "false" => TokenKind::Word("false"),
            "null" => TokenKind::Word("null"),
            "in" => TokenKind::Word("in"),
            _ => TokenKind::Ident,
        };
        return make(kind, end);
    }
    if first == '`' {
        let end = run(chars, at + 1, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' '));
        return (end > at + 1 && chars.get(end) == Some(&'`'))
            .then_some(())
            .and_then(|()| make(TokenKind::Quoted, end + 1));
    }
    let mark = MARKS.iter().find(|mark| mark.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c)))?;
    (!matches!(*mark, "=" | "&")).then_some(()).and_then(|()| make(TokenKind::Mark(mark), at + mark.len()))
}

fn run(chars: &[char], from: usize, is: impl Fn(char) -> bool) -> usize {
    chars[from.min(chars.len())..].iter().position(|c| !is(*c)).map_or(chars.len(), |n| from + n)
}

fn number(chars: &[char], at: usize) -> (TokenKind, usize) {
    let suffix = |end: usize, kind| match chars.get(end) {
        Some('u' | 'U') => (TokenKind::Uint, end + 1),
        _ => (kind, end),
    };
    if chars[at] == '0' && chars.get(at + 1) == Some(&'x') {
        let end = run(chars, at + 2, |c| c.is_ascii_hexdigit());
        if end > at + 2 {
            return suffix(end, TokenKind::Int);
        }
    }
    let digits = |c: char| c.is_ascii_digit();
    let mut end = run(chars, at, digits);
    let mut kind = TokenKind::Int;
    if chars.get(end) == Some(&'.') && chars.get(end + 1).is_some_and(char::is_ascii_digit) {
        end = run(chars, end + 1, digits);
        kind = TokenKind::Float;
    }
    if matches!(chars.get(end), Some('e' | 'E')) {
        let signed = end + 1 + usize::from(matches!(chars.get(end + 1), Some('+' | '-')));
        if chars.get(signed).is_some_and(char::is_ascii_digit) {
            return (TokenKind::Float, run(chars, signed, digits));
        }
    }
    if kind == TokenKind::Float { (kind, end) } else { suffix(end, kind) }
}

/// A string or bytes, with prefixes.
fn text(chars: &[char], at: usize) -> Option<(TokenKind, usize)> {
    let mut quote = at;
    let bytes = matches!(chars.get(quote), Some('b' | 'B'));
    quote += usize::from(bytes);
    let raw = matches!(chars.get(quote), Some('r' | 'R'));
    quote += usize::from(raw);
    let mark = *chars.get(quote).filter(|c| matches!(c, '"' | '\''))?;
    let triple = chars.get(quote + 1) == Some(&mark) && chars.get(quote + 2) == Some(&mark);
    let kind = if bytes { TokenKind::Bytes } else { TokenKind::String };
    let closed = if triple { closing(chars, quote + 3, mark, raw, true) } else { None };
    closed.or_else(|| closing(chars, quote + 1, mark, raw, false)).map(|end| (kind, end))
}

/// The place after the quote that closes a string whose text begins at `at`.
fn closing(chars: &[char], mut at: usize, mark: char, raw: bool, triple: bool) -> Option<usize> {
    loop {
        let c = *chars.get(at)?;
        if c == mark && !triple {
            return Some(at + 1);
        }
        if c == mark && chars.get(at + 1) == Some(&mark) && chars.get(at + 2) == Some(&mark) {
            return Some(at + 3);
        }
        if !triple && matches!(c, '\n' | '\r') {
            return None;
        }
        at += if c == '\\' && !raw { escape_length(&chars[at..])? } else { 1 };
    }
}

/// Length of an escape sequence, if it is one.
fn escape_length(chars: &[char]) -> Option<usize> {
    let hex = |count: usize| {
        chars.get(2..2 + count).is_some_and(|digits| digits.iter().all(char::is_ascii_hexdigit)).then_some(2 + count)
    };
    match chars.get(1)? {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`' => Some(2),
        'x' | 'X' => hex(2),
        'u' => hex(4),
        'U' => hex(8),
        '0'..='3' => chars.get(2..4)?.iter().all(|c| matches!(c, '0'..='7')).then_some(4),
        _ => None,
    }
}
