//! Values by JSONPath, as `additionalPrinterColumns`, selectable fields and `scale` name them.
//!
//! What Kubernetes' own JSONPath understands of one expression: fields (`.spec.size`, `['a/b']`, `\.` in a name), indices and slices,
//! `*`, `..`, unions, and filters (`[?(@.type=="Ready")]`).

use serde_json::Value;

/// A path, parsed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// A field by its name.
    Field(String),
    /// All fields or elements.
    Any,
    /// Everything below, itself included.
    Below,
    /// Elements from, to (not included), every so many.
    Slice(Option<i64>, Option<i64>, i64),
    /// One element, from the end if it is negative.
    Index(i64),
    /// Elements and fields that one of these finds.
    Union(Vec<Step>),
    /// Elements for which the comparison holds.
    Filter(Term, Option<(Relation, Term)>),
}

#[derive(Debug, Clone, PartialEq)]
enum Term {
    /// What a path finds in the element.
    Path(JsonPath),
    Value(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Where a text ends that looks like one of these, longer ones first.
const RELATIONS: [(&str, Relation); 6] = [
    ("==", Relation::Equal),
    ("!=", Relation::NotEqual),
    ("<=", Relation::LessOrEqual),
    (">=", Relation::GreaterOrEqual),
    ("<", Relation::Less),
    (">", Relation::Greater),
];

impl JsonPath {
    /// Parses an expression without its braces; `None` when it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        rest = rest.strip_prefix(['$', '@']).unwrap_or(rest);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            rest = match rest.strip_prefix("..") {
                Some(after) => {
                    steps.push(Step::Below);
                    if after.starts_with('[') || after.is_empty() { after } else { named(after, &mut steps)? }
                }
                None => match (rest.strip_prefix('.'), rest.strip_prefix('[')) {
                    (Some(after), _) if after.is_empty() || after.starts_with('[') => after,
                    (Some(after), _) => named(after, &mut steps)?,
                    (None, Some(after)) => {
                        let (inside, after) = bracket(after)?;
                        steps.push(step(inside)?);
                        after
                    }
                    (None, None) if steps.is_empty() => named(rest, &mut steps)?,
                    (None, None) => return None,
                },
            };
        }
        Some(Self(steps))
    }

    /// All values that it finds, in their order.
    pub(super) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        self.0.iter().fold(vec![value], |found, step| found.into_iter().flat_map(|value| step.find(value)).collect())
    }
}

/// A name after a dot; a backslash takes the next letter as it is.
fn named<'a>(text: &'a str, steps: &mut Vec<Step>) -> Option<&'a str> {
    let mut name = String::new();
    let mut letters = text.char_indices();
    let mut end = text.len();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '.' | '[' => {
                end = at;
                break;
            }
            '\\' => name.push(letters.next()?.1),
            ' ' | '=' | '!' | '<' | '>' | '\'' | '"' | '{' | '}' | '(' | ')' | ']' => return None,
            _ => name.push(letter),
        }
    }
    steps.push(if name == "*" { Step::Any } else { Step::Field(name) });
    Some(&text[end..])
}

/// What stands between this and the matching bracket, and what follows.
fn bracket(text: &str) -> Option<(&str, &str)> {
    let (mut depth, mut quote) = (1, None);
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (Some(_), '\\') => {
                letters.next();
            }
            (Some(open), letter) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '[') => depth += 1,
            (None, ']') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((text[..at].trim(), &text[at + 1..]));
        }
    }
    None
}

fn step(inside: &str) -> Option<Step> {
    if let Some(filter) = inside.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return filtered(filter);
    }
    let parts = outside_quotes(inside, ',');
    if parts.len() > 1 {
        return parts.into_iter().map(|part| step(part.trim())).collect::<Option<_>>().map(Step::Union);
    }
    if inside == "*" {
        return Some(Step::Any);
    }
    if let Some(name) = quoted(inside) {
        return Some(Step::Field(name));
    }
    if let Ok(index) = inside.parse() {
        return Some(Step::Index(index));
    }
    let number = |text: Option<&str>| match text.map(str::trim) {
        None | Some("") => Some(None),
        Some(text) => text.parse().ok().map(Some),
    };
    let mut parts = inside.split(':');
    let slice = Step::Slice(number(parts.next())?, number(parts.next())?, number(parts.next())?.unwrap_or(1));
    (inside.contains(':') && parts.next().is_none() && !matches!(slice, Step::Slice(_, _, ..=0))).then_some(slice)
}

fn filtered(text: &str) -> Option<Step> {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), letter) if open == letter => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, _) => {
                let found = RELATIONS.iter().find(|(sign, _)| text[at..].starts_with(sign));
                if let Some((sign, relation)) = found {
                    return Some(Step::Filter(term(&text[..at])?, Some((*relation, term(&text[at + sign.len()..])?))));
                }
            }
            _ => {}
        }
    }
    Some(Step::Filter(term(text)?, None))
}

fn term(text: &str) -> Option<Term> {
    let text = text.trim();
    match (text.strip_prefix('@'), quoted(text)) {
        (Some(path), _) => JsonPath::parse(path).map(Term::Path),
        (None, Some(text)) => Some(Term::Value(text.into())),
        (None, None) => serde_json::from_str(text).ok().filter(|value: &Value| !value.is_object()).map(Term::Value),
    }
}

fn quoted(text: &str) -> Option<String> {
    let inside = ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))?;
    let mut out = String::new();
    let mut letters = inside.chars();
    while let Some(letter) = letters.next() {
        out.push(if letter == '\\' { letters.next()? } else { letter });
    }
    Some(out)
}

fn outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut quote = None;
    text.split(|letter| {
        match quote {
            Some(open) if open == letter => quote = None,
            None if matches!(letter, '\'' | '"') => quote = Some(letter),
            _ => {}
        }
        quote.is_none() && letter == separator
    })
    .collect()
}

impl Step {
    fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let elements = || value.as_array().map_or(&[][..], Vec::as_slice);
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Any => match value {
                Value::Object(map) => map.values().collect(),
                _ => elements().iter().collect(),
            },
            Self::Below => {
                let mut found = vec![value];
                found.extend(Self::Any.find(value).into_iter().flat_map(|value| self.find(value)));
                found
            }
            Self::Index(index) => {
                let at = if *index < 0 { index + length(elements()) } else { *index };
                usize::try_from(at).ok().and_then(|at| elements().get(at)).into_iter().collect()
            }
            Self::Slice(from, to, every) => slice(elements(), *from, *to, *every),
            Self::Union(steps) => steps.iter().flat_map(|step| step.find(value)).collect(),
            Self::Filter(left, comparison) => {
                elements().iter().filter(|element| holds(element, left, comparison.as_ref())).collect()
            }
        }
    }
}

fn length(list: &[Value]) -> i64 {
    i64::try_from(list.len()).unwrap_or(i64::MAX)
}

fn slice(list: &[Value], from: Option<i64>, to: Option<i64>, every: i64) -> Vec<&Value> {
    let place = |at: i64| if at < 0 { at + length(list) } else { at }.clamp(0, length(list));
    let (from, to) = (place(from.unwrap_or(0)), place(to.unwrap_or(i64::MAX)));
    let places = (from..to).step_by(usize::try_from(every).unwrap_or(1));
    places.filter_map(|at| list.get(usize::try_from(at).ok()?)).collect()
}

fn holds(element: &Value, left: &Term, comparison: Option<&(Relation, Term)>) -> bool {
    let value = |term: &'_ Term| -> Option<Value> {
        match term {
            Term::Path(path) => path.find(element).first().map(|value| (*value).clone()),
            Term::Value(value) => Some(value.clone()),
        }
    };
    let Some(found) = value(left) else { return false };
    let Some((relation, right)) = comparison else { return true };
    let Some(other) = value(right) else { return false };
    let order = match (&found, &other) {
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Number(one), Value::Number(other)) => one.as_f64().partial_cmp(&other.as_f64()),
        (one, other) => (one == other).then_some(std::cmp::Ordering::Equal),
    };
    match relation {
        Relation::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
        Relation::NotEqual => !order.is_some_and(std::cmp::Ordering::is_eq),
        Relation::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Relation::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Relation::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Relation::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_values() {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "x"}},
            "spec": {"list": [1, 2, 3, 4], "size": 3},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"}]},
        });
        for (path, expected) in [
            (".spec.size", json!([3])),
            ("spec.size", json!([3])),
            (".spec.none", json!([])),
            (".spec.list[0]", json!([1])),
            (".spec.list[-1]", json!([4])),
            (".spec.list[1:3]", json!([2, 3])),
            (".spec.list[::2]", json!([1, 3])),
            (".spec.list[0,2]", json!([1, 3])),
            (".spec.list[*]", json!([1, 2, 3, 4])),
            (".spec.list[?(@>2)]", json!([3, 4])),
            (r".metadata.annotations.a\.b/c", json!(["x"])),
            (".metadata.annotations['a.b/c']", json!(["x"])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (".status.conditions[?(@.type != 'Ready')].status", json!(["False"])),
            (".status.conditions[?(@.reason)].status", json!([])),
            ("..status", json!([object["status"], "True", "False"])),
            ("$.spec.size", json!([3])),
        ] {
            let found = JsonPath::parse(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(json!(found.find(&object)), expected, "{path}");
        }
        for path in [".a[", ".a b", ".a['b]", ".a[x]", ".a[?(b)]"] {
            assert_eq!(JsonPath::parse(path), None, "{path}");
        }
    }
}
