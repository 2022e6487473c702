//! Patterns of names, as Go's filepath.Match has them (COPY), and with `**` (.dockerignore).

/// Whether a COPY source is a pattern.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    One(char),
    /// Any character but a slash.
    Any,
    /// Any characters but slashes.
    Many,
    /// Any characters.
    Deep,
    /// Nothing, or folders with their slashes.
    Folders,
    Class(bool, Vec<(char, char)>),
}

/// A pattern that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Part>);

impl Pattern {
    /// Reads a pattern; with `deep`, `**` means folders of any depth.
    pub(crate) fn read(text: &str, deep: bool) -> Result<Self, String> {
        let bad = |why: &str| format!("pattern {text}: {why}");
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("**").filter(|_| deep) {
                // `**/x` is x at any depth, none included.
                let folders = after.strip_prefix('/');
                rest = folders.unwrap_or(after);
                parts.push(if folders.is_some() { Part::Folders } else { Part::Deep });
                continue;
            }
            rest = &rest[first.len_utf8()..];
            parts.push(match first {
                '*' => Part::Many,
                '?' => Part::Any,
                '[' => class(&mut rest).ok_or_else(|| bad("a class is not closed"))?,
                '\\' => {
                    let meant = rest.chars().next().ok_or_else(|| bad("nothing follows the backslash"))?;
                    rest = &rest[meant.len_utf8()..];
                    Part::One(meant)
                }
                other => Part::One(other),
            });
        }
        Ok(Self(parts))
    }

    /// Whether the whole name is meant.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        // A row for each part: after which characters of the name may one stand there? Time is the product, whatever the pattern.
        let mut at = vec![false; name.len() + 1];
        at[0] = true;
        for part in &self.0 {
            at = step(part, &name, &at);
        }
        at[name.len()]
    }
}

fn step(part: &Part, name: &[char], at: &[bool]) -> Vec<bool> {
    let mut next = vec![false; at.len()];
    let mut began = false;
    for position in 0..at.len() {
        let before = position.checked_sub(1);
        next[position] = match part {
            Part::Many => at[position] || before.is_some_and(|before| next[before] && name[before] != '/'),
            Part::Folders => at[position] || (began && before.is_some_and(|before| name[before] == '/')),
            Part::Deep => at[position] || before.is_some_and(|before| next[before]),
            one => before.is_some_and(|before| at[before] && fits(one, name[before])),
        };
        began |= at[position];
    }
    next
}

fn fits(part: &Part, character: char) -> bool {
    match part {
        Part::One(one) => *one == character,
        Part::Any => character != '/',
        Part::Class(negated, ranges) => {
            character != '/' && ranges.iter().any(|(from, to)| (*from..=*to).contains(&character)) != *negated
        }
        Part::Many | Part::Deep | Part::Folders => true,
    }
}

/// `[a-z]` after its `[`.
fn class(rest: &mut &str) -> Option<Part> {
    let mut characters = rest.chars().peekable();
    let negated = characters.next_if(|first| matches!(first, '^' | '!')).is_some();
    let mut ranges = Vec::new();
    loop {
        let from = match characters.next()? {
            ']' if !ranges.is_empty() => break,
            '\\' => characters.next()?,
            from => from,
        };
        let to = match characters.next_if_eq(&'-') {
            Some(_) => match characters.next()? {
                '\\' => characters.next()?,
                to => to,
            },
            None => from,
        };
        ranges.push((from, to));
    }
    let left: String = characters.collect();
    *rest = &rest[rest.len() - left.len()..];
    Some(Part::Class(negated, ranges))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &str, deep: bool) -> bool {
        Pattern::read(pattern, deep).unwrap().matches(name)
    }

    #[test]
    fn patterns_are_go_s() {
        for (pattern, name, expected) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "a/b.txt", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a*b*c", "aXbYc", true),
        ] {
            assert_eq!(matches(pattern, name, false), expected, "{pattern} {name}");
        }
        for (pattern, name, expected) in [
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("**/x", "ax", false),
            ("a/**", "a/b/c", true),
            ("**", "a/b", true),
            ("a/*", "a/b/c", false),
        ] {
            assert_eq!(matches(pattern, name, true), expected, "{pattern} {name}");
        }
        assert!(Pattern::read("[a", false).is_err() && Pattern::read("a\\", false).is_err());
    }

    proptest! {
        #[test]
        fn a_name_matches_itself(name in "[a-z/.]{0,20}") {
            prop_assert!(matches(&name, &name, false));
        }

        #[test]
        fn nothing_panics(pattern in "[ab*?/\\\\\\[\\]^-]{0,20}", name in "[ab/]{0,20}") {
            if let Ok(pattern) = Pattern::read(&pattern, true) {
                pattern.matches(&name);
            }
        }
    }
}
