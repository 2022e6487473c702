//! Regular expressions, of RE2's syntax and in linear time.

use super::dispatch::Body;
use super::strings::texts;
use crate::eval::Outcome;
use crate::fault::Fault;
use crate::value::Value;
use regex::Regex;

/// Largest compiled pattern. Go has a bound on repetitions instead.
const BYTES_MAX: usize = 4 << 20;

pub(super) fn body(id: &'static str) -> Option<Body> {
    Some(match id {
        "string_find_string" => |args| with_pattern("find", &legal(&args[1])?, args),
        "string_find_all_string" | "string_find_all_string_int" => {
            |args| with_pattern("findAll", &legal(&args[1])?, args)
        }
        _ => return None,
    })
}

fn legal(pattern: &Value<'_>) -> Result<Regex, Fault> {
    let pattern = pattern.as_str().ok_or_else(Fault::no_overload)?;
    compile(pattern).map_err(|why| Fault::new(format!("Illegal regex: {why}")))
}

/// Compiles a pattern.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    // RE2 knows neither set operations nor classes inside of classes, and takes `\Q…\E`, `\C` and `\z`.
    let translated = translate(pattern);
    regex::RegexBuilder::new(&translated)
        .size_limit(BYTES_MAX)
        .build()
        .map_err(|_| format!("error parsing regexp: invalid or unsupported pattern: `{pattern}`"))
}

/// RE2's notation in that of the library used here.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    let mut class = false;
    let mut first = false;
    while let Some(c) = rest.next() {
        let at_start = std::mem::replace(&mut first, false);
        match c {
            '\\' => match rest.next() {
                Some('Q') => {
                    let tail: String = rest.by_ref().collect();
                    let (quoted, after) = tail.split_once("\\E").unwrap_or((&tail, ""));
                    out.push_str(&regex::escape(quoted));
                    out.push_str(&translate(after));
                    return out;
                }
                // Perl's classes are ASCII in RE2.
                Some('d') => out.push_str(if class { "0-9" } else { "[0-9]" }),
                Some('w') => out.push_str(if class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some('s') => out.push_str(if class { "\\t\\n\\x0C\\r " } else { "[\\t\\n\\x0C\\r ]" }),
                Some('D') => out.push_str("[^0-9]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('S') => out.push_str("[^\\t\\n\\x0C\\r ]"),
                Some('b') if !class => out.push_str("(?-u:\\b)"),
                Some('B') if !class => out.push_str("(?-u:\\B)"),
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => out.push('\\'),
            },
            '[' if class && rest.peek() == Some(&':') => out.push('['),
            '[' if class => out.push_str("\\["),
            '[' => {
                class = true;
                first = true;
                out.push('[');
                if rest.peek() == Some(&'^') {
                    out.extend(rest.next());
                }
            }
            ']' if class && at_start => out.push_str("\\]"),
            ']' if class => {
                class = false;
                out.push(']');
            }
            '{' if !class && !repeats(rest.clone()) => out.push_str("\\{"),
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// Whether what follows a brace says how often: `2}`, `2,}`, `2,5}`.
fn repeats(rest: impl Iterator<Item = char>) -> bool {
    let inner: String = rest.take_while(|c| c.is_ascii_digit() || matches!(c, ',' | '}')).collect();
    let Some((counts, _)) = inner.split_once('}') else { return false };
    let (low, high) = counts.split_once(',').unwrap_or((counts, ""));
    !low.is_empty() && !high.contains(',')
}

/// `matches`.
pub(super) fn matches<'a>(args: &[Value<'a>]) -> Outcome<'a> {
    let Value::String(text) = &args[0] else {
        return Err(match &args[0] {
            Value::Timestamp(_) | Value::Duration(_) => Fault::no_overload(),
            _ => Fault::new("no such overload: matches"),
        });
    };
    let pattern = args[1].as_str().ok_or_else(Fault::no_overload)?;
    let pattern = compile(pattern).map_err(Fault::new)?;
    Ok(Value::Bool(pattern.is_match(text.as_str())))
}

/// A function of a text and a pattern that is compiled.
pub(super) fn with_pattern<'a>(name: &str, pattern: &Regex, args: &[Value<'a>]) -> Outcome<'a> {
    let text = args[0].as_str().ok_or_else(Fault::no_overload)?;
    match name {
        "matches" => Ok(Value::Bool(pattern.is_match(text))),
        "find" => Ok(Value::text(pattern.find(text).map_or("", |found| found.as_str()))),
        _ => {
            let most = match args.get(2) {
                None => usize::MAX,
                Some(Value::Int(count)) => usize::try_from(*count).unwrap_or(usize::MAX),
                Some(_) => return Err(Fault::no_overload()),
            };
            Ok(texts(pattern.find_iter(text).take(most).map(|found| found.as_str().to_owned()).collect()))
        }
    }
}
