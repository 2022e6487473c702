//! Names of fields that expressions could not write: `a-b` is `a__dash__b`, `namespace` is `__namespace__`.

/// Words that the grammar keeps for itself without using them.
pub(crate) const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Words that mean something, and so are no identifiers either.
const MEANT: [&str; 4] = ["true", "false", "null", "in"];

const ESCAPES: [(&str, &str); 4] = [("underscores", "__"), ("dot", "."), ("dash", "-"), ("slash", "/")];

/// Whether a word is no identifier, however it is spelled.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    MEANT.contains(&name) || RESERVED.contains(&name)
}

/// The name under which expressions see a field; `None` if they cannot.
#[must_use]
pub fn escape(name: &str) -> Option<String> {
    let first = name.chars().next()?;
    if first.is_ascii_digit() {
        return None;
    }
    if is_reserved(name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some((word, sign)) = ESCAPES.iter().find(|(_, sign)| rest.starts_with(sign)) {
            out.push_str(&format!("__{word}__"));
            rest = &rest[sign.len()..];
        } else if c.is_ascii_alphanumeric() || c == '_' {
            out.push(c);
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    Some(out)
}

/// The field that an expression's name stands for; `None` if the name escapes what is no escape.
#[must_use]
pub fn unescape(name: &str) -> Option<String> {
    if !name.contains("__") {
        return Some(name.to_owned());
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(start) = rest.find("__") {
        let inner = &rest[start + 2..];
        // `[^_]+` between two pairs of underscores; anything else is not an escape.
        let length = inner.find('_').unwrap_or(inner.len());
        if length == 0 || !inner[length..].starts_with("__") {
            out.push_str(&rest[..=start]);
            rest = &rest[start + 1..];
            continue;
        }
        let word = &inner[..length];
        out.push_str(&rest[..start]);
        match ESCAPES.iter().find(|(known, _)| *known == word) {
            Some((_, sign)) => out.push_str(sign),
            None if is_reserved(word) && name.len() == word.len() + 4 => out.push_str(word),
            None => return None,
        }
        rest = &inner[length + 2..];
    }
    out.push_str(rest);
    Some(out)
}
